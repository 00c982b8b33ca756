//! Many callers at once.

mod dropped;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jobstore_core::{
    Action, Creation, DeleteRequest, Error, Job, JobFilter, JobId, JobStatus, JobStore,
    JobStoreExt as _, NewJob, Order, RetryPolicy, Update,
};
use tokio::sync::Barrier;

use crate::Cx;
use crate::cx::{LEASE, fail, finish, start, worker};
use crate::failure::{CaseResult, Failure, check, check_eq, check_err, same};

pub(crate) use dropped::*;

/// How many callers come at once.
const CALLERS: usize = 8;

/// Runs one task for each caller, and returns what they say in their order.
async fn at_once<T, F>(
    cx: &Cx,
    caller: impl Fn(Arc<dyn JobStore>, usize) -> F,
) -> CaseResult<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let gate = Arc::new(Barrier::new(CALLERS));
    let tasks = (0..CALLERS).map(|index| {
        let (gate, call) = (Arc::clone(&gate), caller(cx.store(), index));
        tokio::spawn(async move {
            gate.wait().await;
            call.await
        })
    });
    let mut said = Vec::new();
    for joined in join_all(tasks.collect::<Vec<_>>()).await {
        said.push(joined.map_err(|panic| Failure::new("no panic", panic.to_string()))?);
    }
    Ok(said)
}

pub(crate) async fn every_job_goes_to_one_claimer(cx: &Cx) -> CaseResult {
    let jobs = cx.create_all(vec![NewJob::new("a", "{}"); 200]).await?;
    let claimers = at_once(cx, |store, index| async move {
        let mut claimed = Vec::new();
        let mut request = worker().with_limit(3);
        request.lease.owner = format!("w{index}");
        loop {
            tokio::task::yield_now().await;
            let jobs = store.claim_jobs(&request).await?;
            if jobs.is_empty() {
                return Ok::<_, Error>(claimed);
            }
            claimed.extend(jobs);
        }
    });
    let mut claimed = Vec::new();
    for jobs in claimers.await? {
        claimed.extend(jobs?);
    }
    for job in &claimed {
        check_eq!((job.status, job.fence), (JobStatus::Running, 1));
        cx.unchanged(job).await?;
    }
    let mut ids: Vec<JobId> = claimed.iter().map(|job| job.id).collect();
    ids.sort_unstable();
    let all: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    check_eq!(ids, all);
    Ok(())
}

pub(crate) async fn of_many_starts_one_succeeds(cx: &Cx) -> CaseResult {
    let id = cx.job("a").await?.id;
    let verdicts = at_once(cx, move |store, index| async move {
        let action = start(&format!("w{index}"));
        store.update_job(Update::new(id, action)).await
    });
    let started: Vec<Job> = one_of(verdicts.await?)?;
    check_eq!(started[0].fence, 1);
    cx.unchanged(&started[0]).await
}

/// Fails unless exactly one verdict is success, and the others that the status forbade it.
fn one_of(verdicts: Vec<jobstore_core::Result<Job>>) -> CaseResult<Vec<Job>> {
    let mut accepted = Vec::new();
    for verdict in verdicts {
        match verdict {
            Ok(job) => accepted.push(job),
            refused => check_err!(refused, Error::InvalidTransition { .. }),
        }
    }
    check_eq!(accepted.len(), 1, "calls accepted");
    Ok(accepted)
}

pub(crate) async fn of_many_creators_of_a_key_one_creates(cx: &Cx) -> CaseResult {
    for round in 0..10 {
        let creations = at_once(cx, move |store, _| async move {
            let job = NewJob::new("mail", "{}").with_unique_key(format!("k{round}"));
            store.create_job(job).await
        });
        let mut ids = HashSet::new();
        let mut new = 0;
        for creation in creations.await? {
            let creation = creation?;
            new += u32::from(creation.is_new());
            ids.insert(creation.job().id);
        }
        check_eq!((new, ids.len()), (1, 1), "new jobs, and jobs in all");
    }
    check_eq!(cx.total().await?, 10);
    Ok(())
}

pub(crate) async fn of_many_creators_of_an_id_one_creates(cx: &Cx) -> CaseResult {
    let id = JobId::generate();
    let creations = at_once(cx, move |store, index| async move {
        store
            .create_job(NewJob::new(format!("n{index}"), "{}").with_id(id))
            .await
    });
    let mut created = Vec::new();
    for creation in creations.await? {
        match creation {
            Ok(Creation::Created(job)) => created.push(job),
            refused => check_err!(refused, Error::AlreadyExists { id: named } if named == id),
        }
    }
    check_eq!(created.len(), 1, "creates accepted");
    cx.unchanged(&created[0]).await
}

pub(crate) async fn batches_that_share_keys_neither_block_nor_double(cx: &Cx) -> CaseResult {
    let creators = at_once(cx, |store, index| async move {
        let keys = 0..20;
        let keys: Vec<u32> = match index % 2 {
            0 => keys.collect(),
            _ => keys.rev().collect(),
        };
        let jobs = keys.iter();
        let jobs = jobs.map(|key| NewJob::new("mail", "{}").with_unique_key(key.to_string()));
        store.create_jobs(jobs.collect()).await
    });
    let mut new = 0;
    for creations in creators.await? {
        new += creations?
            .iter()
            .filter(|creation| creation.is_new())
            .count();
    }
    check_eq!((new, cx.total().await?), (20, 20));
    Ok(())
}

pub(crate) async fn batches_over_the_same_jobs_neither_block_nor_tear(cx: &Cx) -> CaseResult {
    let jobs = cx.create_all(vec![NewJob::new("a", "{}"); 20]).await?;
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let rounds = at_once(cx, |store, index| {
        let mut ids = ids.clone();
        if index % 2 == 1 {
            ids.reverse();
        }
        async move {
            let mut started = 0;
            for _ in 0..3 {
                for action in [start("ada"), Action::Reset] {
                    let updates = ids.iter().map(|id| Update::new(*id, action.clone()));
                    for verdict in store.update_jobs(updates.collect()).await? {
                        let running = verdict.is_ok_and(|job| job.status == JobStatus::Running);
                        started += u64::from(running);
                    }
                }
            }
            Ok::<_, Error>(started)
        }
    });
    let mut started = 0;
    for round in rounds.await? {
        started += round?;
    }
    let fences = cx
        .get_all(ids)
        .await?
        .iter()
        .map(|job| job.fence)
        .sum::<u64>();
    check_eq!(fences, started, "fences in all, and starts accepted");
    Ok(())
}

pub(crate) async fn concurrent_retries_count_once(cx: &Cx) -> CaseResult {
    cx.job("a").await?;
    let id = cx.claim_one().await?.id;
    let verdicts = at_once(cx, move |store, _| async move {
        let policy = RetryPolicy::default();
        store.retry_or_fail_job(id, "no", policy).await
    });
    let accepted = one_of(verdicts.await?)?;
    check_eq!(accepted[0].retry_count, 1);
    cx.unchanged(&accepted[0]).await
}

pub(crate) async fn a_finish_repeated_at_once_is_one(cx: &Cx) -> CaseResult {
    cx.job("a").await?;
    let claim = cx.claim_one().await?.claim();
    let verdicts = at_once(cx, move |store, _| async move {
        store.finish_job(claim, "done").await
    });
    let verdicts = verdicts.await?;
    let stored = cx.get(claim.id).await?;
    check_eq!(stored.status, JobStatus::Succeeded);
    for verdict in verdicts {
        same(&verdict?, &stored)?;
    }
    cx.unchanged(&stored).await
}

pub(crate) async fn of_different_outcomes_one_is_recorded(cx: &Cx) -> CaseResult {
    for _ in 0..10 {
        cx.job("a").await?;
        let claim = cx.claim_one().await?.claim();
        let verdicts = at_once(cx, move |store, index| async move {
            let outcome = match index % 2 {
                0 => finish(&format!("by {index}")),
                _ => fail(&format!("by {index}")),
            };
            store.update_job(Update::new(claim, outcome)).await
        });
        let mut accepted = Vec::new();
        for verdict in verdicts.await? {
            match verdict {
                Ok(job) => accepted.push(job),
                refused => check_err!(refused, Error::LeaseLost { id } if id == claim.id),
            }
        }
        check_eq!(accepted.len(), 1, "outcomes accepted");
        cx.unchanged(&accepted[0]).await?;
    }
    Ok(())
}

pub(crate) async fn recovery_and_finish_never_both_win(cx: &Cx) -> CaseResult {
    for _ in 0..10 {
        cx.job("a").await?;
        let run = cx.claim_one().await?;
        cx.advance(LEASE);
        let claim = run.claim();
        let verdicts = at_once(cx, move |store, index| async move {
            let policy = RetryPolicy::default();
            let action = match index % 2 {
                0 => Action::Recover { policy },
                _ => finish("done"),
            };
            store.update_job(Update::new(claim, action)).await
        });
        let mut outcomes = HashSet::new();
        let mut recovered = 0;
        for verdict in verdicts.await? {
            match verdict {
                Ok(job) => {
                    recovered += u32::from(job.status == JobStatus::Pending);
                    outcomes.insert(job.status);
                }
                refused => check_err!(refused, Error::LeaseLost { id } if id == claim.id),
            }
        }
        check_eq!(outcomes.len(), 1, "outcomes: {outcomes:?}");
        check!(recovered <= 1, "at most one recovery, not {recovered}");
        check!(
            outcomes.contains(&cx.get(run.id).await?.status),
            "the stored outcome told"
        );
        cx.update(run.id, finish("clean up")).await.ok();
    }
    Ok(())
}

pub(crate) async fn a_lease_is_recovered_once(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&[JobStatus::Running; 20]).await?;
    cx.advance(LEASE);
    let recoverers = at_once(cx, |store, _| async move {
        store.recover_expired(&[], RetryPolicy::default()).await
    });
    let mut recovered = 0;
    for jobs in recoverers.await? {
        recovered += jobs?.len();
    }
    check_eq!(recovered, jobs.len());
    for job in cx.get_all(jobs.iter().map(|job| job.id)).await? {
        check_eq!((job.status, job.retry_count), (JobStatus::Pending, 1));
    }
    Ok(())
}

pub(crate) async fn a_renewal_and_a_recovery_never_both_win(cx: &Cx) -> CaseResult {
    for _ in 0..10 {
        cx.job("a").await?;
        let claim = cx.claim_one().await?.claim();
        cx.advance(LEASE);
        let verdicts = at_once(cx, move |store, index| async move {
            let policy = RetryPolicy::default();
            let action = match index {
                0 => Action::Recover { policy },
                _ => Action::Renew { lease: LEASE },
            };
            store.update_job(Update::new(claim, action)).await
        });
        let verdicts = verdicts.await?;
        let now = cx.get(claim.id).await?.status;
        // Renewals may come before a recovery only if it was refused: they moved the expiry.
        let renewed = verdicts[1..]
            .iter()
            .filter(|verdict| verdict.is_ok())
            .count();
        match verdicts[0] {
            Ok(_) => check_eq!((now, renewed), (JobStatus::Pending, 0)),
            Err(_) => check_eq!((now, renewed), (JobStatus::Running, CALLERS - 1)),
        }
        cx.update(claim.id, Action::Cancel).await?;
    }
    Ok(())
}

pub(crate) async fn a_reset_and_a_deletion_never_both_win(cx: &Cx) -> CaseResult {
    for _ in 0..10 {
        let id = cx.jobs_in(&[JobStatus::Failed]).await?[0].id;
        let verdicts = at_once(cx, move |store, index| async move {
            match index % 2 {
                0 => store.reset_job(id).await.is_ok(),
                _ => store
                    .delete_jobs(&DeleteRequest::Ids(vec![id]))
                    .await
                    .is_ok_and(|ids| ids == [id]),
            }
        });
        let verdicts = verdicts.await?;
        let reset = verdicts.iter().step_by(2).any(|accepted| *accepted);
        let deleted = verdicts
            .iter()
            .skip(1)
            .step_by(2)
            .filter(|accepted| **accepted);
        let deleted = deleted.count();
        let exists = cx.store().get_jobs(&[id]).await?[0].is_some();
        check!(deleted <= 1, "at most one deletion, not {deleted}");
        check!(
            reset != (deleted == 1),
            "a reset or a deletion, not both or none"
        );
        check_eq!(exists, reset, "whether the job exists");
    }
    Ok(())
}

pub(crate) async fn a_listing_shows_no_half_written_job(cx: &Cx) -> CaseResult {
    let jobs = cx.create_all(vec![NewJob::new("a", "{}"); 40]).await?;
    let store = cx.store();
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let writer = tokio::spawn(async move {
        for action in [start("ada"), finish("done"), Action::Reset, fail("no")] {
            for group in ids.chunks(10) {
                let updates = group.iter().map(|id| Update::new(*id, action.clone()));
                store.update_jobs(updates.collect()).await?;
                tokio::task::yield_now().await;
            }
        }
        Ok::<_, Error>(())
    });
    while !writer.is_finished() {
        tokio::task::yield_now().await;
        for job in cx
            .walk(&JobFilter::default(), 100, Order::Ascending)
            .await?
        {
            let leased = job.lease_owner.is_some() && job.lease_expires_at.is_some();
            let running = job.status == JobStatus::Running;
            let ended = job.status.is_finalized();
            check_eq!((leased, job.result.is_some()), (running, ended), "{job:?}");
        }
    }
    writer
        .await
        .map_err(|panic| Failure::new("no panic", panic.to_string()))??;
    Ok(())
}

pub(crate) async fn deleting_beside_finishing_takes_each_job_once(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&[JobStatus::Running; 40]).await?;
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let deleting = async |store: Arc<dyn JobStore>| {
        let mut deleted = Vec::new();
        for _ in 0..200 {
            let request = DeleteRequest::Ids(ids.clone());
            deleted.extend(store.delete_jobs(&request).await?);
            tokio::task::yield_now().await;
        }
        Ok::<_, Error>(deleted)
    };
    let finishing = async |store: Arc<dyn JobStore>| {
        for job in &jobs {
            store.finish_job(job.claim(), "done").await?;
            tokio::task::yield_now().await;
        }
        Ok::<_, Error>(())
    };
    let (one, other, finished) = tokio::join!(
        deleting(cx.store()),
        deleting(cx.store()),
        finishing(cx.store())
    );
    finished?;
    let mut deleted = [one?, other?].concat();
    let last = DeleteRequest::Ids(ids.clone());
    deleted.extend(cx.store().delete_jobs(&last).await?);
    deleted.sort_unstable();
    check_eq!(deleted, ids, "each deleted once");
    check_eq!(cx.total().await?, 0);
    Ok(())
}

pub(crate) async fn a_key_goes_to_a_reset_or_a_creator(cx: &Cx) -> CaseResult {
    let keyed = || NewJob::new("a", "{}").with_unique_key("key");
    for round in 0..10 {
        let old = cx.create(keyed()).await?.id;
        cx.update(old, Action::Cancel).await?;
        let got = at_once(cx, move |store, index| async move {
            // Now the one and now the other comes first.
            match (index + round) % 2 {
                0 => match store.reset_job(old).await {
                    Ok(job) => Ok(job.id),
                    Err(Error::AlreadyExists { id }) => Ok(id),
                    Err(error) => Err(error),
                },
                _ => Ok(store.create_job(keyed()).await?.into_job().id),
            }
        });
        let unfinished = JobFilter::default().with_statuses([JobStatus::Pending]);
        let got = got.await?.into_iter().collect::<Result<HashSet<_>, _>>()?;
        let holders = cx.list(&unfinished).await?;
        let holders: Vec<JobId> = holders.iter().map(|job| job.id).collect();
        check_eq!(
            holders.len(),
            1,
            "unfinished jobs with the key: {holders:?}"
        );
        check_eq!(
            got,
            HashSet::from([holders[0]]),
            "the holder that callers saw"
        );
        cx.update(holders[0], Action::Cancel).await?;
    }
    Ok(())
}

pub(crate) async fn a_reset_and_a_deletion_by_age_never_both_win(cx: &Cx) -> CaseResult {
    for _ in 0..10 {
        let job = cx.jobs_in(&[JobStatus::Failed]).await?.remove(0);
        let (id, cutoff) = (job.id, cx.at(1));
        let verdicts = at_once(cx, move |store, index| async move {
            let old = DeleteRequest::Before {
                cutoff,
                job_names: Vec::new(),
                statuses: Vec::new(),
                limit: 1,
            };
            match index % 2 {
                0 => store.reset_job(id).await.is_ok(),
                _ => store.delete_jobs(&old).await.is_ok_and(|ids| ids == [id]),
            }
        });
        let verdicts = verdicts.await?;
        let accepted = |first| verdicts.iter().skip(first).step_by(2).filter(|won| **won);
        let (resets, deletions) = (accepted(0).count(), accepted(1).count());
        check_eq!(
            (resets > 0, deletions),
            (resets > 0, usize::from(resets == 0)),
            "{resets} resets of job {id}"
        );
        let exists = cx.store().get_jobs(&[id]).await?[0].is_some();
        check_eq!(exists, resets > 0, "whether job {id} exists");
        if exists {
            cx.update(id, Action::Cancel).await?;
            cx.store()
                .delete_jobs(&DeleteRequest::Ids(vec![id]))
                .await?;
        }
    }
    Ok(())
}

pub(crate) async fn of_two_changes_the_later_is_not_dated_earlier(cx: &Cx) -> CaseResult {
    let id = cx.job("a").await?.id;
    let clock = cx.clock().clone();
    let policy = RetryPolicy {
        max_retries: 1_000,
        base: Duration::ZERO,
        max: Duration::ZERO,
    };
    let changed = at_once(cx, move |store, index| {
        let clock = clock.clone();
        async move {
            let mut changed = Vec::new();
            for _ in 0..10 {
                clock.advance(Duration::from_millis(1));
                let error = "no".to_owned();
                let action = match index % 2 {
                    0 => start("ada"),
                    _ => Action::RetryOrFail { error, policy },
                };
                // Most are refused, by what others did before.
                changed.extend(store.update_job(Update::new(id, action)).await);
                tokio::task::yield_now().await;
            }
            changed
        }
    });
    let mut changed: Vec<Job> = changed.await?.into_iter().flatten().collect();
    changed.sort_by_key(|job| (job.fence, job.retry_count));
    for pair in changed.windows(2) {
        let (earlier, later) = (pair[0].last_update_time, pair[1].last_update_time);
        check!(
            earlier <= later,
            "job {id} {} with fence {} dated {earlier} or later, not {later}",
            pair[1].status,
            pair[1].fence
        );
    }
    Ok(())
}
