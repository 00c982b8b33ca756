//! Repeating an outcome whose reply was lost.

use std::time::Duration;

use jobstore_core::{Action, Error, Job, JobStatus, RetryPolicy};

use crate::Cx;
use crate::cx::{fail, finish, start};
use crate::failure::{CaseResult, check_eq, check_err, same};

async fn running(cx: &Cx) -> CaseResult<Job> {
    cx.job("job").await?;
    cx.claim_one().await
}

fn retry(error: &str, max_retries: u32) -> Action {
    let error = error.to_owned();
    let policy = RetryPolicy {
        max_retries,
        ..RetryPolicy::default()
    };
    Action::RetryOrFail { error, policy }
}

/// Records an outcome, and again later, with the same claim.
async fn repeated(cx: &Cx, action: Action) -> CaseResult {
    let run = running(cx).await?;
    let recorded = cx.update(run.claim(), action.clone()).await?;
    cx.advance(Duration::from_secs(3));
    let again = cx.update(run.claim(), action).await?;
    same(&again, &recorded)?;
    cx.unchanged(&recorded).await
}

/// Records an outcome, then another with the same claim.
async fn contradicted(cx: &Cx, first: Action, second: Action) -> CaseResult {
    let run = running(cx).await?;
    let recorded = cx.update(run.claim(), first).await?;
    cx.tick();
    let lost = cx.update(run.claim(), second).await;
    check_err!(lost, Error::LeaseLost { id } if id == run.id);
    cx.unchanged(&recorded).await
}

pub(crate) async fn a_finish_may_be_repeated(cx: &Cx) -> CaseResult {
    repeated(cx, finish("done")).await?;
    repeated(cx, Action::Finish { result: None }).await
}

pub(crate) async fn a_failure_may_be_repeated(cx: &Cx) -> CaseResult {
    repeated(cx, fail("no")).await
}

pub(crate) async fn a_failure_whose_text_was_mended_may_be_repeated(cx: &Cx) -> CaseResult {
    repeated(cx, fail("a\0b")).await?;
    repeated(cx, fail(&"é".repeat(40_000))).await
}

pub(crate) async fn a_time_out_may_be_repeated(cx: &Cx) -> CaseResult {
    repeated(cx, Action::TimeOut).await
}

pub(crate) async fn a_cancel_may_be_repeated(cx: &Cx) -> CaseResult {
    repeated(cx, Action::Cancel).await
}

pub(crate) async fn a_hand_back_may_be_repeated(cx: &Cx) -> CaseResult {
    repeated(cx, Action::Reset).await
}

pub(crate) async fn a_retry_may_be_repeated_and_counts_once(cx: &Cx) -> CaseResult {
    repeated(cx, retry("no", 3)).await
}

pub(crate) async fn a_last_retry_may_be_repeated(cx: &Cx) -> CaseResult {
    repeated(cx, retry("no", 0)).await
}

pub(crate) async fn another_payload_is_no_repetition(cx: &Cx) -> CaseResult {
    contradicted(cx, finish("done"), finish("other")).await?;
    contradicted(cx, finish(""), Action::Finish { result: None }).await?;
    contradicted(cx, fail("no"), fail("other")).await?;
    contradicted(cx, retry("no", 3), retry("other", 3)).await
}

pub(crate) async fn another_outcome_is_no_repetition(cx: &Cx) -> CaseResult {
    contradicted(cx, finish("same"), fail("same")).await?;
    contradicted(cx, fail("same"), finish("same")).await?;
    contradicted(cx, Action::TimeOut, Action::Cancel).await?;
    contradicted(cx, Action::Cancel, finish("late")).await
}

pub(crate) async fn an_operator_repeats_nothing(cx: &Cx) -> CaseResult {
    for action in [finish("done"), fail("no"), Action::TimeOut, Action::Cancel] {
        let run = running(cx).await?;
        let recorded = cx.update(run.id, action.clone()).await?;
        cx.tick();
        let again = cx.update(run.id, action).await;
        check_err!(again, Error::InvalidTransition { id, .. } if id == run.id);
        cx.unchanged(&recorded).await?;
    }
    Ok(())
}

pub(crate) async fn a_repetition_after_the_next_run_began_is_lost(cx: &Cx) -> CaseResult {
    let run = running(cx).await?;
    cx.update(run.claim(), finish("done")).await?;
    cx.update(run.id, Action::Reset).await?;
    let next = cx.update(run.id, start("bob")).await?;
    check_eq!((next.status, next.fence), (JobStatus::Running, 2));
    let again = cx.update(run.claim(), finish("done")).await;
    check_err!(again, Error::LeaseLost { id } if id == run.id);
    cx.unchanged(&next).await
}

pub(crate) async fn a_repetition_after_a_reset_is_lost(cx: &Cx) -> CaseResult {
    let run = running(cx).await?;
    cx.update(run.claim(), finish("done")).await?;
    let reset = cx.update(run.id, Action::Reset).await?;
    let again = cx.update(run.claim(), finish("done")).await;
    check_err!(again, Error::LeaseLost { id } if id == run.id);
    cx.unchanged(&reset).await
}

pub(crate) async fn a_failure_that_was_reset_is_no_retry(cx: &Cx) -> CaseResult {
    let run = running(cx).await?;
    cx.update(run.claim(), fail("no")).await?;
    // Pending, due now, with the same last error: but no retry was counted.
    let reset = cx.update(run.id, Action::Reset).await?;
    let policy = RetryPolicy {
        base: Duration::ZERO,
        ..RetryPolicy::default()
    };
    let error = "no".to_owned();
    let again = cx.update(run.claim(), Action::RetryOrFail { error, policy });
    check_err!(again.await, Error::LeaseLost { id } if id == run.id);
    cx.unchanged(&reset).await
}
