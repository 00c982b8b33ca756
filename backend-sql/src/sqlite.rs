//! SQLite: an embedded store in one file, shared by several processes of one machine.
//!
//! # Durability
//!
//! The file is in WAL mode with `synchronous=FULL`: a returned call survives a power cut.

mod packed;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jobstore_core::{Clock, Error, Job, Lease, Result, StoreClock, Timestamp};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row as _, Sqlite, SqliteConnection, SqlitePool};

use crate::claim::reading;
use crate::dialect::{
    ClaimBy, Dialect, FINE_LENGTHS, Ids, Packed, Statement, TextForm, Value, filled, push_rows,
};
use crate::error::{Failure, FailureExt as _, backend, incompatible, unavailable};
use crate::migrate::{self, Migration};
use crate::session::{Habits, Sessions};
use crate::store::SqlJobStore;
use crate::wire::Wire;

/// A job store in a SQLite file.
pub type SqliteJobStore = SqlJobStore<Sqlite>;

impl TextForm for Sqlite {
    fn push(statement: &mut Statement<Self>, text: Option<String>) {
        statement.push_bind(text);
    }

    fn get(row: &SqliteRow, column: usize) -> sqlx::Result<Option<String>> {
        row.try_get(column)
    }

    fn push_bytes(statement: &mut Statement<Self>, bytes: Vec<u8>) {
        match String::from_utf8(bytes) {
            Ok(text) => statement.push_bind(text),
            // SQLite keeps a text of any bytes, but the driver hands over no such; and every text is
            // smaller than every blob.
            Err(error) => {
                statement.push("CAST(").push_bind(error.into_bytes());
                statement.push(" AS TEXT)")
            }
        };
    }

    fn get_bytes(row: &SqliteRow, column: usize) -> sqlx::Result<Option<Vec<u8>>> {
        row.try_get(column)
    }
}

impl Dialect for Sqlite {
    // SQLite has one writer; more tasks would only wait for each other.
    const WRITERS: usize = 1;
    // Nobody else writes while a transaction of ours does.
    const LOCK_ROWS: &'static str = "";
    const LOCK_FOUND_ROWS: &'static str = "";
    const LOCK_FREE_ROWS: &'static str = "";
    // The name that SQLite gives to the index of a primary key.
    const PRIMARY_KEY: &'static str = "sqlite_autoindex_jobs_1";
    // The number of the row, by which the table itself is ordered.
    const PLACE: &'static str = "rowid";
    const PACKED: Option<&'static Packed> = Some(&packed::PACKED);
    const TABLES: &'static str = "SELECT name FROM sqlite_schema \
        WHERE type = 'table' AND name IN ('jobs', 'jobstore_migrations')";

    const CLOCK: &'static str = "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)";
    const VERSION: &'static str = "SELECT sqlite_version()";
    // Nobody else writes while a transaction of ours does.
    const LOCK_SCHEMA: Option<&'static str> = None;

    // What is sent is a way to SQLite's thread and back, which costs more than most statements.
    const JOINS: bool = true;
    // And more than filling one up.
    const LENGTHS: &'static [usize] = &FINE_LENGTHS;

    fn pieces<T: Sync>(rows: &[T]) -> impl Iterator<Item = &[T]> + Send {
        rows.chunks(Self::LENGTHS[0])
    }

    fn push_insert(statement: &mut Statement<Self>, columns: &str, rows: &[Vec<Value>], _: Ids) {
        let is_filled = filled::<Self>(rows.len()) > rows.len();
        statement.push(format_args!("INSERT INTO jobs ({columns}) "));
        statement.push(if is_filled { "SELECT * FROM (" } else { "" });
        Self::push_wanted(statement, rows);
        statement.push(if is_filled {
            ") WHERE column1 IS NOT NULL"
        } else {
            ""
        });
    }

    // The rows are filled up with such as have no values, which nothing is equal to.
    fn push_wanted(statement: &mut Statement<Self>, rows: &[Vec<Value>]) {
        let none = vec![Value::Int(None); rows.first().map_or(0, Vec::len)];
        let filler = std::iter::repeat_n(&none, filled::<Self>(rows.len()) - rows.len());
        statement.push("VALUES ");
        push_rows(statement, rows.iter().chain(filler));
    }

    // Without statistics SQLite takes the index whose first columns are compared, even when another
    // gives the order, and reads every pending job to claim one. Statistics would change as the
    // table does; naming the index makes a claim cost the same always, and fails loudly when the
    // index is gone.
    fn jobs_by(index: &str) -> String {
        format!("jobs INDEXED BY {index}")
    }

    fn claim(
        wire: &mut Wire<'_, Self>,
        names: &[String],
        leases: &[&Lease],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<(usize, Job)>, Failure>> + Send {
        reading::claim(wire, names, leases, now)
    }

    fn is_busy(error: &sqlx::Error) -> bool {
        matches!(primary_code(error), Some(5 | 6))
    }

    fn is_in_transaction(error: &sqlx::Error) -> bool {
        // The code of every mistake in a statement; `BEGIN` has no other to make.
        primary_code(error) == Some(1)
    }

    // BEGIN IMMEDIATE waits until the others are done.
    fn is_conflict(_: &sqlx::Error) -> bool {
        false
    }

    fn error(error: sqlx::Error) -> Error {
        match primary_code(&error) {
            Some(5 | 6) => unavailable("the database file is locked by another writer"),
            Some(13) => unavailable("the disk is full"),
            Some(8) => backend("the database file is read-only"),
            Some(14) => {
                backend("the database file cannot be opened: does it, or its directory, exist?")
            }
            Some(11) => incompatible("the database file is damaged"),
            Some(26) => incompatible("the file is not a SQLite database"),
            _ => match error {
                sqlx::Error::PoolTimedOut => unavailable("no connection became free in time"),
                sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                    unavailable("the store is closed")
                }
                // SQLite names tables and columns in its messages, never values.
                error => backend(error.to_string()),
            },
        }
    }

    fn migrations() -> &'static [Migration] {
        &MIGRATIONS
    }
}

/// SQLite's result code, its extension cut off.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

static MIGRATIONS: [Migration; 1] = [Migration {
    version: 1,
    up: include_str!("sqlite/0001_up.sql"),
    down: include_str!("sqlite/0001_down.sql"),
}];

/// What a returned call means after a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// It is on disk.
    #[default]
    Full,
    /// It survives the death of the process; a power cut may lose the latest calls.
    Normal,
}

#[derive(Clone, Debug)]
enum Source {
    Memory,
    File(PathBuf),
    Pool(SqlitePool),
}

/// How to open a SQLite store.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    source: Source,
    clock: Option<Arc<dyn Clock>>,
    synchronous: Synchronous,
    busy_timeout: Duration,
    migrate: bool,
}

impl SqliteOptions {
    /// A store in this file, which is made when it does not exist.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            source: Source::File(path.as_ref().to_owned()),
            ..Self::in_memory()
        }
    }

    /// A store in memory, gone with its last handle.
    pub fn in_memory() -> Self {
        Self {
            source: Source::Memory,
            clock: None,
            synchronous: Synchronous::Full,
            busy_timeout: Duration::from_secs(10),
            migrate: true,
        }
    }

    /// A store that uses a pool of the caller's, beside what the caller does with it. The settings
    /// of its connections stay as they are, so [`open`](Self::open) refuses them when they promise
    /// less than [`Synchronous`] says.
    pub fn existing(pool: SqlitePool) -> Self {
        Self {
            source: Source::Pool(pool),
            ..Self::in_memory()
        }
    }

    /// Reads the time from `clock` instead of the machine's.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock: Some(clock),
            ..self
        }
    }

    /// Sets what a returned call means after a power cut.
    #[must_use]
    pub fn with_synchronous(self, synchronous: Synchronous) -> Self {
        Self {
            synchronous,
            ..self
        }
    }

    /// Sets how long to wait for another process that writes; 10 seconds unless set. A call that
    /// waited as long in vain returns [`Error::Unavailable`].
    #[must_use]
    pub fn with_busy_timeout(self, busy_timeout: Duration) -> Self {
        Self {
            busy_timeout,
            ..self
        }
    }

    /// Sets whether opening brings the schema up to date, which it does unless told otherwise.
    #[must_use]
    pub fn with_migrate(self, migrate: bool) -> Self {
        Self { migrate, ..self }
    }

    /// Opens the store.
    ///
    /// # Errors
    ///
    /// [`Error::Incompatible`] when the file is no database, has a newer schema, a table `jobs` that
    /// is not ours, or (without migrating) an older schema; [`Error::Backend`] when it is read-only
    /// or its directory does not exist; [`Error::Unavailable`] when another process held it for
    /// longer than the busy timeout; [`Error::InvalidArgument`] when the connections of an existing
    /// pool promise too little.
    pub async fn open(self) -> Result<SqliteJobStore> {
        let (readers, writers) = self.sessions().await?;
        if self.migrate {
            migrate::up(&writers, None).await?;
        }
        migrate::check(&writers).await?;
        let clock = self.clock.map_or_else(StoreClock::default, StoreClock::new);
        Ok(SqlJobStore::new(
            readers,
            writers,
            clock,
            ClaimBy::default(),
        ))
    }

    /// Removes the schema, and every job with it.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn remove_schema(self) -> Result<()> {
        let (_, writers) = self.sessions().await?;
        migrate::down(&writers).await
    }

    /// The connections to read and to write with.
    async fn sessions(&self) -> Result<(Arc<Sessions<Sqlite>>, Arc<Sessions<Sqlite>>)> {
        let habits = Habits {
            // One writer at a time: a transaction that begins as a reader could fail when it comes
            // to write, and no waiting would help it.
            begin: "BEGIN IMMEDIATE".into(),
            reads_alone: true,
            // Another process may have to be waited for, and the time is taken after that.
            writes_alone: false,
            prepares: true,
            packet: usize::MAX,
            keep: !matches!(self.source, Source::Pool(_)),
            // The busy timeout bounds a call, and a disk that hangs cannot be closed.
            bound: None,
        };
        let sessions = |pool| Arc::new(Sessions::new(pool, habits.clone()));
        match &self.source {
            // Another connection would see another store.
            Source::Memory => {
                let connect = self.connect_options().in_memory(true);
                let pool = pool_options(1)
                    .min_connections(1)
                    .connect_with(connect)
                    .await;
                let sessions = sessions(pool.map_err(Sqlite::error)?);
                Ok((Arc::clone(&sessions), sessions))
            }
            Source::File(path) => {
                let connect = self.connect_options().filename(path);
                let connect = connect
                    .create_if_missing(self.migrate)
                    .journal_mode(SqliteJournalMode::Wal);
                let writers = open_pool(&pool_options(1), &connect, self.busy_timeout).await?;
                let readers = pool_options(4).connect_lazy_with(connect);
                Ok((sessions(readers), sessions(writers)))
            }
            Source::Pool(pool) => {
                let mut connection = pool.acquire().await.map_err(Sqlite::error)?;
                self.check_promise(&mut connection).await?;
                let sessions = sessions(pool.clone());
                Ok((Arc::clone(&sessions), sessions))
            }
        }
    }

    fn connect_options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .busy_timeout(self.busy_timeout)
            .statement_cache_capacity(256)
            // In KiB. The 2 MiB that SQLite takes by itself do not hold the upper levels of the
            // indexes of a million jobs.
            .pragma("cache_size", "-16384")
            // A page or a claim comes over from SQLite's thread in one go, not in small pieces.
            .row_buffer_size(128)
            .synchronous(match self.synchronous {
                Synchronous::Full => SqliteSynchronous::Full,
                Synchronous::Normal => SqliteSynchronous::Normal,
            })
    }

    /// Refuses a connection whose settings promise less than these options.
    async fn check_promise(&self, connection: &mut SqliteConnection) -> Result<()> {
        let Settings {
            journal_mode,
            synchronous,
        } = Settings::read(connection).await?;
        let kept = match (self.synchronous, journal_mode.as_str()) {
            (_, "memory") => true,
            (Synchronous::Full, "wal") => synchronous >= 2,
            // A rollback journal's own directory entry is on disk at EXTRA only.
            (Synchronous::Full, "delete" | "truncate" | "persist") => synchronous >= 3,
            (Synchronous::Full, _) => false,
            (Synchronous::Normal, journal_mode) => journal_mode != "off" && synchronous >= 1,
        };
        if kept {
            return Ok(());
        }
        Err(Error::invalid(
            "pool",
            format!(
                "journal_mode={journal_mode} with synchronous={synchronous} may lose returned calls in a power \
                 cut: use WAL with FULL (2), or ask for less with Synchronous::Normal"
            ),
        ))
    }
}

/// The settings of a connection that decide what survives a power cut, as SQLite reports them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `wal` for a file of ours, `memory` for a store in memory.
    pub journal_mode: String,
    /// 0 off, 1 normal, 2 full, 3 extra.
    pub synchronous: i64,
}

impl Settings {
    async fn read(connection: &mut SqliteConnection) -> Result<Self> {
        let journal_mode = sqlx::query_scalar("PRAGMA journal_mode");
        let synchronous = sqlx::query_scalar("PRAGMA synchronous");
        Ok(Self {
            journal_mode: journal_mode
                .fetch_one(&mut *connection)
                .await
                .map_err(Sqlite::error)?,
            synchronous: synchronous
                .fetch_one(&mut *connection)
                .await
                .map_err(Sqlite::error)?,
        })
    }
}

impl SqliteJobStore {
    /// The settings in force, asked of SQLite itself.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when no connection is free.
    pub async fn settings(&self) -> Result<Settings> {
        let mut session = self.readers().acquire_to_read().await?;
        let done = Settings::read(&mut session).await.map_err(Failure::from);
        Ok(session.end(done).await?)
    }

    /// What SQLite's own integrity check finds wrong with the file, at most 100 lines of it.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when no connection is free; [`Error::Backend`] when the file is too
    /// damaged to be checked.
    pub async fn integrity_problems(&self) -> Result<Vec<String>> {
        let mut session = self.readers().acquire_to_read().await?;
        let check = sqlx::query_scalar("PRAGMA integrity_check(100)");
        let lines = check.fetch_all(&mut *session).await;
        let lines = lines.map_err(Failure::of::<Sqlite>);
        let lines: Vec<String> = session.end(lines).await?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }
}

fn pool_options(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        // Nothing is gained by closing connections of a file, and all is lost by closing the one of
        // a store in memory.
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// The SQL that makes the schema, for those who run migrations themselves. It records that it did,
/// so that [`open`](SqliteOptions::open) takes the table for ours.
pub fn schema() -> String {
    migrate::script::<Sqlite>("CAST(strftime('%s', 'now') AS INTEGER) * 1000")
}

/// The SQL that removes the schema, and every job with it.
pub fn schema_down() -> String {
    migrate::script_down::<Sqlite>()
}

/// What SQLite means to do for a statement, a line for each step.
#[cfg(test)]
pub(crate) async fn plan(statement: &Statement<Sqlite>) -> String {
    use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};

    let mut connection = SqliteConnection::connect(":memory:").await.expect("opens");
    let schema = AssertSqlSafe(schema());
    connection.execute(schema).await.expect("makes the schema");
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", statement.sql().as_str()));
    let steps = sqlx::query(explain).fetch_all(&mut connection).await;
    let steps = steps.expect("explains");
    let steps = steps
        .iter()
        .map(|step| step.get::<String, _>("detail") + "\n");
    steps.collect()
}

/// Opens a pool. While several processes make the file at once, SQLite says that it is busy without
/// waiting, so we wait.
async fn open_pool(
    options: &SqlitePoolOptions,
    connect: &SqliteConnectOptions,
    patience: Duration,
) -> Result<SqlitePool> {
    let start = tokio::time::Instant::now();
    loop {
        match options.clone().connect_with(connect.clone()).await {
            Ok(pool) => return Ok(pool),
            Err(error) if Sqlite::is_busy(&error) && start.elapsed() < patience => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(Sqlite::error(error)),
        }
    }
}
