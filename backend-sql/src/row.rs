//! A job as a row, and back.

use std::time::Duration;

use jobstore_core::{Error, Job, JobId, JobParams, JobStatus, Result, Timestamp};

use crate::dialect::{Driver, Value};

/// The columns of a job, in the order in which [`read`] and [`values`] have them.
macro_rules! columns {
    () => {
        "jobs.id, jobs.creation_time, jobs.job_name, jobs.params, jobs.timeout, jobs.status, \
         jobs.result, jobs.retry_count, jobs.last_update_time, jobs.priority, \
         jobs.next_attempt_at, jobs.max_retries, jobs.unique_key, jobs.lease_owner, \
         jobs.lease_expires_at, jobs.fence, jobs.last_error"
    };
}

/// See the macro of this name.
pub(crate) const COLUMNS: &str = columns!();

/// How many those are: what a query has beside them comes after.
pub(crate) const WIDTH: usize = 17;

/// Begins a query of jobs.
pub(crate) const SELECT: &str = concat!("SELECT ", columns!(), " FROM ");

/// Where among [`values`] the params are.
#[cfg(feature = "postgres")]
pub(crate) const PARAMS: usize = 3;

macro_rules! insert_columns {
    () => {
        "id, creation_time, job_name, params, timeout, status, last_update_time, priority, \
         next_attempt_at, max_retries, unique_key, due"
    };
}

/// The columns to insert: those of [`values`]. What a new job has none of is left to the table.
pub(crate) const INSERT_COLUMNS: &str = insert_columns!();

/// What a new job is written by.
pub(crate) fn values(job: &Job, now: Timestamp) -> Vec<Value> {
    vec![
        job.id.to_string().into(),
        job.creation_time.as_millis().into(),
        job.job_name.as_str().into(),
        job.params.as_str().into(),
        Value::Real(job.timeout.map(|timeout| timeout.as_secs_f64())),
        i64::from(job.status.as_i32()).into(),
        job.last_update_time.as_millis().into(),
        i64::from(job.priority).into(),
        job.next_attempt_at.as_millis().into(),
        Value::Int(job.max_retries.map(i64::from)),
        Value::Text(job.unique_key.clone()),
        due(job, now),
    ]
}

/// The columns of [`every_value`].
#[cfg(test)]
pub(crate) const EVERY_COLUMN: &str = concat!(
    insert_columns!(),
    ", result, retry_count, lease_owner, lease_expires_at, fence, last_error"
);

/// Everything of a job that need not be new.
#[cfg(test)]
pub(crate) fn every_value(job: &Job, now: Timestamp) -> Vec<Value> {
    let others = vec![
        Value::Text(job.result.clone()),
        i64::from(job.retry_count).into(),
        Value::Text(job.lease_owner.clone()),
        Value::Int(job.lease_expires_at.map(Timestamp::as_millis)),
        fence(job),
        Value::Text(job.last_error.clone()),
    ];
    [values(job, now), others].concat()
}

/// How long the texts of a new job are.
pub(crate) fn bytes(job: &Job) -> usize {
    let key = job.unique_key.as_ref().map_or(0, String::len);
    job.job_name.len() + job.params.as_str().len() + key
}

/// How long the texts are that an update may have changed.
pub(crate) fn changed_bytes(job: &Job) -> usize {
    let texts = [&job.result, &job.last_error, &job.lease_owner];
    texts.into_iter().flatten().map(String::len).sum()
}

/// Whether the job is in the claim index already, or still waits for its time in the other one.
pub(crate) fn due(job: &Job, now: Timestamp) -> Value {
    i64::from(job.next_attempt_at <= now).into()
}

pub(crate) fn fence(job: &Job) -> Value {
    // A fence counts starts: it would take millennia to pass what a signed integer holds.
    i64::try_from(job.fence).unwrap_or(i64::MAX).into()
}

/// Where a row stands in the order of listing. The id is bytes, since another program's may be
/// anything: a place that is not exactly where the row is would show the rows around it twice, or
/// not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When the job was created.
    pub(crate) time: i64,
    /// The text of its id.
    pub(crate) id: Vec<u8>,
}

impl Place {
    /// The id, if a job can have it.
    pub(crate) fn job_id(&self) -> Option<JobId> {
        parse_id(str::from_utf8(&self.id).ok()?)
    }
}

impl From<(Timestamp, JobId)> for Place {
    fn from((time, id): (Timestamp, JobId)) -> Self {
        Self {
            time: time.as_millis(),
            id: id.to_string().into_bytes(),
        }
    }
}

/// What a query of jobs found: a job, or the reason why it is none.
pub(crate) struct Found {
    pub(crate) place: Place,
    pub(crate) job: Result<Job>,
}

impl Found {
    /// The id, if it can be one.
    pub(crate) fn id(&self) -> Option<JobId> {
        match &self.job {
            Ok(job) => Some(job.id),
            Err(_) => self.place.job_id(),
        }
    }
}

impl From<Job> for Found {
    fn from(job: Job) -> Self {
        Self {
            place: job.list_order().into(),
            job: Ok(job),
        }
    }
}

/// Finds what stands in a row of [`COLUMNS`].
pub(crate) fn find<D: Driver>(row: &D::Row) -> Found {
    let place = Place {
        time: D::int(row, 1).ok().flatten().unwrap_or_default(),
        id: D::bytes(row, 0).ok().flatten().unwrap_or_default(),
    };
    Found {
        place,
        job: read::<D>(row),
    }
}

/// Reads a row of [`COLUMNS`].
///
/// # Errors
///
/// [`Error::Unreadable`] with the id as far as it can be read, and the column that is wrong.
pub(crate) fn read<D: Driver>(row: &D::Row) -> Result<Job> {
    let reader = Reader::<'_, D> { row };
    Ok(Job {
        id: parse_id(&reader.text(0, "id")?)
            .ok_or_else(|| reader.unreadable("id is not a UUID in lower case"))?,
        creation_time: reader.time(1, "creation_time")?,
        job_name: reader.text(2, "job_name")?,
        params: JobParams::new(reader.text(3, "params")?),
        timeout: reader.timeout(4)?,
        status: reader.status(5)?,
        result: reader.optional_text(6, "result")?,
        retry_count: reader.number(7, "retry_count")?,
        last_update_time: reader.time(8, "last_update_time")?,
        priority: reader.number(9, "priority")?,
        next_attempt_at: reader.time(10, "next_attempt_at")?,
        max_retries: reader.optional_number(11, "max_retries")?,
        unique_key: reader.optional_text(12, "unique_key")?,
        lease_owner: reader.optional_text(13, "lease_owner")?,
        lease_expires_at: reader
            .optional_number(14, "lease_expires_at")?
            .map(Timestamp::from_millis),
        fence: reader.number(15, "fence")?,
        last_error: reader.optional_text(16, "last_error")?,
    })
}

struct Reader<'a, D: Driver> {
    row: &'a D::Row,
}

impl<D: Driver> Reader<'_, D> {
    fn unreadable(&self, reason: impl Into<String>) -> Error {
        let id = D::bytes(self.row, 0).ok().flatten().unwrap_or_default();
        Error::Unreadable {
            id: String::from_utf8_lossy(&id).into_owned(),
            reason: reason.into(),
        }
    }

    fn optional_text(&self, column: usize, name: &str) -> Result<Option<String>> {
        D::text(self.row, column).map_err(|_| self.unreadable(format!("{name} is not a text")))
    }

    fn text(&self, column: usize, name: &str) -> Result<String> {
        let text = self.optional_text(column, name)?;
        text.ok_or_else(|| self.unreadable(format!("{name} is missing")))
    }

    fn optional_number<N: TryFrom<i64>>(&self, column: usize, name: &str) -> Result<Option<N>> {
        let number = D::int(self.row, column);
        let number = number.map_err(|_| self.unreadable(format!("{name} is not an integer")))?;
        let number = number.map(N::try_from).transpose();
        number.map_err(|_| self.unreadable(format!("{name} is out of range")))
    }

    fn number<N: TryFrom<i64>>(&self, column: usize, name: &str) -> Result<N> {
        let number = self.optional_number(column, name)?;
        number.ok_or_else(|| self.unreadable(format!("{name} is missing")))
    }

    fn time(&self, column: usize, name: &str) -> Result<Timestamp> {
        self.number(column, name).map(Timestamp::from_millis)
    }

    fn status(&self, column: usize) -> Result<JobStatus> {
        let status: i32 = self.number(column, "status")?;
        JobStatus::from_i32(status)
            .ok_or_else(|| self.unreadable(format!("status {status} is unknown")))
    }

    fn timeout(&self, column: usize) -> Result<Option<Duration>> {
        let secs = D::real(self.row, column);
        let secs = secs.map_err(|_| self.unreadable("timeout is not a number"))?;
        let Some(secs) = secs else { return Ok(None) };
        if secs.is_nan() || secs < 0.0 {
            return Err(self.unreadable("timeout is out of range"));
        }
        Ok(Some(
            Duration::try_from_secs_f64(secs).unwrap_or(Duration::MAX),
        ))
    }
}

/// The id in the first column.
pub(crate) fn id<D: Driver>(row: &D::Row) -> Option<JobId> {
    parse_id(&D::text(row, 0).ok().flatten()?)
}

/// The id that stands as this text. In capitals it is none: rows are looked for, and pages go on, by
/// the text in which this store writes an id, so such a job would be listed and never found.
pub(crate) fn parse_id(text: &str) -> Option<JobId> {
    // Parsing takes one form only, so the case is all in which two texts of an id can differ. Writing
    // the id to compare it would allocate for every row.
    let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    is_lower.then(|| text.parse().ok()).flatten()
}

/// The ids as values.
pub(crate) fn id_values(ids: &[JobId]) -> Vec<Value> {
    ids.iter().map(|id| id.to_string().into()).collect()
}

#[cfg(test)]
mod tests {
    use jobstore_core::NewJob;

    use super::*;

    #[test]
    fn a_new_job_has_in_the_columns_left_out_what_the_table_gives_them() {
        let new = NewJob::new("a", "{}").with_priority(3);
        let now = Timestamp::from_millis(5);
        let job = new.into_job(now);
        let left_out = every_value(&job, now).split_off(values(&job, now).len());
        let none = Value::Text(None);
        let defaults = [
            none.clone(),
            0.into(),
            none.clone(),
            Value::Int(None),
            0.into(),
            none,
        ];
        assert_eq!(left_out, defaults);
    }
}
