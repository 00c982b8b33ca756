//! What a job queue is asked to do, and the process that asks it.
//!
//! Each contender, jobstore among them, is a process of its own: several of them cannot be linked into one.
//! The driver writes a [`Request`] as a line of JSON to its standard input and reads an [`Answer`] as a line
//! from its standard output. All of the measuring is here, so that every contender is measured by the same code.
#![forbid(unsafe_code)]

mod load;
mod protocol;
mod workers;

use std::collections::HashSet;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use tokio::sync::Notify;

pub use crate::load::serve;
pub use crate::protocol::{About, Answer, Figure, Operation, Request};
pub use crate::workers::run_workers;

/// What every job carries.
pub const PARAMS: &str = r#"{"to":"ada@example.org","template":"welcome","attempt":1}"#;

/// The size of a page, and of a batch of new jobs.
pub const BATCH: usize = 100;

/// How many connections to a server a peer may have: as many as callers in the load that most figures are about.
pub const CONNECTIONS: u32 = 16;

/// The command line's first argument.
///
/// # Errors
///
/// When it is missing.
pub fn place() -> Result<String> {
    std::env::args()
        .nth(1)
        .context("the place of the database is missing")
}

/// A job queue, set up as its documentation recommends for speed, in a new database.
#[async_trait]
pub trait Contender: Send + Sync + 'static {
    /// What it is and what it can do.
    fn about(&self) -> About;

    /// Creates one job by a call of its own.
    async fn create_one(&self) -> Result<()>;

    /// Creates [`BATCH`] jobs by one call.
    async fn create_batch(&self) -> Result<()> {
        bail!("has no batches")
    }

    /// Starts workers that hand each job to `handled`, does what `until` waits for, and stops them.
    async fn work(&self, handled: Arc<Handled>, until: Until) -> Result<()>;

    /// How many jobs are not finished, by a count in the table.
    async fn unfinished(&self) -> Result<usize>;

    /// Turns to the page behind `behind` other jobs, untimed: where tokens lead from page to page, it is reached by
    /// them.
    async fn turn_to(&self, behind: usize) -> Result<()> {
        bail!("cannot list a page behind {behind} jobs")
    }

    /// Reads the page of [`BATCH`] jobs that was turned to and says how many jobs it has.
    async fn page(&self) -> Result<usize> {
        bail!("cannot list")
    }

    /// Reads all jobs, page by page, and says how many.
    async fn walk(&self) -> Result<usize> {
        bail!("cannot walk")
    }
}

/// The jobs that workers were given, and when the latest came.
#[derive(Debug, Default)]
pub struct Handled {
    jobs: Mutex<Jobs>,
    changed: Notify,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Jobs {
    /// Hashes: two of 40,000 jobs have the same once in billions of runs.
    seen: HashSet<u64>,
    again: usize,
    latest: Option<Instant>,
}

impl Handled {
    /// What the handler of a job does: `job` is what tells it from the others.
    pub fn one(&self, job: impl Hash) {
        let job = self.hasher.hash_one(job);
        let mut jobs = self.jobs();
        if !jobs.seen.insert(job) {
            jobs.again += 1;
            return;
        }
        // Noted only while somebody waits for single jobs: the time of each of many thousands would be measured too.
        if jobs.seen.len() < 1000 {
            jobs.latest = Some(Instant::now());
            drop(jobs);
            self.changed.notify_one();
        }
    }

    /// How many jobs workers were given.
    pub(crate) fn count(&self) -> usize {
        self.jobs().seen.len()
    }

    /// How many times workers were given a job that one had been given before.
    pub(crate) fn again(&self) -> usize {
        self.jobs().again
    }

    /// When the job came that made the count reach `jobs`.
    pub(crate) async fn reached(&self, jobs: usize) -> Instant {
        loop {
            let changed = self.changed.notified();
            if self.count() >= jobs {
                return self.jobs().latest.expect("a job was handled");
            }
            // Polled too: the notice of a job may be taken by a wait that ended just before.
            let _ = tokio::time::timeout(Duration::from_millis(100), changed).await;
        }
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What workers are kept running for.
pub type Until = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
