//! What claims and pages cost on PostgreSQL while dead rows are not vacuumed, for the store and for
//! the least SQL that does the same; and beside a transaction that stays open, so that they cannot be.
//! Prints a table. Autovacuum, which by default comes once a minute, is off.
//!
//! `cargo run --release --package jobstore-benches --bin postgres-dead-rows [-- JOBS,…]`
#![forbid(unsafe_code)]

use std::sync::Arc;

use jobstore_benches::{Case, Engine, Listing, Side, open};
use jobstore_test_servers::{Kind, Server};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use tokio::sync::Mutex;

/// Calls of each kind, of which the median is shown.
const CALLS: usize = 20;

#[tokio::main]
async fn main() {
    let ended = std::env::args().nth(1);
    let ended = ended.unwrap_or_else(|| "0,10000,100000".to_owned());
    let ended: Vec<usize> = ended
        .split(',')
        .map(|jobs| jobs.parse().expect("a number of jobs"))
        .collect();
    let server = Server::of(Kind::Postgres).with("autovacuum", "off");
    let server = server.start().expect("starts");
    println!(
        "| jobs run since the last vacuum | beside | claim of 1, µs | directly | page of 100, µs | directly |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for (beside, is_open) in [("", false), ("an open transaction", true)] {
        for jobs in &ended {
            let place = format!("dead_{jobs}_{is_open}");
            let store = measure(&server, &format!("{place}_store"), *jobs, is_open, true).await;
            let limit = measure(&server, &format!("{place}_limit"), *jobs, is_open, false).await;
            println!(
                "| {jobs} | {beside} | {:.0} | {:.0} | {:.0} | {:.0} |",
                store.0, limit.0, store.1, limit.1
            );
        }
    }
}

/// Runs so many jobs in a new database, then measures a claim and a page, in microseconds.
async fn measure(
    server: &Server,
    name: &str,
    jobs: usize,
    is_open: bool,
    is_store: bool,
) -> (f64, f64) {
    let mut connection = PgConnection::connect(&server.url())
        .await
        .expect("connects");
    let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    connection.execute(create).await.expect("creates");
    let url = server.url();
    let url = format!("{}/{name}", url.rsplit_once('/').expect("a database").0);
    let side = if is_store {
        Side::Store(open(&url).await)
    } else {
        let limit = Engine::Postgres.limit(&url, 1).await.pop();
        Side::Limit(Arc::new(Mutex::new(limit.expect("one writer"))))
    };
    // A page has something to show.
    side.fill_others(1_000).await;
    let mut other = PgConnection::connect(&url).await.expect("connects");
    other.execute("VACUUM ANALYZE").await.expect("vacuums");
    if is_open {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM jobs LIMIT 1";
        other.execute(sqlx::raw_sql(begin)).await.expect("begins");
    }
    side.fill(jobs).await;
    side.finish_all(Vec::new()).await;
    let micros = async |case: Case| {
        // The first time marks in the indexes which rows are dead, where that is certain.
        case.run(&side, 1).await;
        let run = case.run(&side, CALLS).await;
        run.latencies.value_at_quantile(0.5) as f64 / 1e3
    };
    let claim = micros(Case::write("claim", 1, 1)).await;
    let page = micros(Case::page("first page", Listing::default())).await;
    (claim, page)
}
