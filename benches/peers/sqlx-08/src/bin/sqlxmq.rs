//! sqlxmq: `sqlxmq URL`. It deletes what is finished.
#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use jobstore_peers_harness::{About, Contender, Handled, Operation, PARAMS, Until, place, serve};
use jobstore_peers_sqlx_08::{connect_postgres, count};
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use sqlxmq::{CurrentJob, JobRegistry};

const MIGRATIONS: &str = concat!(env!("SQLXMQ"), "/migrations");

/// How many jobs run at a time: more are polled when there are fewer than the first.
const CONCURRENCY: (usize, usize) = (250, 500);

/// A job that ends holds one, and the more do at once, the more share a sync.
const CONNECTIONS: u32 = 64;

struct Sqlxmq {
    pool: PgPool,
}

#[sqlxmq::job]
async fn mail(mut job: CurrentJob, handled: Arc<Handled>) -> Result<(), sqlx::Error> {
    handled.one(job.id());
    job.complete().await
}

#[tokio::main]
async fn main() -> Result<()> {
    let pool = connect_postgres(&place()?, CONNECTIONS).await?;
    Migrator::new(Path::new(MIGRATIONS))
        .await?
        .run(&pool)
        .await?;
    serve(Sqlxmq { pool }).await
}

#[async_trait]
impl Contender for Sqlxmq {
    fn about(&self) -> About {
        About {
            name: "sqlxmq".to_owned(),
            version: "0.6.0".to_owned(),
            settings: format!(
                "{CONNECTIONS} connections, concurrency {} to {}",
                CONCURRENCY.0, CONCURRENCY.1
            ),
            durability: "synchronous_commit=on".to_owned(),
            operations: vec![
                Operation::Create1,
                Operation::Create16,
                Operation::Create64,
                Operation::WorkDelete,
                Operation::PickUp,
            ],
        }
    }

    async fn create_one(&self) -> Result<()> {
        mail.builder()
            .set_raw_json(PARAMS)
            .spawn(&self.pool)
            .await?;
        Ok(())
    }

    async fn work(&self, handled: Arc<Handled>, until: Until) -> Result<()> {
        let mut registry = JobRegistry::new(&[mail]);
        registry.set_context(handled);
        let mut running = registry
            .runner(&self.pool)
            .set_concurrency(CONCURRENCY.0, CONCURRENCY.1)
            .run()
            .await?;
        until.await;
        running.stop().await;
        Ok(())
    }

    async fn unfinished(&self) -> Result<usize> {
        // The first row only stands for the job before the first.
        count(
            &self.pool,
            "SELECT count(*) FROM mq_msgs WHERE id <> uuid_nil()",
        )
        .await
    }
}
