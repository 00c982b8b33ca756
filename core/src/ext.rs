//! The verbs of one job, written once over [`JobStore`].

use futures_core::Stream;
use futures_util::stream::{self, StreamExt as _};
use std::time::Duration;

use crate::validate::MAX_ITEMS;
use crate::{
    Action, Claim, ClaimRequest, Creation, Error, Job, JobFilter, JobId, JobStatus, JobStore,
    Lease, NewJob, PageRequest, Result, RetryPolicy, Target, Update,
};

/// What callers find handy: every [`JobStore`] has it.
///
/// Each verb is one call of the trait, so the promises, errors and cancel safety stated there
/// hold. A verb that changes a job returns it as it is afterwards, and takes either an id (an
/// operator's override) or a [`Claim`] (a worker) where it takes `impl Into<Target>`.
pub trait JobStoreExt: JobStore {
    /// Creates one job, or finds the unfinished one that holds its unique key.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] when the id exists.
    fn create_job(&self, job: NewJob) -> impl Future<Output = Result<Creation>> + Send {
        async move { one(self.create_jobs(vec![job]).await?) }
    }

    /// The job with this id.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is none.
    fn get_job(&self, id: JobId) -> impl Future<Output = Result<Job>> + Send {
        async move { one(self.get_jobs(&[id]).await?)?.ok_or(Error::NotFound { id }) }
    }

    /// Claims the first job that is due, if there is one; the request's limit is ignored.
    fn claim_job(
        &self,
        request: &ClaimRequest,
    ) -> impl Future<Output = Result<Option<Job>>> + Send {
        let request = request.clone().with_limit(1);
        async move { Ok(self.claim_jobs(&request).await?.pop()) }
    }

    /// Applies one update.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and those of [`Update::apply`].
    fn update_job(&self, update: Update) -> impl Future<Output = Result<Job>> + Send {
        async move { one(self.update_jobs(vec![update]).await?)? }
    }

    /// Starts a pending job without a lease: it is never recovered.
    fn start_job(&self, id: JobId) -> impl Future<Output = Result<Job>> + Send {
        self.update_job(Update::new(id, Action::Start { lease: None }))
    }

    /// Starts a pending job under a lease.
    fn start_job_with_lease(
        &self,
        id: JobId,
        lease: Lease,
    ) -> impl Future<Output = Result<Job>> + Send {
        self.update_job(Update::new(id, Action::Start { lease: Some(lease) }))
    }

    /// Makes the lease of a running job end this long from now.
    fn renew_lease(
        &self,
        claim: Claim,
        lease: Duration,
    ) -> impl Future<Output = Result<Job>> + Send {
        self.update_job(Update::new(claim, Action::Renew { lease }))
    }

    /// Records that a job succeeded, with its payload.
    fn finish_job(
        &self,
        target: impl Into<Target>,
        result: impl Into<String>,
    ) -> impl Future<Output = Result<Job>> + Send {
        self.update_job(Update::new(
            target,
            Action::Finish {
                result: Some(result.into()),
            },
        ))
    }

    /// Records that a job failed for good.
    fn fail_job(
        &self,
        target: impl Into<Target>,
        error: impl Into<String>,
    ) -> impl Future<Output = Result<Job>> + Send {
        self.update_job(Update::new(
            target,
            Action::Fail {
                error: error.into(),
            },
        ))
    }

    /// Records that a job ran longer than it may.
    fn mark_job_timed_out(
        &self,
        target: impl Into<Target>,
    ) -> impl Future<Output = Result<Job>> + Send {
        self.update_job(Update::new(target, Action::TimeOut))
    }

    /// Records that a run failed: the job is pending again on return, or failed when its retries
    /// are spent.
    fn retry_or_fail_job(
        &self,
        target: impl Into<Target>,
        error: impl Into<String>,
        policy: RetryPolicy,
    ) -> impl Future<Output = Result<Job>> + Send {
        let action = Action::RetryOrFail {
            error: error.into(),
            policy,
        };
        self.update_job(Update::new(target, action))
    }

    /// Calls a job off.
    fn cancel_job(&self, target: impl Into<Target>) -> impl Future<Output = Result<Job>> + Send {
        self.update_job(Update::new(target, Action::Cancel))
    }

    /// Makes a job pending and due; with a claim, a worker hands its job back.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] when another unfinished job holds its unique key.
    fn reset_job(&self, target: impl Into<Target>) -> impl Future<Output = Result<Job>> + Send {
        self.update_job(Update::new(target, Action::Reset))
    }

    /// Recovers jobs of these names (none means any) whose lease is over, and returns them as they
    /// are afterwards: pending again, or failed when their retries are spent.
    ///
    /// Jobs that somebody finished, renewed or recovered since they were listed are left alone. At
    /// most 1,000 jobs come back; an empty list means that there is nothing left to recover.
    fn recover_expired(
        &self,
        job_names: &[String],
        policy: RetryPolicy,
    ) -> impl Future<Output = Result<Vec<Job>>> + Send {
        let filter = JobFilter {
            job_names: job_names.to_vec(),
            statuses: vec![JobStatus::Running],
            lease_expired_by: Some(self.now()),
            ..JobFilter::default()
        };
        async move {
            let mut page = PageRequest::default().with_size(MAX_ITEMS as u32);
            loop {
                let expired = self.list_jobs(&filter, &page).await?;
                let recover = |job: &Job| Update::new(job.claim(), Action::Recover { policy });
                let verdicts = self
                    .update_jobs(expired.iter().map(recover).collect())
                    .await?;
                // A refusal means that the job moved on since it was listed, which is as good.
                let recovered: Vec<Job> = verdicts.into_iter().filter_map(Result::ok).collect();
                match expired.token {
                    // Others may have been faster on all of this page, so there is more to see.
                    Some(token) if recovered.is_empty() => page = page.with_token(Some(token)),
                    _ => return Ok(recovered),
                }
            }
        }
    }

    /// Every job that meets the filter, page by page as the stream is read.
    ///
    /// A row that cannot be read is an [`Error::Unreadable`] among the others; any other error ends
    /// the stream.
    fn stream_jobs(
        &self,
        filter: JobFilter,
        page: PageRequest,
    ) -> impl Stream<Item = Result<Job>> + Send {
        let pages = stream::unfold(Some((filter, page)), move |state| async move {
            let (filter, page) = state?;
            match self.list_jobs(&filter, &page).await {
                Ok(list) => {
                    let next = list
                        .token
                        .clone()
                        .map(|token| (filter, page.with_token(Some(token))));
                    let unreadable = list.unreadable.into_iter().map(Err);
                    let jobs = list.items.into_iter().map(Ok);
                    Some((jobs.chain(unreadable).collect::<Vec<_>>(), next))
                }
                Err(error) => Some((vec![Err(error)], None)),
            }
        });
        pages.flat_map(stream::iter)
    }
}

impl<S: JobStore + ?Sized> JobStoreExt for S {}

/// The one verdict on a batch of one.
fn one<T>(verdicts: Vec<T>) -> Result<T> {
    verdicts
        .into_iter()
        .next()
        .ok_or_else(|| Error::Unavailable {
            reason: "the backend gave no verdict on a batch of one".to_owned(),
        })
}
