//! What a job is, and what it takes to make one.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::json::ObjectFilter;
use crate::{Error, JobStatus, Result, Timestamp};

/// The name of a job: a UUID, shown as 36 lower-case characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(Uuid);

impl JobId {
    /// Makes a UUIDv7, greater than every other this process has made, even within a millisecond.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// Takes any UUID as an id.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The UUID.
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for JobId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for JobId {
    type Err = Error;

    /// Reads the hyphenated form only: the others that UUIDs have would be second names for a job.
    fn from_str(text: &str) -> Result<Self> {
        if text.len() != 36 {
            return Err(Error::invalid(
                "id",
                "not a hyphenated UUID of 36 characters",
            ));
        }
        let uuid = Uuid::try_parse(text);
        uuid.map(Self)
            .map_err(|_| Error::invalid("id", "not a hyphenated UUID"))
    }
}

/// The arguments of a job: the text of a JSON object, kept byte for byte.
///
/// The text is checked when a job is created, not here, so that a row another program wrote can
/// still be shown. Cloning is cheap. `Debug` shows the length only, since params may be secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct JobParams(Arc<str>);

impl JobParams {
    /// Takes a text as it is.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A number for each top-level member, without zero: equal members have equal numbers, whatever
    /// the order of keys and the spelling of numbers and strings.
    ///
    /// For backends that index params: of the jobs that a [filter](crate::JobFilter::params) means,
    /// each has all [numbers of the filter](crate::Matcher::params_terms). Others may have them as
    /// well, so what an index finds is still to be asked of
    /// [`Matcher::matches_params`](crate::Matcher::matches_params). The numbers are the same in every
    /// version, on every machine. None for a text that is not an object of strict JSON.
    pub fn terms(&self) -> Option<Vec<i64>> {
        Some(ObjectFilter::new(&self.0).ok()?.terms())
    }
}

impl Default for JobParams {
    /// The empty object.
    fn default() -> Self {
        Self::new("{}")
    }
}

impl From<&str> for JobParams {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for JobParams {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<serde_json::Value> for JobParams {
    fn from(value: serde_json::Value) -> Self {
        Self::new(value.to_string())
    }
}

impl fmt::Debug for JobParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobParams({} bytes)", self.0.len())
    }
}

impl Serialize for JobParams {
    /// As the JSON value it is, on one line: line breaks can stand between tokens only, so they
    /// become spaces, and a job fits a line of a JSON Lines file. Text that is no JSON is shown as
    /// a string.
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match RawValue::from_string(self.0.replace(['\n', '\r'], " ")) {
            Ok(raw) => raw.serialize(serializer),
            Err(_) => serializer.serialize_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for JobParams {
    /// Takes any JSON value as its text. For `serde_json` only.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self::new(raw.get()))
    }
}

/// A job to be created.
///
/// ```
/// use jobstore_core::NewJob;
///
/// let job = NewJob::new("send-mail", r#"{"to": "ada"}"#).with_priority(5);
/// assert_eq!(job.priority, 5);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewJob {
    /// The id, for creation that can be repeated safely; made by the store when absent.
    pub id: Option<JobId>,
    /// Which function to run: 1 to 500 characters.
    pub job_name: String,
    /// Its arguments: a JSON object of at most 8 MiB, nested at most 127 deep.
    pub params: JobParams,
    /// The longest one run may take; more than zero.
    pub timeout: Option<Duration>,
    /// Larger is claimed first.
    pub priority: i16,
    /// Not claimable before this time; the creation time when absent.
    pub next_attempt_at: Option<Timestamp>,
    /// Overrides the retry policy's limit.
    pub max_retries: Option<u32>,
    /// At most one unfinished job exists for each pair of job name and unique key: 1 to 255
    /// characters.
    pub unique_key: Option<String>,
}

impl NewJob {
    /// A job with these params and nothing else special.
    pub fn new(job_name: impl Into<String>, params: impl Into<JobParams>) -> Self {
        Self {
            job_name: job_name.into(),
            params: params.into(),
            ..Self::default()
        }
    }

    /// Sets the id.
    #[must_use]
    pub fn with_id(self, id: JobId) -> Self {
        Self {
            id: Some(id),
            ..self
        }
    }

    /// Sets the longest time one run may take.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout),
            ..self
        }
    }

    /// Sets the priority.
    #[must_use]
    pub fn with_priority(self, priority: i16) -> Self {
        Self { priority, ..self }
    }

    /// Sets the time before which the job cannot be claimed.
    #[must_use]
    pub fn with_next_attempt_at(self, at: Timestamp) -> Self {
        Self {
            next_attempt_at: Some(at),
            ..self
        }
    }

    /// Sets how often the job may be retried.
    #[must_use]
    pub fn with_max_retries(self, max_retries: u32) -> Self {
        Self {
            max_retries: Some(max_retries),
            ..self
        }
    }

    /// Sets the unique key.
    #[must_use]
    pub fn with_unique_key(self, unique_key: impl Into<String>) -> Self {
        Self {
            unique_key: Some(unique_key.into()),
            ..self
        }
    }

    /// The pending job this becomes when created at `now`. Backends call this once a job.
    pub fn into_job(self, now: Timestamp) -> Job {
        Job {
            id: self.id.unwrap_or_else(JobId::generate),
            job_name: self.job_name,
            params: self.params,
            // Through the stored form and back, so that the job shown now equals the one read later.
            timeout: self
                .timeout
                .map(|timeout| duration_from_secs(timeout.as_secs_f64())),
            status: JobStatus::Pending,
            result: None,
            retry_count: 0,
            creation_time: now,
            last_update_time: now,
            priority: self.priority,
            next_attempt_at: self.next_attempt_at.unwrap_or(now),
            max_retries: self.max_retries,
            unique_key: self.unique_key,
            lease_owner: None,
            lease_expires_at: None,
            fence: 0,
            last_error: None,
        }
    }
}

/// What creating one job came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Creation {
    /// The job is new.
    Created(Job),
    /// An unfinished job holds the unique key; this is it, and nothing was written.
    Existing(Job),
}

impl Creation {
    /// The job, new or not.
    pub fn job(&self) -> &Job {
        match self {
            Self::Created(job) | Self::Existing(job) => job,
        }
    }

    /// The job, new or not.
    pub fn into_job(self) -> Job {
        match self {
            Self::Created(job) | Self::Existing(job) => job,
        }
    }

    /// Whether the job is new.
    pub fn is_new(&self) -> bool {
        matches!(self, Self::Created(_))
    }
}

/// A job as a store knows it.
///
/// `Debug` shows neither params, result nor errors. The JSON form has one member for each field,
/// `timeout` in seconds and times in milliseconds.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The id.
    pub id: JobId,
    /// Which function to run.
    pub job_name: String,
    /// Its arguments.
    pub params: JobParams,
    /// The longest one run may take.
    #[serde(with = "seconds")]
    pub timeout: Option<Duration>,
    /// Where it stands.
    pub status: JobStatus,
    /// The payload when succeeded, the error when failed.
    pub result: Option<String>,
    /// Retries spent.
    pub retry_count: u32,
    /// When it was created.
    pub creation_time: Timestamp,
    /// When it last changed.
    pub last_update_time: Timestamp,
    /// Larger is claimed first.
    pub priority: i16,
    /// Not claimable before this time.
    pub next_attempt_at: Timestamp,
    /// Overrides the retry policy's limit.
    pub max_retries: Option<u32>,
    /// At most one unfinished job for each pair of job name and unique key.
    pub unique_key: Option<String>,
    /// Who runs it.
    pub lease_owner: Option<String>,
    /// Until when that holds: from this instant on, the job may be recovered.
    pub lease_expires_at: Option<Timestamp>,
    /// How often it was started or claimed; never goes back.
    pub fence: u64,
    /// The error of the last attempt that failed.
    pub last_error: Option<String>,
}

impl Job {
    /// The right to act as the worker that runs this job now.
    pub fn claim(&self) -> Claim {
        Claim {
            id: self.id,
            fence: self.fence,
        }
    }

    /// Whether the job is pending and due.
    pub fn is_claimable(&self, now: Timestamp) -> bool {
        self.status == JobStatus::Pending && self.next_attempt_at <= now
    }

    /// The order of claiming: least first.
    pub fn claim_order(&self) -> (Reverse<i16>, Timestamp, JobId) {
        (Reverse(self.priority), self.next_attempt_at, self.id)
    }

    /// The order of listing.
    pub fn list_order(&self) -> (Timestamp, JobId) {
        (self.creation_time, self.id)
    }

    /// Whether the job runs under a lease that is over. At the instant of its expiry it is.
    pub fn is_lease_expired(&self, now: Timestamp) -> bool {
        self.status == JobStatus::Running && self.lease_expires_at.is_some_and(|at| at <= now)
    }

    /// The name and unique key that no other unfinished job may have while this one is unfinished.
    pub fn held_unique_key(&self) -> Option<(&str, &str)> {
        let key = self
            .unique_key
            .as_deref()
            .filter(|_| !self.status.is_finalized())?;
        Some((&self.job_name, key))
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id)
            .field("job_name", &self.job_name)
            .field("status", &self.status)
            .field("fence", &self.fence)
            .field("retry_count", &self.retry_count)
            .field("creation_time", &self.creation_time)
            .field("last_update_time", &self.last_update_time)
            .field("next_attempt_at", &self.next_attempt_at)
            .field("lease_owner", &self.lease_owner)
            .field("lease_expires_at", &self.lease_expires_at)
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

/// One run of one job: what start and claim hand out, and what a worker must show to end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// The job.
    pub id: JobId,
    /// Which of its runs.
    pub fence: u64,
}

/// The duration stored as this many seconds, or the longest there is. Not a number reads as zero.
pub(crate) fn duration_from_secs(secs: f64) -> Duration {
    Duration::try_from_secs_f64(secs.max(0.0)).unwrap_or(Duration::MAX)
}

/// Optional durations as a number of seconds.
mod seconds {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        timeout: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        timeout
            .map(|timeout| timeout.as_secs_f64())
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let secs = Option::<f64>::deserialize(deserializer)?;
        Ok(secs.map(super::duration_from_secs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_made_in_one_process_ascend() {
        let ids: Vec<JobId> = (0..10_000).map(|_| JobId::generate()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn an_id_has_one_text() {
        let id = JobId::generate();
        assert_eq!(id.to_string().parse::<JobId>().expect("parses"), id);
        assert!(id.as_uuid().simple().to_string().parse::<JobId>().is_err());
    }

    #[test]
    fn debug_shows_no_params_result_or_error() {
        let mut job = NewJob::new("mail", r#"{"key":"canary"}"#).into_job(Timestamp::default());
        job.result = Some("canary".into());
        job.last_error = Some("canary".into());
        assert!(!format!("{job:?}").contains("canary"));
    }

    #[test]
    fn a_job_is_one_line_of_json_and_back() {
        let job = NewJob::new("mail", "{\n \"a\": 1e400 }")
            .with_timeout(Duration::from_millis(1500))
            .into_job(Timestamp::from_millis(7));
        let line = serde_json::to_string(&job).expect("serializes");
        assert!(!line.contains('\n') && line.contains("1e400") && line.contains("\"PENDING\""));
        let back: Job = serde_json::from_str(&line).expect("deserializes");
        assert_eq!(back.timeout, job.timeout);
    }
}
