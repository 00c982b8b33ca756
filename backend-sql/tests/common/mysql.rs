//! A database of its own for each test.

use std::str::FromStr as _;

use jobstore_core::{Error, Job, JobFilter, JobStore as _, JobStoreExt as _, NewJob, Result};
use jobstore_sql::{MySqlJobStore, MySqlOptions};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection};

/// The server that tests share.
pub(crate) fn server() -> MySqlConnectOptions {
    let url = super::url("JOBSTORE_TEST_MYSQL");
    MySqlConnectOptions::from_str(&url).expect("JOBSTORE_TEST_MYSQL is a URL")
}

/// A database, gone when dropped.
pub(crate) struct Database {
    pub(crate) name: String,
    server: MySqlConnectOptions,
}

impl Database {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// A database; `options` end its CREATE DATABASE.
    pub(crate) async fn with(options: &str) -> Self {
        Self::on(server(), options).await
    }

    pub(crate) async fn on(server: MySqlConnectOptions, options: &str) -> Self {
        let name = super::unique_name("jobstore_test");
        let mut connection = MySqlConnection::connect_with(&server)
            .await
            .expect("connects");
        // One of a process before, of the same number, that was killed.
        run(&mut connection, &format!("DROP DATABASE IF EXISTS {name}")).await;
        run(
            &mut connection,
            &format!("CREATE DATABASE {name} {options}"),
        )
        .await;
        Self { name, server }
    }

    pub(crate) fn connect_options(&self) -> MySqlConnectOptions {
        self.server.clone().database(&self.name)
    }

    pub(crate) fn options(&self) -> MySqlOptions {
        MySqlOptions::new(self.connect_options())
    }

    pub(crate) async fn open(&self) -> MySqlJobStore {
        self.options().open().await.expect("opens")
    }

    /// Another program's connection to the database.
    pub(crate) async fn connect(&self) -> MySqlConnection {
        let connected = MySqlConnection::connect_with(&self.connect_options()).await;
        connected.expect("connects")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        super::wait(async move {
            // A server that the test has stopped keeps nothing.
            if let Ok(mut connection) = MySqlConnection::connect_with(&server).await {
                let sql = format!("SET SESSION lock_wait_timeout = 20; DROP DATABASE {name}");
                let _ = connection.execute(AssertSqlSafe(sql)).await;
            }
        });
    }
}

/// Runs statements without arguments.
pub(crate) async fn run(connection: &mut MySqlConnection, sql: &str) {
    let done = connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())));
    done.await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Why the store did not open.
pub(crate) fn incompatible(opened: Result<MySqlJobStore>) -> String {
    match opened {
        Err(Error::Incompatible { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn create(store: &MySqlJobStore, job: NewJob) -> Job {
    store.create_job(job).await.expect("creates").into_job()
}

pub(crate) async fn total(store: &MySqlJobStore) -> u64 {
    let counts = store.count_jobs(&JobFilter::default()).await;
    counts.expect("counts").total()
}
