//! Schemas and databases to test in, on somebody's server.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use async_trait::async_trait;
use jobstore::postgres::PostgresOptions;
use jobstore::{Error, JobId, JobStore, ManualClock, Opener, ServerKind, ServerUrl, StoreUrl};
use jobstore_conformance::Surroundings;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

/// Makes a schema on PostgreSQL, a database on MySQL and MariaDB, for each fresh store. Nothing
/// else of the server is touched.
pub(super) struct Scratch {
    url: ServerUrl,
    prefix: String,
    made: Arc<Mutex<Vec<Made>>>,
}

struct Made {
    name: String,
    in_use: bool,
}

impl Scratch {
    pub(super) fn on(url: &ServerUrl) -> Self {
        // Of many at once on one server, each has its own.
        let id = JobId::generate().to_string().replace('-', "");
        Self {
            url: url.clone(),
            prefix: format!("jobstore_conformance_{id}"),
            made: Arc::default(),
        }
    }

    pub(super) async fn fresh(&self, clock: ManualClock) -> jobstore::Result<InScratch> {
        // Not when the test before ended, since nothing can be awaited then.
        let unused = self.drop_unused().await;
        unused.map_err(|error| Error::Unavailable {
            reason: format!("{error:#}"),
        })?;
        let name = {
            let mut made = lock(&self.made);
            let name = format!("{}_{}", self.prefix, made.len());
            made.push(Made {
                name: name.clone(),
                in_use: true,
            });
            name
        };
        // A schema is made by the store itself.
        if self.url.kind() == ServerKind::MySql {
            let make = format!("CREATE DATABASE {name}");
            let making = self.execute(&make).await;
            making.map_err(|error| Error::Unavailable {
                reason: format!("no scratch database can be made: {error:#}"),
            })?;
        }
        Ok(InScratch {
            url: self.url.clone(),
            name,
            clock,
            made: Arc::clone(&self.made),
        })
    }

    /// The servers of this kind.
    pub(super) fn server(&self) -> &'static str {
        match self.url.kind() {
            ServerKind::Postgres => "PostgreSQL",
            ServerKind::MySql => "MySQL and MariaDB",
        }
    }

    /// What the server says that it is.
    pub(super) async fn engine(&self) -> anyhow::Result<String> {
        let version = match self.url.kind() {
            ServerKind::Postgres => {
                let options = PgConnectOptions::try_from(&self.url)?.extra_float_digits(None);
                let mut connection = PgConnection::connect_with(&options).await?;
                let version: String = sqlx::query_scalar("SHOW server_version")
                    .persistent(false)
                    .fetch_one(&mut connection)
                    .await?;
                connection.close().await?;
                format!("PostgreSQL {version}")
            }
            ServerKind::MySql => {
                let options = MySqlConnectOptions::try_from(&self.url)?;
                let mut connection = MySqlConnection::connect_with(&options).await?;
                let version: String = sqlx::query_scalar("SELECT VERSION()")
                    .fetch_one(&mut connection)
                    .await?;
                connection.close().await?;
                version
            }
        };
        Ok(version)
    }

    /// Drops everything that was made.
    pub(super) async fn drop_all(&self) -> anyhow::Result<()> {
        for made in lock(&self.made).iter_mut() {
            made.in_use = false;
        }
        self.drop_unused().await
    }

    async fn drop_unused(&self) -> anyhow::Result<()> {
        let unused: Vec<String> = lock(&self.made)
            .iter_mut()
            .filter(|made| !made.in_use && !made.name.is_empty())
            .map(|made| std::mem::take(&mut made.name))
            .collect();
        for name in unused {
            // A call that was given up may still hold a lock for a moment.
            let drop = match self.url.kind() {
                ServerKind::Postgres => {
                    format!("SET lock_timeout = '20s'; DROP SCHEMA IF EXISTS {name} CASCADE")
                }
                ServerKind::MySql => {
                    format!("SET lock_wait_timeout = 20; DROP DATABASE IF EXISTS {name}")
                }
            };
            let dropped = self.execute(&drop).await;
            dropped.with_context(|| format!("{name} cannot be dropped"))?;
        }
        Ok(())
    }

    async fn execute(&self, sql: &str) -> anyhow::Result<()> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self.url.kind() {
            ServerKind::Postgres => {
                // Poolers refuse this parameter at the start.
                let options = PgConnectOptions::try_from(&self.url)?.extra_float_digits(None);
                let mut connection = PgConnection::connect_with(&options).await?;
                connection.execute(sql).await?;
                connection.close().await?;
            }
            ServerKind::MySql => {
                let options = MySqlConnectOptions::try_from(&self.url)?;
                let mut connection = MySqlConnection::connect_with(&options).await?;
                connection.execute(sql).await?;
                connection.close().await?;
            }
        }
        Ok(())
    }
}

/// A schema or database that is dropped some time after this is.
pub(super) struct InScratch {
    url: ServerUrl,
    name: String,
    clock: ManualClock,
    made: Arc<Mutex<Vec<Made>>>,
}

#[async_trait]
impl Surroundings for InScratch {
    async fn open(&self) -> jobstore::Result<Arc<dyn JobStore>> {
        let clock = Arc::new(self.clock.clone());
        match self.url.kind() {
            ServerKind::Postgres => {
                let options = PostgresOptions::try_from(&self.url)?.with_schema(&self.name);
                Ok(Arc::new(options.with_clock(clock).open().await?))
            }
            ServerKind::MySql => {
                let url = self.url.clone().with_database(&self.name);
                Opener::from(StoreUrl::MySql(url))
                    .with_clock(clock)
                    .open()
                    .await
            }
        }
    }
}

impl Drop for InScratch {
    fn drop(&mut self) {
        let mut made = lock(&self.made);
        for made in made.iter_mut().filter(|made| made.name == self.name) {
            made.in_use = false;
        }
    }
}

fn lock(made: &Mutex<Vec<Made>>) -> MutexGuard<'_, Vec<Made>> {
    // Nothing panics while it is held.
    made.lock().unwrap_or_else(PoisonError::into_inner)
}
