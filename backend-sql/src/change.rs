//! What a statement writes of changed jobs: only the columns that changed in one of them.

use jobstore_core::{Job, JobStatus, Timestamp};

use crate::dialect::Value;
use crate::row;

/// A column that may change, and what it holds of a job.
type Column = (&'static str, fn(&Job, Timestamp) -> Value);

/// Each after what finds the row.
const COLUMNS: [Column; 10] = [
    ("status", |job, _| i64::from(job.status.as_i32()).into()),
    ("result", |job, _| Value::Text(job.result.clone())),
    ("retry_count", |job, _| i64::from(job.retry_count).into()),
    ("last_update_time", |job, _| {
        job.last_update_time.as_millis().into()
    }),
    ("next_attempt_at", |job, _| {
        job.next_attempt_at.as_millis().into()
    }),
    ("lease_owner", |job, _| Value::Text(job.lease_owner.clone())),
    ("lease_expires_at", |job, _| {
        Value::Int(job.lease_expires_at.map(Timestamp::as_millis))
    }),
    ("fence", |job, _| row::fence(job)),
    ("last_error", |job, _| Value::Text(job.last_error.clone())),
    ("due", row::due),
];

/// A set of columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed([bool; COLUMNS.len()]);

impl Changed {
    #[cfg(all(test, any(feature = "mysql", feature = "postgres")))]
    pub(crate) const ALL: Self = Self([true; COLUMNS.len()]);

    /// The columns in which the two differ.
    pub(crate) fn between(before: &Job, after: &Job) -> Self {
        Self([
            before.status != after.status,
            before.result != after.result,
            before.retry_count != after.retry_count,
            before.last_update_time != after.last_update_time,
            before.next_attempt_at != after.next_attempt_at,
            before.lease_owner != after.lease_owner,
            before.lease_expires_at != after.lease_expires_at,
            before.fence != after.fence,
            before.last_error != after.last_error,
            // Nobody looks at it while the job is not pending, so it may be of another time until then.
            after.status == JobStatus::Pending,
        ])
    }

    /// Adds those of the other.
    pub(crate) fn extend(&mut self, other: Self) {
        for (mine, other) in self.0.iter_mut().zip(other.0) {
            *mine |= other;
        }
    }

    /// Their names, after that of the column that finds the row.
    pub(crate) fn names(self) -> Vec<&'static str> {
        let columns = self.columns().map(|(name, _)| name);
        std::iter::once("id").chain(columns).collect()
    }

    /// What the job has in them, in the order of the names.
    pub(crate) fn values(self, job: &Job, now: Timestamp) -> Vec<Value> {
        let columns = self.columns().map(|(_, value)| value(job, now));
        std::iter::once(job.id.to_string().into())
            .chain(columns)
            .collect()
    }

    fn columns(self) -> impl Iterator<Item = Column> {
        let columns = COLUMNS.into_iter().zip(self.0);
        columns.filter_map(|(column, is_in)| is_in.then_some(column))
    }
}
