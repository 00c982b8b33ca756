//! effectum: `effectum FILE`.
#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use effectum::{Job, JobRunner, Queue, RunningJob, Worker};
use jobstore_peers_harness::{
    About, BATCH, Contender, Handled, Operation, PARAMS, Until, place, serve,
};

struct Effectum {
    queue: Queue,
}

#[tokio::main]
async fn main() -> Result<()> {
    let queue = Queue::new(Path::new(&place()?)).await?;
    serve(Effectum { queue }).await
}

fn job() -> Job {
    Job::builder("mail").payload(PARAMS.into()).build()
}

#[async_trait]
impl Contender for Effectum {
    fn about(&self) -> About {
        About {
            name: "effectum".to_owned(),
            version: "0.7.0".to_owned(),
            settings: "one worker, max_concurrency 512, min_concurrency 256".to_owned(),
            durability: "rollback journal, NORMAL".to_owned(),
            operations: vec![
                Operation::Create1,
                Operation::Create16,
                Operation::Create64,
                Operation::CreateBatch,
                Operation::Work,
                Operation::PickUp,
            ],
        }
    }

    async fn create_one(&self) -> Result<()> {
        self.queue.add_job(job()).await?;
        Ok(())
    }

    async fn create_batch(&self) -> Result<()> {
        self.queue
            .add_jobs((0..BATCH).map(|_| job()).collect())
            .await?;
        Ok(())
    }

    async fn work(&self, handled: Arc<Handled>, until: Until) -> Result<()> {
        let runner = JobRunner::builder(
            "mail",
            |_job: RunningJob, handled: Arc<Handled>| async move {
                handled.one();
                Ok::<_, effectum::Error>(())
            },
        )
        .build();
        let worker = Worker::builder(&self.queue, handled)
            .jobs([runner])
            .max_concurrency(512)
            .min_concurrency(256)
            .build()
            .await?;
        until.await;
        worker.unregister(None).await?;
        Ok(())
    }

    async fn unfinished(&self) -> Result<usize> {
        let active = self.queue.num_active_jobs().await?;
        Ok((active.pending + active.running) as usize)
    }
}
