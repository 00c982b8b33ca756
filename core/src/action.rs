//! What may become of a job: the transition rules, in one pure function.
//!
//! Backends never decide by themselves what an update does. They read the job, call
//! [`Update::apply`] and write what comes back, in one atomic step.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::{Claim, Error, Job, JobId, JobStatus, Result, RetryPolicy, Timestamp};

/// The most bytes of error text that are kept; the rest is cut at a character.
pub const MAX_ERROR_BYTES: usize = 64 * 1024;

/// Which job an update is for, and by what right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// An operator's override: only the status is checked.
    Id(JobId),
    /// A worker: the job must still be running under this claim.
    Claim(Claim),
}

impl Target {
    /// The job.
    pub fn id(&self) -> JobId {
        match self {
            Self::Id(id) => *id,
            Self::Claim(claim) => claim.id,
        }
    }
}

impl From<JobId> for Target {
    fn from(id: JobId) -> Self {
        Self::Id(id)
    }
}

impl From<Claim> for Target {
    fn from(claim: Claim) -> Self {
        Self::Claim(claim)
    }
}

/// Who runs a job, and for how long that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The worker: 1 to 255 characters.
    pub owner: String,
    /// How long, from now; more than zero.
    pub duration: Duration,
}

/// What to do to a job. `Debug` shows neither results nor errors.
#[derive(Clone, PartialEq)]
pub enum Action {
    /// Pending to running, with a lease if one is given; the fence goes up by one.
    Start {
        /// The lease, or none for a run that is never recovered.
        lease: Option<Lease>,
    },
    /// Makes the lease of a running job end this long from now.
    Renew {
        /// How long; more than zero.
        lease: Duration,
    },
    /// Pending or running to succeeded.
    Finish {
        /// The payload.
        result: Option<String>,
    },
    /// Pending or running to failed.
    Fail {
        /// What went wrong. Any text is taken: NUL becomes U+FFFD, and what is past
        /// [`MAX_ERROR_BYTES`] is cut.
        error: String,
    },
    /// Pending or running to timeout; the result is cleared.
    TimeOut,
    /// Running to pending, to run again after a backoff; to failed once the retries are spent.
    RetryOrFail {
        /// What went wrong, as in [`Action::Fail`].
        error: String,
        /// How often and how soon, unless the job says how often itself.
        policy: RetryPolicy,
    },
    /// As [`Action::RetryOrFail`], for a running job whose lease is over.
    Recover {
        /// How often and how soon.
        policy: RetryPolicy,
    },
    /// Pending or running to canceled.
    Cancel,
    /// Any status to pending and due now; retries spent stay spent. With a claim, the worker hands
    /// the job back.
    Reset,
}

/// The name of an action, as it stands in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the action of that name")]
pub enum ActionKind {
    Start,
    Renew,
    Finish,
    Fail,
    TimeOut,
    RetryOrFail,
    Recover,
    Cancel,
    Reset,
}

impl ActionKind {
    /// Whether a job in this status may be acted upon.
    pub const fn starts_from(self, status: JobStatus) -> bool {
        use JobStatus::{Pending, Running};
        match self {
            Self::Start => matches!(status, Pending),
            Self::Renew | Self::RetryOrFail | Self::Recover => matches!(status, Running),
            Self::Finish | Self::Fail | Self::TimeOut | Self::Cancel => {
                matches!(status, Pending | Running)
            }
            Self::Reset => true,
        }
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Renew => "renew",
            Self::Finish => "finish",
            Self::Fail => "fail",
            Self::TimeOut => "time out",
            Self::RetryOrFail => "retry",
            Self::Recover => "recover",
            Self::Cancel => "cancel",
            Self::Reset => "reset",
        })
    }
}

impl Action {
    /// The action's name.
    pub const fn kind(&self) -> ActionKind {
        match self {
            Self::Start { .. } => ActionKind::Start,
            Self::Renew { .. } => ActionKind::Renew,
            Self::Finish { .. } => ActionKind::Finish,
            Self::Fail { .. } => ActionKind::Fail,
            Self::TimeOut => ActionKind::TimeOut,
            Self::RetryOrFail { .. } => ActionKind::RetryOrFail,
            Self::Recover { .. } => ActionKind::Recover,
            Self::Cancel => ActionKind::Cancel,
            Self::Reset => ActionKind::Reset,
        }
    }

    /// Whether `job`, no longer running, is just what this action made of it when it was.
    ///
    /// A worker that lost the reply asks again; it must hear yes, and change nothing.
    fn was_recorded_in(&self, job: &Job) -> bool {
        let requeued = job.status == JobStatus::Pending;
        match self {
            Self::Finish { result } => job.status == JobStatus::Succeeded && job.result == *result,
            Self::Fail { error } => failed_with(job, error),
            Self::TimeOut => job.status == JobStatus::Timeout,
            Self::Cancel => job.status == JobStatus::Canceled,
            Self::RetryOrFail { error, policy } => {
                let backoff = policy.backoff(job.retry_count);
                let same_error = job.last_error.as_deref() == Some(&*storable_error(error));
                let same_time = job.next_attempt_at == job.last_update_time.saturating_add(backoff);
                failed_with(job, error)
                    || (requeued && job.retry_count > 0 && same_error && same_time)
            }
            Self::Reset => requeued && job.next_attempt_at == job.last_update_time,
            Self::Start { .. } | Self::Renew { .. } | Self::Recover { .. } => false,
        }
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.kind(), f)
    }
}

/// One action on one job.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The job, and by what right.
    pub target: Target,
    /// What to do.
    pub action: Action,
}

/// What [`Update::apply`] made of a job.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "lives for one match; a box would cost an allocation"
)]
pub enum Applied {
    /// The job as it must be written.
    Changed(Job),
    /// This claim recorded this very outcome before: there is nothing to write.
    Repeated,
}

impl Update {
    /// An update of one job.
    pub fn new(target: impl Into<Target>, action: Action) -> Self {
        Self {
            target: target.into(),
            action,
        }
    }

    /// Decides what becomes of `job` at `now`.
    ///
    /// One rule it leaves to the backend, which alone sees the other jobs: when the changed job
    /// holds a unique key that it did not hold before ([`Job::held_unique_key`]) and another job
    /// holds it, the update is refused with [`Error::AlreadyExists`] naming that job.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseLost`] when the target is a claim and the job is not running under it;
    /// [`Error::InvalidTransition`] when the status, or a lease that is not over, forbids it.
    pub fn apply(&self, job: &Job, now: Timestamp) -> Result<Applied> {
        let kind = self.action.kind();
        if let Target::Claim(claim) = &self.target {
            // No run has fence 0: who shows it never held the job, and so recorded nothing.
            if claim.fence != job.fence || claim.fence == 0 {
                return Err(Error::LeaseLost { id: job.id });
            }
            if job.status != JobStatus::Running {
                return match self.action.was_recorded_in(job) {
                    true => Ok(Applied::Repeated),
                    false => Err(Error::LeaseLost { id: job.id }),
                };
            }
        }
        let refused = Error::InvalidTransition {
            id: job.id,
            status: job.status,
            action: kind,
        };
        if !kind.starts_from(job.status)
            || (kind == ActionKind::Recover && !job.is_lease_expired(now))
        {
            return Err(refused);
        }
        let mut next = Job {
            last_update_time: now,
            ..job.clone()
        };
        match &self.action {
            Action::Start { lease } => run(&mut next, lease.as_ref(), now),
            Action::Renew { lease } => next.lease_expires_at = Some(now.saturating_add(*lease)),
            Action::Finish { result } => {
                end(&mut next, JobStatus::Succeeded);
                next.result.clone_from(result);
            }
            Action::Fail { error } => fail(&mut next, error),
            Action::TimeOut => {
                end(&mut next, JobStatus::Timeout);
                next.result = None;
            }
            Action::RetryOrFail { error, policy } => retry_or_fail(&mut next, error, policy, now),
            Action::Recover { policy } => {
                let error = expiry_error(job);
                retry_or_fail(&mut next, &error, policy, now);
            }
            Action::Cancel => end(&mut next, JobStatus::Canceled),
            Action::Reset => {
                end(&mut next, JobStatus::Pending);
                next.result = None;
                next.next_attempt_at = now;
            }
        }
        Ok(Applied::Changed(next))
    }
}

/// The running job that claiming `job` makes of it.
pub fn claimed(job: &Job, lease: &Lease, now: Timestamp) -> Job {
    let mut next = Job {
        last_update_time: now,
        ..job.clone()
    };
    run(&mut next, Some(lease), now);
    next
}

fn run(job: &mut Job, lease: Option<&Lease>, now: Timestamp) {
    job.status = JobStatus::Running;
    job.fence += 1;
    job.lease_owner = lease.map(|lease| lease.owner.clone());
    job.lease_expires_at = lease.map(|lease| now.saturating_add(lease.duration));
}

/// Leaves `Running`: nobody holds the job any more.
fn end(job: &mut Job, status: JobStatus) {
    job.status = status;
    job.lease_owner = None;
    job.lease_expires_at = None;
}

fn fail(job: &mut Job, error: &str) {
    end(job, JobStatus::Failed);
    let error = storable_error(error).into_owned();
    job.result = Some(error.clone());
    job.last_error = Some(error);
}

fn retry_or_fail(job: &mut Job, error: &str, policy: &RetryPolicy, now: Timestamp) {
    if job.retry_count >= job.max_retries.unwrap_or(policy.max_retries) {
        return fail(job, error);
    }
    end(job, JobStatus::Pending);
    job.retry_count += 1;
    job.next_attempt_at = now.saturating_add(policy.backoff(job.retry_count));
    job.last_error = Some(storable_error(error).into_owned());
}

fn failed_with(job: &Job, error: &str) -> bool {
    job.status == JobStatus::Failed && job.result.as_deref() == Some(&*storable_error(error))
}

fn expiry_error(job: &Job) -> String {
    let owner = job.lease_owner.as_deref().unwrap_or("an unnamed owner");
    let at = job.lease_expires_at.unwrap_or(Timestamp::MIN);
    format!("lease of {owner} expired at {at}")
}

/// The error text as it can be stored on every engine. It is never refused, because a worker must
/// always be able to record a failure.
fn storable_error(error: &str) -> Cow<'_, str> {
    // Cut first, so that a text of megabytes is not copied: replacing only makes it longer.
    let text = &error[..error.floor_char_boundary(MAX_ERROR_BYTES)];
    if !text.contains('\0') {
        return Cow::Borrowed(text);
    }
    let mut text = text.replace('\0', "\u{FFFD}");
    text.truncate(text.floor_char_boundary(MAX_ERROR_BYTES));
    Cow::Owned(text)
}

#[cfg(test)]
mod tests;
