//! The suite tested: a store that is right passes all of it, and planted bugs are caught.
//!
//! Most of the bugs are those that released job stores had; `Planted` puts one of them before the
//! memory store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jobstore_conformance::{Capabilities, Harness, Report, Surroundings, model, run};
use jobstore_core::{
    Action, ClaimRequest, Creation, DeleteRequest, Error, Job, JobFilter, JobId, JobStatus,
    JobStore, JobStoreExt as _, ManualClock, NewJob, Order, PageRequest, PageToken, PagedList,
    Result, StatusCounts, Target, Timestamp, Update,
};
use jobstore_memory::MemoryJobStore;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    None,
    ClaimsTwice,
    ClaimIsUnordered,
    ClaimsOneTooMany,
    FenceIsNotChecked,
    FenceIsNotReturned,
    RecoveryIsFree,
    RecoversWhatWasRenewed,
    RepetitionIsLost,
    RefusalsAreSilent,
    VerdictsAreReversed,
    EmptyResultBecomesNone,
    CutoffIsIncluded,
    EmptyIdsDeleteAll,
    TokenIsIgnored,
    PagesByOffset,
    DescendingIsIgnored,
    NoStatusMeansPending,
    EmptyIdsListAll,
    LongListsAreCut,
    CountIgnoresParams,
    KnownIdIsSilentlyKept,
    KeyIsNeverFreed,
    BatchIsNotAtomic,
    NamesIgnoreCase,
    NamesLoseTrailingSpaces,
    ParamsAreTrimmed,
    GetSortsItsAnswers,
    ForgetsWhenClosed,
}

/// Claims to be durable and shared, which the memory store is while its surroundings live.
struct Suspect(Bug);

#[async_trait]
impl Harness for Suspect {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            shared: true,
        }
    }

    async fn fresh(&self, clock: ManualClock) -> Result<Box<dyn Surroundings>> {
        let store = Mutex::new(planted(self.0, &clock));
        Ok(Box::new(Place { clock, store }))
    }
}

struct Place {
    clock: ManualClock,
    store: Mutex<Arc<Planted>>,
}

#[async_trait]
impl Surroundings for Place {
    async fn open(&self) -> Result<Arc<dyn JobStore>> {
        Ok(self.store.lock().expect("no panic").clone())
    }

    async fn close(&self) {
        let mut store = self.store.lock().expect("no panic");
        if store.bug == Bug::ForgetsWhenClosed {
            *store = planted(store.bug, &self.clock);
        }
    }
}

#[derive(Debug)]
struct Planted {
    bug: Bug,
    store: MemoryJobStore,
    keys: Mutex<HashMap<(String, String), JobId>>,
    last: Mutex<Option<Job>>,
}

fn planted(bug: Bug, clock: &ManualClock) -> Arc<Planted> {
    Arc::new(Planted {
        bug,
        store: MemoryJobStore::with_clock(Arc::new(clock.clone())),
        keys: Mutex::default(),
        last: Mutex::default(),
    })
}

impl Planted {
    /// The job that was the first with this name and key, even if it ended long ago.
    async fn first_with_key(&self, job: &NewJob) -> Option<Job> {
        let pair = (job.job_name.clone(), job.unique_key.clone()?);
        let id = self.keys.lock().expect("no panic").get(&pair).copied()?;
        self.store.get_job(id).await.ok()
    }

    async fn list_by_offset(
        &self,
        filter: &JobFilter,
        page: &PageRequest,
    ) -> Result<PagedList<Job>> {
        let offset = page
            .token
            .as_ref()
            .map_or(Ok(0), |token| token.as_str().parse());
        let offset: usize = offset.map_err(|_| Error::InvalidPageToken)?;
        let all = PageRequest::default()
            .with_size(1_000)
            .with_order(page.order);
        let jobs = self.store.list_jobs(filter, &all).await?.into_iter();
        let size = page.size as usize;
        let items: Vec<Job> = jobs.skip(offset).take(size).collect();
        let full = items.len() == size;
        let token = full.then(|| PageToken::new((offset + size).to_string()));
        Ok(PagedList {
            items,
            token,
            unreadable: Vec::new(),
        })
    }
}

#[async_trait]
impl JobStore for Planted {
    fn now(&self) -> Timestamp {
        self.store.now()
    }

    async fn create_jobs(&self, mut jobs: Vec<NewJob>) -> Result<Vec<Creation>> {
        for job in &mut jobs {
            match self.bug {
                Bug::NamesIgnoreCase => job.job_name = job.job_name.to_lowercase(),
                Bug::NamesLoseTrailingSpaces => {
                    job.job_name = job.job_name.trim_end_matches(' ').to_owned();
                }
                Bug::ParamsAreTrimmed => job.params = job.params.as_str().trim().into(),
                _ => {}
            }
        }
        match self.bug {
            Bug::KnownIdIsSilentlyKept => match self.store.create_jobs(jobs).await {
                Err(Error::AlreadyExists { id }) => {
                    let job = self.store.get_job(id).await?;
                    Ok(vec![Creation::Existing(job)])
                }
                created => created,
            },
            Bug::BatchIsNotAtomic => {
                let mut creations = Vec::new();
                for job in jobs {
                    creations.extend(self.store.create_jobs(vec![job]).await?);
                }
                Ok(creations)
            }
            Bug::KeyIsNeverFreed if jobs.len() == 1 => {
                if let Some(job) = self.first_with_key(&jobs[0]).await {
                    return Ok(vec![Creation::Existing(job)]);
                }
                let creations = self.store.create_jobs(jobs).await?;
                let job = creations[0].job().clone();
                if let Some(key) = job.unique_key {
                    let mut keys = self.keys.lock().expect("no panic");
                    keys.insert((job.job_name, key), job.id);
                }
                Ok(creations)
            }
            _ => self.store.create_jobs(jobs).await,
        }
    }

    async fn get_jobs(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>> {
        let mut ids = ids.to_vec();
        if self.bug == Bug::GetSortsItsAnswers {
            ids.sort_unstable();
        }
        self.store.get_jobs(&ids).await
    }

    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<PagedList<Job>> {
        let (mut filter, mut page) = (filter.clone(), page.clone());
        match self.bug {
            Bug::NoStatusMeansPending if filter.statuses.is_empty() => {
                filter.statuses = vec![JobStatus::Pending];
            }
            Bug::EmptyIdsListAll => filter.ids = filter.ids.filter(|ids| !ids.is_empty()),
            Bug::LongListsAreCut => filter.job_names.truncate(500),
            Bug::DescendingIsIgnored => page.order = Order::Ascending,
            // Without the token of the first page a walk would never end.
            Bug::TokenIsIgnored if page.token.take().is_some() => {
                let list = self.store.list_jobs(&filter, &page).await?;
                return Ok(PagedList {
                    token: None,
                    ..list
                });
            }
            Bug::PagesByOffset => return self.list_by_offset(&filter, &page).await,
            _ => {}
        }
        self.store.list_jobs(&filter, &page).await
    }

    async fn count_jobs(&self, filter: &JobFilter) -> Result<StatusCounts> {
        let mut filter = filter.clone();
        if self.bug == Bug::CountIgnoresParams {
            filter.params = None;
        }
        self.store.count_jobs(&filter).await
    }

    async fn claim_jobs(&self, request: &ClaimRequest) -> Result<Vec<Job>> {
        let mut request = request.clone();
        if self.bug == Bug::ClaimsOneTooMany && (1..1_000).contains(&request.limit) {
            request.limit += 1;
        }
        let mut jobs = self.store.claim_jobs(&request).await?;
        let mut last = self.last.lock().expect("no panic");
        match self.bug {
            Bug::ClaimIsUnordered => jobs.sort_by_key(|job| std::cmp::Reverse(job.id)),
            Bug::FenceIsNotReturned => jobs.iter_mut().for_each(|job| job.fence = 1),
            Bug::ClaimsTwice if jobs.is_empty() => jobs.extend(last.take()),
            _ => {}
        }
        *last = jobs.last().cloned();
        Ok(jobs)
    }

    async fn update_jobs(&self, mut updates: Vec<Update>) -> Result<Vec<Result<Job>>> {
        for update in &mut updates {
            match (self.bug, &mut update.action) {
                (Bug::FenceIsNotChecked, _) => update.target = Target::Id(update.target.id()),
                (Bug::EmptyResultBecomesNone, Action::Finish { result }) => {
                    *result = result.take().filter(|result| !result.is_empty());
                }
                (Bug::RecoveryIsFree, Action::Recover { .. }) => update.action = Action::Reset,
                (Bug::RecoversWhatWasRenewed, Action::Recover { policy }) => {
                    let (error, policy) = ("lease expired".to_owned(), *policy);
                    update.action = Action::RetryOrFail { error, policy };
                }
                _ => {}
            }
        }
        let mut verdicts = self.store.update_jobs(updates.clone()).await?;
        if self.bug == Bug::VerdictsAreReversed {
            verdicts.reverse();
        }
        for (update, verdict) in updates.iter().zip(&mut verdicts) {
            match (self.bug, &verdict) {
                (Bug::RefusalsAreSilent, Err(Error::InvalidTransition { .. })) => {
                    *verdict = self.store.get_job(update.target.id()).await;
                }
                (Bug::RepetitionIsLost, Ok(job)) if job.last_update_time < self.now() => {
                    *verdict = Err(Error::LeaseLost { id: job.id });
                }
                _ => {}
            }
        }
        Ok(verdicts)
    }

    async fn delete_jobs(&self, request: &DeleteRequest) -> Result<Vec<JobId>> {
        let mut request = request.clone();
        match (self.bug, &mut request) {
            (Bug::CutoffIsIncluded, DeleteRequest::Before { cutoff, .. }) => {
                *cutoff = Timestamp::from_millis(cutoff.as_millis().saturating_add(1));
            }
            (Bug::EmptyIdsDeleteAll, DeleteRequest::Ids(ids)) if ids.is_empty() => {
                request = DeleteRequest::Before {
                    cutoff: Timestamp::MAX,
                    job_names: Vec::new(),
                    statuses: Vec::new(),
                    limit: 1_000,
                };
            }
            _ => {}
        }
        self.store.delete_jobs(&request).await
    }
}

fn report(bug: Bug, filter: &str) -> Report {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime
        .expect("starts")
        .block_on(run(&Suspect(bug), filter))
}

#[test]
fn a_store_that_is_right_passes_every_case() {
    let report = report(Bug::None, "");
    assert!(report.is_success(), "{report}");
    assert!(report.to_string().ends_with("0 failed, 0 do not apply"));
    assert_eq!(report.outcomes.len(), jobstore_conformance::RULES.len());
}

#[test]
fn a_store_that_is_right_agrees_with_the_model() {
    model::test(&Suspect(Bug::None), 64);
}

/// Each bug, and a rule that it breaks.
#[test]
fn every_planted_bug_is_caught_by_a_case() {
    let mut missed = Vec::new();
    for (bug, rule) in [
        (Bug::ClaimsTwice, "CLAIM-018"),
        (Bug::ClaimIsUnordered, "CLAIM-008"),
        (Bug::ClaimsOneTooMany, "CLAIM-003"),
        (Bug::FenceIsNotChecked, "MATRIX-019"),
        (Bug::FenceIsNotReturned, "CLAIM-019"),
        (Bug::RecoveryIsFree, "LEASE-009"),
        (Bug::RecoversWhatWasRenewed, "LEASE-013"),
        (Bug::RepetitionIsLost, "REPEAT-001"),
        (Bug::RefusalsAreSilent, "MATRIX-003"),
        (Bug::VerdictsAreReversed, "BATCH-002"),
        (Bug::EmptyResultBecomesNone, "TRANSITION-005"),
        (Bug::CutoffIsIncluded, "DELETE-007"),
        (Bug::EmptyIdsDeleteAll, "DELETE-004"),
        (Bug::TokenIsIgnored, "LIST-005"),
        (Bug::PagesByOffset, "LIST-021"),
        (Bug::DescendingIsIgnored, "LIST-004"),
        (Bug::NoStatusMeansPending, "LIST-011"),
        (Bug::EmptyIdsListAll, "LIST-014"),
        (Bug::LongListsAreCut, "LIST-017"),
        (Bug::CountIgnoresParams, "COUNT-005"),
        (Bug::KnownIdIsSilentlyKept, "CREATE-009"),
        (Bug::KeyIsNeverFreed, "UNIQUE-008"),
        (Bug::BatchIsNotAtomic, "CREATE-012"),
        (Bug::NamesIgnoreCase, "TEXT-002"),
        (Bug::NamesLoseTrailingSpaces, "TEXT-001"),
        (Bug::ParamsAreTrimmed, "CREATE-018"),
        (Bug::GetSortsItsAnswers, "GET-001"),
        (Bug::ForgetsWhenClosed, "DURABLE-001"),
    ] {
        let report = report(bug, rule);
        if report.failures().next().is_none() {
            missed.push((bug, rule));
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

#[test]
fn the_model_catches_a_bug_with_a_short_program_to_paste() {
    let found =
        std::panic::catch_unwind(|| model::test(&Suspect(Bug::RecoversWhatWasRenewed), 500));
    let panic = found.expect_err("the bug is found");
    let message = panic.downcast_ref::<String>().expect("a message");
    let steps = message.lines().skip_while(|line| !line.contains("let ops"));
    let steps = steps
        .skip(1)
        .take_while(|line| !line.contains("];"))
        .count();
    assert!((2..=8).contains(&steps), "{message}");
    assert!(message.contains("replay(&MyHarness, ops)"), "{message}");
}

/// As the model printed it for the bug, but for the harness.
#[test]
#[should_panic(expected = "store and model differ")]
fn a_pasted_program_fails_again() {
    pasted(Bug::RecoversWhatWasRenewed);
}

#[test]
fn a_pasted_program_passes_once_the_bug_is_gone() {
    pasted(Bug::None);
}

fn pasted(bug: Bug) {
    use jobstore_conformance::model::{Act::*, By::*, Change, New, Op::*, replay};

    let ops = vec![
        Create(vec![New {
            name: 0,
            params: 0,
            id: None,
            key: None,
            priority: 0,
            due: None,
            max_retries: None,
        }]),
        Update(vec![
            Change {
                job: 0,
                by: Id,
                act: StartUnleased,
            },
            Change {
                job: 0,
                by: Id,
                act: Recover(0),
            },
        ]),
    ];
    replay(&Suspect(bug), ops);
}
