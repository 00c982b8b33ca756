//! graphile_worker: `graphile URL`. It deletes what is finished.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, TaskHandler, WorkerContext, WorkerOptions,
    WorkerUtils,
};
use jobstore_peers_harness::{
    About, BATCH, CONNECTIONS, Contender, Handled, Operation, Until, place, serve,
};
use jobstore_peers_sqlx_09::connect_postgres;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

const SCHEMA: &str = "graphile_worker";

#[derive(Clone, Deserialize, Serialize)]
struct Mail {
    to: String,
    template: String,
    attempt: u32,
}

fn mail() -> Mail {
    Mail {
        to: "ada@example.org".to_owned(),
        template: "welcome".to_owned(),
        attempt: 1,
    }
}

impl TaskHandler for Mail {
    const IDENTIFIER: &'static str = "mail";

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        if let Some(handled) = context.get_ext::<Arc<Handled>>() {
            handled.one(context.job().id());
        }
        Ok::<(), String>(())
    }
}

struct Graphile {
    pool: PgPool,
    utils: WorkerUtils,
}

#[tokio::main]
async fn main() -> Result<()> {
    let pool = connect_postgres(&place()?, CONNECTIONS).await?;
    let utils = WorkerUtils::new(pool.clone(), SCHEMA);
    utils.migrate().await?;
    serve(Graphile { pool, utils }).await
}

#[async_trait]
impl Contender for Graphile {
    fn about(&self) -> About {
        About {
            name: "graphile_worker".to_owned(),
            version: "0.14.1".to_owned(),
            settings: format!(
                "{CONNECTIONS} connections, concurrency 500, local queue of 5000, completions batched for 5 ms"
            ),
            durability: "synchronous_commit=on".to_owned(),
            operations: vec![
                Operation::Create1,
                Operation::Create16,
                Operation::Create64,
                Operation::CreateBatch,
                Operation::WorkDelete,
                Operation::PickUp,
            ],
        }
    }

    async fn create_one(&self) -> Result<()> {
        self.utils.add_job(mail(), JobSpec::default()).await?;
        Ok(())
    }

    async fn create_batch(&self) -> Result<()> {
        let spec = JobSpec::default();
        let jobs: Vec<_> = (0..BATCH).map(|_| (mail(), &spec)).collect();
        self.utils.add_jobs::<Mail>(&jobs).await?;
        Ok(())
    }

    async fn work(&self, handled: Arc<Handled>, until: Until) -> Result<()> {
        // The settings of its own benchmark.
        let worker = WorkerOptions::default()
            .pg_pool(self.pool.clone())
            .schema(SCHEMA)
            .concurrency(500)
            .poll_interval(Duration::from_millis(5))
            .complete_job_batch_delay(Duration::from_millis(5))
            .local_queue(LocalQueueConfig::default().with_size(5000))
            .listen_os_shutdown_signals(false)
            .add_extension(handled)
            .define_job::<Mail>()
            .init()
            .await?;
        let worker = Arc::new(worker);
        let running = {
            let worker = Arc::clone(&worker);
            tokio::spawn(async move { worker.run().await })
        };
        until.await;
        worker.request_shutdown();
        running.await??;
        Ok(())
    }

    async fn unfinished(&self) -> Result<usize> {
        let count = "SELECT count(*) FROM graphile_worker._private_jobs";
        let count: i64 = sqlx::query_scalar(count).fetch_one(&self.pool).await?;
        Ok(usize::try_from(count)?)
    }
}
