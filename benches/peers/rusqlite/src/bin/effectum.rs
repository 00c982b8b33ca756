//! effectum: `effectum as-is FILE`, or `effectum wal FILE` with the write-ahead log that it means to set.
#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use async_trait::async_trait;
use effectum::{Job, JobRunner, Queue, RunningJob, Worker};
use jobstore_peers_harness::{About, BATCH, Contender, Handled, Operation, PARAMS, Until, serve};
use rusqlite::Connection;

/// How many jobs run at a time: more are taken when there are fewer than the first.
const CONCURRENCY: (u16, u16) = (1000, 2000);

struct Effectum {
    queue: Queue,
    durability: &'static str,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [journal, file, ..] = arguments.as_slice() else {
        bail!("effectum JOURNAL FILE");
    };
    let durability = match journal.as_str() {
        "as-is" => "rollback journal, NORMAL",
        "wal" => {
            // The file keeps it.
            let journal: String = Connection::open(file)?.pragma_update_and_check(
                None,
                "journal_mode",
                "wal",
                |row| row.get(0),
            )?;
            ensure!(journal == "wal", "the journal is {journal}");
            "WAL, NORMAL"
        }
        other => bail!("no journal {other}"),
    };
    let queue = Queue::new(Path::new(file)).await?;
    serve(Effectum { queue, durability }).await
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
            settings: format!(
                "one worker, concurrency {} to {}",
                CONCURRENCY.0, CONCURRENCY.1
            ),
            durability: self.durability.to_owned(),
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
            |job: RunningJob, handled: Arc<Handled>| async move {
                handled.one(job.id);
                Ok::<_, effectum::Error>(())
            },
        )
        .build();
        let worker = Worker::builder(&self.queue, handled)
            .jobs([runner])
            .max_concurrency(CONCURRENCY.1)
            .min_concurrency(CONCURRENCY.0)
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
