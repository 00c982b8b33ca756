//! Leases: renewing, running out, recovery.

use std::time::Duration;

use jobstore_core::{
    Action, ClaimRequest, Error, Job, JobFilter, JobStatus, JobStoreExt as _, NewJob, RetryPolicy,
    Update,
};

use super::matrix::every_action;
use crate::Cx;
use crate::cx::{LEASE, finish};
use crate::failure::{CaseResult, check, check_eq, check_err, same, same_all};

/// Retries at once, so that a recovered job can be claimed again.
const AT_ONCE: RetryPolicy = RetryPolicy {
    max_retries: 3,
    base: Duration::ZERO,
    max: Duration::ZERO,
};

const MILLISECOND: Duration = Duration::from_millis(1);

fn recover() -> Action {
    let policy = RetryPolicy::default();
    Action::Recover { policy }
}

fn renew(lease: Duration) -> Action {
    Action::Renew { lease }
}

async fn running(cx: &Cx) -> CaseResult<Job> {
    cx.job("job").await?;
    cx.claim_one().await
}

async fn recover_all(cx: &Cx) -> CaseResult<Vec<Job>> {
    Ok(cx.store().recover_expired(&[], AT_ONCE).await?)
}

pub(crate) async fn a_renewal_counts_from_now(cx: &Cx) -> CaseResult {
    let job = running(cx).await?;
    cx.advance(Duration::from_secs(7));
    let expected = Job {
        lease_expires_at: Some(cx.at(2_000)),
        last_update_time: cx.now(),
        ..job.clone()
    };
    let renewed = cx
        .update(job.claim(), renew(Duration::from_secs(2)))
        .await?;
    same(&renewed, &expected)?;
    cx.unchanged(&expected).await
}

pub(crate) async fn a_holder_may_renew_until_somebody_recovers(cx: &Cx) -> CaseResult {
    let job = running(cx).await?;
    cx.advance(LEASE * 5);
    let renewed = cx.update(job.claim(), renew(LEASE)).await?;
    check_eq!(
        renewed.lease_expires_at,
        Some(cx.now().saturating_add(LEASE))
    );
    check_eq!(recover_all(cx).await?.len(), 0);
    cx.unchanged(&renewed).await
}

pub(crate) async fn a_holder_may_finish_until_somebody_recovers(cx: &Cx) -> CaseResult {
    let job = running(cx).await?;
    cx.advance(LEASE * 5);
    let done = cx.update(job.claim(), finish("done")).await?;
    check_eq!(done.status, JobStatus::Succeeded);
    check_eq!(recover_all(cx).await?.len(), 0);
    cx.unchanged(&done).await
}

pub(crate) async fn expiry_alone_changes_nothing(cx: &Cx) -> CaseResult {
    let job = running(cx).await?;
    cx.advance(LEASE * 5);
    check_eq!(cx.claim(10).await?.len(), 0);
    cx.unchanged(&job).await
}

pub(crate) async fn before_its_end_a_lease_is_not_recovered(cx: &Cx) -> CaseResult {
    let job = running(cx).await?;
    cx.advance(LEASE - MILLISECOND);
    for refused in [
        cx.update(job.claim(), recover()).await,
        cx.update(job.id, recover()).await,
    ] {
        check_err!(refused, Error::InvalidTransition { id, .. } if id == job.id);
    }
    check_eq!(recover_all(cx).await?.len(), 0);
    cx.unchanged(&job).await
}

pub(crate) async fn at_its_end_a_lease_is_recovered(cx: &Cx) -> CaseResult {
    let job = running(cx).await?;
    cx.advance(LEASE);
    let recovered = cx.update(job.claim(), recover()).await?;
    check_eq!(recovered.status, JobStatus::Pending);
    cx.unchanged(&recovered).await
}

pub(crate) async fn recovery_spends_a_retry_and_says_why(cx: &Cx) -> CaseResult {
    let job = running(cx).await?;
    cx.advance(LEASE * 2);
    let recovered = cx.update(job.claim(), recover()).await?;
    check_eq!((recovered.retry_count, recovered.fence), (1, 1));
    check_eq!(recovered.next_attempt_at, cx.at(15_000));
    check_eq!(
        (recovered.lease_owner, recovered.lease_expires_at),
        (None, None)
    );
    let error = recovered.last_error.unwrap_or_default();
    let expiry = job.lease_expires_at.map(|at| at.to_string());
    check!(error.contains("ada"), "the owner in {error:?}");
    check!(
        error.contains(&expiry.unwrap_or_default()),
        "the expiry in {error:?}"
    );
    Ok(())
}

pub(crate) async fn a_recovered_job_is_claimed_anew(cx: &Cx) -> CaseResult {
    let first = running(cx).await?;
    cx.advance(LEASE);
    check_eq!(recover_all(cx).await?.len(), 1);
    let bob = ClaimRequest::new("bob", LEASE);
    let second = cx.store().claim_job(&bob).await?;
    let second = second.map(|job| (job.id, job.fence, job.lease_owner));
    check_eq!(second, Some((first.id, 2, Some("bob".to_owned()))));
    Ok(())
}

pub(crate) async fn a_job_that_kills_its_workers_ends(cx: &Cx) -> CaseResult {
    let job = cx.job("poison").await?;
    for attempt in 0..=AT_ONCE.max_retries {
        check_eq!(cx.get(job.id).await?.retry_count, attempt);
        cx.claim_one().await?;
        cx.advance(LEASE);
        check_eq!(recover_all(cx).await?.len(), 1);
    }
    let dead = cx.get(job.id).await?;
    check_eq!((dead.status, dead.retry_count), (JobStatus::Failed, 3));
    check_eq!(dead.result, dead.last_error);
    check_eq!((&dead.lease_owner, dead.lease_expires_at), (&None, None));
    check_eq!(cx.claim(1).await?.len(), 0);
    Ok(())
}

pub(crate) async fn a_worker_that_lost_its_job_does_nothing_to_the_next_run(cx: &Cx) -> CaseResult {
    let first = running(cx).await?;
    cx.advance(LEASE);
    recover_all(cx).await?;
    let second = cx.claim_one().await?;
    check_eq!(second.id, first.id);
    cx.advance(LEASE);
    for action in every_action() {
        let late = cx.update(first.claim(), action).await;
        check_err!(late, Error::LeaseLost { id } if id == first.id);
    }
    cx.unchanged(&second).await?;
    check_eq!(
        cx.update(second.claim(), finish("done")).await?.status,
        JobStatus::Succeeded
    );
    Ok(())
}

pub(crate) async fn a_worker_that_lost_its_job_hears_so_while_it_waits(cx: &Cx) -> CaseResult {
    let first = running(cx).await?;
    cx.advance(LEASE);
    let waiting = cx.update(first.claim(), recover()).await?;
    let late = cx.update(first.claim(), finish("done")).await;
    check_err!(late, Error::LeaseLost { id } if id == first.id);
    let late = cx.update(first.claim(), renew(LEASE)).await;
    check_err!(late, Error::LeaseLost { id } if id == first.id);
    cx.unchanged(&waiting).await
}

pub(crate) async fn without_a_lease_nothing_is_recovered(cx: &Cx) -> CaseResult {
    let job = cx.job("job").await?;
    let job = cx.update(job.id, Action::Start { lease: None }).await?;
    cx.advance(Duration::from_secs(86_400 * 365));
    check_eq!(recover_all(cx).await?.len(), 0);
    let refused = cx.update(job.id, recover()).await;
    check_err!(refused, Error::InvalidTransition { id, .. } if id == job.id);
    cx.unchanged(&job).await
}

pub(crate) async fn recovery_does_not_undo_a_renewal(cx: &Cx) -> CaseResult {
    let job = running(cx).await?;
    cx.advance(LEASE);
    let renewed = cx.update(job.claim(), renew(LEASE)).await?;
    // The recoverer read the job before it was renewed: its claim is still the current one.
    let refused = cx.update(job.claim(), recover()).await;
    check_err!(refused, Error::InvalidTransition { id, .. } if id == job.id);
    cx.unchanged(&renewed).await
}

pub(crate) async fn recovery_does_not_undo_a_finish(cx: &Cx) -> CaseResult {
    let job = running(cx).await?;
    cx.advance(LEASE);
    let done = cx.update(job.claim(), finish("done")).await?;
    let refused = cx.update(job.claim(), recover()).await;
    check_err!(refused, Error::LeaseLost { id } if id == job.id);
    cx.unchanged(&done).await
}

pub(crate) async fn recovery_does_not_touch_the_next_run(cx: &Cx) -> CaseResult {
    let first = running(cx).await?;
    cx.advance(LEASE);
    recover_all(cx).await?;
    let second = cx.claim_one().await?;
    cx.advance(LEASE);
    let stale = cx.update(first.claim(), recover()).await;
    check_err!(stale, Error::LeaseLost { id } if id == first.id);
    cx.unchanged(&second).await
}

pub(crate) async fn what_moved_on_does_not_stop_the_others_recovery(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&[JobStatus::Running; 4]).await?;
    cx.advance(LEASE);
    let done = cx.update(jobs[1].claim(), finish("done")).await?;
    let renewed = cx.update(jobs[2].claim(), renew(LEASE)).await?;
    let updates = jobs.iter().map(|job| Update::new(job.claim(), recover()));
    let verdicts = cx.store().update_jobs(updates.collect()).await?;
    let accepted: Vec<bool> = verdicts.iter().map(Result::is_ok).collect();
    check_eq!(accepted, [true, false, false, true]);
    cx.unchanged(&done).await?;
    cx.unchanged(&renewed).await
}

pub(crate) async fn all_expired_leases_are_recovered_and_no_other(cx: &Cx) -> CaseResult {
    let expired = cx.jobs_in(&[JobStatus::Running; 3]).await?;
    cx.advance(LEASE - MILLISECOND);
    let alive = cx.jobs_in(&JobStatus::ALL).await?;
    cx.tick();
    let mut recovered = recover_all(cx).await?;
    recovered.sort_by_key(|job| job.id);
    let after = cx.get_all(expired.iter().map(|job| job.id)).await?;
    same_all(&recovered, &after)?;
    let statuses: Vec<JobStatus> = after.iter().map(|job| job.status).collect();
    check_eq!(statuses, [JobStatus::Pending; 3]);
    let ids = alive.iter().map(|job| job.id);
    same_all(&cx.get_all(ids).await?, &alive)?;
    check_eq!(recover_all(cx).await?.len(), 0);
    Ok(())
}

pub(crate) async fn recovery_keeps_to_its_names(cx: &Cx) -> CaseResult {
    let jobs = cx
        .create_all(["a", "b"].map(|name| NewJob::new(name, "{}")))
        .await?;
    cx.claim(10).await?;
    cx.advance(LEASE);
    let names = ["b".to_owned()];
    let recovered = cx.store().recover_expired(&names, AT_ONCE).await?;
    check_eq!(recovered.len(), 1);
    check_eq!(recovered[0].id, jobs[1].id);
    check_eq!(cx.get(jobs[0].id).await?.status, JobStatus::Running);
    Ok(())
}

pub(crate) async fn the_shortest_lease_lasts_a_millisecond(cx: &Cx) -> CaseResult {
    cx.job("job").await?;
    let request = ClaimRequest::new("ada", Duration::from_nanos(1));
    let job = cx.store().claim_job(&request).await?;
    let expiry = job.and_then(|job| job.lease_expires_at);
    check_eq!(expiry, Some(cx.at(1)));
    check_eq!(recover_all(cx).await?.len(), 0);
    cx.tick();
    check_eq!(recover_all(cx).await?.len(), 1);
    Ok(())
}

pub(crate) async fn a_renewed_lease_moves_in_the_listing_of_expired_ones(cx: &Cx) -> CaseResult {
    let job = running(cx).await?;
    cx.advance(LEASE);
    let expired = JobFilter {
        lease_expired_by: Some(cx.now()),
        ..JobFilter::default()
    };
    same_all(&cx.list(&expired).await?, [&job])?;
    cx.update(job.claim(), renew(LEASE)).await?;
    same_all(&cx.list(&expired).await?, [])?;
    check_eq!(cx.count(&expired).await?.total(), 0);
    Ok(())
}

pub(crate) async fn more_expired_leases_than_a_page_are_all_recovered(cx: &Cx) -> CaseResult {
    for _ in 0..2 {
        cx.create_all(vec![NewJob::new("a", "{}"); 600]).await?;
        check_eq!(cx.claim(600).await?.len(), 600, "claimed");
    }
    cx.advance(LEASE);
    let mut recovered = 0;
    let store = cx.store();
    for _ in 0..3 {
        let jobs = store.recover_expired(&[], RetryPolicy::default());
        recovered += jobs.await?.len();
    }
    check_eq!(recovered, 1_200, "recovered");
    let counts = cx.count(&JobFilter::default()).await?;
    check_eq!(counts.get(JobStatus::Running), 0, "left running");
    Ok(())
}

pub(crate) async fn an_owner_of_the_same_name_is_another_worker(cx: &Cx) -> CaseResult {
    cx.job("a").await?;
    let old = cx.claim_one().await?;
    cx.advance(LEASE);
    cx.store()
        .recover_expired(&[], RetryPolicy::default())
        .await?;
    cx.advance(LEASE);
    let new = cx.claim_one().await?;
    check_eq!(new.lease_owner, old.lease_owner, "the owner of both");
    let late = cx.update(old.claim(), Action::Renew { lease: LEASE }).await;
    check_err!(late, Error::LeaseLost { id } if id == old.id);
    cx.unchanged(&new).await
}

pub(crate) async fn a_lease_end_comes_back_however_far(cx: &Cx) -> CaseResult {
    let year = Duration::from_secs(86_400 * 365);
    for lease in [year * 300, year * 9_000, year * 200_000, Duration::MAX] {
        let job = cx.job("a").await?;
        let owner = "ada".to_owned();
        let duration = LEASE;
        let lease_of = Some(jobstore_core::Lease { owner, duration });
        let run = cx.update(job.id, Action::Start { lease: lease_of }).await?;
        let renewed = cx.update(run.claim(), renew(lease)).await?;
        let end = Some(cx.now().saturating_add(lease));
        check_eq!(renewed.lease_expires_at, end, "the end of job {}", job.id);
        cx.unchanged(&renewed).await?;
        let owner = "bob".to_owned();
        let lease_of = Some(jobstore_core::Lease {
            owner,
            duration: lease,
        });
        cx.update(run.claim(), Action::Reset).await?;
        let run = cx.update(job.id, Action::Start { lease: lease_of }).await?;
        check_eq!(run.lease_expires_at, end, "the end of job {}", job.id);
        cx.unchanged(&run).await?;
    }
    Ok(())
}
