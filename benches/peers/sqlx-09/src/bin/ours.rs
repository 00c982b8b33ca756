//! jobstore: `ours batches postgres URL`, or `sqlite-full FILE` or `sqlite-normal FILE`, or `single` for workers that
//! take and finish one job at a time; with `delete` behind it, finished jobs are deleted.
#![forbid(unsafe_code)]

use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use jobstore_core::{
    Action, ClaimRequest, DeleteRequest, JobFilter, JobId, JobStatus, JobStore, JobStoreExt as _,
    NewJob, PageRequest, Update,
};
use jobstore_peers_harness::{
    About, BATCH, Contender, Handled, Operation, PARAMS, Until, run_workers, serve,
};
use jobstore_sql::{PostgresOptions, SqliteOptions, sqlite::Synchronous};
use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;

/// How long a worker that finds nothing waits unless it is told of a job: as the quickest of the peers that ask again and
/// again.
const POLL: Duration = Duration::from_millis(5);

struct Ours {
    store: Arc<dyn JobStore>,
    /// What works: on PostgreSQL a store of its own, as in another process, so that it is told of jobs by the server.
    works: Arc<dyn JobStore>,
    durability: &'static str,
    workers: usize,
    limit: u32,
    delete: bool,
    page: Mutex<PageRequest>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [way, engine, place, rest @ ..] = arguments.as_slice() else {
        bail!("ours WAY ENGINE PLACE [delete]");
    };
    let sqlite = |synchronous| {
        let options = SqliteOptions::new(place).with_synchronous(synchronous);
        async move { Ok::<_, anyhow::Error>(Arc::new(options.open().await?) as Arc<dyn JobStore>) }
    };
    let (store, durability): (Arc<dyn JobStore>, _) = match engine.as_str() {
        "postgres" => {
            let options = PostgresOptions::new(PgConnectOptions::from_str(place)?);
            (Arc::new(options.open().await?), "synchronous_commit=on")
        }
        "sqlite-full" => (sqlite(Synchronous::Full).await?, "WAL, FULL"),
        "sqlite-normal" => (sqlite(Synchronous::Normal).await?, "WAL, NORMAL"),
        other => bail!("no engine {other}"),
    };
    // More workers with batches only wait for one another: SQLite has one writer, and the store 8 connections to
    // PostgreSQL. Single calls are merged, the more the better.
    let (workers, limit) = match (way.as_str(), engine.as_str()) {
        ("batches", "postgres") => (4, 500),
        ("batches", _) => (2, 500),
        ("single", _) => (64, 1),
        (other, _) => bail!("no way {other}"),
    };
    let works = match engine.as_str() {
        "postgres" => {
            let options = PostgresOptions::new(PgConnectOptions::from_str(place)?);
            Arc::new(options.open().await?)
        }
        _ => Arc::clone(&store),
    };
    serve(Ours {
        store,
        works,
        durability,
        workers,
        limit,
        delete: rest.iter().any(|argument| argument == "delete"),
        page: Mutex::default(),
    })
    .await
}

#[async_trait]
impl Contender for Ours {
    fn about(&self) -> About {
        let (name, operations) = if self.limit == 1 {
            let operations = vec![Operation::Work, Operation::WorkDelete];
            ("jobstore, single calls", operations)
        } else {
            ("jobstore", Operation::ALL.to_vec())
        };
        About {
            name: name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: format!(
                "{} workers that claim and finish {} at a time, told of jobs, poll 5 ms",
                self.workers, self.limit
            ),
            durability: self.durability.to_owned(),
            operations,
        }
    }

    async fn create_one(&self) -> Result<()> {
        self.store.create_job(job()).await?;
        Ok(())
    }

    async fn create_batch(&self) -> Result<()> {
        self.store.create_jobs(vec![job(); BATCH]).await?;
        Ok(())
    }

    async fn work(&self, handled: Arc<Handled>, until: Until) -> Result<()> {
        run_workers(self.workers, until, |index, stop| {
            let request = ClaimRequest::new(format!("worker-{index}"), Duration::from_secs(60))
                .with_job_name("mail")
                .with_limit(self.limit);
            let store = Arc::clone(&self.works);
            work(store, request, self.delete, Arc::clone(&handled), stop)
        })
        .await
    }

    async fn unfinished(&self) -> Result<usize> {
        let counts = self.store.count_jobs(&JobFilter::default()).await?;
        let finished = counts.get(JobStatus::Succeeded);
        if self.delete {
            return Ok(counts.total() as usize);
        }
        Ok((counts.total() - finished) as usize)
    }

    async fn turn_to(&self, behind: usize) -> Result<()> {
        let mut page = PageRequest::default();
        for _ in 0..behind / 1000 {
            let list = page.clone().with_size(1000);
            let list = self.store.list_jobs(&JobFilter::default(), &list).await?;
            page = page.with_token(list.token);
        }
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = page;
        Ok(())
    }

    async fn page(&self) -> Result<usize> {
        let page = self
            .page
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let list = self.store.list_jobs(&JobFilter::default(), &page).await?;
        Ok(list.items.len())
    }

    async fn walk(&self) -> Result<usize> {
        let jobs = self
            .store
            .stream_jobs(JobFilter::default(), PageRequest::default().with_size(1000));
        Ok(jobs
            .try_fold(0, |count, _| async move { Ok(count + 1) })
            .await?)
    }
}

fn job() -> NewJob {
    NewJob::new("mail", PARAMS)
}

/// One worker, with handlers that do nothing.
async fn work(
    store: Arc<dyn JobStore>,
    request: ClaimRequest,
    delete: bool,
    handled: Arc<Handled>,
    stop: CancellationToken,
) -> Result<()> {
    let mut arrivals = store.arrivals();
    while !stop.is_cancelled() {
        let jobs = store.claim_jobs(&request).await?;
        if jobs.is_empty() {
            let _ = tokio::time::timeout(POLL, arrivals.next()).await;
            continue;
        }
        for job in &jobs {
            handled.one(job.id);
        }
        let finish = Action::Finish { result: None };
        let updates = jobs
            .iter()
            .map(|job| Update::new(job.claim(), finish.clone()));
        for verdict in store.update_jobs(updates.collect()).await? {
            verdict?;
        }
        if delete {
            let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
            store.delete_jobs(&DeleteRequest::Ids(ids)).await?;
        }
    }
    Ok(())
}
