//! What input is refused, the same on every backend and before anything is written.

use std::time::Duration;

use crate::json::{self, Problem};
use crate::{
    Action, ClaimRequest, Error, JobId, MAX_ERROR_BYTES, NewJob, Result, RetryPolicy, Update,
};

/// The most items in one batch or list, jobs on a page, and jobs in one claim.
pub const MAX_ITEMS: usize = 1000;
/// The most bytes of one job's params or result.
pub const MAX_PAYLOAD_BYTES: usize = 8 * 1024 * 1024;
/// The most bytes of text in one batch.
pub const MAX_BATCH_BYTES: usize = 64 * 1024 * 1024;
/// The most characters of a job name.
pub const MAX_NAME_CHARS: usize = 500;
/// The most characters of a unique key or a lease owner.
pub const MAX_KEY_CHARS: usize = 255;
/// The most retries: what an engine's 32-bit integer holds.
pub const MAX_RETRIES: u32 = i32::MAX as u32;

/// Checks a batch to be created.
///
/// # Errors
///
/// [`Error::InvalidArgument`] naming the first field that is wrong.
pub fn new_jobs(jobs: &[NewJob]) -> Result<()> {
    list("jobs", jobs.len())?;
    batch_bytes("jobs", jobs.iter().map(text_len))?;
    for (index, job) in jobs.iter().enumerate() {
        new_job(job).map_err(|error| within(error, &format!("jobs[{index}]")))?;
    }
    Ok(())
}

fn text_len(job: &NewJob) -> usize {
    let key = job.unique_key.as_ref().map_or(0, String::len);
    job.job_name.len() + job.params.as_str().len() + key
}

fn new_job(job: &NewJob) -> Result<()> {
    job_name("job_name", &job.job_name)?;
    payload("params", job.params.as_str())?;
    json::check_object(job.params.as_str()).map_err(|problem| bad_params("params", &problem))?;
    if let Some(timeout) = job.timeout {
        duration("timeout", timeout)?;
    }
    if let Some(max_retries) = job.max_retries {
        retries("max_retries", max_retries)?;
    }
    if let Some(unique_key) = &job.unique_key {
        text("unique_key", unique_key, MAX_KEY_CHARS)?;
    }
    Ok(())
}

/// Checks a batch of updates.
///
/// # Errors
///
/// [`Error::InvalidArgument`] naming the first field that is wrong.
pub fn updates(updates: &[Update]) -> Result<()> {
    list("updates", updates.len())?;
    batch_bytes(
        "updates",
        updates.iter().map(|update| action_text_len(&update.action)),
    )?;
    for (index, update) in updates.iter().enumerate() {
        action(&update.action).map_err(|error| within(error, &format!("updates[{index}]")))?;
    }
    Ok(())
}

fn action_text_len(action: &Action) -> usize {
    match action {
        Action::Finish { result } => result.as_ref().map_or(0, String::len),
        // Longer errors are cut, never refused, so what is cut does not count.
        Action::Fail { error } | Action::RetryOrFail { error, .. } => {
            error.len().min(MAX_ERROR_BYTES)
        }
        _ => 0,
    }
}

fn action(action: &Action) -> Result<()> {
    match action {
        Action::Start { lease: Some(lease) } => {
            text("owner", &lease.owner, MAX_KEY_CHARS)?;
            duration("lease", lease.duration)
        }
        Action::Renew { lease } => duration("lease", *lease),
        Action::Finish {
            result: Some(result),
        } => {
            payload("result", result)?;
            no_nul("result", result)
        }
        Action::RetryOrFail { policy, .. } | Action::Recover { policy } => retry_policy(policy),
        _ => Ok(()),
    }
}

/// Checks a claim.
///
/// # Errors
///
/// [`Error::InvalidArgument`] naming the first field that is wrong.
pub fn claim(request: &ClaimRequest) -> Result<()> {
    list("job_names", request.job_names.len())?;
    for name in &request.job_names {
        job_name("job_names", name)?;
    }
    limit("limit", request.limit)?;
    text("owner", &request.lease.owner, MAX_KEY_CHARS)?;
    duration("lease", request.lease.duration)
}

/// Checks a list of ids.
///
/// # Errors
///
/// [`Error::InvalidArgument`] when there are more than [`MAX_ITEMS`].
pub fn ids(ids: &[JobId]) -> Result<()> {
    list("ids", ids.len())
}

pub(crate) fn list(field: &str, len: usize) -> Result<()> {
    if len > MAX_ITEMS {
        return Err(Error::invalid(
            field,
            format!("{len} items, at most {MAX_ITEMS} are allowed"),
        ));
    }
    Ok(())
}

pub(crate) fn limit(field: &str, limit: u32) -> Result<()> {
    if limit == 0 || limit as usize > MAX_ITEMS {
        return Err(Error::invalid(
            field,
            format!("{limit} is not between 1 and {MAX_ITEMS}"),
        ));
    }
    Ok(())
}

pub(crate) fn job_name(field: &str, name: &str) -> Result<()> {
    text(field, name, MAX_NAME_CHARS)
}

pub(crate) fn payload(field: &str, text: &str) -> Result<()> {
    if text.len() > MAX_PAYLOAD_BYTES {
        let reason = format!(
            "{} bytes, at most {MAX_PAYLOAD_BYTES} are allowed",
            text.len()
        );
        return Err(Error::invalid(field, reason));
    }
    Ok(())
}

pub(crate) fn bad_params(field: &str, problem: &Problem) -> Error {
    Error::invalid(
        field,
        format!("{} at byte {}", problem.reason, problem.offset),
    )
}

fn text(field: &str, text: &str, max_chars: usize) -> Result<()> {
    if text.is_empty() {
        return Err(Error::invalid(field, "empty"));
    }
    // A character has at most four bytes: no need to count those of a text of megabytes.
    if text.len() > 4 * max_chars || text.chars().count() > max_chars {
        return Err(Error::invalid(
            field,
            format!("longer than {max_chars} characters"),
        ));
    }
    no_nul(field, text)
}

fn no_nul(field: &str, text: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(Error::invalid(field, "contains a NUL character"));
    }
    Ok(())
}

fn duration(field: &str, duration: Duration) -> Result<()> {
    if duration.is_zero() {
        return Err(Error::invalid(field, "zero"));
    }
    Ok(())
}

fn retries(field: &str, retries: u32) -> Result<()> {
    if retries > MAX_RETRIES {
        return Err(Error::invalid(
            field,
            format!("{retries} is more than {MAX_RETRIES}"),
        ));
    }
    Ok(())
}

fn retry_policy(policy: &RetryPolicy) -> Result<()> {
    retries("policy.max_retries", policy.max_retries)
}

fn batch_bytes(field: &str, sizes: impl Iterator<Item = usize>) -> Result<()> {
    let total = sizes.fold(0_usize, usize::saturating_add);
    if total > MAX_BATCH_BYTES {
        let reason = format!("{total} bytes in all, at most {MAX_BATCH_BYTES} are allowed");
        return Err(Error::invalid(field, reason));
    }
    Ok(())
}

fn within(error: Error, item: &str) -> Error {
    match error {
        Error::InvalidArgument { field, reason } => Error::InvalidArgument {
            field: format!("{item}.{field}"),
            reason,
        },
        other => other,
    }
}
