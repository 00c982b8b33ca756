//! The trait that every backend implements.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::{
    Creation, DeleteRequest, Job, JobFilter, JobId, Lease, NewJob, PageRequest, PagedList, Result,
    StatusCounts, Timestamp, Update,
};

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

/// A place that knows every job. What a backend must write; callers find the verbs of one job in
/// [`JobStoreExt`](crate::JobStoreExt).
///
/// # Promises of every method
///
/// * **Atomic.** What a method does to one job happens at once or not at all. A refused operation
///   leaves the job byte for byte as it was.
/// * **Checked first.** Input is checked by the functions of [`validate`](crate::validate) and the
///   `validate`, `compile` and `start` methods of the requests, before anything is read or
///   written: what they refuse is [`Error::InvalidArgument`](crate::Error::InvalidArgument) on
///   every backend.
/// * **Acknowledged.** What a returned call means after a crash is stated by each backend.
/// * **Read your writes.** What a call did is seen by every call that begins after it returned.
///
/// # Errors
///
/// Every method may return [`Error::Unavailable`](crate::Error::Unavailable),
/// [`Error::Incompatible`](crate::Error::Incompatible) or
/// [`Error::Backend`](crate::Error::Backend) for what the engine does. Methods name the others.
/// After an error with an unknown outcome, the same call with the same ids or claims is safe.
///
/// # Cancel safety
///
/// If a future is dropped, its operation has happened wholly or not at all, and the store stays
/// usable.
#[async_trait]
pub trait JobStore: fmt::Debug + Send + Sync {
    /// The store's own time, by which it decides what is due and which leases are over.
    fn now(&self) -> Timestamp;

    /// Creates all of these jobs or none, and gives one verdict for each, in order.
    ///
    /// A job whose unique key is held by an unfinished job, in the store or earlier in the batch,
    /// comes back as [`Creation::Existing`] with that job. The key is looked at before the id, so
    /// that repeating a create after a lost reply is safe. Of any number of concurrent creators of
    /// one key, exactly one creates.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`](crate::Error::AlreadyExists) when an id exists, in the store or
    /// earlier in the batch; nothing is written.
    async fn create_jobs(&self, jobs: Vec<NewJob>) -> Result<Vec<Creation>>;

    /// The jobs with these ids, in the order given, `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Unreadable`](crate::Error::Unreadable) when one of the rows is no job.
    async fn get_jobs(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>>;

    /// One page of the jobs that meet the filter, by creation time and id.
    ///
    /// A walk from page to page returns every job that exists and matches throughout exactly once,
    /// and no job twice, whatever happens meanwhile. A page is shorter than asked for only at the
    /// end. No token means the end was reached; a full last page may lead to one empty page.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidPageToken`](crate::Error::InvalidPageToken) as [`PageRequest::start`] says.
    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<PagedList<Job>>;

    /// How many jobs that meet the filter are in each status; agrees with a full walk.
    async fn count_jobs(&self, filter: &JobFilter) -> Result<StatusCounts>;

    /// Starts up to `limit` pending jobs that are due, under a lease, and returns them.
    ///
    /// They come in the order of [`Job::claim_order`]; a caller who is alone gets the exact first.
    /// Among concurrent callers every job goes to exactly one. What becomes of each job is
    /// [`claimed`](crate::claimed).
    async fn claim_jobs(&self, request: &ClaimRequest) -> Result<Vec<Job>>;

    /// Applies each update as [`Update::apply`] says, with one verdict for each, in order.
    ///
    /// One refusal does not touch the others. Several updates of one job act as if run one after
    /// another. Each verdict is the job as it is afterwards, or
    /// [`Error::NotFound`](crate::Error::NotFound) or an error of [`Update::apply`].
    async fn update_jobs(&self, updates: Vec<Update>) -> Result<Vec<Result<Job>>>;

    /// Deletes finalized jobs and returns their ids. Others and unknown ids are passed over.
    async fn delete_jobs(&self, request: &DeleteRequest) -> Result<Vec<JobId>>;
}
