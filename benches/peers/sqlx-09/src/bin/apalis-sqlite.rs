//! apalis on SQLite: `apalis-sqlite setup FILE`, with what its `setup` sets, or `apalis-sqlite full FILE`, with all of
//! that but `synchronous`.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteStorage};
use async_trait::async_trait;
use jobstore_peers_harness::{About, BATCH, Contender, Handled, PARAMS, Until, run_workers, serve};
use jobstore_peers_sqlx_09::apalis::{OPERATIONS, POLL, Page, mail};
use serde_json::Value;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};

/// Finishing reads every job that its worker ever took, so many workers with few jobs each are quicker than one.
const WORKERS: usize = 32;
const FETCHED: usize = 500;

struct Apalis {
    pool: SqlitePool,
    durability: &'static str,
    storage: SqliteStorage<Value>,
    params: Value,
    page: Page,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [setting, file, ..] = arguments.as_slice() else {
        bail!("apalis-sqlite SETTING FILE");
    };
    let connect = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    // One connection: several only wait for one another, and what `setup` sets, it sets on one.
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(60));
    let pool = pool.connect_with(connect).await?;
    SqliteStorage::setup(&pool).await?;
    let durability = match setting.as_str() {
        "full" => {
            sqlx::query("PRAGMA synchronous = FULL")
                .execute(&pool)
                .await?;
            "WAL, FULL"
        }
        "setup" => "WAL, OFF",
        other => bail!("no setting {other}"),
    };
    let config = Config::default()
        .queue("mail")
        .batch_size(FETCHED)
        .lock_tasks(false);
    serve(Apalis {
        storage: SqliteStorage::new(&pool).with_config(config),
        pool,
        durability,
        params: serde_json::from_str(PARAMS)?,
        page: Page::default(),
    })
    .await
}

#[async_trait]
impl Contender for Apalis {
    fn about(&self) -> About {
        About {
            name: "apalis-sqlite".to_owned(),
            version: "1.0.0".to_owned(),
            settings: format!(
                "1 connection, {WORKERS} workers, batch_size {FETCHED}, lock_tasks(false)"
            ),
            durability: self.durability.to_owned(),
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
            let worker = WorkerBuilder::new(format!("worker-{index}"))
                .backend(self.storage.clone().poll_with_interval(POLL))
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
        let count = "SELECT count(*) FROM Jobs WHERE status <> 'Done'";
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
