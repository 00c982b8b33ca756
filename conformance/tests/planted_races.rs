//! The histories tested: stores that are right one call at a time and wrong when callers meet.

use std::collections::HashMap;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jobstore_conformance::{Capabilities, Harness, Surroundings, history};
use jobstore_core::{
    Action, ClaimRequest, Creation, DeleteRequest, Error, Job, JobFilter, JobId, JobStatus,
    JobStore, ManualClock, NewJob, Order, PageRequest, PagedList, Result, StatusCounts, Timestamp,
    Update,
};
use jobstore_memory::MemoryJobStore;
use tokio::task::yield_now;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Race {
    None,
    /// A claim hands out what another claim has just handed out.
    ClaimsAreGivenTwice,
    /// Gets answer from a copy that is refreshed only now and then.
    ReadsAreStale,
    /// A second accepted update of a job at once is answered, but not written.
    UpdatesAreLost,
    /// A batch of creates is written one by one.
    BatchesAreNotAtomic,
    /// Retries are guarded by what was read before, by id.
    RetriesUseAnOldGuard,
    /// A listing is put together from one query for each status.
    ListsAreTorn,
    /// Deleting looks at the status first and deletes later.
    DeletesWhatWasReset,
    /// A call that is dropped leaves half of its batch.
    DroppedBatchesAreTorn,
    /// The claim takes what another caller asks for, not the best, though nobody else is there.
    ClaimsOutOfOrder,
}

struct Suspect(Race);

#[async_trait]
impl Harness for Suspect {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: false,
            shared: true,
            arrivals: false,
        }
    }

    async fn fresh(&self, clock: ManualClock) -> Result<Box<dyn Surroundings>> {
        let store = Racy {
            race: self.0,
            store: MemoryJobStore::with_clock(Arc::new(clock)),
            last: Mutex::default(),
            copies: Mutex::default(),
        };
        Ok(Box::new(Held(Arc::new(store))))
    }
}

struct Held(Arc<Racy>);

#[async_trait]
impl Surroundings for Held {
    async fn open(&self) -> Result<Arc<dyn JobStore>> {
        Ok(self.0.clone())
    }
}

#[derive(Debug)]
struct Racy {
    race: Race,
    store: MemoryJobStore,
    /// The last job claimed, and how many times it may be given again.
    last: Mutex<Option<Job>>,
    copies: Mutex<HashMap<JobId, (u32, Option<Job>)>>,
}

impl Racy {
    /// What was there some reads ago.
    fn stale(&self, id: JobId, job: Option<Job>) -> Option<Job> {
        let mut copies = self.copies.lock().expect("no panic");
        let (uses, copy) = copies.entry(id).or_insert((0, job.clone()));
        *uses += 1;
        if *uses > 3 {
            (*uses, *copy) = (0, job);
        }
        copy.clone()
    }
}

#[async_trait]
impl JobStore for Racy {
    fn now(&self) -> Timestamp {
        self.store.now()
    }

    async fn create_jobs(&self, jobs: Vec<NewJob>) -> Result<Vec<Creation>> {
        match self.race {
            Race::BatchesAreNotAtomic => {
                let mut creations = Vec::new();
                for job in jobs {
                    creations.extend(self.store.create_jobs(vec![job]).await?);
                    yield_now().await;
                }
                Ok(creations)
            }
            Race::DroppedBatchesAreTorn => {
                let mut jobs = jobs;
                let rest = jobs.split_off(jobs.len() / 2);
                let mut creations = self.store.create_jobs(jobs).await?;
                yield_now().await;
                creations.extend(self.store.create_jobs(rest).await?);
                Ok(creations)
            }
            _ => self.store.create_jobs(jobs).await,
        }
    }

    async fn get_jobs(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>> {
        let jobs = self.store.get_jobs(ids).await?;
        if self.race != Race::ReadsAreStale {
            return Ok(jobs);
        }
        let pairs = ids.iter().zip(jobs);
        Ok(pairs.map(|(id, job)| self.stale(*id, job)).collect())
    }

    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<PagedList<Job>> {
        if self.race != Race::ListsAreTorn || page.token.is_some() || !filter.statuses.is_empty() {
            return self.store.list_jobs(filter, page).await;
        }
        let mut torn = PagedList {
            items: Vec::new(),
            token: None,
            unreadable: Vec::new(),
        };
        for status in JobStatus::ALL {
            let one = filter.clone().with_statuses([status]);
            torn.items.extend(self.store.list_jobs(&one, page).await?);
            yield_now().await;
        }
        torn.items.sort_by_key(Job::list_order);
        torn.items.dedup_by_key(|job| job.id);
        if page.order == Order::Descending {
            torn.items.reverse();
        }
        torn.items.truncate(page.size as usize);
        if torn.items.len() == page.size as usize {
            let last = torn.items.last();
            let matcher = filter.compile()?;
            torn.token = last.map(|last| page.token_after(last, &matcher));
        }
        Ok(torn)
    }

    async fn count_jobs(&self, filter: &JobFilter) -> Result<StatusCounts> {
        self.store.count_jobs(filter).await
    }

    async fn claim_jobs(&self, request: &ClaimRequest) -> Result<Vec<Job>> {
        let mut request = request.clone();
        if self.race == Race::ClaimsOutOfOrder && request.limit == 1 {
            // The second best, where there are two.
            request.limit = 2;
            let jobs = self.store.claim_jobs(&request).await?;
            if let [first, second] = &jobs[..] {
                let back = Update::new(first.claim(), Action::Reset);
                self.store.update_jobs(vec![back]).await?;
                return Ok(vec![second.clone()]);
            }
            return Ok(jobs);
        }
        let mut jobs = self.store.claim_jobs(&request).await?;
        if self.race == Race::ClaimsAreGivenTwice {
            let mut last = self.last.lock().expect("no panic");
            match jobs.is_empty() {
                true => jobs.extend(last.take()),
                false => *last = jobs.last().cloned(),
            }
        }
        Ok(jobs)
    }

    async fn update_jobs(&self, updates: Vec<Update>) -> Result<Vec<Result<Job>>> {
        match self.race {
            Race::UpdatesAreLost | Race::RetriesUseAnOldGuard => {
                let mut verdicts = Vec::new();
                for update in updates {
                    let id = update.target.id();
                    let Some(job) = self.store.get_jobs(&[id]).await?.remove(0) else {
                        verdicts.push(Err(Error::NotFound { id }));
                        continue;
                    };
                    let now = self.now();
                    yield_now().await;
                    let lost = self.race == Race::UpdatesAreLost;
                    let applied = update.apply(&job, now);
                    match applied {
                        // What was decided on an old reading is answered, whoever came between.
                        Ok(jobstore_core::Applied::Changed(next)) if lost => {
                            let written = self.store.update_jobs(vec![update]).await?.remove(0);
                            verdicts.push(written.or(Ok(next)));
                        }
                        Ok(_) if matches!(update.action, Action::RetryOrFail { .. }) => {
                            let by_id = Update::new(id, update.action);
                            verdicts.extend(self.store.update_jobs(vec![by_id]).await?);
                        }
                        _ => verdicts.extend(self.store.update_jobs(vec![update]).await?),
                    }
                }
                Ok(verdicts)
            }
            _ => self.store.update_jobs(updates).await,
        }
    }

    async fn delete_jobs(&self, request: &DeleteRequest) -> Result<Vec<JobId>> {
        match (self.race, request) {
            (Race::DeletesWhatWasReset, DeleteRequest::Ids(ids)) => {
                let jobs = self.store.get_jobs(ids).await?;
                let old = jobs
                    .into_iter()
                    .flatten()
                    .filter(|job| request.matches(job));
                let old: Vec<JobId> = old.map(|job| job.id).collect();
                yield_now().await;
                self.store
                    .delete_jobs(&DeleteRequest::Ids(old.clone()))
                    .await?;
                // Told as it was decided.
                Ok(old)
            }
            _ => self.store.delete_jobs(request).await,
        }
    }
}

#[test]
fn a_store_that_is_right_is_explained() {
    history::test(&Suspect(Race::None), 300);
}

#[test]
fn a_store_that_is_right_loses_none_of_many_jobs() {
    history::many_jobs(&Suspect(Race::None), 20_000);
}

#[test]
fn a_claim_given_twice_is_caught() {
    caught(Race::ClaimsAreGivenTwice);
}

#[test]
fn stale_reads_are_caught() {
    caught(Race::ReadsAreStale);
}

#[test]
fn lists_put_together_from_several_looks_are_caught() {
    caught(Race::ListsAreTorn);
}

#[test]
fn lost_updates_are_caught() {
    caught(Race::UpdatesAreLost);
}

#[test]
fn batches_that_are_not_atomic_are_caught() {
    caught(Race::BatchesAreNotAtomic);
}

#[test]
fn retries_with_an_old_guard_are_caught() {
    caught(Race::RetriesUseAnOldGuard);
}

#[test]
fn deleting_what_was_reset_meanwhile_is_caught() {
    caught(Race::DeletesWhatWasReset);
}

#[test]
fn a_dropped_batch_that_leaves_half_is_caught() {
    caught(Race::DroppedBatchesAreTorn);
}

#[test]
fn claims_out_of_order_are_caught() {
    caught(Race::ClaimsOutOfOrder);
}

#[test]
fn a_claim_given_twice_is_caught_among_many_jobs() {
    let run = || history::many_jobs(&Suspect(Race::ClaimsAreGivenTwice), 2_000);
    let message = message_of(run);
    assert!(message.contains("for one worker only"), "{message}");
}

fn caught(race: Race) {
    let message = message_of(|| history::test(&Suspect(race), 20_000));
    assert!(message.contains("steps fit, then none of"), "{message}");
    assert!(message.contains("JOBSTORE_HISTORY_SEED="), "{message}");
    let picture = message.split("picture: ").nth(1).expect("has a picture");
    let path = picture.lines().next().expect("has a path").trim();
    let html = std::fs::read_to_string(path).expect("is written");
    assert!(html.contains("class='stuck'"), "{html}");
    std::fs::remove_file(path).expect("can be removed");
}

fn message_of(run: impl Fn() + std::panic::UnwindSafe) -> String {
    let panic = catch_unwind(run).expect_err("the race is noticed");
    let message = panic.downcast_ref::<String>();
    message.expect("a message").clone()
}

#[test]
fn a_run_that_saw_nothing_proves_nothing() {
    let message = message_of(|| history::test(&Suspect(Race::None), 0));
    assert!(message.contains("prove nothing"), "{message}");
}
