//! SQLite: an embedded store in one file, shared by several processes of one machine.
//!
//! # Durability
//!
//! The file is in WAL mode with `synchronous=FULL`: a returned call survives a power cut.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jobstore_core::{Clock, Error, Result, StoreClock};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool};

use crate::dialect::{Dialect, Statement, Value, push_rows};
use crate::error::{backend, incompatible, unavailable};
use crate::migrate::{self, Migration};
use crate::store::SqlJobStore;

/// A job store in a SQLite file.
pub type SqliteJobStore = SqlJobStore<Sqlite>;

impl Dialect for Sqlite {
    // One writer at a time: a transaction that begins as a reader could fail when it comes to
    // write, and no waiting would help it.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const LOCK_ROWS: &'static str = "";
    // The name that SQLite gives to the index of a primary key.
    const PRIMARY_KEY: &'static str = "sqlite_autoindex_jobs_1";
    const TABLE_EXISTS: &'static str =
        "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = ";

    fn push_update(statement: &mut Statement<Self>, columns: &[&str], rows: &[Vec<Value>]) {
        statement.push("UPDATE jobs SET ");
        for (index, column) in columns.iter().enumerate().skip(1) {
            let comma = if index > 1 { ", " } else { "" };
            // The columns of VALUES are named so by SQLite itself, and counted from one.
            statement.push(format_args!("{comma}{column} = new.column{}", index + 1));
        }
        statement.push(" FROM (VALUES ");
        push_rows(statement, rows);
        statement.push(format_args!(
            ") AS new WHERE jobs.{} = new.column1",
            columns[0]
        ));
    }

    // Without statistics SQLite takes the index whose first columns are compared, even when another
    // gives the order, and reads every pending job to claim one. Statistics would change as the
    // table does; naming the index makes a claim cost the same always, and fails loudly when the
    // index is gone.
    fn jobs_by(index: &str) -> String {
        format!("jobs INDEXED BY {index}")
    }

    fn is_busy(error: &sqlx::Error) -> bool {
        matches!(primary_code(error), Some(5 | 6))
    }

    fn error(error: sqlx::Error) -> Error {
        match primary_code(&error) {
            Some(5 | 6) => unavailable("the database file is locked by another writer"),
            Some(13) => unavailable("the disk is full"),
            Some(8) => backend("the database file is read-only"),
            Some(14) => backend("the database file cannot be opened: does its directory exist?"),
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

/// How to open a SQLite store.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// None for a store in memory.
    path: Option<PathBuf>,
    clock: Option<Arc<dyn Clock>>,
    synchronous: Synchronous,
    busy_timeout: Duration,
    migrate: bool,
}

impl SqliteOptions {
    /// A store in this file, which is made when it does not exist.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: Some(path.as_ref().to_owned()),
            ..Self::in_memory()
        }
    }

    /// A store in memory, gone with its last handle.
    pub fn in_memory() -> Self {
        Self {
            path: None,
            clock: None,
            synchronous: Synchronous::Full,
            busy_timeout: Duration::from_secs(10),
            migrate: true,
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
    /// longer than the busy timeout.
    pub async fn open(self) -> Result<SqliteJobStore> {
        let connect = match &self.path {
            Some(path) => SqliteConnectOptions::new()
                .filename(path)
                .create_if_missing(self.migrate)
                .journal_mode(SqliteJournalMode::Wal),
            None => SqliteConnectOptions::new().in_memory(true),
        };
        let connect = connect
            .busy_timeout(self.busy_timeout)
            .statement_cache_capacity(256)
            .synchronous(match self.synchronous {
                Synchronous::Full => SqliteSynchronous::Full,
                Synchronous::Normal => SqliteSynchronous::Normal,
            });
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .min_connections(1)
                // Nothing is gained by closing connections of a file, and all is lost by closing
                // the one of a store in memory.
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
        };
        let writers = open_pool(&pool(1), &connect, self.busy_timeout).await?;
        {
            let mut connection = writers.acquire().await.map_err(Sqlite::error)?;
            if self.migrate {
                migrate::up::<Sqlite>(&mut connection).await?;
            }
            migrate::check::<Sqlite>(&mut connection).await?;
        }
        // A store in memory has one connection, for reading too: another would see another store.
        let readers = match self.path {
            Some(_) => pool(4).min_connections(0).connect_lazy_with(connect),
            None => writers.clone(),
        };
        let clock = self.clock.map_or_else(StoreClock::default, StoreClock::new);
        Ok(SqlJobStore::new(readers, writers, clock))
    }
}

impl SqliteJobStore {
    /// Undoes the schema: the table of jobs is gone, with every job.
    ///
    /// # Errors
    ///
    /// [`Error::Incompatible`] when the schema is newer than this program.
    pub async fn remove_schema(options: SqliteOptions) -> Result<()> {
        let path = options.path.unwrap_or_default();
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(options.busy_timeout);
        let pool = SqlitePool::connect_with(connect)
            .await
            .map_err(Sqlite::error)?;
        let mut connection = pool.acquire().await.map_err(Sqlite::error)?;
        migrate::down::<Sqlite>(&mut connection).await
    }
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
