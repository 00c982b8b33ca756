//! What the children do: work on a store, and say what it holds.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use jobstore::redb::{Durability, RedbOptions};
use jobstore::sled::SledOptions;
use jobstore::sqlite::{SqliteOptions, Synchronous};
use jobstore::{
    Action, ClaimRequest, Creation, DeleteRequest, Error, Job, JobFilter, JobId, JobStatus,
    JobStore, NewJob, PageRequest, RetryPolicy, StatusCounts, StoreUrl, Update,
};
use tokio::task::JoinSet;

use crate::Random;

/// The work that a store is given.
#[derive(Clone, Copy)]
struct Shape {
    /// How many callers work at once.
    callers: usize,
    /// The most jobs in a call.
    batch: u64,
}

/// Each run has one of these: what a store merges, and how, depends on them.
const SHAPES: [Shape; 3] = [
    Shape {
        callers: 8,
        batch: 5,
    },
    Shape {
        callers: 96,
        batch: 5,
    },
    Shape {
        callers: 16,
        batch: 50,
    },
];

/// Deletes what is finished past this many jobs.
const KEPT: usize = 500;

/// Says a line. A line before an operation is a capital letter's small one: it was begun.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // The parent reads to the end; without it there is nothing to be said.
    if out
        .write_all(format!("{line}\n").as_bytes())
        .and_then(|()| out.flush())
        .is_err()
    {
        std::process::exit(1);
    }
}

fn ids(jobs: impl IntoIterator<Item = JobId>) -> String {
    jobs.into_iter().map(|id| format!(" {id}")).collect()
}

/// Works until killed.
pub(crate) async fn load(url: &str, relaxed: bool) -> Result<()> {
    let store = match relaxed {
        true => open_relaxed(url).await?,
        false => jobstore::open(url).await?,
    };
    // What was over before the last cut is deleted as well, so that the disk does not fill up.
    let over = JobFilter::default().with_statuses(
        JobStatus::ALL
            .into_iter()
            .filter(|status| status.is_finalized())
            .collect::<Vec<_>>(),
    );
    let over = store
        .list_jobs(&over, &PageRequest::default().with_size(1000))
        .await?;
    let over: VecDeque<JobId> = over.iter().map(|job| job.id).collect();
    let finished = Arc::new(Mutex::new(over));
    let shape = SHAPES[Random::new().below(SHAPES.len() as u64) as usize];
    let mut callers: JoinSet<Result<()>> = (0..shape.callers)
        .map(|_| work(Arc::clone(&store), shape.batch, Arc::clone(&finished)))
        .collect();
    // A call that fails is one nobody acknowledged. It ends them all, and whoever started this knows
    // whether it was to be expected.
    match callers.join_next().await {
        Some(ended) => ended?,
        None => Ok(()),
    }
}

/// Opens a store that promises less than the load takes for granted.
async fn open_relaxed(url: &str) -> Result<Arc<dyn JobStore>> {
    Ok(match url.parse()? {
        StoreUrl::Sled(path) => {
            let options = SledOptions::new(path).with_durability(Durability::Relaxed);
            Arc::new(options.open().await?)
        }
        StoreUrl::Redb(path) => {
            let options = RedbOptions::new(path).with_durability(Durability::Relaxed);
            Arc::new(options.open().await?)
        }
        StoreUrl::Sqlite(place) => {
            let options = SqliteOptions::from(&place).with_synchronous(Synchronous::Normal);
            Arc::new(options.open().await?)
        }
        // Servers are told to promise less, not asked.
        _ => jobstore::open(url).await?,
    })
}

/// Jobs that are over and that nobody else will touch.
type Finished = Arc<Mutex<VecDeque<JobId>>>;

async fn work(store: Arc<dyn JobStore>, batch: u64, finished: Finished) -> Result<()> {
    let mut random = Random::new();
    loop {
        create(&*store, batch, &mut random).await?;
        let lease = Duration::from_secs(3600);
        let limit = 1 + random.below(batch) as u32;
        let request = ClaimRequest::new("load", lease).with_limit(limit);
        let claimed = store.claim_jobs(&request).await?;
        for job in &claimed {
            say(&format!("R {} {}", job.id, job.fence));
        }
        end(&*store, &claimed, &finished, &mut random).await?;
        delete(&*store, batch, &finished).await?;
    }
}

async fn create(store: &dyn JobStore, batch: u64, random: &mut Random) -> Result<()> {
    let ids_made: Vec<JobId> = (0..1 + random.below(batch))
        .map(|_| JobId::generate())
        .collect();
    say(&format!("c{}", ids(ids_made.iter().copied())));
    let jobs = ids_made.iter().map(|id| {
        let job = NewJob::new(name(*id), &*params(*id)).with_id(*id);
        match id.as_uuid().as_bytes()[15] % 3 {
            0 => job.with_unique_key(id.to_string()).with_priority(5),
            _ => job,
        }
    });
    let created = store.create_jobs(jobs.collect()).await?;
    if !created.iter().all(Creation::is_new) {
        bail!("a new job existed");
    }
    say(&format!("C{}", ids(ids_made)));
    Ok(())
}

/// Ends claimed jobs in one way or another.
async fn end(
    store: &dyn JobStore,
    jobs: &[Job],
    finished: &Finished,
    random: &mut Random,
) -> Result<()> {
    let updates = jobs.iter().map(|job| {
        let action = match random.below(10) {
            0 => Action::Cancel,
            1 | 2 => Action::RetryOrFail {
                error: "again".to_owned(),
                policy: RetryPolicy {
                    max_retries: 3,
                    base: Duration::from_millis(1),
                    max: Duration::from_millis(20),
                },
            },
            _ => Action::Finish {
                result: Some(result(job.id, job.fence)),
            },
        };
        Update::new(job.claim(), action)
    });
    for verdict in store.update_jobs(updates.collect()).await? {
        let job = verdict?;
        say(&format!("U {} {} {}", job.id, job.fence, job.status));
        if job.status.is_finalized() {
            let mut finished = finished.lock().unwrap_or_else(PoisonError::into_inner);
            finished.push_back(job.id);
        }
    }
    Ok(())
}

async fn delete(store: &dyn JobStore, batch: u64, finished: &Finished) -> Result<()> {
    let old: Vec<JobId> = {
        let mut finished = finished.lock().unwrap_or_else(PoisonError::into_inner);
        let old = finished.len().saturating_sub(KEPT);
        let old = old.min(4 * batch as usize);
        finished.drain(..old).collect()
    };
    if old.is_empty() {
        return Ok(());
    }
    say(&format!("d{}", ids(old.iter().copied())));
    let gone = store.delete_jobs(&DeleteRequest::Ids(old)).await?;
    say(&format!("D{}", ids(gone)));
    Ok(())
}

fn name(id: JobId) -> String {
    format!("name-{}", id.as_uuid().as_bytes()[14] % 4)
}

/// Short for most jobs, and longer than a page, or many, for some.
fn params(id: JobId) -> String {
    let length = match id.as_uuid().as_bytes()[13] {
        0..3 => 100_000,
        3..20 => 5_000,
        _ => 40,
    };
    format!(r#"{{"id":"{id}","fill":"{}"}}"#, "p".repeat(length))
}

fn result(id: JobId, fence: u64) -> String {
    let length = if id.as_uuid().as_bytes()[12] < 10 {
        9_000
    } else {
        20
    };
    format!("{id} {fence} {}", "r".repeat(length))
}

/// Opens the store and says what it holds: a line `J` for each job, `P` for each problem.
pub(crate) async fn dump(url: &str) -> Result<()> {
    // The end may have come while the store was being made, so it is opened before a check, which
    // makes none.
    let store = jobstore::open(url).await?;
    let store = match url.parse()? {
        // Their indexes are the server's own; the counts below come from them.
        StoreUrl::Postgres(_) | StoreUrl::MySql(_) => store,
        _ => {
            drop(store);
            let report = jobstore::check(url, jobstore::Repair::No, |problem| {
                say(&format!("P {problem}"))
            });
            report.await?;
            jobstore::open(url).await?
        }
    };
    let mut listed = StatusCounts::default();
    let mut page = PageRequest::default().with_size(1000);
    loop {
        let jobs = store.list_jobs(&JobFilter::default(), &page).await?;
        for job in &jobs {
            listed.add(job.status, 1);
            say(&format!("J {} {} {}", job.id, job.fence, job.status));
            if let Some(problem) = problem(job) {
                say(&format!("P {problem}"));
            }
        }
        for error in &jobs.unreadable {
            say(&format!("P {error}"));
        }
        let Some(token) = jobs.token else { break };
        page = page.with_token(Some(token));
    }
    let counted = store.count_jobs(&JobFilter::default()).await?;
    if counted != listed {
        say(&format!("P {counted:?} are counted, {listed:?} are listed"));
    }
    try_work(&*store).await?;
    say("E");
    Ok(())
}

/// Whether a store that was opened can still be written: makes a job, and takes it away again.
async fn try_work(store: &dyn JobStore) -> Result<(), Error> {
    let job = NewJob::new("try", "{}");
    let created = store.create_jobs(vec![job]).await?;
    let id = created
        .iter()
        .map(|creation| creation.job().id)
        .collect::<Vec<_>>();
    let cancel = id
        .iter()
        .map(|id| Update::new(*id, Action::Cancel))
        .collect();
    for verdict in store.update_jobs(cancel).await? {
        verdict?;
    }
    store.delete_jobs(&DeleteRequest::Ids(id)).await?;
    Ok(())
}

/// What is wrong inside a job.
fn problem(job: &Job) -> Option<String> {
    if job.job_name != name(job.id) || job.params.as_str() != params(job.id) {
        return Some(format!("job {} has not its name or params", job.id));
    }
    let wanted = match job.status {
        JobStatus::Succeeded => Some(result(job.id, job.fence)),
        JobStatus::Failed => Some("again".to_owned()),
        _ => None,
    };
    (job.result != wanted).then(|| format!("job {} has not its result", job.id))
}
