//! How to open a MySQL or MariaDB store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jobstore_core::{Clock, Error, Result, StoreClock};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlPoolOptions, MySqlRow};
use sqlx::{ConnectOptions as _, Connection as _, MySql, MySqlPool, QueryBuilder};

use super::MySqlJobStore;
use crate::clock::ServerClock;
use crate::dialect::{ClaimBy, Dialect as _, Driver as _};
use crate::error::{backend, incompatible, unavailable};
use crate::migrate;
use crate::session::{Habits, Sessions};
use crate::store::SqlJobStore;

#[derive(Clone)]
enum Source {
    Connect(Box<MySqlConnectOptions>),
    Pool(MySqlPool),
}

/// How to open a MySQL or MariaDB store. `Debug` shows no password.
#[derive(Clone)]
pub struct MySqlOptions {
    source: Source,
    max_connections: u32,
    call_timeout: Duration,
    claim_by: ClaimBy,
    clock: Option<Arc<dyn Clock>>,
    migrate: bool,
}

impl MySqlOptions {
    /// A store in the database that these options name. TLS is as they say: `ssl-mode` is
    /// `PREFERRED` unless set, which falls back to plain text silently; use `VERIFY_IDENTITY` across
    /// networks.
    pub fn new(connect: MySqlConnectOptions) -> Self {
        Self {
            source: Source::Connect(Box::new(connect)),
            max_connections: 8,
            call_timeout: Duration::from_secs(30),
            claim_by: ClaimBy::default(),
            clock: None,
            migrate: true,
        }
    }

    /// A store that uses a pool of the caller's, beside what the caller does with it. Its connections
    /// are not changed: every transaction sets what it needs for itself alone. Refused are
    /// connections with autocommit off, or with a `sql_mode` that is not strict.
    pub fn existing(pool: MySqlPool) -> Self {
        Self {
            source: Source::Pool(pool),
            ..Self::new(MySqlConnectOptions::new())
        }
    }

    /// Sets how many connections the store opens at most; 8 unless set, 2 at least. Half of them, at
    /// most four, write. A pool of the caller's keeps its own number.
    #[must_use]
    pub fn with_max_connections(self, max_connections: u32) -> Self {
        Self {
            max_connections,
            ..self
        }
    }

    /// Sets how long a call may take, waiting for a connection included; 30 seconds unless set. A
    /// call that would take longer returns [`Error::Unavailable`].
    #[must_use]
    pub fn with_call_timeout(self, call_timeout: Duration) -> Self {
        Self {
            call_timeout,
            ..self
        }
    }

    /// Sets how claims keep out of each other's way.
    #[must_use]
    pub fn with_claim_by(self, claim_by: ClaimBy) -> Self {
        Self { claim_by, ..self }
    }

    /// Reads the time from `clock` instead of the server's.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock: Some(clock),
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
    /// [`Error::InvalidArgument`] for options out of range, or a pool of the caller's whose
    /// connections are set to what would lose data; [`Error::Unavailable`] when the server cannot be
    /// reached; [`Error::Incompatible`] when the schema is newer, or (without migrating) older, a
    /// table `jobs` is not ours, the server is too old, or `SKIP LOCKED` does not lock;
    /// [`Error::Backend`] when the server refuses the user, the database or the permission.
    pub async fn open(self) -> Result<MySqlJobStore> {
        let (sessions, settings) = self.sessions().await?;
        let sessions = Arc::new(sessions);
        if !settings.is_durable() {
            tracing::warn!(
                innodb_flush_log_at_trx_commit = settings.innodb_flush_log_at_trx_commit,
                sync_binlog = settings.sync_binlog,
                "the server may lose acknowledged jobs when its machine crashes: set both to 1"
            );
        }
        if self.migrate {
            migrate::up(&sessions, None).await?;
        }
        migrate::check(&sessions).await?;
        if self.claim_by == ClaimBy::SkipLocked {
            migrate::probe_skip_locked(&sessions).await?;
        }
        let clock = match self.clock {
            Some(clock) => clock,
            None => ServerClock::follow(&sessions).await?,
        };
        Ok(SqlJobStore::new(
            Arc::clone(&sessions),
            sessions,
            StoreClock::new(clock),
            self.claim_by,
        ))
    }

    /// Removes the schema, and every job with it.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn remove_schema(self) -> Result<()> {
        let (sessions, _) = self.sessions().await?;
        migrate::down(&sessions).await
    }

    async fn sessions(&self) -> Result<(Sessions<MySql>, Settings)> {
        self.validate()?;
        let own = matches!(self.source, Source::Connect(_));
        let begin = match own {
            true => "START TRANSACTION",
            // In a pool of the caller's, a connection may come back with a transaction open that was
            // dropped half way. Nobody can commit that any more, and to begin another would.
            false => "ROLLBACK; SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION",
        };
        let opening = async {
            match &self.source {
                Source::Pool(pool) => {
                    let mut connection = pool.acquire().await.map_err(MySql::error)?;
                    let settings = Settings::read(&mut connection).await?;
                    Ok::<_, Error>((settings, pool.clone()))
                }
                Source::Connect(connect) => {
                    // The pool would go on trying where nobody answers.
                    let mut first = connect.connect().await.map_err(MySql::error)?;
                    let settings = Settings::read(&mut first).await?;
                    first.close().await.map_err(MySql::error)?;
                    Ok((settings, self.pool(connect)))
                }
            }
        };
        let (settings, pool) = match tokio::time::timeout(self.call_timeout, opening).await {
            Ok(opened) => opened?,
            Err(_) => return Err(unavailable("the server does not answer")),
        };
        settings.check(own)?;
        let habits = Habits {
            begin: begin.into(),
            reads_alone: own,
            writes_alone: own,
            prepares: true,
            keep: own,
            bound: Some(self.call_timeout),
            packet: usize::try_from(settings.max_allowed_packet).unwrap_or(usize::MAX),
        };
        Ok((Sessions::new(pool, habits), settings))
    }

    fn pool(&self, connect: &MySqlConnectOptions) -> MySqlPool {
        let settings: Arc<str> = self.settings().into();
        MySqlPoolOptions::new()
            .max_connections(self.max_connections)
            .acquire_timeout(self.call_timeout)
            // Connections rest with the store, not in the pool.
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                let settings = settings.to_string();
                Box::pin(async move { MySql::run(connection, settings).await })
            })
            .connect_lazy_with(connect.clone())
    }

    fn validate(&self) -> Result<()> {
        let max_connections = match &self.source {
            Source::Connect(_) => self.max_connections,
            Source::Pool(pool) => pool.options().get_max_connections(),
        };
        if max_connections < 2 {
            return Err(Error::invalid("max_connections", "must be at least 2"));
        }
        if self.call_timeout < Duration::from_millis(100) {
            return Err(Error::invalid("call_timeout", "must be at least 100 ms"));
        }
        Ok(())
    }

    /// What each connection of our own is set to.
    fn settings(&self) -> String {
        let seconds = self.call_timeout.as_secs().max(1);
        // The server lets go of what a client that went silent has locked.
        let silent = seconds + 30;
        // A call that waits for a lock still has time to try again.
        let locked = (seconds / 3).max(1);
        format!(
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
             SESSION autocommit = 1, \
             SESSION innodb_lock_wait_timeout = {locked}, \
             SESSION wait_timeout = {silent}; \
             SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
        )
    }
}

impl fmt::Debug for MySqlOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("MySqlOptions");
        // Field by field: their own form holds the password.
        if let Source::Connect(connect) = &self.source {
            shown
                .field("host", &connect.get_host())
                .field("port", &connect.get_port())
                .field("database", &connect.get_database());
        }
        shown
            .field("max_connections", &self.max_connections)
            .field("call_timeout", &self.call_timeout)
            .field("claim_by", &self.claim_by)
            .field("migrate", &self.migrate)
            .finish_non_exhaustive()
    }
}

/// What the server is, and what a connection of the store is set to, as they say themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The server's version.
    pub version: String,
    /// The longest statement that the server takes, in bytes. A job longer than this is refused.
    pub max_allowed_packet: u64,
    /// 1: a commit is on the server's disk. Else a crash may lose the commits of a second.
    pub innodb_flush_log_at_trx_commit: i64,
    /// 1: a commit is in the binary log on disk. None when the server writes no such log.
    pub sync_binlog: Option<i64>,
    /// How statements are read.
    pub sql_mode: String,
    /// Whether a statement commits by itself.
    pub autocommit: bool,
}

impl Settings {
    /// Whether what was acknowledged survives a crash of the server's machine.
    pub fn is_durable(&self) -> bool {
        self.innodb_flush_log_at_trx_commit == 1 && self.sync_binlog.is_none_or(|every| every == 1)
    }

    pub(super) async fn read(connection: &mut MySqlConnection) -> Result<Self> {
        let statement = QueryBuilder::new(
            "SELECT @@version, CAST(@@max_allowed_packet AS SIGNED), \
             CAST(@@innodb_flush_log_at_trx_commit AS SIGNED), CAST(@@log_bin AS SIGNED), \
             CAST(@@sync_binlog AS SIGNED), @@sql_mode, CAST(@@autocommit AS SIGNED)",
        );
        let mut read = None;
        let each = |row: &MySqlRow| {
            let int = |column| MySql::int(row, column).map(Option::unwrap_or_default);
            let text = |column| MySql::text(row, column).map(Option::unwrap_or_default);
            let settings = || -> sqlx::Result<Self> {
                Ok(Self {
                    version: text(0)?,
                    max_allowed_packet: int(1)?.unsigned_abs(),
                    innodb_flush_log_at_trx_commit: int(2)?,
                    sync_binlog: (int(3)? != 0).then(|| int(4)).transpose()?,
                    sql_mode: text(5)?,
                    autocommit: int(6)? != 0,
                })
            };
            read = Some(settings());
        };
        MySql::fetch(connection, statement, false, each)
            .await
            .map_err(MySql::error)?;
        match read {
            Some(read) => read.map_err(MySql::error),
            None => Err(backend("the server does not say how it is set")),
        }
    }

    /// Refuses a server that is too old, and connections that would lose data.
    fn check(&self, own: bool) -> Result<()> {
        if is_too_old(&self.version) {
            return Err(incompatible(
                "the server is older than MySQL 8.0.16 and MariaDB 10.6",
            ));
        }
        if own {
            return Ok(());
        }
        if !self.autocommit {
            return Err(Error::invalid(
                "pool",
                "its connections have autocommit off",
            ));
        }
        if !self.sql_mode.contains("STRICT_") {
            return Err(Error::invalid(
                "pool",
                "the sql_mode of its connections is not strict: add STRICT_ALL_TABLES",
            ));
        }
        Ok(())
    }
}

impl MySqlJobStore {
    /// The settings in force, asked of the server itself.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when no connection is free, or the server does not answer.
    pub async fn settings(&self) -> Result<Settings> {
        let reading = self.readers().bounded(async {
            let mut session = self.readers().acquire_to_read().await?;
            let read = Settings::read(&mut session).await;
            Ok(session.end(read.map_err(Into::into)).await?)
        });
        reading.await?
    }
}

/// Whether a server of this version lacks what the store needs. What does not look like a version is
/// given the benefit of the doubt.
fn is_too_old(version: &str) -> bool {
    let mut numbers = version
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    let mut next = || numbers.next().and_then(Result::ok);
    let (Some(major), Some(minor)) = (next(), next()) else {
        return false;
    };
    match version.contains("MariaDB") {
        true => (major, minor) < (10, 6),
        false => (major, minor, next().unwrap_or(u32::MAX)) < (8, 0, 16),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_known_by_their_version() {
        let old = [
            "5.7.44-log",
            "8.0.15",
            "10.5.29-MariaDB",
            "8.0.11-TiDB-v8.5.0",
        ];
        let new = [
            "8.0.16",
            "8.4.0",
            "9.1.0-cloud",
            "10.6.0-MariaDB-1",
            "11.4.2-MariaDB-log",
            "?",
        ];
        assert!(old.into_iter().all(is_too_old));
        assert!(!new.into_iter().any(is_too_old));
    }
}
