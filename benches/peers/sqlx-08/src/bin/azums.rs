//! azums on PostgreSQL: `azums URL`.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use azums::{
    AttemptsRepo, Client, Job, JobListItem, JobRunner, JobsRepo, PostgresBackend, RetryConfig,
    StorageBackend as _,
};
use jobstore_peers_harness::{
    About, BATCH, CONNECTIONS, Contender, Handled, Operation, PARAMS, Until, place, run_workers,
    serve,
};
use jobstore_peers_sqlx_08::{connect_postgres, count};
use serde_json::Value;
use sqlx::PgPool;
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The queue for which its migrations make the partitions of this hour and the next. For another, the first creates of
/// an hour fail when there are several at once.
const QUEUE: &str = "default";

/// Each leases, starts and finishes some jobs at a time.
const WORKERS: usize = 8;
const LEASED: i64 = 500;
const LEASE_SECONDS: i64 = 60;

/// How long a worker that finds nothing waits for a notice.
const POLL: Duration = Duration::from_millis(250);

/// The most jobs that it lists by one call.
const LISTED: usize = 500;

struct Azums {
    pool: PgPool,
    backend: Arc<PostgresBackend>,
    client: Client,
    params: Value,
    /// The job before the page that was turned to.
    last: Mutex<Option<JobListItem>>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let place = place()?;
    let pool = connect_postgres(&place, CONNECTIONS).await?;
    let backend = Arc::new(PostgresBackend::new_with_url(pool.clone(), place));
    backend.run_migrations().await?;
    serve(Azums {
        pool,
        client: Client::new(backend.clone()).with_queue(QUEUE),
        backend,
        params: serde_json::from_str(PARAMS)?,
        last: Mutex::default(),
    })
    .await
}

/// One worker. That of [`Client`] finishes its jobs one by one, each in a transaction. This asks the same backend, as
/// its own benchmark does, and finishes them by one call too.
async fn work(
    backend: Arc<PostgresBackend>,
    worker: String,
    handled: Arc<Handled>,
    stop: CancellationToken,
) -> Result<()> {
    let runner = JobRunner::new(
        JobsRepo::new(backend.pool().clone()),
        AttemptsRepo::new(backend.pool().clone()),
        RetryConfig::default(),
    );
    let mut notices = backend.subscribe(QUEUE).await?;
    while !stop.is_cancelled() {
        let jobs = backend
            .lease_jobs_batch(QUEUE, &worker, LEASE_SECONDS, LEASED)
            .await?;
        if jobs.is_empty() {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = notices.next() => {}
                () = tokio::time::sleep(POLL) => {}
            }
            continue;
        }
        let (datasets, ids): (Vec<String>, Vec<Uuid>) =
            jobs.into_iter().map(|job| (job.dataset_id, job.id)).unzip();
        let attempts = backend
            .start_attempts_batch(&datasets, &ids, &worker)
            .await?;
        for id in &ids {
            handled.one(id);
        }
        let done: Vec<_> = attempts
            .into_iter()
            .map(|(job, attempt, _)| (job, attempt, 0))
            .collect();
        // All leased by one call are of one dataset.
        runner
            .on_success_batch(&datasets[0], &done, &worker)
            .await?;
    }
    Ok(())
}

impl Azums {
    async fn list(&self, last: Option<&JobListItem>, jobs: usize) -> Result<Vec<JobListItem>> {
        let backend = self.client.backend();
        let (created, id) = last.map(|job| (job.created_at, job.id)).unzip();
        backend
            .list_jobs(Some(QUEUE), None, jobs as i64, created, id)
            .await
    }
}

#[async_trait]
impl Contender for Azums {
    fn about(&self) -> About {
        About {
            name: "azums".to_owned(),
            version: "1.0.1".to_owned(),
            settings: format!(
                "{CONNECTIONS} connections, {WORKERS} workers, lease_jobs_batch of {LEASED}, on_success_batch"
            ),
            durability: "synchronous_commit=on".to_owned(),
            operations: vec![
                Operation::Create1,
                Operation::Create16,
                Operation::Create64,
                Operation::Work,
                Operation::FirstPage,
                Operation::DeepPage,
                Operation::Walk,
                Operation::PickUp,
            ],
        }
    }

    async fn create_one(&self) -> Result<()> {
        let job = Job::new("mail", self.params.clone()).queue(QUEUE);
        self.client.enqueue(job).await?;
        Ok(())
    }

    async fn work(&self, handled: Arc<Handled>, until: Until) -> Result<()> {
        run_workers(WORKERS, until, |index, stop| {
            let worker = format!("worker-{index}");
            work(self.backend.clone(), worker, Arc::clone(&handled), stop)
        })
        .await
    }

    async fn unfinished(&self) -> Result<usize> {
        count(
            &self.pool,
            "SELECT count(*) FROM jobs WHERE status <> 'succeeded'",
        )
        .await
    }

    async fn turn_to(&self, behind: usize) -> Result<()> {
        let mut last = None;
        for _ in 0..behind / LISTED {
            let jobs = self.list(last.as_ref(), LISTED).await?;
            last = Some(
                jobs.into_iter()
                    .next_back()
                    .context("there are not as many jobs")?,
            );
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
        Ok(())
    }

    async fn page(&self) -> Result<usize> {
        let last = self
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Ok(self.list(last.as_ref(), BATCH).await?.len())
    }

    async fn walk(&self) -> Result<usize> {
        let mut count = 0;
        let mut last = None;
        loop {
            let jobs = self.list(last.as_ref(), LISTED).await?;
            count += jobs.len();
            last = jobs.into_iter().next_back();
            if last.is_none() {
                return Ok(count);
            }
        }
    }
}
