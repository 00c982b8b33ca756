//! What a case works with: a fresh store, its clock, and the steps that many cases need.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jobstore_core::{
    Action, ClaimRequest, Clock as _, Creation, Job, JobFilter, JobId, JobStatus, JobStore,
    JobStoreExt as _, Lease, ManualClock, NewJob, Order, PageRequest, Result, StatusCounts, Target,
    Timestamp, Update,
};
use proptest::test_runner::TestRng;

use crate::failure::{CaseResult, Failure, check_eq, same};
use crate::harness::{Crash, Harness, Surroundings, Tampering};
use crate::run::Seed;
use crate::trace::{Calls, Traced};

/// How long the leases of the cases hold.
pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// When the clock of every case starts.
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// One case's own store, and the clock that it follows.
pub struct Cx {
    clock: ManualClock,
    surroundings: Box<dyn Surroundings>,
    store: Mutex<Option<Arc<dyn JobStore>>>,
    calls: Calls,
    seed: Seed,
}

impl fmt::Debug for Cx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx")
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

impl Cx {
    /// A fresh store of this backend.
    ///
    /// # Errors
    ///
    /// What the backend says when it cannot make one.
    pub async fn new(harness: &dyn Harness) -> Result<Self> {
        Self::with_seed(harness, Seed::random()).await
    }

    /// A fresh store for a case whose random choices come from this seed.
    pub(crate) async fn with_seed(harness: &dyn Harness, seed: Seed) -> Result<Self> {
        let clock = ManualClock::new(START);
        let surroundings = harness.fresh(clock.clone()).await?;
        let calls = Calls::default();
        let store = open(&*surroundings, &calls).await?;
        Ok(Self {
            clock,
            surroundings,
            store: Mutex::new(Some(store)),
            calls,
            seed,
        })
    }

    pub(crate) fn surroundings(&self) -> &dyn Surroundings {
        &*self.surroundings
    }

    /// What a case that tries random things makes its choices by.
    pub(crate) fn random(&self) -> TestRng {
        self.seed.rng()
    }

    /// The store.
    ///
    /// # Panics
    ///
    /// After [`Cx::reopen`] failed.
    pub fn store(&self) -> Arc<dyn JobStore> {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.clone().expect("the store was reopened")
    }

    /// A second handle on the same jobs.
    ///
    /// # Errors
    ///
    /// When the backend cannot open one.
    pub async fn open_another(&self) -> CaseResult<Arc<dyn JobStore>> {
        Ok(open(&*self.surroundings, &self.calls).await?)
    }

    /// Drops the handle, as at the end of a program, and opens another on the same data.
    ///
    /// # Errors
    ///
    /// When the backend cannot open it again.
    pub async fn reopen(&self) -> CaseResult {
        self.close().await;
        self.open_again().await
    }

    /// Lets go of the handle, of which a case may hold another; [`reopen`](Self::reopen) opens one.
    pub(crate) async fn close(&self) {
        let held = self
            .store
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(held);
        self.surroundings.close().await;
    }

    async fn open_again(&self) -> CaseResult {
        let opened = open(&*self.surroundings, &self.calls).await?;
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        Ok(())
    }

    /// Has another program change how a job is stored, between two handles.
    pub(crate) async fn tamper(&self, id: JobId, with: Tampering) -> CaseResult {
        self.close().await;
        let hook = hook(self.surroundings.tamper(), "tamper")?;
        hook.tamper(id, with).await?;
        self.open_again().await
    }

    /// Ends whatever holds the jobs while the handle is open, and opens another on what is left.
    pub(crate) async fn crash(&self, by: Option<&dyn Crash>) -> CaseResult {
        hook(by, "crash")?.crash().await?;
        self.reopen().await
    }

    /// How many requests the store has sent to its engine.
    pub(crate) fn requests(&self) -> CaseResult<u64> {
        hook(self.surroundings.requests(), "requests")
    }

    /// The last calls of all handles.
    pub(crate) fn calls(&self) -> &Calls {
        &self.calls
    }

    /// The time that the clock shows.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// This many milliseconds after the time that the clock shows, or before it.
    pub fn at(&self, millis: i64) -> Timestamp {
        Timestamp::from_millis(self.now().as_millis() + millis)
    }

    /// Moves the clock forwards.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// The clock that the store follows.
    pub(crate) fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Moves the clock one millisecond forwards.
    pub fn tick(&self) {
        self.advance(Duration::from_millis(1));
    }

    /// Sets the clock, forwards or back.
    pub fn set_clock(&self, now: Timestamp) {
        self.clock.set(now);
    }

    /// Creates a job, which must be new.
    pub(crate) async fn create(&self, job: NewJob) -> CaseResult<Job> {
        new(self.store().create_job(job).await?)
    }

    /// Creates jobs in one call, all of which must be new.
    pub(crate) async fn create_all(
        &self,
        jobs: impl IntoIterator<Item = NewJob>,
    ) -> CaseResult<Vec<Job>> {
        let creations = self.store().create_jobs(jobs.into_iter().collect()).await?;
        creations.into_iter().map(new).collect()
    }

    /// A job of this name with nothing special.
    pub(crate) async fn job(&self, name: &str) -> CaseResult<Job> {
        self.create(NewJob::new(name, "{}")).await
    }

    /// Jobs that were started with a lease and brought to these statuses, fence 1; those to be
    /// pending were never started.
    pub(crate) async fn jobs_in(&self, statuses: &[JobStatus]) -> CaseResult<Vec<Job>> {
        let jobs = self
            .create_all(statuses.iter().map(|_| NewJob::new("job", "{}")))
            .await?;
        self.bring(&jobs, statuses).await
    }

    /// Brings pending jobs to these statuses.
    pub(crate) async fn bring(&self, jobs: &[Job], statuses: &[JobStatus]) -> CaseResult<Vec<Job>> {
        let pairs = || jobs.iter().zip(statuses);
        let started = pairs().filter(|(_, status)| **status != JobStatus::Pending);
        let start = started.map(|(job, _)| Update::new(job.id, start("ada")));
        self.apply_all(start.collect()).await?;
        let ended = pairs().filter_map(|(job, status)| {
            let action = match status {
                JobStatus::Pending | JobStatus::Running => return None,
                JobStatus::Succeeded => finish("first"),
                JobStatus::Failed => fail("first"),
                JobStatus::Timeout => Action::TimeOut,
                JobStatus::Canceled => Action::Cancel,
            };
            Some(Update::new(job.id, action))
        });
        self.apply_all(ended.collect()).await?;
        let mut brought = Vec::new();
        for (job, status) in self
            .get_all(jobs.iter().map(|job| job.id))
            .await?
            .into_iter()
            .zip(statuses)
        {
            check_eq!(job.status, *status, "setting the case up");
            brought.push(job);
        }
        Ok(brought)
    }

    /// Applies updates that must all be accepted.
    pub(crate) async fn apply_all(&self, updates: Vec<Update>) -> CaseResult<Vec<Job>> {
        let verdicts = self.store().update_jobs(updates).await?;
        Ok(verdicts.into_iter().collect::<Result<_>>()?)
    }

    /// One update's verdict.
    pub(crate) async fn update(&self, target: impl Into<Target>, action: Action) -> Result<Job> {
        self.store().update_job(Update::new(target, action)).await
    }

    /// The job with this id, which must exist.
    pub(crate) async fn get(&self, id: JobId) -> CaseResult<Job> {
        Ok(self.store().get_job(id).await?)
    }

    /// The jobs with these ids, which must all exist.
    pub(crate) async fn get_all(
        &self,
        ids: impl IntoIterator<Item = JobId>,
    ) -> CaseResult<Vec<Job>> {
        let ids: Vec<JobId> = ids.into_iter().collect();
        let mut jobs = Vec::new();
        for (id, job) in ids.iter().zip(self.store().get_jobs(&ids).await?) {
            jobs.push(job.ok_or_else(|| Failure::new(format!("job {id}"), "none"))?);
        }
        check_eq!(jobs.len(), ids.len(), "answers of get_jobs");
        Ok(jobs)
    }

    /// Fails unless the stored job is the same as this one in every field.
    pub(crate) async fn unchanged(&self, job: &Job) -> CaseResult {
        same(&self.get(job.id).await?, job)
    }

    /// What `ada` gets when claiming up to this many jobs of any name.
    pub(crate) async fn claim(&self, limit: u32) -> CaseResult<Vec<Job>> {
        let request = worker().with_limit(limit);
        Ok(self.store().claim_jobs(&request).await?)
    }

    /// The job that `ada` gets when claiming one, which must exist.
    pub(crate) async fn claim_one(&self) -> CaseResult<Job> {
        let mut jobs = self.claim(1).await?;
        check_eq!(jobs.len(), 1, "jobs claimed");
        Ok(jobs.remove(0))
    }

    /// Every job that meets the filter, by a walk over pages of this size.
    pub(crate) async fn walk(
        &self,
        filter: &JobFilter,
        size: u32,
        order: Order,
    ) -> CaseResult<Vec<Job>> {
        Pages::new(self.store(), filter, size, order).all().await
    }

    /// A walk over pages of this size, page by page.
    pub(crate) fn pages<'a>(&self, filter: &'a JobFilter, size: u32, order: Order) -> Pages<'a> {
        Pages::new(self.store(), filter, size, order)
    }

    /// The jobs that meet the filter, in order; one page.
    pub(crate) async fn list(&self, filter: &JobFilter) -> CaseResult<Vec<Job>> {
        let page = PageRequest::default().with_size(1_000);
        Ok(self.store().list_jobs(filter, &page).await?.items)
    }

    /// The numbers of jobs that meet the filter.
    pub(crate) async fn count(&self, filter: &JobFilter) -> CaseResult<StatusCounts> {
        Ok(self.store().count_jobs(filter).await?)
    }

    /// How many jobs there are.
    pub(crate) async fn total(&self) -> CaseResult<u64> {
        Ok(self.count(&JobFilter::default()).await?.total())
    }
}

async fn open(surroundings: &dyn Surroundings, calls: &Calls) -> Result<Arc<dyn JobStore>> {
    let store = surroundings.open().await?;
    Ok(Arc::new(Traced::new(store, calls.clone())))
}

/// A hook that was there when the case began.
fn hook<T>(hook: Option<T>, name: &str) -> CaseResult<T> {
    hook.ok_or_else(|| Failure::new(format!("a hook {name}"), "none any more"))
}

/// A walk over the pages of a listing, which ends whatever the store does.
pub(crate) struct Pages<'a> {
    store: Arc<dyn JobStore>,
    filter: &'a JobFilter,
    next: Option<PageRequest>,
    seen: HashSet<JobId>,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(
        store: Arc<dyn JobStore>,
        filter: &'a JobFilter,
        size: u32,
        order: Order,
    ) -> Self {
        Self {
            store,
            filter,
            next: Some(PageRequest::default().with_size(size).with_order(order)),
            seen: HashSet::new(),
        }
    }

    /// The jobs of all pages that are left.
    pub(crate) async fn all(mut self) -> CaseResult<Vec<Job>> {
        let mut jobs = Vec::new();
        while let Some(page) = self.next().await? {
            jobs.extend(page);
        }
        Ok(jobs)
    }

    /// The next page. Fails when a job comes a second time, or a page before the last is not full.
    pub(crate) async fn next(&mut self) -> CaseResult<Option<Vec<Job>>> {
        let Some(page) = self.next.take() else {
            return Ok(None);
        };
        // A store that never waits would else keep the tasks beside the walk from running.
        tokio::task::yield_now().await;
        let list = self.store.list_jobs(self.filter, &page).await?;
        for job in &list {
            if !self.seen.insert(job.id) {
                let promise = format!("job {} once in a walk", job.id);
                return Err(Failure::new(promise, "twice"));
            }
        }
        if list.token.is_some() && list.len() < page.size as usize {
            let got = format!("one after {} jobs of {}", list.len(), page.size);
            return Err(Failure::new("no token after a page that is not full", got));
        }
        self.next = list.token.map(|token| page.with_token(Some(token)));
        Ok(Some(list.items))
    }
}

#[track_caller]
fn new(creation: Creation) -> CaseResult<Job> {
    match creation {
        Creation::Created(job) => Ok(job),
        Creation::Existing(job) => Err(Failure::new("a new job", format!("existing {}", job.id))),
    }
}

/// A claim of one job of any name by `ada`.
pub(crate) fn worker() -> ClaimRequest {
    ClaimRequest::new("ada", LEASE)
}

/// A start under a lease.
pub(crate) fn start(owner: &str) -> Action {
    let owner = owner.to_owned();
    Action::Start {
        lease: Some(Lease {
            owner,
            duration: LEASE,
        }),
    }
}

/// A finish with this result.
pub(crate) fn finish(result: &str) -> Action {
    let result = Some(result.to_owned());
    Action::Finish { result }
}

/// A failure with this error.
pub(crate) fn fail(error: &str) -> Action {
    let error = error.to_owned();
    Action::Fail { error }
}
