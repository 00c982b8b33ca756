//! Minutes of create, claim, finish and delete on PostgreSQL as it comes, and what a claim costs in
//! each minute. Dead rows pile up at the head of the claim index, and autovacuum takes them away.
//!
//! `cargo run --release --package jobstore-benches --bin postgres-soak [-- MINUTES]`

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jobstore_benches::{PARAMS, fill, fill_others};
use jobstore_core::{Action, ClaimRequest, DeleteRequest, Job, JobStore, NewJob, Update};
use jobstore_sql::{PostgresJobStore, PostgresOptions};
use jobstore_test_servers::Server;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

const WORKERS: usize = 4;

#[derive(Default)]
struct Seen {
    claims: AtomicU64,
    jobs: AtomicU64,
    micros: AtomicU64,
}

#[tokio::main]
async fn main() {
    let minutes: u64 = std::env::args()
        .nth(1)
        .map_or(10, |minutes| minutes.parse().expect("a number of minutes"));
    let server = Server::postgres().start().expect("starts");
    let way = PgConnectOptions::from_str(&server.url()).expect("a URL");
    let options = PostgresOptions::new(way.clone());
    let store = Arc::new(options.open().await.expect("opens"));
    fill_others(&*store, 100_000).await;
    fill(&*store, "work", 1_000).await;
    let seen = Arc::new(Seen::default());
    for index in 0..WORKERS {
        tokio::spawn(work(Arc::clone(&store), index, Arc::clone(&seen)));
    }
    let mut connection = PgConnection::connect_with(&way).await.expect("connects");
    println!("| minute | jobs/s | µs for each claim of 1 | dead rows | vacuums |");
    println!("| --- | --- | --- | --- | --- |");
    for minute in 1..=minutes {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed) as f64;
        let (claims, jobs) = (take(&seen.claims), take(&seen.jobs));
        let micros = take(&seen.micros) / claims;
        let (dead, vacuums): (i64, i64) = sqlx::query_as(
            "SELECT n_dead_tup, autovacuum_count FROM pg_stat_user_tables WHERE relname = 'jobs'",
        )
        .fetch_one(&mut connection)
        .await
        .expect("reads");
        println!(
            "| {minute} | {:.0} | {micros:.0} | {dead} | {vacuums} |",
            jobs / 60.0
        );
    }
}

/// Keeps the number of waiting jobs: what is finished is deleted, and as many are created.
async fn work(store: Arc<PostgresJobStore>, index: usize, seen: Arc<Seen>) {
    let request = ClaimRequest::new(format!("worker-{index}"), Duration::from_secs(600));
    let request = request.with_job_name("work");
    loop {
        let mut jobs: Vec<Job> = Vec::new();
        while jobs.len() < 20 {
            let start = Instant::now();
            jobs.extend(store.claim_jobs(&request).await.expect("claims"));
            let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
            seen.micros.fetch_add(micros, Ordering::Relaxed);
            seen.claims.fetch_add(1, Ordering::Relaxed);
        }
        let finish = |job: &Job| Update::new(job.claim(), Action::Finish { result: None });
        let updates = jobs.iter().map(finish).collect();
        store.update_jobs(updates).await.expect("finishes");
        let ids = jobs.iter().map(|job| job.id).collect();
        store
            .delete_jobs(&DeleteRequest::Ids(ids))
            .await
            .expect("deletes");
        let new = vec![NewJob::new("work", PARAMS); jobs.len()];
        store.create_jobs(new).await.expect("creates");
        seen.jobs.fetch_add(jobs.len() as u64, Ordering::Relaxed);
    }
}
