//! The trait that every backend implements.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::{
    Arrivals, Creation, DeleteRequest, Job, JobFilter, JobId, Lease, NewJob, PageRequest,
    PagedList, Result, StatusCounts, Timestamp, Update,
};
#[expect(unused_imports, reason = "named by the documentation")]
use crate::{Error, claimed};

/// Which jobs to claim, for whom and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Of these names; empty means any.
    pub job_names: Vec<String>,
    /// At most this many: 1 to 1,000.
    pub limit: u32,
    /// Who runs them, and for how long that holds.
    pub lease: Lease,
}

impl ClaimRequest {
    /// A claim of one job of any name.
    pub fn new(owner: impl Into<String>, lease: Duration) -> Self {
        let lease = Lease {
            owner: owner.into(),
            duration: lease,
        };
        Self {
            job_names: Vec::new(),
            limit: 1,
            lease,
        }
    }

    /// Restricts to jobs of this name, beside those named already.
    #[must_use]
    pub fn with_job_name(mut self, job_name: impl Into<String>) -> Self {
        self.job_names.push(job_name.into());
        self
    }

    /// Sets how many jobs to claim at most.
    #[must_use]
    pub fn with_limit(self, limit: u32) -> Self {
        Self { limit, ..self }
    }
}

/// A place that knows every job: what a backend must write.
///
/// Callers who deal with one job at a time find the verbs for that in
/// [`JobStoreExt`](crate::JobStoreExt), which every store has. The trait is small, takes batches
/// and can be used as `dyn JobStore`.
///
/// # What every method promises
///
/// * **Atomic.** What a method does to one job happens at once or not at all. A refused operation
///   leaves the job byte for byte as it was, `last_update_time` included; an accepted one sets
///   `last_update_time` to now.
/// * **Checked first.** Input is checked before anything is read or written, by the functions of
///   [`validate`](crate::validate) and by `validate`, `compile` and `start` of the requests. What
///   they refuse is [`Error::InvalidArgument`], the same on every backend.
/// * **Acknowledged.** What a returned call means after a crash is stated by each backend.
/// * **Read your writes.** What a call did is seen by every call that begins after it returned.
/// * **One clock.** Every time that is stored or compared comes from [`now`](Self::now).
///
/// # Errors
///
/// Every method may return what the engine brings about: [`Error::Unavailable`] when it cannot be
/// reached or is too busy, so that trying again may work, [`Error::Incompatible`] when what is
/// stored is not ours or newer, and [`Error::Backend`] for the rest. Methods name the others.
///
/// After an error, and after a reply that never came, it may be unknown whether the call happened.
/// The same call with the same ids or claims is safe then: creating is recognised by the id
/// ([`Error::AlreadyExists`]) or the unique key ([`Creation::Existing`]), an outcome by the claim
/// that recorded it.
///
/// # Cancel safety
///
/// If a future is dropped, its operation happens wholly or not at all, and the store and its
/// connections stay usable. What had reached the engine may still be carried out after the drop,
/// as a rule within milliseconds; no moment is promised by which it has been, so what a read shows
/// right after proves nothing. The same call again is safe, as after an error.
///
/// # Writing a backend
///
/// What becomes of a job is never decided here: call [`Update::apply`] and [`claimed`] inside the
/// transaction, and write what they return. Read `MemoryJobStore` in `jobstore-memory` first, and
/// run `jobstore-conformance` on yours.
#[async_trait]
pub trait JobStore: fmt::Debug + Send + Sync {
    /// The store's own time, by which it decides what is due and which leases are over.
    ///
    /// Never goes back on one handle.
    fn now(&self) -> Timestamp;

    /// Creates all of these jobs or none, and gives one verdict for each, in order.
    ///
    /// New jobs are pending, with fence 0 and no retries spent. A job whose unique key is held by
    /// an unfinished job, in the store or earlier in the batch, comes back as
    /// [`Creation::Existing`] with that job, and is not written. The key is looked at before the
    /// id, so that repeating a create after a lost reply is safe. Of any number of concurrent
    /// creators of one key exactly one creates, and all get the same job. An empty batch succeeds.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] when an id exists, in the store or earlier in the batch; nothing is
    /// written, and the job that has the id is untouched. [`Error::InvalidArgument`] for what
    /// [`validate::new_jobs`](crate::validate::new_jobs) refuses.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, all of the jobs exist or none does.
    ///
    /// # Examples
    ///
    /// ```
    /// # use jobstore_core::{JobStore, NewJob, Result};
    /// # async fn example(store: &dyn JobStore) -> Result<()> {
    /// let once_a_day = NewJob::new("report", r#"{"day": "2026-11-23"}"#).with_unique_key("2026-11-23");
    /// let verdicts = store.create_jobs(vec![once_a_day.clone(), once_a_day]).await?;
    /// assert!(!verdicts[1].is_new());
    /// assert_eq!(verdicts[0].job().id, verdicts[1].job().id);
    /// # Ok(())
    /// # }
    /// ```
    async fn create_jobs(&self, jobs: Vec<NewJob>) -> Result<Vec<Creation>>;

    /// The jobs with these ids, in the order given, `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Unreadable`] when one of the rows was written by another program or a newer version
    /// and is no job; [`Error::InvalidArgument`] for more than 1,000 ids.
    ///
    /// # Cancel safety
    ///
    /// Nothing is written.
    async fn get_jobs(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>>;

    /// One page of the jobs that meet the filter, in the order of [`Job::list_order`].
    ///
    /// A walk from page to page returns every job that exists and meets the filter throughout
    /// exactly once, and no job twice, whatever is created, changed or deleted meanwhile, also by
    /// the walker. A page costs the same however deep it lies. It is shorter than asked for only at
    /// the end. No token means that the end was reached; the token of a full last page may lead to
    /// one empty page. Rows that cannot be read stand in [`PagedList::unreadable`] and hide none of
    /// the others.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidPageToken`] for a token that is damaged, foreign, of another filter or order,
    /// or of an unknown version; [`Error::InvalidArgument`] for a filter or a size out of range.
    ///
    /// # Cancel safety
    ///
    /// Nothing is written; the same request gives the page again.
    ///
    /// # Examples
    ///
    /// ```
    /// # use jobstore_core::{JobFilter, JobStatus, JobStore, PageRequest, Result};
    /// # async fn example(store: &dyn JobStore) -> Result<()> {
    /// let failed = JobFilter::default().with_statuses([JobStatus::Failed]);
    /// let mut page = PageRequest::default().with_size(50);
    /// loop {
    ///     let jobs = store.list_jobs(&failed, &page).await?;
    ///     for job in &jobs {
    ///         println!("{}", job.id);
    ///     }
    ///     let Some(token) = jobs.token else { break };
    ///     page = page.with_token(Some(token));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<PagedList<Job>>;

    /// How many jobs that meet the filter are in each status, zeros included.
    ///
    /// Agrees with a full walk; rows that cannot be read may be counted or not.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a filter out of range.
    ///
    /// # Cancel safety
    ///
    /// Nothing is written.
    async fn count_jobs(&self, filter: &JobFilter) -> Result<StatusCounts>;

    /// Starts up to `limit` pending jobs that are due, under a lease, and returns them running.
    ///
    /// They come in the order of [`Job::claim_order`]: priority descending, due time, id. A caller
    /// who is alone gets the exact first. Among concurrent callers every job goes to exactly one,
    /// and none waits for another's jobs. What becomes of each job is [`claimed`]. The cost
    /// does not depend on how many jobs are finished, not yet due, or of other names.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for names, a limit, an owner or a lease out of range.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the jobs may have been claimed all the same: then they run until
    /// their lease is over and somebody recovers them.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use jobstore_core::{ClaimRequest, JobStore, JobStoreExt, Result};
    /// # async fn example(store: &dyn JobStore) -> Result<()> {
    /// let request = ClaimRequest::new("worker-1", Duration::from_secs(60)).with_limit(10);
    /// for job in store.claim_jobs(&request).await? {
    ///     store.finish_job(job.claim(), "done").await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    async fn claim_jobs(&self, request: &ClaimRequest) -> Result<Vec<Job>>;

    /// Applies each update as [`Update::apply`] says, with one verdict for each, in order.
    ///
    /// One refusal does not touch the others. Several updates of one job act as if run one after
    /// another. A verdict is the job as it is after its update.
    ///
    /// # Errors
    ///
    /// The call fails with [`Error::InvalidArgument`] for what
    /// [`validate::updates`](crate::validate::updates) refuses, and nothing is written. Each verdict
    /// may be
    /// * [`Error::NotFound`]: no job has the id;
    /// * [`Error::InvalidTransition`]: the job's status does not allow the action;
    /// * [`Error::LeaseLost`]: the target is a claim, and the job is not running under it;
    /// * [`Error::AlreadyExists`]: a reset job's unique key is held by another unfinished job, the
    ///   one named.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, each update has happened or not. Repeating one with the same claim
    /// is no error if it had recorded its outcome.
    async fn update_jobs(&self, updates: Vec<Update>) -> Result<Vec<Result<Job>>>;

    /// Deletes finalized jobs and returns their ids.
    ///
    /// By id: jobs that are not finalized and unknown ids are passed over, an empty list deletes
    /// nothing. By age: the oldest first, up to the limit; call again until fewer come back. An id
    /// once used never comes back by itself.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for what [`DeleteRequest::validate`] refuses.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, all of the jobs are gone or none is.
    async fn delete_jobs(&self, request: &DeleteRequest) -> Result<Vec<JobId>>;

    /// Hints of jobs that can be claimed, from this call on.
    ///
    /// Each backend says whom it hears. Those that tell at all tell of every job that a call on this
    /// handle leaves pending and due, before that call returns: created, reset, or to be run again
    /// at once. A store that is not written to tell anything, as here, leaves its callers to ask.
    fn arrivals(&self) -> Arrivals {
        Arrivals::never()
    }
}
