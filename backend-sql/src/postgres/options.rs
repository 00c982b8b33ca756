//! How to open a PostgreSQL store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jobstore_core::{Clock, Error, Result, StoreClock};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{ConnectOptions as _, Connection as _, PgPool, Postgres, QueryBuilder};

use super::PostgresJobStore;
use super::notices::Notices;
use crate::clock::ServerClock;
use crate::dialect::{ClaimBy, Dialect as _, Driver as _};
use crate::error::{incompatible, unavailable};
use crate::migrate;
use crate::session::{Habits, Sessions};
use crate::store::SqlJobStore;

#[derive(Clone)]
enum Source {
    Connect(Box<PgConnectOptions>),
    Pool(PgPool),
}

/// How to open a PostgreSQL store. `Debug` shows no password.
#[derive(Clone)]
pub struct PostgresOptions {
    source: Source,
    schema: Option<String>,
    transaction_pooler: bool,
    max_connections: u32,
    call_timeout: Duration,
    claim_by: ClaimBy,
    clock: Option<Arc<dyn Clock>>,
    migrate: bool,
    notices: bool,
}

impl PostgresOptions {
    /// A store on the server that these options lead to. TLS is as they say: `sslmode` is `prefer`
    /// unless set, which falls back to plain text silently; use `verify-full` across networks.
    pub fn new(connect: PgConnectOptions) -> Self {
        Self {
            source: Source::Connect(Box::new(connect)),
            schema: None,
            transaction_pooler: false,
            max_connections: 8,
            call_timeout: Duration::from_secs(30),
            claim_by: ClaimBy::default(),
            clock: None,
            migrate: true,
            notices: true,
        }
    }

    /// A store that uses a pool of the caller's, beside what the caller does with it. Its connections
    /// are not changed: every transaction sets what it needs for itself alone, which costs a round
    /// trip more than a pool of the store's own.
    pub fn existing(pool: PgPool) -> Self {
        Self {
            source: Source::Pool(pool),
            ..Self::new(PgConnectOptions::new_without_pgpass())
        }
    }

    /// Sets the schema the tables are in, made when it does not exist; unless set they are in the
    /// first of the user's `search_path`. A name is a lower-case letter or `_`, and at most 62 more
    /// of these and digits.
    #[must_use]
    pub fn with_schema(self, schema: impl Into<String>) -> Self {
        Self {
            schema: Some(schema.into()),
            ..self
        }
    }

    /// Sets whether a pooler stands in between that gives each transaction another connection, as
    /// PgBouncer does with `pool_mode = transaction`. Nothing is then kept on a connection: no
    /// settings and no prepared statements.
    #[must_use]
    pub fn with_transaction_pooler(self, transaction_pooler: bool) -> Self {
        Self {
            transaction_pooler,
            ..self
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

    /// Sets whether stores of this schema tell each other of new jobs through the server, which they do
    /// unless told otherwise: what waits for [`arrivals`](jobstore_core::JobStore::arrivals) in another
    /// process hears within some milliseconds, at the price of forty small statements a second
    /// at most, and of one more connection where somebody waits.
    ///
    /// On a pool of the caller's there are none; behind a transaction pooler a store tells others, and
    /// hears only itself.
    #[must_use]
    pub fn with_notices(self, notices: bool) -> Self {
        Self { notices, ..self }
    }

    /// Opens the store.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for options out of range; [`Error::Unavailable`] when the server
    /// cannot be reached; [`Error::Incompatible`] when the schema is newer, or (without migrating)
    /// older, a table `jobs` is not ours, the database's encoding is not UTF-8, or `SKIP LOCKED` does
    /// not lock; [`Error::Backend`] when the server refuses the user, the database or the
    /// permission.
    pub async fn open(self) -> Result<PostgresJobStore> {
        let sessions = Arc::new(self.sessions().await?);
        self.check_server(&sessions).await?;
        if self.migrate {
            migrate::up(&sessions, self.create_schema().as_deref()).await?;
        }
        migrate::check(&sessions).await?;
        if self.claim_by == ClaimBy::SkipLocked {
            migrate::probe_skip_locked(&sessions).await?;
        }
        let clock = match &self.clock {
            Some(clock) => Arc::clone(clock),
            None => ServerClock::follow(&sessions).await?,
        };
        let store = SqlJobStore::new(
            Arc::clone(&sessions),
            Arc::clone(&sessions),
            StoreClock::new(clock),
            self.claim_by,
        );
        let (Source::Connect(way), true) = (self.source, self.notices) else {
            return Ok(store);
        };
        let schema = schema(&sessions).await?;
        let way = (!self.transaction_pooler).then_some(&*way);
        let notices = Notices::send(store.near(), &sessions, schema, way);
        Ok(store.with_elsewhere(Arc::new(notices)))
    }

    /// Removes the schema's tables, and every job with them. The schema itself stays.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn remove_schema(self) -> Result<()> {
        migrate::down(&self.sessions().await?).await
    }

    async fn sessions(&self) -> Result<Sessions<Postgres>> {
        self.validate()?;
        let unsettled = self.transaction_pooler || matches!(self.source, Source::Pool(_));
        let habits = Habits {
            begin: match unsettled {
                true => format!(
                    "BEGIN ISOLATION LEVEL READ COMMITTED; {}",
                    self.settings(true)
                ),
                false => "BEGIN".to_owned(),
            }
            .into(),
            reads_alone: !unsettled,
            writes_alone: !unsettled,
            prepares: !self.transaction_pooler,
            packet: usize::MAX,
            keep: matches!(self.source, Source::Connect(_)),
            bound: Some(self.call_timeout),
        };
        let pool = match &self.source {
            Source::Pool(pool) => pool.clone(),
            Source::Connect(connect) => self.pool(connect, unsettled).await?,
        };
        Ok(Sessions::new(pool, habits))
    }

    async fn pool(&self, connect: &PgConnectOptions, unsettled: bool) -> Result<PgPool> {
        let connect = connect.clone();
        let connect = match self.transaction_pooler {
            // A start-up parameter that poolers refuse, and statements that they do not know.
            true => connect.extra_float_digits(None).statement_cache_capacity(0),
            false => connect,
        };
        let settings = Arc::new(self.settings(false));
        let options = PgPoolOptions::new()
            .max_connections(self.max_connections)
            .acquire_timeout(self.call_timeout)
            // Connections rest with the store, not in the pool.
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false);
        let options = match unsettled {
            true => options,
            false => options.after_connect(move |connection, _| {
                let settings = Arc::clone(&settings);
                Box::pin(async move { Postgres::run(connection, settings.to_string()).await })
            }),
        };
        let opening = async {
            // The pool would go on trying where nobody answers.
            let first = connect.connect().await?;
            first.close().await?;
            options.connect_with(connect).await
        };
        match tokio::time::timeout(self.call_timeout, opening).await {
            Ok(pool) => pool.map_err(Postgres::error),
            Err(_) => Err(unavailable("the server does not answer")),
        }
    }

    fn validate(&self) -> Result<()> {
        if let Some(schema) = &self.schema
            && !is_plain_name(schema)
        {
            return Err(Error::invalid(
                "schema",
                "write a lower-case letter or _, then at most 62 lower-case letters, digits and _",
            ));
        }
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

    /// What a connection, or a transaction alone, is set to.
    pub(super) fn settings(&self, local: bool) -> String {
        let set = if local { "SET LOCAL" } else { "SET SESSION" };
        let timeout = self.call_timeout.as_millis();
        let mut settings = vec![
            // Plans that cost the same at any number of rows: what has no statistics yet, or old
            // ones, is else read from end to end.
            "enable_seqscan = off".to_owned(),
            "enable_bitmapscan = off".to_owned(),
            "plan_cache_mode = force_generic_plan".to_owned(),
            "jit = off".to_owned(),
            // The server gives up when we do, so that nothing stays locked.
            format!("statement_timeout = {timeout}"),
            format!("idle_in_transaction_session_timeout = {timeout}"),
            // A backslash in a text is a backslash.
            "standard_conforming_strings = on".to_owned(),
        ];
        if !local {
            settings.push("default_transaction_isolation = 'read committed'".to_owned());
        }
        settings.extend(
            self.schema
                .as_ref()
                .map(|schema| format!("search_path = \"{schema}\"")),
        );
        let settings = settings.iter().map(|setting| format!("{set} {setting}; "));
        // A database or user may be set to `off`; what is stronger than `on` stays as it is.
        let durable = format!(
            "SELECT set_config('synchronous_commit', 'on', {local}) \
             WHERE current_setting('synchronous_commit') = 'off'"
        );
        settings.chain([durable]).collect()
    }

    fn create_schema(&self) -> Option<String> {
        // Asked first, because who may use a schema may not always make one.
        self.schema.as_ref().map(|schema| {
            format!(
                "DO $$ BEGIN \
                 IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = '{schema}') THEN \
                 CREATE SCHEMA \"{schema}\"; END IF; END $$"
            )
        })
    }

    async fn check_server(&self, sessions: &Sessions<Postgres>) -> Result<()> {
        let (mut encoding, mut version) = (None, None);
        sessions
            .bounded(async {
                let mut session = sessions.acquire_to_read().await?;
                let statement = QueryBuilder::<Postgres>::new(
                    "SELECT current_setting('server_encoding'), \
                     CAST(current_setting('server_version_num') AS BIGINT)",
                );
                let each = |row: &PgRow| {
                    encoding = Postgres::text(row, 0).ok().flatten();
                    version = Postgres::int(row, 1).ok().flatten();
                };
                let done = session.wire(self.claim_by).fetch(statement, each).await;
                session.end(done).await
            })
            .await??;
        if encoding.as_deref() != Some("UTF8") {
            let encoding = encoding.unwrap_or_default();
            return Err(incompatible(format!(
                "the database has the encoding {encoding}, which cannot hold every text: make one \
                 with ENCODING 'UTF8'"
            )));
        }
        if version.is_none_or(|version| version < 120_000) {
            return Err(incompatible("the server is older than PostgreSQL 12"));
        }
        Ok(())
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("PostgresOptions");
        // Field by field: their own form holds the password.
        if let Source::Connect(connect) = &self.source {
            shown
                .field("host", &connect.get_host())
                .field("port", &connect.get_port())
                .field("database", &connect.get_database());
        }
        shown
            .field("schema", &self.schema)
            .field("transaction_pooler", &self.transaction_pooler)
            .field("max_connections", &self.max_connections)
            .field("call_timeout", &self.call_timeout)
            .field("claim_by", &self.claim_by)
            .field("migrate", &self.migrate)
            .field("notices", &self.notices)
            .finish_non_exhaustive()
    }
}

/// The schema of the tables, as a word for notices.
async fn schema(sessions: &Sessions<Postgres>) -> Result<String> {
    // Any name may stand in a search path, so it is not told itself.
    let word = "SELECT CAST(hashtext(CAST(current_schema() AS TEXT)) AS TEXT)";
    let word = ask(sessions, word).await?;
    word.ok_or_else(|| incompatible("no schema is there to have tables in"))
}

/// The text that the server answers a question with.
async fn ask(sessions: &Sessions<Postgres>, question: &'static str) -> Result<Option<String>> {
    let asking = sessions.bounded(async {
        let mut found = None;
        let mut session = sessions.acquire_to_read().await?;
        let each = |row: &PgRow| found = Postgres::text(row, 0).ok().flatten();
        let statement = QueryBuilder::new(question);
        let done = session
            .wire(ClaimBy::default())
            .fetch(statement, each)
            .await;
        session.end(done).await?;
        Ok(found)
    });
    asking.await?
}

fn is_plain_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || c == '_';
    name.starts_with(letter)
        && name.len() <= 63
        && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

impl PostgresJobStore {
    /// What `synchronous_commit` is on the store's connections, asked of the server.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when the server cannot be reached.
    pub async fn synchronous_commit(&self) -> Result<String> {
        let found = ask(
            self.readers(),
            "SELECT current_setting('synchronous_commit')",
        )
        .await?;
        found.ok_or_else(|| unavailable("the server does not say how it commits"))
    }
}
