//! Claims on PostgreSQL beside the least SQL that does the same, run by `pgbench -M prepared` with
//! as many connections as the store has callers, on the same server and table, in turns. Prints a table.
//!
//! `cargo run --release --package jobstore-benches --bin postgres-claims [-- OTHER_ROWS]`

use std::path::Path;
use std::process::Command;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jobstore_benches::{fill, fill_others};
use jobstore_core::{ClaimRequest, DeleteRequest, JobStore, Timestamp};
use jobstore_sql::{PostgresJobStore, PostgresOptions};
use jobstore_test_servers::Server;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, Executor as _};

const CONNECTIONS: [usize; 3] = [1, 4, 16];
const ROUNDS: usize = 5;

#[tokio::main]
async fn main() {
    let others: usize = std::env::args()
        .nth(1)
        .map_or(1_000_000, |rows| rows.parse().expect("a number of rows"));
    let folder = tempfile::tempdir().expect("makes a folder");
    let server = Server::postgres().start().expect("starts");
    let way = PgConnectOptions::from_str(&server.url()).expect("a URL");
    let options = PostgresOptions::new(way.clone()).with_max_connections(20);
    let store = Arc::new(options.open().await.expect("opens"));
    println!("| other rows | callers | limit | store, jobs/s | pgbench, jobs/s | ratio |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (rows, more) in [(1_000, 1_000), (others, others - 1_000)] {
        fill_others(&*store, more).await;
        for (callers, limit) in CONNECTIONS.into_iter().flat_map(|n| [(n, 1), (n, 100)]) {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                let jobs = if limit == 1 { 8_000 } else { 32_000 };
                prepare(&store, &way, jobs).await;
                ours.push(claim(&store, callers, jobs, limit).await);
                prepare(&store, &way, jobs).await;
                theirs.push(pgbench(folder.path(), &server, callers, jobs, limit).await);
                assert_eq!(left(&way).await, 0, "pgbench claimed them all");
            }
            let ratio = median(&mut ours) / median(&mut theirs);
            println!(
                "| {rows} | {callers} | {limit} | {:.0} ({:.0}–{:.0}) | {:.0} ({:.0}–{:.0}) | {ratio:.2} |",
                median(&mut ours),
                ours[0],
                ours[ROUNDS - 1],
                median(&mut theirs),
                theirs[0],
                theirs[ROUNDS - 1],
            );
        }
    }
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Leaves `jobs` jobs to claim, and no row versions of the round before.
async fn prepare(store: &PostgresJobStore, way: &PgConnectOptions, jobs: usize) {
    let mut connection = PgConnection::connect_with(way).await.expect("connects");
    let end = "UPDATE jobs SET status = 5, last_update_time = 0 WHERE job_name = 'work'";
    connection.execute(end).await.expect("ends");
    let all = DeleteRequest::Before {
        cutoff: Timestamp::from_millis(1),
        job_names: vec!["work".to_owned()],
        statuses: Vec::new(),
        limit: 1000,
    };
    while !store.delete_jobs(&all).await.expect("deletes").is_empty() {}
    fill(store, "work", jobs).await;
    connection
        .execute("VACUUM ANALYZE jobs")
        .await
        .expect("cleans");
    connection.execute("CHECKPOINT").await.expect("writes");
}

async fn claim(store: &Arc<PostgresJobStore>, callers: usize, jobs: usize, limit: usize) -> f64 {
    let each = jobs / callers;
    let start = Instant::now();
    let callers = (0..callers).map(|index| {
        let store = Arc::clone(store);
        let request = ClaimRequest::new(format!("worker-{index}"), Duration::from_secs(600));
        let request = request.with_job_name("work").with_limit(limit as u32);
        tokio::spawn(async move {
            let mut claimed = 0;
            while claimed < each {
                claimed += store.claim_jobs(&request).await.expect("claims").len();
            }
            claimed
        })
    });
    let mut claimed = 0;
    for caller in callers.collect::<Vec<_>>() {
        claimed += caller.await.expect("no panic");
    }
    let rate = claimed as f64 / start.elapsed().as_secs_f64();
    assert_eq!(claimed, jobs, "each job is claimed once");
    rate
}

async fn pgbench(folder: &Path, server: &Server, callers: usize, jobs: usize, limit: usize) -> f64 {
    let script = folder.join("claim.sql");
    let sql = format!(
        "UPDATE jobs SET status = 1, fence = fence + 1, lease_owner = 'worker', \
         lease_expires_at = 1900000000000, last_update_time = 1900000000000 \
         WHERE id = ANY(ARRAY(SELECT id FROM jobs WHERE status = 0 AND due = 1 \
         AND next_attempt_at <= 1900000000000 AND job_name = 'work' \
         ORDER BY priority DESC, next_attempt_at, id LIMIT {limit} FOR UPDATE SKIP LOCKED)) \
         RETURNING *;\n"
    );
    std::fs::write(&script, sql).expect("writes");
    let transactions = jobs / callers / limit;
    let output = Command::new("pgbench")
        .args([
            "-n",
            "-M",
            "prepared",
            "-j",
            &callers.min(2).to_string(),
            "-c",
            &callers.to_string(),
        ])
        .args(["-t", &transactions.to_string(), "-f"])
        .arg(&script)
        .arg(server.url())
        .output()
        .expect("pgbench runs");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let rate = said.lines().find_map(|line| line.strip_prefix("tps = "));
    let rate = rate.and_then(|rate| rate.split(' ').next()?.parse::<f64>().ok());
    rate.expect("pgbench says its rate") * limit as f64
}

/// How many jobs are still to be claimed.
async fn left(way: &PgConnectOptions) -> i64 {
    let mut connection = PgConnection::connect_with(way).await.expect("connects");
    let count = "SELECT COUNT(*) FROM jobs WHERE job_name = 'work' AND status = 0";
    let count = sqlx::query_scalar(count).fetch_one(&mut connection);
    count.await.expect("counts")
}
