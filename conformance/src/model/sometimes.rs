//! What a run must have seen to prove anything.

use std::collections::BTreeMap;
use std::fmt;

use jobstore_core::{Action, Error, Job, JobStatus, Update};

use super::call::{Call, Reply};

/// Something that programs must meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sight {
    StaleClaim,
    Repetition,
    Refusal,
    SpentRetry,
    ExpiredLease,
    HeldKey,
    RefusedBatch,
    LimitedClaim,
    FullPage,
    AmbiguousOutcome,
}

impl Sight {
    const ALL: [Self; 10] = [
        Self::StaleClaim,
        Self::Repetition,
        Self::Refusal,
        Self::SpentRetry,
        Self::ExpiredLease,
        Self::HeldKey,
        Self::RefusedBatch,
        Self::LimitedClaim,
        Self::FullPage,
        Self::AmbiguousOutcome,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::StaleClaim => "stale claims",
            Self::Repetition => "repeated outcomes",
            Self::Refusal => "refused transitions",
            Self::SpentRetry => "spent retries",
            Self::ExpiredLease => "recovered leases",
            Self::HeldKey => "held unique keys",
            Self::RefusedBatch => "refused batches",
            Self::LimitedClaim => "claims that a limit cut",
            Self::FullPage => "full last pages",
            Self::AmbiguousOutcome => "ambiguous outcomes",
        }
    }

    /// A run of so many steps must have met it, or it is not what it was thought to be: by then it
    /// has come some twenty times or more.
    fn due(self) -> usize {
        match self {
            Self::StaleClaim
            | Self::Refusal
            | Self::LimitedClaim
            | Self::FullPage
            | Self::AmbiguousOutcome => 1_000,
            Self::Repetition
            | Self::SpentRetry
            | Self::ExpiredLease
            | Self::HeldKey
            | Self::RefusedBatch => 5_000,
        }
    }
}

/// How often each was met.
#[derive(Clone, Debug, Default)]
pub(super) struct Sometimes(BTreeMap<Sight, u64>);

impl Sometimes {
    pub(super) fn saw(&mut self, sight: Sight) {
        *self.0.entry(sight).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (sight, times) in &other.0 {
            *self.0.entry(*sight).or_default() += times;
        }
    }

    /// What the reply to a call shows.
    pub(super) fn saw_reply(&mut self, call: &Call, reply: &Reply) {
        match (call, reply) {
            (_, Reply::Created(Err(_))) => self.saw(Sight::RefusedBatch),
            (_, Reply::Created(Ok(creations)))
                if creations.iter().any(|creation| !creation.is_new()) =>
            {
                self.saw(Sight::HeldKey);
            }
            (Call::Claim(request), Reply::Claimed(jobs))
                if jobs.len() == request.limit as usize =>
            {
                self.saw(Sight::LimitedClaim);
            }
            (Call::Update(updates), Reply::Updated(verdicts)) => {
                for (update, verdict) in updates.iter().zip(verdicts) {
                    self.saw_verdict(update, verdict.as_ref());
                }
            }
            _ => {}
        }
    }

    fn saw_verdict(&mut self, update: &Update, verdict: Result<&Job, &Error>) {
        match verdict {
            Err(Error::LeaseLost { .. }) => self.saw(Sight::StaleClaim),
            Err(Error::InvalidTransition { .. }) => self.saw(Sight::Refusal),
            Err(_) => {}
            Ok(job) => match update.action {
                Action::RetryOrFail { .. } if job.status == JobStatus::Failed => {
                    self.saw(Sight::SpentRetry);
                }
                Action::Recover { .. } => self.saw(Sight::ExpiredLease),
                _ => {}
            },
        }
    }

    /// What was never met in so many steps and should have been.
    pub(super) fn missing(&self, steps: usize) -> Vec<&'static str> {
        let due = Sight::ALL.into_iter().filter(|sight| steps >= sight.due());
        let missing = due.filter(|sight| !self.0.contains_key(sight));
        missing.map(Sight::name).collect()
    }
}

impl fmt::Display for Sometimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seen:")?;
        for (index, (sight, times)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma} {times} {}", sight.name())?;
        }
        Ok(())
    }
}
