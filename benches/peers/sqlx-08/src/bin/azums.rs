//! azums on PostgreSQL: `azums URL`.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use azums::{Client, Job, JobListItem, PostgresBackend, StorageBackend as _};
use jobstore_peers_harness::{
    About, BATCH, CONNECTIONS, Contender, Handled, Operation, PARAMS, Until, place, run_workers,
    serve,
};
use jobstore_peers_sqlx_08::{connect_postgres, count};
use serde_json::Value;
use sqlx::PgPool;

/// The queue for which its migrations make the partitions of this hour and the next. For another, the first creates of an
/// hour fail when there are several at once.
const QUEUE: &str = "default";

/// The most jobs that it lists by one call.
const LISTED: usize = 500;

struct Azums {
    pool: PgPool,
    client: Client,
    params: Value,
    /// The job before the page that was turned to.
    last: Mutex<Option<JobListItem>>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let place = place()?;
    let pool = connect_postgres(&place, CONNECTIONS).await?;
    let backend = PostgresBackend::new_with_url(pool.clone(), place);
    backend.run_migrations().await?;
    serve(Azums {
        pool,
        client: Client::new(Arc::new(backend)).with_queue(QUEUE),
        params: serde_json::from_str(PARAMS)?,
        last: Mutex::default(),
    })
    .await
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
            settings: format!("{CONNECTIONS} connections, {CONNECTIONS} workers"),
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
        self.client
            .register_handler("mail", move |_job| {
                handled.one();
                async { Ok(()) }
            })
            .await;
        run_workers(CONNECTIONS as usize, until, |index, stop| {
            let worker = self
                .client
                .clone()
                .with_worker_id(format!("worker-{index}"));
            async move { worker.run_with_shutdown(stop).await }
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
