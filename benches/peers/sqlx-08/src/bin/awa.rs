//! awa: `awa URL`.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use awa::admin::{ListJobsFilter, list_jobs};
use awa::model::insert::params_with;
use awa::{
    Client, InsertOpts, InsertParams, JobArgs, JobResult, QueueConfig, QueueStorage,
    QueueStorageConfig, insert_with, migrations,
};
use jobstore_peers_harness::{
    About, BATCH, CONNECTIONS, Contender, Handled, Operation, PARAMS, Until, place, serve,
};
use jobstore_peers_sqlx_08::connect_postgres;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

const QUEUE: &str = "mail";

/// How many jobs run at a time. From 512 on, four tasks of the worker finish jobs instead of one.
const WORKERS: u32 = 1024;

#[derive(Clone, Deserialize, JobArgs, Serialize)]
struct Mail {
    to: String,
    template: String,
    attempt: u32,
}

struct Awa {
    pool: PgPool,
    storage: QueueStorage,
    mail: Mail,
    /// The id before which the page that was turned to begins.
    before: AtomicI64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let pool = connect_postgres(&place()?, CONNECTIONS).await?;
    migrations::run(&pool).await?;
    // Otherwise the first worker would switch to this storage, after the first jobs were created.
    let storage = QueueStorage::new(QueueStorageConfig::default())?;
    storage.install(&pool).await?;
    serve(Awa {
        pool,
        storage,
        mail: serde_json::from_str(PARAMS)?,
        before: AtomicI64::new(i64::MAX),
    })
    .await
}

fn options() -> InsertOpts {
    InsertOpts {
        queue: QUEUE.to_owned(),
        ..InsertOpts::default()
    }
}

impl Awa {
    async fn list(&self, before: i64, jobs: usize) -> Result<Vec<i64>> {
        let filter = ListJobsFilter {
            queue: Some(QUEUE.to_owned()),
            before_id: Some(before),
            limit: Some(jobs as i64),
            ..ListJobsFilter::default()
        };
        let jobs = list_jobs(&self.pool, &filter).await?;
        Ok(jobs.iter().map(|job| job.id).collect())
    }
}

#[async_trait]
impl Contender for Awa {
    fn about(&self) -> About {
        About {
            name: "awa".to_owned(),
            version: "0.6.9".to_owned(),
            settings: format!(
                "{CONNECTIONS} connections, queue storage, {WORKERS} workers, no deadline, batches by enqueue_params_copy"
            ),
            durability: "synchronous_commit=on".to_owned(),
            operations: vec![
                Operation::Create1,
                Operation::Create16,
                Operation::Create64,
                Operation::CreateBatch,
                Operation::Work,
                Operation::FirstPage,
                Operation::DeepPage,
                Operation::PickUp,
            ],
        }
    }

    async fn create_one(&self) -> Result<()> {
        insert_with(&self.pool, &self.mail, options()).await?;
        Ok(())
    }

    async fn create_batch(&self) -> Result<()> {
        let jobs = (0..BATCH).map(|_| params_with(&self.mail, options()));
        let jobs: Vec<InsertParams> = jobs.collect::<Result<_, _>>()?;
        self.storage.enqueue_params_copy(&self.pool, &jobs).await?;
        Ok(())
    }

    async fn work(&self, handled: Arc<Handled>, until: Until) -> Result<()> {
        let queue = QueueConfig {
            max_workers: WORKERS,
            poll_interval: Duration::from_millis(50),
            deadline_duration: Duration::ZERO,
            ..QueueConfig::default()
        };
        let client = Client::builder(self.pool.clone())
            .queue(QUEUE, queue)
            .register::<Mail, _, _>(move |_mail, context| {
                handled.one(context.job.id);
                async { Ok(JobResult::Completed) }
            })
            .build()?;
        client.start().await?;
        until.await;
        client.shutdown(Duration::from_secs(5)).await;
        Ok(())
    }

    async fn unfinished(&self) -> Result<usize> {
        let counts = self.storage.queue_counts(&self.pool, QUEUE).await?;
        Ok(usize::try_from(counts.available + counts.running)?)
    }

    async fn turn_to(&self, behind: usize) -> Result<()> {
        // Ids are counted up, so nothing has to be read on the way: it would take minutes.
        let newest = self.list(i64::MAX, 1).await?;
        let newest = newest.first().context("there are no jobs")?;
        let before = newest + 1 - i64::try_from(behind)?;
        self.before.store(before, Ordering::Relaxed);
        Ok(())
    }

    async fn page(&self) -> Result<usize> {
        let before = self.before.load(Ordering::Relaxed);
        Ok(self.list(before, BATCH).await?.len())
    }
}
