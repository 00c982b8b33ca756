//! Storing a batch so that doing it again does no harm.

use std::collections::HashMap;
use std::time::Duration;

use jobstore::{Creation, Error, Job, JobId, JobStore, NewJob};

/// How often a batch is tried again when the store is too busy, or others store the same jobs.
const TRIES: u32 = 6;

/// A job of the batch as it is in the store, and whether this run put it there.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) job: Job,
    pub(super) is_new: bool,
}

/// The jobs stored, in order, and what stopped it before the end of the batch.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) stored: Vec<Stored>,
    pub(super) failed: Option<Failed>,
}

/// What stopped a batch.
#[derive(Debug)]
pub(super) enum Failed {
    /// The first job that is not in `stored`: its id exists with another name or other params.
    Conflict(JobId),
    /// The store; nothing of the batch was stored.
    Store(Error),
}

/// Stores the jobs of a batch that are not there yet.
///
/// No two jobs of the batch have the same id. An id that exists with the same name and params
/// stands for a job that was submitted before. With others it is a conflict; then the jobs before
/// it are stored, and none after it.
pub(super) async fn store_batch(store: &dyn JobStore, mut batch: Vec<NewJob>) -> Outcome {
    // With ids of our own, trying again after an unknown outcome cannot store a job twice.
    let made: Vec<bool> = batch.iter().map(|job| job.id.is_none()).collect();
    for job in &mut batch {
        job.id.get_or_insert_with(JobId::generate);
    }
    let mut existing: HashMap<JobId, Job> = HashMap::new();
    let mut failed = None;
    let created = match create_missing(store, &mut batch, &mut existing, &mut failed).await {
        Ok(created) => created,
        Err(error) => {
            return Outcome {
                stored: Vec::new(),
                failed: Some(Failed::Store(error)),
            };
        }
    };
    let mut created = created.into_iter();
    let stored = batch.iter().zip(made).filter_map(|(job, made)| {
        let id = job.id?;
        let (job, is_new) = match existing.remove(&id) {
            Some(job) => (job, made),
            None => match created.next()? {
                Creation::Created(job) => (job, true),
                Creation::Existing(job) => {
                    let is_new = made && job.id == id;
                    (job, is_new)
                }
            },
        };
        Some(Stored { job, is_new })
    });
    Outcome {
        stored: stored.collect(),
        failed,
    }
}

/// Creates the jobs of the batch that do not exist; those that do end up in `existing`. Cuts the
/// batch before a job that is in conflict.
async fn create_missing(
    store: &dyn JobStore,
    batch: &mut Vec<NewJob>,
    existing: &mut HashMap<JobId, Job>,
    failed: &mut Option<Failed>,
) -> jobstore::Result<Vec<Creation>> {
    let mut tries = 0;
    loop {
        let missing = |job: &&NewJob| job.id.is_none_or(|id| !existing.contains_key(&id));
        let jobs = batch.iter().filter(missing).cloned().collect();
        let error = match store.create_jobs(jobs).await {
            Ok(created) => return Ok(created),
            Err(error) => error,
        };
        tries += 1;
        if tries == TRIES {
            return Err(error);
        }
        if error.is_retryable() {
            tokio::time::sleep(Duration::from_millis(50 << tries)).await;
            continue;
        }
        if !matches!(error, Error::AlreadyExists { .. }) {
            return Err(error);
        }
        let ids: Vec<JobId> = batch.iter().filter_map(|job| job.id).collect();
        let found = store.get_jobs(&ids).await?;
        *existing = found
            .into_iter()
            .flatten()
            .map(|job| (job.id, job))
            .collect();
        let conflict = batch.iter().enumerate().find_map(|(index, job)| {
            let found = existing.get(&job.id?)?;
            let same = found.job_name == job.job_name && found.params == job.params;
            (!same).then_some((index, found.id))
        });
        if let Some((index, id)) = conflict {
            *failed = Some(Failed::Conflict(id));
            batch.truncate(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn memory() -> std::sync::Arc<dyn JobStore> {
        jobstore::open("memory:").await.expect("opens")
    }

    #[tokio::test]
    async fn jobs_that_exist_are_left_and_the_others_stored() {
        let store = memory().await;
        let jobs = [1, 2, 3]
            .map(|n| NewJob::new("a", format!("{{\"n\":{n}}}")).with_id(JobId::generate()));
        store_batch(&*store, vec![jobs[1].clone()]).await;
        let outcome = store_batch(&*store, jobs.to_vec()).await;
        assert!(outcome.failed.is_none());
        let new: Vec<bool> = outcome.stored.iter().map(|stored| stored.is_new).collect();
        assert_eq!(new, [true, false, true]);
        let ids: Vec<_> = outcome
            .stored
            .iter()
            .map(|stored| Some(stored.job.id))
            .collect();
        assert_eq!(ids, jobs.map(|job| job.id));
    }

    #[tokio::test]
    async fn a_conflict_stores_what_stands_before_it() {
        let store = memory().await;
        let id = JobId::generate();
        store_batch(&*store, vec![NewJob::new("a", "{}").with_id(id)]).await;
        let jobs = vec![
            NewJob::new("a", r#"{"n":1}"#),
            NewJob::new("b", "{}").with_id(id),
            NewJob::new("a", r#"{"n":2}"#),
        ];
        let outcome = store_batch(&*store, jobs).await;
        assert!(matches!(outcome.failed, Some(Failed::Conflict(found)) if found == id));
        assert_eq!(outcome.stored.len(), 1);
    }
}
