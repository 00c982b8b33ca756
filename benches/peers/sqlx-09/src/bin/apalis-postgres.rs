//! apalis on PostgreSQL: `apalis-postgres URL`.
#![forbid(unsafe_code)]

use std::sync::Arc;

use anyhow::Result;
use apalis::prelude::*;
use apalis_postgres::{Config, PostgresStorage};
use async_trait::async_trait;
use jobstore_peers_harness::{
    About, BATCH, CONNECTIONS, Contender, Handled, PARAMS, Until, place, run_workers, serve,
};
use jobstore_peers_sqlx_09::apalis::{OPERATIONS, POLL, Page, mail};
use jobstore_peers_sqlx_09::connect_postgres;
use serde_json::Value;
use sqlx::PgPool;

/// Each has one fetch under way.
const WORKERS: usize = 4;
const FETCHED: usize = 2000;

struct Apalis {
    pool: PgPool,
    storage: PostgresStorage<Value>,
    params: Value,
    page: Page,
}

#[tokio::main]
async fn main() -> Result<()> {
    let pool = connect_postgres(&place()?, CONNECTIONS).await?;
    PostgresStorage::setup(&pool).await?;
    let config = Config::default()
        .queue("mail")
        .batch_size(FETCHED)
        .lock_tasks(false);
    serve(Apalis {
        storage: PostgresStorage::new(&pool).with_config(config),
        pool,
        params: serde_json::from_str(PARAMS)?,
        page: Page::default(),
    })
    .await
}

#[async_trait]
impl Contender for Apalis {
    fn about(&self) -> About {
        About {
            name: "apalis-postgres".to_owned(),
            version: "1.0.0".to_owned(),
            settings: format!(
                "{CONNECTIONS} connections, {WORKERS} workers, batch_size {FETCHED}, lock_tasks(false), with_pubsub"
            ),
            durability: "synchronous_commit=on".to_owned(),
            operations: OPERATIONS.to_vec(),
        }
    }

    async fn create_one(&self) -> Result<()> {
        self.storage.clone().push(self.params.clone()).await?;
        Ok(())
    }

    async fn create_batch(&self) -> Result<()> {
        self.storage
            .clone()
            .push_bulk(vec![self.params.clone(); BATCH])
            .await?;
        Ok(())
    }

    async fn work(&self, handled: Arc<Handled>, until: Until) -> Result<()> {
        run_workers(WORKERS, until, |index, stop| {
            let backend = self.storage.clone().with_pubsub();
            let worker = WorkerBuilder::new(format!("worker-{index}"))
                .backend(backend.poll_with_interval(POLL))
                .data(Arc::clone(&handled))
                .build(mail);
            async move {
                let stopped = async move {
                    stop.cancelled().await;
                    Ok::<_, std::io::Error>(())
                };
                Ok(worker.run_until(stopped).await?)
            }
        })
        .await
    }

    async fn unfinished(&self) -> Result<usize> {
        let count = "SELECT count(*) FROM apalis.jobs WHERE status <> 'Done'";
        let count: i64 = sqlx::query_scalar(count).fetch_one(&self.pool).await?;
        Ok(usize::try_from(count)?)
    }

    async fn turn_to(&self, behind: usize) -> Result<()> {
        self.page.turn_to(behind);
        Ok(())
    }

    async fn page(&self) -> Result<usize> {
        Ok(self.storage.list_tasks(&self.page.filter()).await?.len())
    }
}
