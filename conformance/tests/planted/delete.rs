//! What deleting does, and what the defects make of it.

use std::collections::HashSet;
use std::time::Duration;

use jobstore_core::{DeleteRequest, Job, JobId};

use crate::defect::Defect;
use crate::read::folded;
use crate::store::Disk;

impl Disk {
    pub(crate) fn delete(&mut self, request: &DeleteRequest) -> Vec<JobId> {
        let mut request = request.clone();
        match (self.defect, &mut request) {
            (Defect::TheCutoffIsIncluded, DeleteRequest::Before { cutoff, .. }) => {
                *cutoff = cutoff.saturating_add(Duration::from_millis(1));
            }
            (Defect::DeletionsIgnoreTheStatuses, DeleteRequest::Before { statuses, .. }) => {
                statuses.clear();
            }
            (Defect::NoIdsDeleteAll, DeleteRequest::Ids(ids)) if ids.is_empty() => {
                ids.extend(self.jobs.keys());
            }
            _ => {}
        }
        let matches = |job: &&Job| match (self.defect, &request) {
            (Defect::UnfinishedJobsAreDeleted, DeleteRequest::Ids(ids)) => ids.contains(&job.id),
            (Defect::AgeIsCountedFromCreation, DeleteRequest::Before { .. }) => {
                let aged = Job {
                    last_update_time: job.creation_time,
                    ..(*job).clone()
                };
                request.matches(&aged)
            }
            (Defect::DeletionsIgnoreTheCaseOfNames, DeleteRequest::Before { job_names, .. })
                if !job_names.is_empty() =>
            {
                let named = |name: &&String| folded(name) == folded(&job.job_name);
                let found = job_names.iter().find(named);
                found.is_some_and(|name| {
                    request.matches(&Job {
                        job_name: name.clone(),
                        ..(*job).clone()
                    })
                })
            }
            (Defect::NamesOrStatusesAreDeleted, _) => {
                let any_of = |names: bool, statuses: bool| {
                    let mut either = request.clone();
                    if let DeleteRequest::Before {
                        job_names: asked,
                        statuses: among,
                        ..
                    } = &mut either
                        && !asked.is_empty()
                        && !among.is_empty()
                    {
                        if names {
                            asked.clear();
                        }
                        if statuses {
                            among.clear();
                        }
                    }
                    either.matches(job)
                };
                any_of(true, false) || any_of(false, true)
            }
            (Defect::ALimitCountsOthersToo, DeleteRequest::Before { cutoff, .. }) => {
                job.status.is_finalized() && job.last_update_time < *cutoff
            }
            _ => request.matches(job),
        };
        let mut jobs: Vec<Job> = self.jobs.values().filter(matches).cloned().collect();
        match &request {
            DeleteRequest::Ids(ids) if self.has(Defect::AnIdTwiceIsDeletedTwice) => {
                let found: HashSet<JobId> = jobs.iter().map(|job| job.id).collect();
                let deleted = ids.to_vec();
                self.jobs.retain(|id, _| !found.contains(id));
                return deleted
                    .into_iter()
                    .filter(|id| found.contains(id))
                    .collect();
            }
            DeleteRequest::Ids(_) => {}
            DeleteRequest::Before { limit, .. } => {
                jobs.sort_by_key(|job| job.last_update_time);
                if self.has(Defect::ALimitTakesTheNewest) {
                    jobs.reverse();
                }
                jobs.truncate(*limit as usize);
            }
        }
        if self.has(Defect::ALimitCountsOthersToo) {
            jobs.retain(|job| request.matches(job));
        }
        for job in &jobs {
            self.jobs.remove(&job.id);
        }
        if self.has(Defect::DeletedComeBackWhenReopened) {
            self.removed.extend(jobs.iter().cloned());
        }
        jobs.iter().map(|job| job.id).collect()
    }
}
