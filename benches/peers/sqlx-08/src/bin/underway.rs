//! underway: `underway URL`.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use async_trait::async_trait;
use jiff::ToSpan as _;
use jobstore_peers_harness::{
    About, BATCH, CONNECTIONS, Contender, Handled, Operation, PARAMS, Until, place, run_workers,
    serve,
};
use jobstore_peers_sqlx_08::{connect_postgres, count};
use serde_json::Value;
use sqlx::{PgPool, Postgres, Transaction};
use underway::{Queue, Task, Worker, task};

/// A running task holds a connection, its heartbeat needs another, and a worker listens with two.
const WORK_CONNECTIONS: u32 = 2 * CONNECTIONS + 2;

/// How often a worker looks for tasks; it starts one more of the tasks that it may run at once each time.
const POLL_MILLIS: i64 = 10;

struct Mail(Arc<Handled>);

impl Task for Mail {
    type Input = Value;
    type Output = ();

    async fn execute(&self, _: Transaction<'_, Postgres>, mail: Value) -> task::Result<()> {
        self.0.one(mail["to"].as_str());
        Ok(())
    }
}

struct Underway {
    pool: PgPool,
    queue: Arc<Queue<Mail>>,
    mail: Mail,
    params: Value,
    /// How many tasks were created: one is told from another by its address.
    created: AtomicUsize,
}

impl Underway {
    fn params(&self) -> Value {
        let number = self.created.fetch_add(1, Ordering::Relaxed);
        let mut params = self.params.clone();
        params["to"] = format!("ada{number}@example.org").into();
        params
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let pool = connect_postgres(&place()?, WORK_CONNECTIONS).await?;
    underway::run_migrations(&pool).await?;
    let queue = Queue::builder()
        .name("mail")
        .pool(pool.clone())
        .build()
        .await?;
    serve(Underway {
        pool,
        queue: Arc::new(queue),
        mail: Mail(Arc::default()),
        params: serde_json::from_str(PARAMS)?,
        created: AtomicUsize::default(),
    })
    .await
}

#[async_trait]
impl Contender for Underway {
    fn about(&self) -> About {
        About {
            name: "underway".to_owned(),
            version: "0.2.0".to_owned(),
            settings: format!(
                "{WORK_CONNECTIONS} connections, one worker, concurrency limit {CONNECTIONS}, poll {POLL_MILLIS} ms"
            ),
            durability: "synchronous_commit=on".to_owned(),
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
        self.queue
            .enqueue(&self.pool, &self.mail, &self.params())
            .await?;
        Ok(())
    }

    async fn create_batch(&self) -> Result<()> {
        let inputs: Vec<Value> = (0..BATCH).map(|_| self.params()).collect();
        self.queue
            .enqueue_multi(&self.pool, &self.mail, &inputs)
            .await?;
        Ok(())
    }

    async fn work(&self, handled: Arc<Handled>, until: Until) -> Result<()> {
        run_workers(1, until, |_, stop| {
            let mut worker = Worker::new(Arc::clone(&self.queue), Mail(Arc::clone(&handled)));
            worker.set_concurrency_limit(CONNECTIONS as usize);
            worker.set_shutdown_token(stop);
            async move { Ok(worker.run_every(POLL_MILLIS.milliseconds()).await?) }
        })
        .await
    }

    async fn unfinished(&self) -> Result<usize> {
        count(
            &self.pool,
            "SELECT count(*) FROM underway.task WHERE state <> 'succeeded'",
        )
        .await
    }
}
