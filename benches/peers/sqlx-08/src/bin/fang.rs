//! fang's asynchronous queue on PostgreSQL: `fang URL [delete]`.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use fang::asynk::async_queue::{AsyncQueue, AsyncQueueable};
use fang::asynk::async_runnable::AsyncRunnable;
use fang::asynk::async_worker_pool::AsyncWorkerPool;
use fang::{FangError, RetentionMode, SleepParams, typetag};
use jobstore_peers_harness::{
    About, CONNECTIONS, Contender, Handled, Operation, PARAMS, Until, place, serve,
};
use jobstore_peers_sqlx_08::{connect_postgres, count};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

const MIGRATION: &str = include_str!(concat!(
    env!("FANG"),
    "/postgres_migrations/migrations/2022-08-20-151615_create_fang_tasks/up.sql"
));

/// How long a worker that finds nothing waits.
const SLEEP: Duration = Duration::from_millis(10);

/// Tasks are given nothing but their queue.
static HANDLED: OnceLock<Arc<Handled>> = OnceLock::new();

#[derive(Deserialize, Serialize)]
struct Mail {
    to: String,
    template: String,
    attempt: u32,
}

#[typetag::serde]
#[async_trait]
impl AsyncRunnable for Mail {
    async fn run(&self, _queue: &dyn AsyncQueueable) -> Result<(), FangError> {
        if let Some(handled) = HANDLED.get() {
            handled.one(&self.to);
        }
        Ok(())
    }
}

struct Fang {
    pool: PgPool,
    queue: AsyncQueue,
    /// How many tasks were created: one is told from another by its address.
    created: AtomicUsize,
    delete: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let place = place()?;
    // Of its own, for what the queue cannot be asked.
    let pool = connect_postgres(&place, 1).await?;
    sqlx::raw_sql(MIGRATION).execute(&pool).await?;
    let mut queue = AsyncQueue::builder()
        .uri(format!("{place}?options[jit]=off"))
        .max_pool_size(CONNECTIONS)
        .build();
    queue.connect().await?;
    serve(Fang {
        pool,
        queue,
        created: AtomicUsize::default(),
        delete: std::env::args().any(|argument| argument == "delete"),
    })
    .await
}

#[async_trait]
impl Contender for Fang {
    fn about(&self) -> About {
        About {
            name: "fang".to_owned(),
            version: "0.11.0".to_owned(),
            settings: format!(
                "{CONNECTIONS} connections, {CONNECTIONS} workers, sleep of {} ms",
                SLEEP.as_millis()
            ),
            durability: "synchronous_commit=on".to_owned(),
            operations: vec![
                Operation::Create1,
                Operation::Create16,
                Operation::Create64,
                Operation::Work,
                Operation::WorkDelete,
                Operation::PickUp,
            ],
        }
    }

    async fn create_one(&self) -> Result<()> {
        let number = self.created.fetch_add(1, Ordering::Relaxed);
        let mail = Mail {
            to: format!("ada{number}@example.org"),
            ..serde_json::from_str(PARAMS)?
        };
        self.queue.insert_task(&mail).await?;
        Ok(())
    }

    async fn work(&self, handled: Arc<Handled>, until: Until) -> Result<()> {
        HANDLED.get_or_init(|| handled);
        let mut workers: AsyncWorkerPool<AsyncQueue> = AsyncWorkerPool::builder()
            .number_of_workers(CONNECTIONS)
            .queue(self.queue.clone())
            .sleep_params(SleepParams {
                sleep_period: SLEEP,
                max_sleep_period: SLEEP,
                min_sleep_period: SLEEP,
                sleep_step: Duration::ZERO,
            })
            .retention_mode(if self.delete {
                RetentionMode::RemoveFinished
            } else {
                RetentionMode::KeepAll
            })
            .build();
        workers.start().await;
        until.await;
        // Nothing stops them but the end of this process.
        Ok(())
    }

    async fn unfinished(&self) -> Result<usize> {
        count(
            &self.pool,
            "SELECT count(*) FROM fang_tasks WHERE state <> 'finished'",
        )
        .await
    }
}
