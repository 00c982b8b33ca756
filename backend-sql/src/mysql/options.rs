//! How to open a MySQL or MariaDB store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jobstore_core::{Clock, Error, Result, StoreClock};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::{MySql, MySqlPool, QueryBuilder};

use super::MySqlJobStore;
use crate::clock::ServerClock;
use crate::dialect::{ClaimBy, Dialect as _, Driver as _};
use crate::error::{incompatible, unavailable};
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

/// What the server is and promises, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The server's version.
    pub version: String,
    /// The longest statement that the server takes, in bytes.
    pub max_allowed_packet: u64,
    /// 1: a commit is on the server's disk. Less may lose a second's commits in a crash.
    pub innodb_flush_log_at_trx_commit: i64,
    /// 1: a commit is in the binary log on disk. None when the server writes no such log.
    pub sync_binlog: Option<i64>,
}

impl Settings {
    /// Whether what was acknowledged survives a crash of the server's machine.
    pub fn is_durable(&self) -> bool {
        self.innodb_flush_log_at_trx_commit == 1 && self.sync_binlog.is_none_or(|every| every == 1)
    }
}
