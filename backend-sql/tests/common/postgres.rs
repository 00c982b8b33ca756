//! A schema of its own for each test.

use std::str::FromStr as _;

use jobstore_sql::PostgresOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

/// The server that tests share.
pub(crate) fn server() -> PgConnectOptions {
    let url = super::url("JOBSTORE_TEST_POSTGRES");
    PgConnectOptions::from_str(&url).expect("JOBSTORE_TEST_POSTGRES is a URL")
}

/// A schema, gone when dropped.
pub(crate) struct Schema {
    pub(crate) name: String,
    server: PgConnectOptions,
}

impl Schema {
    pub(crate) fn new() -> Self {
        Self::on(server())
    }

    pub(crate) fn on(server: PgConnectOptions) -> Self {
        Self {
            name: super::unique_name("test"),
            server,
        }
    }

    pub(crate) fn options(&self) -> PostgresOptions {
        PostgresOptions::new(self.server.clone()).with_schema(&self.name)
    }

    /// A connection that finds the tables of this schema.
    pub(crate) async fn connect(&self) -> PgConnection {
        let mut connection = PgConnection::connect_with(&self.server)
            .await
            .expect("connects");
        let set = format!("SET search_path = {}", self.name);
        connection.execute(AssertSqlSafe(set)).await.expect("sets");
        connection
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        super::wait(async move {
            // A server that the test has stopped keeps nothing.
            if let Ok(mut connection) = PgConnection::connect_with(&server).await {
                let drop = format!("DROP SCHEMA IF EXISTS {name} CASCADE");
                let _ = connection.execute(AssertSqlSafe(drop)).await;
            }
        });
    }
}
