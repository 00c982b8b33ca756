//! The grants that docs/backends.md names are enough, and each of a worker's is needed.
#![cfg(all(feature = "postgres", feature = "mysql"))]

use std::time::Duration;

use jobstore::{
    ClaimRequest, DeleteRequest, JobFilter, JobId, JobStoreExt as _, NewJob, PageRequest, Result,
};
use jobstore_test_servers::{Kind, Server};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

/// Opens the store and does everything that a worker does.
async fn work(url: &str) -> Result<()> {
    let store = jobstore::open(url).await?;
    let given = NewJob::new("a", "{}").with_id(JobId::generate());
    store
        .create_jobs(vec![NewJob::new("a", "{}"), given])
        .await?;
    let request = ClaimRequest::new("me", Duration::from_secs(60)).with_limit(2);
    for job in store.claim_jobs(&request).await? {
        store.finish_job(job.claim(), "done").await?;
        store.get_job(job.id).await?;
        store.delete_jobs(&DeleteRequest::Ids(vec![job.id])).await?;
    }
    store
        .list_jobs(&JobFilter::default(), &PageRequest::default())
        .await?;
    store.count_jobs(&JobFilter::default()).await?;
    Ok(())
}

async fn check(kind: Kind, setup: &str, needed: &[&str], worker: &str) {
    let server = Server::of(kind).start().expect("starts");
    let (scheme, database) = match kind {
        Kind::Postgres => ("postgres", "queue"),
        Kind::MariaDb => ("mysql", "queue"),
    };
    let run = async |database: &str, sql: &str| {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        let url = server.url();
        let (base, _) = url.rsplit_once('/').expect("has a database");
        let url = format!("{base}/{database}");
        match kind {
            Kind::Postgres => {
                let options: PgConnectOptions = url.parse().expect("is a URL");
                let connection = PgConnection::connect_with(&options).await;
                connection
                    .expect("connects")
                    .execute(sql)
                    .await
                    .expect("runs");
            }
            Kind::MariaDb => {
                let options: MySqlConnectOptions = url.parse().expect("is a URL");
                let connection = MySqlConnection::connect_with(&options).await;
                connection
                    .expect("connects")
                    .execute(sql)
                    .await
                    .expect("runs");
            }
        }
    };
    let first = match kind {
        Kind::Postgres => "postgres",
        Kind::MariaDb => "test",
    };
    run(first, "CREATE DATABASE queue").await;
    run(database, setup).await;
    let url = |user: &str| {
        let port = server.port();
        format!("{scheme}://{user}:word@127.0.0.1:{port}/{database}")
    };
    // The owner migrates, and is enough for everything.
    work(&url("keeper")).await.expect("may make the schema");
    work(&url("worker")).await.expect_err("may do nothing yet");
    let grant = |what: &str| format!("GRANT {what} TO {worker}");
    for what in needed {
        run(database, &grant(what)).await;
    }
    work(&url("worker")).await.expect("has every grant");
    for what in needed {
        run(database, &format!("REVOKE {what} FROM {worker}")).await;
        let done = work(&url("worker")).await;
        assert!(done.is_err(), "nothing needs {what}");
        run(database, &grant(what)).await;
    }
    work(&url("worker")).await.expect("has every grant");
}

#[tokio::test]
async fn postgresql_takes_the_documented_grants() {
    check(
        Kind::Postgres,
        "CREATE ROLE keeper LOGIN PASSWORD 'word'; CREATE ROLE worker LOGIN PASSWORD 'word'; \
         REVOKE ALL ON SCHEMA public FROM PUBLIC; \
         GRANT USAGE, CREATE ON SCHEMA public TO keeper",
        &[
            "USAGE ON SCHEMA public",
            "SELECT ON jobs",
            "INSERT ON jobs",
            "UPDATE ON jobs",
            "DELETE ON jobs",
            "SELECT ON jobs_params",
            "INSERT ON jobs_params",
            "UPDATE ON jobs_params",
            "DELETE ON jobs_params",
            "SELECT ON jobstore_migrations",
            "UPDATE ON jobstore_migrations",
        ],
        "worker",
    )
    .await;
}

#[tokio::test]
async fn mariadb_takes_the_documented_grants() {
    check(
        Kind::MariaDb,
        "CREATE USER keeper@'%' IDENTIFIED BY 'word'; CREATE USER worker@'%' IDENTIFIED BY 'word'; \
         GRANT CREATE, DROP, SELECT, INSERT, UPDATE, DELETE ON queue.* TO keeper@'%'",
        &[
            "SELECT ON queue.jobs",
            "INSERT ON queue.jobs",
            "UPDATE ON queue.jobs",
            "DELETE ON queue.jobs",
            "SELECT ON queue.jobstore_migrations",
        ],
        "worker@'%'",
    )
    .await;
}
