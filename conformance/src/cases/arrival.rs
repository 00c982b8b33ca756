//! Hints of jobs that can be claimed.

use std::time::Duration;

use futures_util::FutureExt as _;
use jobstore_core::{Action, Arrivals, JobId, JobStatus, NewJob, RetryPolicy};

use crate::Cx;
use crate::cx::{fail, finish, worker};
use crate::failure::{CaseResult, check_eq};

/// How long a task may take to be woken, on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether a hint is there already.
fn has_heard(arrivals: &mut Arrivals) -> bool {
    arrivals.next().now_or_never().is_some()
}

pub(crate) async fn a_new_job_is_told_of_before_its_call_returns(cx: &Cx) -> CaseResult {
    let mut arrivals = cx.store().arrivals();
    cx.job("a").await?;
    check_eq!(has_heard(&mut arrivals), true, "of a new job");
    cx.job("b").await?;
    check_eq!(has_heard(&mut arrivals), true, "of the next");
    Ok(())
}

pub(crate) async fn who_waits_is_woken_and_finds_the_job(cx: &Cx) -> CaseResult {
    let store = cx.store();
    let mut arrivals = store.arrivals();
    // A hint may come for nothing, as when a store begins to listen to others, but not instead of the
    // one that the job is owed.
    let working = async move {
        loop {
            arrivals.next().await;
            let claimed = store.claim_jobs(&worker()).await;
            if claimed.as_ref().map_or(true, |jobs| !jobs.is_empty()) {
                return claimed;
            }
        }
    };
    let waiting = tokio::spawn(tokio::time::timeout(PATIENCE, working));
    // Have it wait first.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let job = cx.job("a").await?;
    let claimed = match waiting.await.expect("no panic") {
        Ok(claimed) => claimed?,
        Err(_) => Vec::new(),
    };
    let claimed: Vec<JobId> = claimed.iter().map(|job| job.id).collect();
    check_eq!(claimed, [job.id], "claimed by whoever waited");
    Ok(())
}

pub(crate) async fn everybody_who_listens_is_told(cx: &Cx) -> CaseResult {
    let mut all: Vec<Arrivals> = (0..3).map(|_| cx.store().arrivals()).collect();
    cx.job("a").await?;
    for (index, arrivals) in all.iter_mut().enumerate() {
        check_eq!(has_heard(arrivals), true, "listener {index}");
    }
    Ok(())
}

pub(crate) async fn one_job_of_a_batch_is_told_of(cx: &Cx) -> CaseResult {
    let held = cx
        .create(NewJob::new("a", "{}").with_unique_key("held"))
        .await?;
    let mut arrivals = cx.store().arrivals();
    let later = cx.now().saturating_add(Duration::from_secs(60));
    let later = NewJob::new("a", "{}").with_next_attempt_at(later);
    let found = NewJob::new("a", "{}").with_unique_key("held");
    let batch = vec![later.clone(), found, NewJob::new("a", "{}"), later];
    let created = cx.store().create_jobs(batch).await?;
    check_eq!(created[1].job().id, held.id);
    check_eq!(has_heard(&mut arrivals), true, "of the third of four");
    Ok(())
}

pub(crate) async fn a_job_to_be_run_again_is_told_of(cx: &Cx) -> CaseResult {
    let at_once = RetryPolicy {
        base: Duration::ZERO,
        ..RetryPolicy::default()
    };
    let retry = Action::RetryOrFail {
        error: "busy".to_owned(),
        policy: at_once,
    };
    for (status, action) in [
        (JobStatus::Running, Action::Reset),
        (JobStatus::Failed, Action::Reset),
        (JobStatus::Running, retry),
    ] {
        let job = cx.jobs_in(&[status]).await?.remove(0);
        let mut arrivals = cx.store().arrivals();
        let kind = action.kind();
        let again = cx.update(job.id, action).await?;
        check_eq!(again.status, JobStatus::Pending);
        check_eq!(has_heard(&mut arrivals), true, "of {kind} when {status}");
    }
    Ok(())
}

pub(crate) async fn what_can_be_claimed_by_nobody_is_not_told_of(cx: &Cx) -> CaseResult {
    const ROUNDS: usize = 4;
    let later = cx.now().saturating_add(Duration::from_secs(60));
    let later = NewJob::new("later", "{}").with_next_attempt_at(later);
    let jobs = vec![NewJob::new("a", "{}"); ROUNDS * 3];
    let jobs = cx.create_all(jobs).await?;
    let mut arrivals = cx.store().arrivals();
    let mut heard = Vec::new();
    for _ in 0..ROUNDS {
        cx.create(later.clone()).await?;
        heard.push((has_heard(&mut arrivals), "of a job whose time comes"));
        let claimed = cx.claim(3).await?;
        heard.push((has_heard(&mut arrivals), "of claims"));
        cx.update(claimed[0].claim(), finish("done")).await?;
        cx.update(claimed[1].claim(), fail("broken")).await?;
        cx.update(claimed[2].id, Action::Cancel).await?;
        heard.push((has_heard(&mut arrivals), "of outcomes"));
        // A refusal leaves a job as it was.
        let _refused = cx.update(claimed[2].id, Action::TimeOut).await;
        cx.get(jobs[0].id).await?;
        heard.push((has_heard(&mut arrivals), "of refusals and reads"));
    }
    // Where a store begins to listen to others, it may have missed something, and says so once.
    heard.retain(|(heard, _)| *heard);
    check_eq!(
        heard.len() <= 1,
        true,
        "told only once for no reason, not {heard:?}"
    );
    Ok(())
}
