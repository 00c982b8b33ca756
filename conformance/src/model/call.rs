//! Calls that write: made to a store, carried out on the model, compared.

use jobstore_core::{
    ClaimRequest, Creation, DeleteRequest, Error, Job, JobId, JobStore, NewJob, Result, Timestamp,
    Update,
};

use super::jobs::Jobs;
use crate::failure::{CaseResult, Failure, check_eq, same, same_all};

/// A call that writes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Call {
    Create(Vec<NewJob>),
    Claim(ClaimRequest),
    Update(Vec<Update>),
    Delete(DeleteRequest),
}

/// What a store said to a call.
#[derive(Debug)]
pub(super) enum Reply {
    Created(Result<Vec<Creation>>),
    Claimed(Vec<Job>),
    Updated(Vec<Result<Job>>),
    Deleted(Vec<JobId>),
}

impl Call {
    /// As it must be when its reply may be lost: then the model has to know by itself what it does.
    pub(super) fn foreseeable(self) -> Self {
        match self {
            Self::Create(jobs) => {
                let jobs = jobs.into_iter().map(|job| NewJob {
                    id: job.id.or_else(|| Some(JobId::generate())),
                    ..job
                });
                Self::Create(jobs.collect())
            }
            // Of jobs of one age a limit takes any.
            Self::Delete(DeleteRequest::Before {
                cutoff,
                job_names,
                statuses,
                limit: _,
            }) => Self::Delete(DeleteRequest::Before {
                cutoff,
                job_names,
                statuses,
                limit: 1_000,
            }),
            other => other,
        }
    }

    /// Makes the call.
    ///
    /// # Errors
    ///
    /// What refuses the whole call, but for [`Error::AlreadyExists`], which is a reply.
    pub(super) async fn make(&self, store: &dyn JobStore) -> Result<Reply> {
        match self {
            Self::Create(jobs) => match store.create_jobs(jobs.clone()).await {
                Err(error @ Error::AlreadyExists { .. }) => Ok(Reply::Created(Err(error))),
                reply => reply.map(|creations| Reply::Created(Ok(creations))),
            },
            Self::Claim(request) => store.claim_jobs(request).await.map(Reply::Claimed),
            Self::Update(updates) => {
                let reply = store.update_jobs(updates.clone()).await;
                reply.map(Reply::Updated)
            }
            Self::Delete(request) => store.delete_jobs(request).await.map(Reply::Deleted),
        }
    }

    /// Does to the model what a call does whose reply nobody saw.
    pub(super) fn carry_out(&self, jobs: &mut Jobs, now: Timestamp) {
        match self {
            // Refused or not, there is nobody to be told.
            Self::Create(new) => drop(jobs.create(new.clone(), now, Vec::new())),
            Self::Claim(request) => drop(jobs.claim(request, now)),
            Self::Update(updates) => {
                for update in updates {
                    drop(jobs.update(update, now));
                }
            }
            Self::Delete(request) => jobs.delete_all(request),
        }
    }

    /// Does to the model what the call did, and fails unless the store said what the model says.
    pub(super) fn compare(&self, reply: &Reply, jobs: &mut Jobs, now: Timestamp) -> CaseResult {
        match (self, reply) {
            (Self::Create(new), Reply::Created(got)) => {
                // The ids that the store gave the jobs are its own choice.
                let creations = got.iter().flatten();
                let made = creations.map(|creation| creation.job().id).collect();
                same_creations(got, jobs.create(new.clone(), now, made))
            }
            (Self::Claim(request), Reply::Claimed(got)) => same_all(got, &jobs.claim(request, now)),
            (Self::Update(updates), Reply::Updated(got)) => {
                check_eq!(got.len(), updates.len(), "verdicts");
                for (index, (update, got)) in updates.iter().zip(got).enumerate() {
                    let compared = same_verdict(got, jobs.update(update, now));
                    compared.map_err(|failure| failure.when(format!("item {index}")))?;
                }
                Ok(())
            }
            (Self::Delete(request), Reply::Deleted(got)) => jobs.delete(request, got),
            (call, reply) => Err(Failure::new(format!("{call:?}"), format!("{reply:?}"))),
        }
    }
}

fn same_creations(got: &Result<Vec<Creation>>, expected: Result<Vec<Creation>>) -> CaseResult {
    match (got, expected) {
        (Ok(got), Ok(expected)) => {
            let new = |creations: &[Creation]| -> Vec<bool> {
                creations.iter().map(Creation::is_new).collect()
            };
            check_eq!(new(got), new(&expected), "which jobs are new");
            same_all(
                got.iter().map(Creation::job),
                expected.iter().map(Creation::job),
            )
        }
        (Err(got), Err(expected)) => same_error(got, &expected),
        (Ok(_), Err(expected)) => Err(Failure::new(format!("{expected:?}"), "success")),
        (Err(got), Ok(_)) => Err(Failure::new("success", format!("{got:?}"))),
    }
}

fn same_verdict(got: &Result<Job>, expected: Result<Job>) -> CaseResult {
    match (got, expected) {
        (Ok(got), Ok(expected)) => same(got, &expected),
        (Err(got), Err(expected)) => same_error(got, &expected),
        (Ok(got), Err(expected)) => Err(Failure::new(format!("{expected:?}"), format!("{got:?}"))),
        (Err(got), Ok(expected)) => Err(Failure::new(format!("{expected:?}"), format!("{got:?}"))),
    }
}

/// Errors that the contract words are the same when their variants and members are.
fn same_error(got: &Error, expected: &Error) -> CaseResult {
    check_eq!(format!("{got:?}"), format!("{expected:?}"), "the error");
    Ok(())
}
