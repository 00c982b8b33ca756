//! taskito on SQLite: `taskito FILE`.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use jobstore_peers_harness::{
    About, BATCH, Contender, Handled, Operation, PARAMS, Until, place, serve,
};
use taskito::{
    Job, NewJob, SchedulerConfig, SqliteStorage, Storage as _, StorageBackend, Worker, now_millis,
};
use tokio::task::spawn_blocking;

/// How many handlers run at a time. By one transaction it claims or finishes at most twice as many jobs.
const WORKERS: usize = 512;

/// How many jobs it claims by one transaction: it looks at no more.
const CLAIMED: usize = 400;

struct Taskito {
    storage: StorageBackend,
    cursor: Arc<Mutex<Option<(i64, String)>>>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let storage = StorageBackend::Sqlite(SqliteStorage::new(&place()?)?);
    serve(Taskito {
        storage,
        cursor: Arc::default(),
    })
    .await
}

fn job() -> NewJob {
    NewJob {
        queue: "default".to_owned(),
        task_name: "mail".to_owned(),
        payload: PARAMS.into(),
        priority: 0,
        scheduled_at: now_millis(),
        max_retries: 3,
        timeout_ms: 30_000,
        unique_key: None,
        metadata: None,
        notes: None,
        depends_on: Vec::new(),
        expires_at: None,
        result_ttl_ms: None,
        namespace: None,
    }
}

fn list(storage: &StorageBackend, cursor: Option<&(i64, String)>, jobs: usize) -> Result<Vec<Job>> {
    let after = cursor.map(|(created, id)| (*created, id.as_str()));
    Ok(storage.list_jobs_after(None, None, None, jobs as i64, after, None)?)
}

impl Taskito {
    /// Runs what blocks on a thread for it, as its own asynchronous users do.
    async fn blocking<T: Send + 'static>(
        &self,
        run: impl FnOnce(StorageBackend) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let storage = self.storage.clone();
        spawn_blocking(move || run(storage)).await?
    }
}

#[async_trait]
impl Contender for Taskito {
    fn about(&self) -> About {
        About {
            name: "taskito".to_owned(),
            version: "0.22.0".to_owned(),
            settings: format!("{WORKERS} native workers, batch_size {CLAIMED}, poll 5 ms"),
            durability: "WAL, NORMAL".to_owned(),
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
        self.blocking(|storage| Ok(storage.enqueue(job())?)).await?;
        Ok(())
    }

    async fn create_batch(&self) -> Result<()> {
        self.blocking(|storage| Ok(storage.enqueue_batch((0..BATCH).map(|_| job()).collect())?))
            .await?;
        Ok(())
    }

    async fn work(&self, handled: Arc<Handled>, until: Until) -> Result<()> {
        let worker = Worker::new(self.storage.clone())
            .num_workers(WORKERS)
            .scheduler_config(SchedulerConfig {
                poll_interval: Duration::from_millis(5),
                batch_size: CLAIMED,
                max_in_flight: Some(WORKERS),
                ..SchedulerConfig::default()
            })
            .register_async("mail", move |job: Job| {
                handled.one(job.id);
                async { Ok(None) }
            })
            .spawn()?;
        until.await;
        spawn_blocking(move || worker.shutdown()).await??;
        Ok(())
    }

    async fn unfinished(&self) -> Result<usize> {
        let stats = self.blocking(|storage| Ok(storage.stats(None)?)).await?;
        Ok(usize::try_from(stats.pending + stats.running)?)
    }

    async fn turn_to(&self, behind: usize) -> Result<()> {
        let found = self
            .blocking(move |storage| {
                let mut cursor = None;
                for _ in 0..behind / 1000 {
                    let jobs = list(&storage, cursor.as_ref(), 1000)?;
                    let last = jobs.last().context("there are not as many jobs")?;
                    cursor = Some((last.created_at, last.id.clone()));
                }
                Ok(cursor)
            })
            .await?;
        *self.cursor.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }

    async fn page(&self) -> Result<usize> {
        let cursor = Arc::clone(&self.cursor);
        self.blocking(move |storage| {
            let cursor = cursor.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(list(&storage, cursor.as_ref(), BATCH)?.len())
        })
        .await
    }
}
