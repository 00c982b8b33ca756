//! What holds for any number of jobs, however many workers take them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use jobstore_core::{
    Action, ClaimRequest, Error, Job, JobFilter, JobId, JobStatus, JobStore, JobStoreExt as _,
    NewJob, Order, RetryPolicy, StatusCounts, Timestamp, Update,
};

use crate::cx::{LEASE, finish};
use crate::failure::{CaseResult, Failure, check, check_eq};
use crate::run::runtime;
use crate::{Cx, Harness};

const WORKERS: u64 = 4;
const BATCH: u64 = 500;
/// Without a job finished in so many rounds of recovery, the missing ones are lost.
const IDLE_ROUNDS: u32 = 200;

/// Has workers finish so many jobs, dying and retrying now and then, while leases are recovered.
///
/// Nothing may be lost, nothing done twice; fences ascend by one with every run, and no run begins
/// while the lease of the one before holds. In the end counts equal what a listing says. The
/// environment's `JOBSTORE_MANY_JOBS` overrides the number.
///
/// # Panics
///
/// When one of these does not hold.
pub fn many_jobs(harness: &dyn Harness, jobs: u64) {
    let number = std::env::var("JOBSTORE_MANY_JOBS").ok();
    let jobs = number.and_then(|text| text.parse().ok()).unwrap_or(jobs);
    if let Err(failure) = runtime().block_on(run(harness, jobs)) {
        panic!("{jobs} jobs: {failure}");
    }
}

/// One run of a job.
#[derive(Clone, Copy, Debug)]
struct Run {
    fence: u64,
    began: Timestamp,
    lease_ends: Timestamp,
    /// Its worker has begun to record an outcome, so it may be over before its lease is.
    ending: bool,
}

#[derive(Default)]
struct Book {
    /// Every run that was handed out. Workers note them when they get to it, so not in order.
    runs: Mutex<HashMap<JobId, Vec<Run>>>,
    finished: AtomicU64,
    recovered: AtomicU64,
    stopped: AtomicBool,
}

impl Book {
    fn runs(&self) -> MutexGuard<'_, HashMap<JobId, Vec<Run>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the runs that a claim returned, none of which anybody else may have.
    fn begin(&self, jobs: &[Job]) -> CaseResult {
        let mut runs = self.runs();
        for job in jobs {
            let runs = runs.entry(job.id).or_default();
            check!(
                runs.iter().all(|run| run.fence != job.fence),
                "run {} of job {} for one worker only",
                job.fence,
                job.id
            );
            runs.push(Run {
                fence: job.fence,
                began: job.last_update_time,
                lease_ends: job.lease_expires_at.unwrap_or(Timestamp::MIN),
                ending: false,
            });
        }
        Ok(())
    }

    fn ending(&self, jobs: &[Job]) {
        let mut runs = self.runs();
        for job in jobs {
            let mut runs = runs.get_mut(&job.id).into_iter().flatten();
            if let Some(run) = runs.find(|run| run.fence == job.fence) {
                run.ending = true;
            }
        }
    }
}

/// Fails unless the runs of a job have the fences 1 to the job's, and none overlaps the next.
fn follow_one_another(job: &Job, runs: &mut [Run]) -> CaseResult {
    runs.sort_by_key(|run| run.fence);
    let fences: Vec<u64> = runs.iter().map(|run| run.fence).collect();
    let expected: Vec<u64> = (1..=job.fence).collect();
    check_eq!(fences, expected, "the runs of job {}", job.id);
    for pair in runs.windows(2) {
        check!(
            pair[0].ending || pair[0].lease_ends <= pair[1].began,
            "no run {} of job {} before the lease of the one before ends, at {}",
            pair[1].fence,
            job.id,
            pair[0].lease_ends
        );
    }
    Ok(())
}

async fn run(harness: &dyn Harness, jobs: u64) -> CaseResult {
    let cx = Arc::new(Cx::new(harness).await?);
    let mut left = jobs;
    while left > 0 {
        let batch = left.min(BATCH);
        let new = (0..batch).map(|n| NewJob::new("many", "{}").with_priority((n % 3) as i16));
        cx.store().create_jobs(new.collect()).await?;
        left -= batch;
    }
    check_eq!(cx.total().await?, jobs, "jobs after creating them");
    let book = Arc::new(Book::default());
    let workers = (0..WORKERS).map(|worker| {
        let (store, book) = (cx.store(), Arc::clone(&book));
        tokio::spawn(async move {
            let worked = work(&*store, &book, worker).await;
            if worked.is_err() {
                book.stopped.store(true, Ordering::SeqCst);
            }
            worked
        })
    });
    let workers: Vec<_> = workers.collect();
    let mut idle = 0;
    while book.finished.load(Ordering::SeqCst) < jobs
        && idle < IDLE_ROUNDS
        && !book.stopped.load(Ordering::SeqCst)
    {
        let before = book.finished.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(5)).await;
        cx.advance(LEASE / 4);
        let recovered = cx.store().recover_expired(&[], policy()).await?;
        let count = recovered.len() as u64;
        book.recovered.fetch_add(count, Ordering::SeqCst);
        let finished = book.finished.load(Ordering::SeqCst);
        idle = if finished == before && count == 0 {
            idle + 1
        } else {
            0
        };
    }
    book.stopped.store(true, Ordering::SeqCst);
    for joined in join_all(workers).await {
        joined.map_err(|panic| Failure::new("no panic", panic.to_string()))??;
    }
    agree(&cx, &book, jobs).await
}

/// Retries for ever and at once.
fn policy() -> RetryPolicy {
    RetryPolicy {
        max_retries: i32::MAX as u32,
        base: Duration::ZERO,
        max: Duration::ZERO,
    }
}

async fn work(store: &dyn JobStore, book: &Book, worker: u64) -> CaseResult {
    let request = ClaimRequest::new(format!("w{worker}"), LEASE).with_limit(50);
    for round in worker.. {
        if book.stopped.load(Ordering::SeqCst) {
            break;
        }
        tokio::task::yield_now().await;
        let jobs = store.claim_jobs(&request).await?;
        if jobs.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        book.begin(&jobs)?;
        // Every fifth time the worker dies with its jobs.
        if round % 5 == 4 {
            continue;
        }
        book.ending(&jobs);
        let outcomes = jobs.iter().enumerate().map(|(index, job)| {
            let error = "again".to_owned();
            let policy = policy();
            let outcome = match index % 10 {
                9 => Action::RetryOrFail { error, policy },
                _ => finish("done"),
            };
            Update::new(job.claim(), outcome)
        });
        for (job, verdict) in jobs
            .iter()
            .zip(store.update_jobs(outcomes.collect()).await?)
        {
            match verdict {
                Ok(job) if job.status == JobStatus::Succeeded => {
                    book.finished.fetch_add(1, Ordering::SeqCst);
                }
                Ok(_) | Err(Error::LeaseLost { .. }) => {}
                Err(error) => {
                    let failure = Failure::from(error);
                    return Err(failure.when(format!("an outcome of job {}", job.id)));
                }
            }
        }
    }
    Ok(())
}

/// Compares what the workers did with what the store says of it.
async fn agree(cx: &Cx, book: &Book, jobs: u64) -> CaseResult {
    let any = JobFilter::default();
    let mut counts = StatusCounts::default();
    let mut pages = cx.pages(&any, 1_000, Order::Ascending);
    let mut listed = 0;
    while let Some(page) = pages.next().await? {
        let mut runs = book.runs();
        for job in &page {
            counts.add(job.status, 1);
            listed += 1;
            check_eq!(job.status, JobStatus::Succeeded, "job {}", job.id);
            follow_one_another(job, runs.entry(job.id).or_default())?;
        }
    }
    check_eq!(listed, jobs, "jobs listed");
    check_eq!(cx.count(&any).await?, counts, "counts and listing");
    let finished = book.finished.load(Ordering::SeqCst);
    check_eq!(finished, jobs, "outcomes recorded");
    let recovered = book.recovered.load(Ordering::SeqCst);
    check!(
        recovered > 0 || jobs < 1_000,
        "at least one recovered lease, or the run proves nothing"
    );
    Ok(())
}
