//! Which jobs a listing or a count is about.

use std::fmt::Write as _;

use crate::json::ObjectFilter;
use crate::validate;
use crate::{Error, Job, JobId, JobParams, JobStatus, Result, Timestamp};

/// Which jobs to list or count: those that meet every condition given.
///
/// The default filter meets every job. An empty list of names or statuses means any; only `ids`,
/// when given and empty, means none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobFilter {
    /// The job has one of these names.
    pub job_names: Vec<String>,
    /// The job is in one of these statuses.
    pub statuses: Vec<JobStatus>,
    /// Created at this time or later.
    pub created_from: Option<Timestamp>,
    /// Created at this time or earlier.
    pub created_to: Option<Timestamp>,
    /// The job's params have every top-level key of this JSON object, with an equal value.
    ///
    /// Objects are equal whatever the order of their keys, numbers by their exact value
    /// (`1 = 1.0 = 1e0`), strings by code points; of duplicate keys the last counts. Params that
    /// are not strict JSON meet only the empty object, which every job meets.
    pub params: Option<JobParams>,
    /// The job's lease ends at this time or earlier.
    pub lease_expired_by: Option<Timestamp>,
    /// The job has one of these ids.
    pub ids: Option<Vec<JobId>>,
}

impl JobFilter {
    /// Restricts to jobs of this name, beside those named already.
    #[must_use]
    pub fn with_job_name(mut self, job_name: impl Into<String>) -> Self {
        self.job_names.push(job_name.into());
        self
    }

    /// Restricts to jobs in these statuses.
    #[must_use]
    pub fn with_statuses(self, statuses: impl Into<Vec<JobStatus>>) -> Self {
        Self {
            statuses: statuses.into(),
            ..self
        }
    }

    /// Restricts to jobs whose params have these members.
    #[must_use]
    pub fn with_params(self, params: impl Into<JobParams>) -> Self {
        Self {
            params: Some(params.into()),
            ..self
        }
    }

    /// Restricts to these ids.
    #[must_use]
    pub fn with_ids(self, ids: impl Into<Vec<JobId>>) -> Self {
        Self {
            ids: Some(ids.into()),
            ..self
        }
    }

    /// Checks the filter and makes it ready to be asked about many jobs.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for over-long lists, bad names, or params that are not an object.
    pub fn compile(&self) -> Result<Matcher<'_>> {
        validate::list("job_names", self.job_names.len())?;
        for name in &self.job_names {
            validate::job_name("job_names", name)?;
        }
        validate::list("statuses", self.statuses.len())?;
        validate::list("ids", self.ids.as_ref().map_or(0, Vec::len))?;
        if let Some(params) = &self.params {
            validate::payload("params", params.as_str())?;
        }
        let params = self
            .params
            .as_ref()
            .map(|params| ObjectFilter::new(params.as_str()));
        let params = params
            .transpose()
            .map_err(|problem| validate::bad_params("params", &problem))?;
        Ok(Matcher {
            filter: self,
            params: params.filter(|params| !params.is_empty()),
        })
    }
}

/// A [`JobFilter`] that was checked, ready to be asked about many jobs.
#[derive(Debug)]
pub struct Matcher<'a> {
    filter: &'a JobFilter,
    params: Option<ObjectFilter>,
}

impl Matcher<'_> {
    /// Whether the job meets the filter.
    pub fn matches(&self, job: &Job) -> bool {
        let JobFilter {
            job_names,
            statuses,
            created_from,
            created_to,
            params: _,
            lease_expired_by,
            ids,
        } = self.filter;
        (job_names.is_empty() || job_names.contains(&job.job_name))
            && (statuses.is_empty() || statuses.contains(&job.status))
            && created_from.is_none_or(|from| job.creation_time >= from)
            && created_to.is_none_or(|to| job.creation_time <= to)
            && lease_expired_by.is_none_or(|by| job.is_lease_expired(by))
            && ids.as_ref().is_none_or(|ids| ids.contains(&job.id))
            && self.matches_params(&job.params)
    }

    /// Whether the params meet the filter's: what an engine cannot decide by itself.
    pub fn matches_params(&self, params: &JobParams) -> bool {
        self.params
            .as_ref()
            .is_none_or(|filter| filter.matches(params.as_str()))
    }

    /// The numbers that the params of every job meant have, as [`JobParams::terms`] gives them; none
    /// when the filter says nothing about params.
    pub fn params_terms(&self) -> Option<Vec<i64>> {
        self.params.as_ref().map(ObjectFilter::terms)
    }

    /// A text that is the same for filters that mean the same, to bind page tokens to.
    pub(crate) fn canonical(&self) -> String {
        let JobFilter {
            job_names,
            statuses,
            created_from,
            created_to,
            lease_expired_by,
            ..
        } = self.filter;
        let mut names = job_names.clone();
        names.sort_unstable();
        names.dedup();
        let mut statuses = statuses.clone();
        statuses.sort_unstable();
        statuses.dedup();
        let ids = self.filter.ids.clone().map(|mut ids| {
            ids.sort_unstable();
            ids.dedup();
            ids
        });
        let params = self.params.as_ref().map(ObjectFilter::canonical);
        let mut text = String::new();
        // Debug of strings and lists quotes what separates, so no two filters read the same.
        write!(
            text,
            "{names:?} {statuses:?} {created_from:?} {created_to:?} {params:?} \
             {lease_expired_by:?} {ids:?}"
        )
        .expect("writing to a String cannot fail");
        text
    }
}

/// How many jobs are in each status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusCounts([u64; JobStatus::ALL.len()]);

impl StatusCounts {
    /// The number of jobs in `status`.
    pub fn get(&self, status: JobStatus) -> u64 {
        self.0[status as usize]
    }

    /// Counts `jobs` more jobs in `status`.
    pub fn add(&mut self, status: JobStatus, jobs: u64) {
        self.0[status as usize] += jobs;
    }

    /// All jobs counted.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Every status with its number, zeros included.
    pub fn iter(&self) -> impl Iterator<Item = (JobStatus, u64)> + '_ {
        JobStatus::ALL.into_iter().zip(self.0)
    }
}

/// Which finalized jobs to delete.
#[derive(Clone, Debug, PartialEq)]
pub enum DeleteRequest {
    /// Those of these jobs that are finalized; an empty list deletes nothing.
    Ids(Vec<JobId>),
    /// The jobs that last changed before a time, oldest first.
    Before {
        /// Jobs whose last update is earlier than this, strictly.
        cutoff: Timestamp,
        /// Of these names; empty means any.
        job_names: Vec<String>,
        /// In these finalized statuses; empty means any of them.
        statuses: Vec<JobStatus>,
        /// At most this many: 1 to 1,000.
        limit: u32,
    },
}

impl DeleteRequest {
    /// Checks the request.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for lists or a limit out of range, bad names, and statuses that
    /// are not finalized.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Ids(ids) => validate::list("ids", ids.len()),
            Self::Before {
                cutoff: _,
                job_names,
                statuses,
                limit,
            } => {
                validate::list("job_names", job_names.len())?;
                for name in job_names {
                    validate::job_name("job_names", name)?;
                }
                validate::list("statuses", statuses.len())?;
                if statuses.iter().any(|status| !status.is_finalized()) {
                    return Err(Error::invalid(
                        "statuses",
                        "only finalized jobs can be deleted",
                    ));
                }
                validate::limit("limit", *limit)
            }
        }
    }

    /// Whether the request is about this job, its limit aside.
    pub fn matches(&self, job: &Job) -> bool {
        job.status.is_finalized()
            && match self {
                Self::Ids(ids) => ids.contains(&job.id),
                Self::Before {
                    cutoff,
                    job_names,
                    statuses,
                    limit: _,
                } => {
                    job.last_update_time < *cutoff
                        && (job_names.is_empty() || job_names.contains(&job.job_name))
                        && (statuses.is_empty() || statuses.contains(&job.status))
                }
            }
    }
}
