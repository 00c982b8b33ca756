//! Every action from every status, by id, by the current claim and by stale ones.

use std::time::Duration;

use jobstore_core::{Action, Applied, Claim, Error, Job, JobStatus, RetryPolicy, Target, Update};

use crate::Cx;
use crate::cx::{LEASE, fail, finish, start};
use crate::failure::{CaseResult, Failure, check_eq, check_err, same, same_all};

fn renew() -> Action {
    Action::Renew { lease: LEASE }
}

fn retry() -> Action {
    let (error, policy) = ("second".to_owned(), RetryPolicy::default());
    Action::RetryOrFail { error, policy }
}

fn recover() -> Action {
    let policy = RetryPolicy::default();
    Action::Recover { policy }
}

/// Every action, as a second one after those that brought the jobs where they are.
pub(crate) fn every_action() -> [Action; 9] {
    [
        start("bob"),
        renew(),
        finish("second"),
        fail("second"),
        Action::TimeOut,
        retry(),
        recover(),
        Action::Cancel,
        Action::Reset,
    ]
}

/// Tries an action on a job in each status, in the order of [`JobStatus::ALL`], and fails unless
/// `row` says what comes of it: the first letter of the next status, `-` for a transition that is
/// not allowed, `!` for a lost lease, `=` for a success that changes nothing.
///
/// Whatever is refused must leave the job as it was in every field, and what is accepted must
/// make of it what the rules in core say. Leases are over when the action comes.
async fn row(cx: &Cx, action: Action, by: fn(&Job) -> Target, row: &str) -> CaseResult {
    let jobs = cx.jobs_in(&JobStatus::ALL).await?;
    cx.advance(LEASE);
    for (job, letter) in jobs.iter().zip(row.chars()) {
        let update = Update::new(by(job), action.clone());
        let applied = update.apply(job, cx.now());
        let verdict = cx.update(update.target, update.action).await;
        let checked = match letter {
            '-' => refused(cx, job, &action, verdict).await,
            '!' => lost(cx, job, verdict).await,
            '=' => same(&verdict?, job),
            _ => accepted(cx, letter, applied, verdict).await,
        };
        checked.map_err(|failure| failure.when(format!("{action:?} from {}", job.status)))?;
        if matches!(letter, '-' | '!' | '=') {
            let kept = cx.unchanged(job).await;
            kept.map_err(|failure| failure.when(format!("{action:?} from {}", job.status)))?;
        }
    }
    Ok(())
}

async fn refused(
    _: &Cx,
    job: &Job,
    action: &Action,
    verdict: jobstore_core::Result<Job>,
) -> CaseResult {
    let wanted = (job.id, job.status, action.kind());
    check_err!(
        verdict,
        Error::InvalidTransition { id, status, action } if (id, status, action) == wanted
    );
    Ok(())
}

async fn lost(_: &Cx, job: &Job, verdict: jobstore_core::Result<Job>) -> CaseResult {
    check_err!(verdict, Error::LeaseLost { id } if id == job.id);
    Ok(())
}

async fn accepted(
    cx: &Cx,
    letter: char,
    applied: jobstore_core::Result<Applied>,
    verdict: jobstore_core::Result<Job>,
) -> CaseResult {
    let changed = verdict?;
    check_eq!(changed.status.as_str().chars().next(), Some(letter));
    check_eq!(changed.last_update_time, cx.now());
    let Ok(Applied::Changed(expected)) = applied else {
        return Err(Failure::new(
            "a row that core agrees with",
            format!("{applied:?}"),
        ));
    };
    same(&changed, &expected)?;
    cx.unchanged(&expected).await
}

fn id(job: &Job) -> Target {
    job.id.into()
}

fn claim(job: &Job) -> Target {
    job.claim().into()
}

pub(crate) async fn start_by_id_needs_a_pending_job(cx: &Cx) -> CaseResult {
    row(cx, start("bob"), id, "R-----").await
}

pub(crate) async fn renew_by_id_needs_a_running_job(cx: &Cx) -> CaseResult {
    row(cx, renew(), id, "-R----").await
}

pub(crate) async fn finish_by_id_needs_an_unfinished_job(cx: &Cx) -> CaseResult {
    row(cx, finish("second"), id, "SS----").await
}

pub(crate) async fn fail_by_id_needs_an_unfinished_job(cx: &Cx) -> CaseResult {
    row(cx, fail("second"), id, "FF----").await
}

pub(crate) async fn time_out_by_id_needs_an_unfinished_job(cx: &Cx) -> CaseResult {
    row(cx, Action::TimeOut, id, "TT----").await
}

pub(crate) async fn retry_by_id_needs_a_running_job(cx: &Cx) -> CaseResult {
    row(cx, retry(), id, "-P----").await
}

pub(crate) async fn recover_by_id_needs_a_running_job(cx: &Cx) -> CaseResult {
    row(cx, recover(), id, "-P----").await
}

pub(crate) async fn cancel_by_id_needs_an_unfinished_job(cx: &Cx) -> CaseResult {
    row(cx, Action::Cancel, id, "CC----").await
}

pub(crate) async fn reset_by_id_takes_any_job(cx: &Cx) -> CaseResult {
    row(cx, Action::Reset, id, "PPPPPP").await
}

pub(crate) async fn start_by_a_claim_is_never_allowed(cx: &Cx) -> CaseResult {
    row(cx, start("bob"), claim, "!-!!!!").await
}

pub(crate) async fn renew_by_a_claim_needs_its_run(cx: &Cx) -> CaseResult {
    row(cx, renew(), claim, "!R!!!!").await
}

pub(crate) async fn finish_by_a_claim_needs_its_run(cx: &Cx) -> CaseResult {
    row(cx, finish("second"), claim, "!S!!!!").await
}

pub(crate) async fn fail_by_a_claim_needs_its_run(cx: &Cx) -> CaseResult {
    row(cx, fail("second"), claim, "!F!!!!").await
}

pub(crate) async fn time_out_by_a_claim_needs_its_run(cx: &Cx) -> CaseResult {
    row(cx, Action::TimeOut, claim, "!T!!=!").await
}

pub(crate) async fn retry_by_a_claim_needs_its_run(cx: &Cx) -> CaseResult {
    row(cx, retry(), claim, "!P!!!!").await
}

pub(crate) async fn recover_by_a_claim_needs_its_run(cx: &Cx) -> CaseResult {
    row(cx, recover(), claim, "!P!!!!").await
}

pub(crate) async fn cancel_by_a_claim_needs_its_run(cx: &Cx) -> CaseResult {
    row(cx, Action::Cancel, claim, "!C!!!=").await
}

pub(crate) async fn reset_by_a_claim_needs_its_run(cx: &Cx) -> CaseResult {
    row(cx, Action::Reset, claim, "!P!!!!").await
}

/// Tries every action with this fence on a job in each status that was started twice.
async fn every_action_is_lost(cx: &Cx, fence: u64) -> CaseResult {
    let pairs = every_action().into_iter();
    let pairs = pairs.flat_map(|action| JobStatus::ALL.map(|status| (action.clone(), status)));
    let (actions, statuses): (Vec<Action>, Vec<JobStatus>) = pairs.unzip();
    let once = cx
        .jobs_in(&vec![JobStatus::Running; statuses.len()])
        .await?;
    let back = once.iter().map(|job| Update::new(job.id, Action::Reset));
    let back = cx.apply_all(back.collect()).await?;
    let jobs = cx.bring(&back, &statuses).await?;
    cx.advance(LEASE + Duration::from_secs(1));
    let tries = jobs.iter().zip(&actions).map(|(job, action)| {
        let claim = Claim { id: job.id, fence };
        Update::new(claim, action.clone())
    });
    let verdicts = cx.store().update_jobs(tries.collect()).await?;
    check_eq!(verdicts.len(), jobs.len());
    for ((job, action), verdict) in jobs.iter().zip(&actions).zip(verdicts) {
        let lost = lost(cx, job, verdict).await;
        lost.map_err(|failure| failure.when(format!("{action:?} from {}", job.status)))?;
    }
    let after = cx.get_all(jobs.iter().map(|job| job.id)).await?;
    same_all(&after, &jobs)
}

/// The fence before the one of the run that is on, or was the last.
pub(crate) async fn a_claim_with_an_old_fence_does_nothing(cx: &Cx) -> CaseResult {
    // Pending jobs were not started the second time, so their last fence is 1: 0 is old for all.
    every_action_is_lost(cx, 0).await
}

pub(crate) async fn a_claim_with_a_fence_to_come_does_nothing(cx: &Cx) -> CaseResult {
    every_action_is_lost(cx, 3).await
}

pub(crate) async fn a_claim_with_an_impossible_fence_does_nothing(cx: &Cx) -> CaseResult {
    every_action_is_lost(cx, u64::MAX).await
}
