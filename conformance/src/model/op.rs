//! What a program does, and what its numbers stand for.

use std::time::Duration;

use jobstore_core::{
    Action, Claim, ClaimRequest, DeleteRequest, JobFilter, JobId, JobStatus, Lease, NewJob,
    RetryPolicy, Timestamp, Update,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any as anything, prop_oneof};
use serde::{Deserialize, Serialize};

/// Names that some engines take for one another.
pub(super) const NAMES: [&str; 3] = ["job", "Job", "job "];
pub(super) const PARAMS: [&str; 4] = ["{}", r#"{"n":1}"#, r#"{"n":1.0,"m":null}"#, r#"{"n":true}"#];
const KEYS: [&str; 2] = ["key", "key "];
const TEXTS: [&str; 3] = ["", "done", "a\u{e9}\n"];
const ERRORS: [&str; 3] = ["", "no", "a\0b"];

/// One thing that a program does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Creates a batch.
    Create(Vec<New>),
    /// Claims jobs of these names.
    Claim {
        /// Of three names; none means any.
        names: Vec<u8>,
        /// One less than the limit.
        limit: u8,
        /// One less than the lease in milliseconds.
        lease: u8,
    },
    /// Updates a batch.
    Update(Vec<Change>),
    /// Recovers every expired lease.
    RecoverAll {
        /// Of three policies.
        policy: u8,
    },
    /// Deletes by ids: of every job that ever was, and one that never was.
    Delete(Vec<u8>),
    /// Deletes by age.
    Purge {
        /// How many milliseconds before now the cutoff lies; less than none is later.
        age: i8,
        /// Of three names; none means any.
        names: Vec<u8>,
        /// Of four finalized statuses; none means any.
        statuses: Vec<u8>,
        /// One less than the limit.
        limit: u8,
    },
    /// Walks and counts.
    List {
        /// Which jobs.
        filter: Filter,
        /// Of five page sizes.
        size: u8,
        /// Newest first.
        descending: bool,
    },
    /// Moves the clock this many milliseconds forwards.
    Advance(u8),
    /// Moves the clock this many milliseconds back, which stores must not follow.
    Back(u8),
    /// Drops the handle and opens another, where the backend is durable.
    Reopen,
}

/// A job to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct New {
    /// Of three names.
    pub name: u8,
    /// Of four params.
    pub params: u8,
    /// Of eight ids, or one of the store's.
    pub id: Option<u8>,
    /// Of two unique keys.
    pub key: Option<u8>,
    /// The priority.
    pub priority: i8,
    /// In how many milliseconds it is due; the past counts as well.
    pub due: Option<i8>,
    /// Its own retry limit.
    pub max_retries: Option<u8>,
}

/// One item of a batch of updates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Of every job that ever was, and one that never was.
    pub job: u8,
    /// By what right.
    pub by: By,
    /// What to do.
    pub act: Act,
}

/// By what right a job is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum By {
    /// By its id.
    Id,
    /// With the claim of its current or last run.
    Holder,
    /// With the claim of the run before.
    Stale,
}

/// What to do to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// Starts without a lease.
    StartUnleased,
    /// Starts with a lease of one millisecond more than this.
    Start(u8),
    /// Renews to a lease of one millisecond more than this.
    Renew(u8),
    /// Finishes with one of three results, or none.
    Finish(Option<u8>),
    /// Fails with one of three errors.
    Fail(u8),
    /// Times out.
    TimeOut,
    /// Retries, with one of three errors and one of three policies.
    Retry(u8, u8),
    /// Recovers, with one of three policies.
    Recover(u8),
    /// Cancels.
    Cancel,
    /// Resets.
    Reset,
}

/// Which jobs to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Of three names.
    pub names: Vec<u8>,
    /// Of six statuses.
    pub statuses: Vec<u8>,
    /// Of four params.
    pub params: Option<u8>,
    /// Created at most this many milliseconds ago.
    pub from: Option<u8>,
    /// Created at least this many milliseconds ago.
    pub to: Option<u8>,
    /// Whose lease ends in this many milliseconds or before.
    pub expired: Option<i8>,
    /// Of every job that ever was, and one that never was.
    pub ids: Option<Vec<u8>>,
}

/// One of these, whatever the number.
fn of<T: Copy>(table: &[T], number: u8) -> T {
    table[usize::from(number) % table.len()]
}

fn names(numbers: &[u8]) -> Vec<String> {
    let names = numbers.iter().map(|number| of(&NAMES, *number).to_owned());
    names.collect()
}

/// A time so many milliseconds after this one.
fn after(now: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(now.as_millis().saturating_add(millis))
}

fn lease(number: u8) -> Duration {
    Duration::from_millis(u64::from(number) + 1)
}

pub(crate) fn policy(number: u8) -> RetryPolicy {
    let millis = Duration::from_millis;
    let (max_retries, base, max) = of(&[(0, 0, 0), (1, 0, 0), (3, 2, 5)], number);
    RetryPolicy {
        max_retries,
        base: millis(base),
        max: millis(max),
    }
}

pub(crate) fn claim_request(numbers: &[u8], limit: u8, duration: u8) -> ClaimRequest {
    ClaimRequest {
        job_names: names(numbers),
        limit: u32::from(limit) + 1,
        lease: Lease {
            owner: "ada".to_owned(),
            duration: lease(duration),
        },
    }
}

pub(crate) fn purge_request(
    cutoff: Timestamp,
    numbers: &[u8],
    statuses: &[u8],
    limit: u8,
) -> DeleteRequest {
    let finalized = &JobStatus::ALL[2..];
    DeleteRequest::Before {
        cutoff,
        job_names: names(numbers),
        statuses: statuses
            .iter()
            .map(|number| of(finalized, *number))
            .collect(),
        limit: u32::from(limit) + 1,
    }
}

impl New {
    pub(crate) fn build(&self, now: Timestamp) -> NewJob {
        NewJob {
            id: self.id.map(|number| {
                let mut bytes = [0x40; 16];
                bytes[0] = 0x20 * (number % 8);
                JobId::from_uuid(uuid::Uuid::from_bytes(bytes))
            }),
            priority: i16::from(self.priority),
            next_attempt_at: self.due.map(|millis| after(now, i64::from(millis))),
            max_retries: self.max_retries.map(u32::from),
            unique_key: self.key.map(|number| of(&KEYS, number).to_owned()),
            ..NewJob::new(of(&NAMES, self.name), of(&PARAMS, self.params))
        }
    }
}

impl Change {
    /// The update of the job whose current or last claim this is.
    pub(crate) fn build(&self, claim: Claim) -> Update {
        let action = self.act.build();
        match self.by {
            By::Id => Update::new(claim.id, action),
            By::Holder => Update::new(claim, action),
            By::Stale => {
                let fence = claim.fence.wrapping_sub(1);
                Update::new(Claim { fence, ..claim }, action)
            }
        }
    }
}

impl Act {
    fn build(&self) -> Action {
        let error = |number: u8| of(&ERRORS, number).to_owned();
        match *self {
            Self::StartUnleased => Action::Start { lease: None },
            Self::Start(number) => Action::Start {
                lease: Some(Lease {
                    owner: "bob".to_owned(),
                    duration: lease(number),
                }),
            },
            Self::Renew(number) => Action::Renew {
                lease: lease(number),
            },
            Self::Finish(number) => Action::Finish {
                result: number.map(|number| of(&TEXTS, number).to_owned()),
            },
            Self::Fail(number) => Action::Fail {
                error: error(number),
            },
            Self::TimeOut => Action::TimeOut,
            Self::Retry(number, limits) => Action::RetryOrFail {
                error: error(number),
                policy: policy(limits),
            },
            Self::Recover(limits) => Action::Recover {
                policy: policy(limits),
            },
            Self::Cancel => Action::Cancel,
            Self::Reset => Action::Reset,
        }
    }
}

impl Filter {
    pub(crate) fn build(&self, now: Timestamp, id: impl Fn(u8) -> JobId) -> JobFilter {
        let before = |millis: u8| after(now, -i64::from(millis));
        let statuses = self.statuses.iter();
        JobFilter {
            job_names: names(&self.names),
            statuses: statuses
                .map(|number| of(&JobStatus::ALL, *number))
                .collect(),
            created_from: self.from.map(before),
            created_to: self.to.map(before),
            params: self.params.map(|number| of(&PARAMS, number).into()),
            lease_expired_by: self.expired.map(|millis| after(now, i64::from(millis))),
            ids: self
                .ids
                .as_ref()
                .map(|picks| picks.iter().map(|pick| id(*pick)).collect()),
        }
    }
}

/// Anything, the telling more often.
pub(crate) fn any() -> impl Strategy<Value = Op> {
    let claim = (vec(0..3_u8, 0..3), 0..4_u8, 0..20_u8);
    let purge = (-2..40_i8, vec(0..3_u8, 0..3), vec(0..4_u8, 0..3), 0..3_u8);
    prop_oneof![
        4 => vec(new(), 0..5).prop_map(Op::Create),
        6 => claim.prop_map(|(names, limit, lease)| Op::Claim { names, limit, lease }),
        7 => vec(change(), 0..6).prop_map(Op::Update),
        // As by a caller who did not hear the answer.
        2 => (change(), 2..4_usize).prop_map(|(change, times)| Op::Update(vec![change; times])),
        3 => (0..3_u8).prop_map(|policy| Op::RecoverAll { policy }),
        1 => vec(0..16_u8, 0..5).prop_map(Op::Delete),
        1 => purge.prop_map(|(age, names, statuses, limit)| Op::Purge { age, names, statuses, limit }),
        2 => (filter(), 0..5_u8, anything::<bool>())
            .prop_map(|(filter, size, descending)| Op::List { filter, size, descending }),
        3 => (0..40_u8).prop_map(Op::Advance),
        1 => (0..40_u8).prop_map(Op::Back),
        1 => Just(Op::Reopen),
    ]
}

fn new() -> impl Strategy<Value = New> {
    let fields = (
        0..3_u8,
        0..4_u8,
        option::weighted(0.3, 0..8_u8),
        option::weighted(0.4, 0..2_u8),
        -1..2_i8,
        option::weighted(0.3, -20..20_i8),
        option::weighted(0.3, 0..3_u8),
    );
    fields.prop_map(|(name, params, id, key, priority, due, max_retries)| New {
        name,
        params,
        id,
        key,
        priority,
        due,
        max_retries,
    })
}

fn change() -> impl Strategy<Value = Change> {
    let by = prop_oneof![3 => Just(By::Id), 4 => Just(By::Holder), 1 => Just(By::Stale)];
    (0..16_u8, by, act()).prop_map(|(job, by, act)| Change { job, by, act })
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        1 => Just(Act::StartUnleased),
        1 => (0..20_u8).prop_map(Act::Start),
        1 => (0..30_u8).prop_map(Act::Renew),
        1 => option::of(0..3_u8).prop_map(Act::Finish),
        1 => (0..3_u8).prop_map(Act::Fail),
        1 => Just(Act::TimeOut),
        // The policy of no retries twice as often.
        3 => (0..3_u8, 0..4_u8).prop_map(|(error, policy)| Act::Retry(error, policy)),
        1 => (0..3_u8).prop_map(Act::Recover),
        1 => Just(Act::Cancel),
        1 => Just(Act::Reset),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let fields = (
        vec(0..3_u8, 0..3),
        vec(0..6_u8, 0..4),
        option::weighted(0.3, 0..4_u8),
        option::weighted(0.2, 0..60_u8),
        option::weighted(0.2, 0..60_u8),
        option::weighted(0.2, -20..40_i8),
        option::weighted(0.2, vec(0..16_u8, 0..6)),
    );
    fields.prop_map(|(names, statuses, params, from, to, expired, ids)| Filter {
        names,
        statuses,
        params,
        from,
        to,
        expired,
        ids,
    })
}
