//! Calls that fail, with and without having happened, and are repeated as a client would.
//!
//! Each case is a program that a [`FaultStore`] disturbs: its first call fails in every way there
//! is, then its second, until a run is over before anything failed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jobstore_core::{
    Action, ClaimRequest, Creation, DeleteRequest, Error, Job, JobFilter, JobId, JobStatus,
    JobStore, JobStoreExt as _, Lease, NewJob, Order, PageRequest, Result, RetryPolicy, Update,
};

use crate::cx::{LEASE, fail, finish, start};
use crate::failure::{CaseResult, Failure, check, check_eq, check_err, same, same_all};
use crate::{Cx, Fault, FaultStore};

/// What may happen to a call besides being dropped while it waits.
const FAULTS: [Fault; 4] = [
    Fault::ErrorBefore,
    Fault::ErrorAfter,
    Fault::Delay(Duration::from_millis(1)),
    Fault::Hang,
];

/// After so many polls dropping a call says nothing new.
const MAX_POLLS: u32 = 6;

/// A caller who repeats what failed until there is an answer.
struct Client<'a> {
    cx: &'a Cx,
    store: Arc<FaultStore>,
    /// A name for the jobs of this run.
    name: String,
    /// Whether the fault is that nobody waits for a call any more.
    drops: bool,
}

impl Client<'_> {
    /// Repeats a call while nothing is known about it.
    async fn insist<'c, T>(&self, call: impl Fn() -> BoxFuture<'c, Result<T>> + Send) -> Result<T> {
        for _ in 0..3 {
            let answer = tokio::select! {
                biased;
                answer = call() => answer,
                () = self.store.hung() => continue,
            };
            match answer {
                Err(Error::Unavailable { .. }) => {}
                answer => return answer,
            }
        }
        // One fault is injected in a run, so this is an engine of its own accord.
        call().await
    }

    async fn create(&self, jobs: &[NewJob]) -> Result<Vec<Creation>> {
        self.insist(|| self.store.create_jobs(jobs.to_vec())).await
    }

    async fn claim(&self, limit: u32) -> Result<Vec<Job>> {
        let request = ClaimRequest::new("ada", LEASE).with_job_name(&*self.name);
        let request = request.with_limit(limit);
        self.insist(|| self.store.claim_jobs(&request)).await
    }

    async fn update_all(&self, updates: &[Update]) -> CaseResult<Vec<Result<Job>>> {
        let verdicts = self.insist(|| self.store.update_jobs(updates.to_vec()));
        let verdicts = verdicts.await?;
        check_eq!(verdicts.len(), updates.len(), "verdicts");
        Ok(verdicts)
    }

    async fn update(&self, update: Update) -> CaseResult<Result<Job>> {
        Ok(self.update_all(&[update]).await?.remove(0))
    }

    async fn delete(&self, request: &DeleteRequest) -> Result<Vec<JobId>> {
        self.insist(|| self.store.delete_jobs(request)).await
    }

    fn new_job(&self) -> NewJob {
        NewJob::new(&*self.name, "{}")
    }

    fn mine(&self) -> JobFilter {
        JobFilter::default().with_job_name(&*self.name)
    }

    /// Jobs of this run, created without a fault.
    async fn prepare(&self, jobs: usize) -> CaseResult<Vec<Job>> {
        self.cx.create_all(vec![self.new_job(); jobs]).await
    }

    /// Jobs of this run, running under a lease, without a fault.
    async fn prepare_running(&self, jobs: usize) -> CaseResult<Vec<Job>> {
        let jobs = self.prepare(jobs).await?;
        let updates = jobs.iter().map(|job| Update::new(job.id, start("ada")));
        self.cx.apply_all(updates.collect()).await
    }
}

/// Runs a program until none of its calls is left that could fail.
async fn disturbed<P>(cx: &Cx, program: P) -> CaseResult
where
    P: for<'c> Fn(&'c Client<'c>) -> BoxFuture<'c, CaseResult> + Send + Sync,
{
    let run = async |call: u64, fault: Fault| -> CaseResult<(bool, bool)> {
        let client = Client {
            cx,
            store: Arc::new(FaultStore::new(cx.store())),
            name: format!("{call} {fault:?}"),
            drops: matches!(fault, Fault::DroppedAt(_)),
        };
        client.store.arm(call, fault);
        let result = program(&client).await;
        result.map_err(|failure| failure.when(format!("call {} with {fault:?}", call + 1)))?;
        Ok((client.store.was_reached(), client.store.has_fired()))
    };
    for call in 0.. {
        let mut made = false;
        for fault in FAULTS {
            let (reached, _) = run(call, fault).await?;
            made |= reached;
        }
        for polls in 0..MAX_POLLS {
            let (_, fired) = run(call, Fault::DroppedAt(polls)).await?;
            if !fired {
                break;
            }
        }
        if !made {
            check!(call > 0, "a program that calls the store");
            return Ok(());
        }
    }
    Ok(())
}

/// How many rounds a call that nobody waits for may take to come to its end.
const SETTLING: usize = 100;
/// How long such a call is given where nothing shows that it has.
const DROPPED: Duration = Duration::from_millis(500);

pub(crate) async fn a_create_with_ids_may_be_repeated(cx: &Cx) -> CaseResult {
    disturbed(cx, |client| {
        Box::pin(async move {
            let cx = client.cx;
            let jobs = vec![JobId::generate(), JobId::generate(), JobId::generate()];
            let jobs: Vec<NewJob> = jobs
                .into_iter()
                .map(|id| client.new_job().with_id(id))
                .collect();
            match client.create(&jobs).await {
                Ok(creations) => check_eq!(creations.len(), jobs.len(), "verdicts"),
                again => check_err!(again, Error::AlreadyExists { id } if Some(id) == jobs[0].id),
            }
            let ids = jobs.iter().filter_map(|job| job.id);
            same_all(&cx.list(&client.mine()).await?, &cx.get_all(ids).await?)
        })
    })
    .await
}

pub(crate) async fn a_create_with_keys_may_be_repeated(cx: &Cx) -> CaseResult {
    disturbed(cx, |client| {
        Box::pin(async move {
            let cx = client.cx;
            let jobs = ["a", "b", "a"].map(|key| client.new_job().with_unique_key(key));
            let found = client.create(&jobs).await?;
            check_eq!(found.len(), jobs.len(), "verdicts");
            check_eq!(found[0].job().id, found[2].job().id, "the job of a key");
            let jobs = cx.list(&client.mine()).await?;
            same_all(found[..2].iter().map(Creation::job), &jobs)
        })
    })
    .await
}

pub(crate) async fn a_claim_whose_reply_was_lost_loses_no_job(cx: &Cx) -> CaseResult {
    disturbed(cx, |client| {
        Box::pin(async move {
            let cx = client.cx;
            let jobs = client.prepare(4).await?;
            let mut runs = 0;
            for _ in 0..SETTLING {
                loop {
                    let claimed = client.claim(2).await?;
                    if claimed.is_empty() {
                        break;
                    }
                    runs += claimed.len();
                    for run in claimed {
                        client
                            .update(Update::new(run.claim(), finish("done")))
                            .await??;
                    }
                }
                if runs == jobs.len() {
                    break;
                }
                // What a lost reply named runs on until its lease is over. A call whose caller has
                // gone may still be at work, so what it takes shows only in a later round.
                cx.advance(LEASE);
                let policy = RetryPolicy {
                    base: Duration::ZERO,
                    ..RetryPolicy::default()
                };
                let names = [client.name.clone()];
                cx.store().recover_expired(&names, policy).await?;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            check_eq!(runs, jobs.len(), "runs that were handed out and finished");
            for job in cx.get_all(jobs.iter().map(|job| job.id)).await? {
                check_eq!(job.status, JobStatus::Succeeded, "job {}", job.id);
                let runs = u64::from(job.retry_count) + 1;
                check_eq!(job.fence, runs, "fence of job {}", job.id);
            }
            Ok(())
        })
    })
    .await
}

pub(crate) async fn an_outcome_may_be_repeated_whatever_failed(cx: &Cx) -> CaseResult {
    disturbed(cx, |client| {
        Box::pin(async move {
            let cx = client.cx;
            let policy = RetryPolicy::default();
            let error = "no".to_owned();
            for (action, status, retries) in [
                (finish("done"), JobStatus::Succeeded, 0),
                (fail("no"), JobStatus::Failed, 0),
                (Action::TimeOut, JobStatus::Timeout, 0),
                (Action::Cancel, JobStatus::Canceled, 0),
                (Action::RetryOrFail { error, policy }, JobStatus::Pending, 1),
                (Action::Reset, JobStatus::Pending, 0),
            ] {
                let run = client.prepare_running(1).await?.remove(0);
                let recorded = client.update(Update::new(run.claim(), action)).await??;
                let job = cx.get(run.id).await?;
                same(&recorded, &job)?;
                check_eq!(
                    (job.status, job.retry_count, job.fence),
                    (status, retries, 1),
                    "job {}",
                    job.id
                );
            }
            Ok(())
        })
    })
    .await
}

pub(crate) async fn a_renewal_may_be_repeated(cx: &Cx) -> CaseResult {
    disturbed(cx, |client| {
        Box::pin(async move {
            let cx = client.cx;
            let run = client.prepare_running(1).await?.remove(0);
            let renew = Action::Renew { lease: LEASE * 2 };
            let renewed = client.update(Update::new(run.claim(), renew)).await??;
            let ends = cx.now().saturating_add(LEASE * 2);
            check_eq!(renewed.lease_expires_at, Some(ends), "job {}", run.id);
            check_eq!(renewed.fence, 1, "job {}", run.id);
            cx.unchanged(&renewed).await
        })
    })
    .await
}

pub(crate) async fn a_batch_of_outcomes_may_be_repeated(cx: &Cx) -> CaseResult {
    disturbed(cx, |client| {
        Box::pin(async move {
            let cx = client.cx;
            let runs = client.prepare_running(4).await?;
            let policy = RetryPolicy::default();
            let error = "no".to_owned();
            let actions = [
                finish("done"),
                Action::RetryOrFail { error, policy },
                fail("no"),
                Action::Reset,
            ];
            let pairs = runs.iter().zip(actions);
            let updates: Vec<_> = pairs
                .map(|(run, action)| Update::new(run.claim(), action))
                .collect();
            let mut recorded = Vec::new();
            for verdict in client.update_all(&updates).await? {
                recorded.push(verdict?);
            }
            let stored = cx.get_all(runs.iter().map(|run| run.id)).await?;
            same_all(&recorded, &stored)?;
            let retries: u32 = stored.iter().map(|job| job.retry_count).sum();
            check_eq!(retries, 1, "retries in all");
            Ok(())
        })
    })
    .await
}

pub(crate) async fn a_start_that_was_lost_is_not_made_twice(cx: &Cx) -> CaseResult {
    disturbed(cx, |client| {
        Box::pin(async move {
            let cx = client.cx;
            let job = client.prepare(1).await?.remove(0);
            match client.update(Update::new(job.id, start("ada"))).await? {
                Ok(started) => cx.unchanged(&started).await?,
                again => check_err!(
                    again,
                    Error::InvalidTransition { id, status: JobStatus::Running, .. } if id == job.id
                ),
            }
            let job = cx.get(job.id).await?;
            check_eq!((job.status, job.fence), (JobStatus::Running, 1));
            Ok(())
        })
    })
    .await
}

pub(crate) async fn a_recovery_may_be_repeated_and_counts_once(cx: &Cx) -> CaseResult {
    disturbed(cx, |client| {
        Box::pin(async move {
            let cx = client.cx;
            let runs = client.prepare_running(3).await?;
            cx.advance(LEASE);
            let filter = JobFilter {
                lease_expired_by: Some(cx.now()),
                ..client.mine()
            };
            let page = PageRequest::default();
            let expired = client
                .insist(|| client.store.list_jobs(&filter, &page))
                .await?;
            check_eq!(expired.len(), runs.len(), "leases that are over");
            let policy = RetryPolicy::default();
            let updates: Vec<_> = expired
                .iter()
                .map(|job| Update::new(job.claim(), Action::Recover { policy }))
                .collect();
            for verdict in client.update_all(&updates).await? {
                match verdict {
                    Ok(job) => cx.unchanged(&job).await?,
                    again => check_err!(again, Error::LeaseLost { .. }),
                }
            }
            for job in cx.get_all(runs.iter().map(|run| run.id)).await? {
                let got = (job.status, job.retry_count, job.fence);
                check_eq!(got, (JobStatus::Pending, 1, 1), "job {}", job.id);
            }
            Ok(())
        })
    })
    .await
}

pub(crate) async fn a_deletion_may_be_repeated(cx: &Cx) -> CaseResult {
    disturbed(cx, |client| {
        Box::pin(async move {
            let cx = client.cx;
            let jobs = client.prepare(4).await?;
            let cancel = jobs[..3]
                .iter()
                .map(|job| Update::new(job.id, Action::Cancel));
            cx.apply_all(cancel.collect()).await?;
            let ids = vec![jobs[0].id, jobs[3].id];
            client.delete(&DeleteRequest::Ids(ids)).await?;
            let left = |left: &[Job]| left.iter().map(|job| job.id).collect::<Vec<_>>();
            let listed = cx.list(&client.mine()).await?;
            check_eq!(left(&listed), left(&jobs[1..]), "after deleting by id");
            cx.tick();
            let before = DeleteRequest::Before {
                cutoff: cx.now(),
                job_names: vec![client.name.clone()],
                statuses: Vec::new(),
                limit: 1,
            };
            while !client.delete(&before).await?.is_empty() {}
            let listed = cx.list(&client.mine()).await?;
            check_eq!(left(&listed), left(&jobs[3..]), "after deleting by age");
            Ok(())
        })
    })
    .await
}

pub(crate) async fn a_read_may_be_repeated(cx: &Cx) -> CaseResult {
    disturbed(cx, |client| {
        Box::pin(async move {
            let jobs = client.prepare(3).await?;
            let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
            let store = &client.store;
            let got = client.insist(|| store.get_jobs(&ids)).await?;
            same_all(got.iter().flatten(), &jobs)?;
            let (filter, page) = (client.mine(), PageRequest::default().with_size(2));
            let first = client.insist(|| store.list_jobs(&filter, &page)).await?;
            same_all(&first, &jobs[..2])?;
            let page = page.with_token(first.token);
            let last = client.insist(|| store.list_jobs(&filter, &page)).await?;
            same_all(&last, &jobs[2..])?;
            let counts = client.insist(|| store.count_jobs(&filter)).await?;
            check_eq!(counts.total(), 3);
            Ok(())
        })
    })
    .await
}

pub(crate) async fn a_job_goes_its_way_whatever_fails(cx: &Cx) -> CaseResult {
    disturbed(cx, |client| {
        Box::pin(async move {
            let cx = client.cx;
            let new = client.new_job().with_unique_key("key");
            let job = client.create(std::slice::from_ref(&new)).await?.remove(0);
            let id = job.job().id;
            if client.drops && client.store.has_fired() {
                // The creation that nobody waits for may still be at work. While its key is held it
                // makes no job; later it would make one, as any creation may.
                tokio::time::sleep(DROPPED).await;
            }
            // By id, so that a lost reply leaves the worker something to ask for.
            let lease = Some(Lease {
                owner: "ada".to_owned(),
                duration: LEASE,
            });
            let start = Action::Start { lease };
            for (fence, outcome) in [
                (
                    1,
                    Action::RetryOrFail {
                        error: "no".to_owned(),
                        policy: RetryPolicy::default(),
                    },
                ),
                (2, finish("done")),
            ] {
                let _ = client.update(Update::new(id, start.clone())).await?;
                let run = cx.get(id).await?;
                check_eq!(
                    (run.status, run.fence),
                    (JobStatus::Running, fence),
                    "job {id}"
                );
                client
                    .update(Update::new(run.claim(), Action::Renew { lease: LEASE }))
                    .await??;
                client.update(Update::new(run.claim(), outcome)).await??;
            }
            let job = cx.get(id).await?;
            check_eq!(
                (
                    job.status,
                    job.retry_count,
                    job.result.as_deref(),
                    job.last_error.as_deref()
                ),
                (JobStatus::Succeeded, 1, Some("done"), Some("no")),
                "job {id}"
            );
            client.delete(&DeleteRequest::Ids(vec![id])).await?;
            let left = cx.walk(&client.mine(), 10, Order::Ascending).await?;
            match left.first() {
                None => Ok(()),
                Some(job) => Err(Failure::new(
                    "no job after its deletion",
                    job.id.to_string(),
                )),
            }
        })
    })
    .await
}
