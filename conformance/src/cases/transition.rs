//! What accepted transitions make of a job, beyond its status.

use std::time::Duration;

use jobstore_core::{
    Action, Claim, Error, Job, JobId, JobStatus, NewJob, RetryPolicy, Timestamp, Update, validate,
};

use super::matrix::every_action;
use crate::Cx;
use crate::cx::{LEASE, fail, finish, start};
use crate::failure::{CaseResult, Failure, check, check_eq, check_err, same, same_all};

const POLICY: RetryPolicy = RetryPolicy {
    max_retries: 2,
    base: Duration::from_secs(10),
    max: Duration::from_secs(15),
};

fn retry(error: &str, policy: RetryPolicy) -> Action {
    let error = error.to_owned();
    Action::RetryOrFail { error, policy }
}

async fn running(cx: &Cx) -> CaseResult<Job> {
    cx.job("job").await?;
    cx.claim_one().await
}

fn no_lease(job: &Job) -> CaseResult {
    check_eq!((&job.lease_owner, job.lease_expires_at), (&None, None));
    Ok(())
}

pub(crate) async fn a_start_without_a_lease_has_no_owner(cx: &Cx) -> CaseResult {
    let job = cx.job("job").await?;
    let job = cx.update(job.id, Action::Start { lease: None }).await?;
    check_eq!((job.status, job.fence), (JobStatus::Running, 1));
    no_lease(&job)
}

pub(crate) async fn a_start_with_a_lease_sets_it(cx: &Cx) -> CaseResult {
    let job = cx.job("job").await?;
    cx.tick();
    let job = cx.update(job.id, start("bob")).await?;
    check_eq!((job.status, job.fence), (JobStatus::Running, 1));
    check_eq!(job.lease_owner.as_deref(), Some("bob"));
    check_eq!(job.lease_expires_at, Some(cx.now().saturating_add(LEASE)));
    Ok(())
}

pub(crate) async fn an_operator_may_start_what_is_not_due(cx: &Cx) -> CaseResult {
    let late = NewJob::new("job", "{}").with_next_attempt_at(cx.at(1_000));
    let job = cx.create(late).await?;
    let started = cx.update(job.id, start("bob")).await?;
    check_eq!(started.status, JobStatus::Running);
    check_eq!(started.next_attempt_at, job.next_attempt_at);
    Ok(())
}

pub(crate) async fn a_finish_keeps_its_result_and_ends_the_lease(cx: &Cx) -> CaseResult {
    let job = running(cx).await?;
    let job = cx.update(job.claim(), finish("payload")).await?;
    check_eq!(job.result.as_deref(), Some("payload"));
    check_eq!((&job.last_error, job.fence), (&None, 1));
    no_lease(&cx.get(job.id).await?)
}

pub(crate) async fn an_empty_result_is_not_an_absent_one(cx: &Cx) -> CaseResult {
    for result in [None, Some(String::new())] {
        let job = cx.job("job").await?;
        let action = Action::Finish {
            result: result.clone(),
        };
        check_eq!(cx.update(job.id, action).await?.result, result);
        check_eq!(cx.get(job.id).await?.result, result);
    }
    Ok(())
}

pub(crate) async fn a_failure_keeps_its_error_twice(cx: &Cx) -> CaseResult {
    let job = running(cx).await?;
    let job = cx.update(job.claim(), fail("broken")).await?;
    check_eq!(job.result.as_deref(), Some("broken"));
    check_eq!(job.last_error.as_deref(), Some("broken"));
    no_lease(&cx.get(job.id).await?)
}

pub(crate) async fn a_time_out_leaves_no_result(cx: &Cx) -> CaseResult {
    let job = running(cx).await?;
    let job = cx.update(job.claim(), Action::TimeOut).await?;
    check_eq!((job.status, &job.result), (JobStatus::Timeout, &None));
    no_lease(&cx.get(job.id).await?)
}

pub(crate) async fn a_cancel_ends_the_lease(cx: &Cx) -> CaseResult {
    let job = running(cx).await?;
    let job = cx.update(job.id, Action::Cancel).await?;
    check_eq!((job.status, &job.result), (JobStatus::Canceled, &None));
    no_lease(&cx.get(job.id).await?)
}

pub(crate) async fn a_retry_waits_and_keeps_the_error(cx: &Cx) -> CaseResult {
    let job = running(cx).await?;
    cx.tick();
    let job = cx.update(job.claim(), retry("once", POLICY)).await?;
    check_eq!((job.status, job.retry_count), (JobStatus::Pending, 1));
    check_eq!(job.next_attempt_at, cx.at(10_000));
    check_eq!(
        (job.last_error.as_deref(), &job.result),
        (Some("once"), &None)
    );
    no_lease(&cx.get(job.id).await?)
}

/// Retries by claims until the job fails for good; returns the waits before each retry.
async fn waits(cx: &Cx, policy: RetryPolicy) -> CaseResult<Vec<i64>> {
    let mut waits = Vec::new();
    loop {
        let job = cx.claim_one().await?;
        let job = cx.update(job.claim(), retry("again", policy)).await?;
        if job.status == JobStatus::Failed {
            check_eq!(job.result.as_deref(), Some("again"));
            check_eq!(job.retry_count as usize, waits.len());
            return Ok(waits);
        }
        let wait = job.next_attempt_at.as_millis() - cx.now().as_millis();
        check!(waits.len() < 100, "an end of the retries");
        check_eq!(job.retry_count as usize, waits.len() + 1);
        waits.push(wait);
        cx.set_clock(job.next_attempt_at);
    }
}

pub(crate) async fn the_wait_doubles_up_to_its_limit(cx: &Cx) -> CaseResult {
    cx.job("job").await?;
    let policy = RetryPolicy {
        max_retries: 5,
        base: Duration::from_secs(15),
        max: Duration::from_secs(100),
    };
    let expected = [15_000, 30_000, 60_000, 100_000, 100_000];
    check_eq!(waits(cx, policy).await?, expected);
    Ok(())
}

pub(crate) async fn retries_end_when_the_policy_says(cx: &Cx) -> CaseResult {
    for max_retries in [0, 1, 3] {
        cx.job("job").await?;
        let policy = RetryPolicy {
            max_retries,
            ..POLICY
        };
        check_eq!(waits(cx, policy).await?.len(), max_retries as usize);
    }
    Ok(())
}

pub(crate) async fn a_jobs_own_limit_wins(cx: &Cx) -> CaseResult {
    for own in [0, 1, 4] {
        let job = NewJob::new("job", "{}").with_max_retries(own);
        cx.create(job).await?;
        check_eq!(waits(cx, POLICY).await?.len(), own as usize);
    }
    Ok(())
}

pub(crate) async fn a_wait_without_end_saturates(cx: &Cx) -> CaseResult {
    let job = running(cx).await?;
    let policy = RetryPolicy {
        base: Duration::MAX,
        max: Duration::MAX,
        ..POLICY
    };
    let job = cx.update(job.claim(), retry("late", policy)).await?;
    check_eq!(job.next_attempt_at, Timestamp::MAX);
    cx.unchanged(&job).await?;
    check_eq!(cx.claim(1).await?.len(), 0);
    Ok(())
}

pub(crate) async fn an_error_outlives_the_runs_after_it(cx: &Cx) -> CaseResult {
    let job = running(cx).await?;
    let job = cx.update(job.claim(), retry("first", POLICY)).await?;
    cx.set_clock(job.next_attempt_at);
    let job = cx.claim_one().await?;
    check_eq!(job.last_error.as_deref(), Some("first"));
    let job = cx.update(job.claim(), finish("done")).await?;
    check_eq!(job.last_error.as_deref(), Some("first"));
    check_eq!((job.result.as_deref(), job.retry_count), (Some("done"), 1));
    cx.unchanged(&job).await
}

pub(crate) async fn a_reset_clears_the_outcome_and_keeps_the_history(cx: &Cx) -> CaseResult {
    let job = running(cx).await?;
    let job = cx.update(job.claim(), retry("first", POLICY)).await?;
    cx.update(job.id, finish("done")).await?;
    cx.tick();
    let job = cx.update(job.id, Action::Reset).await?;
    check_eq!((job.status, &job.result), (JobStatus::Pending, &None));
    check_eq!((job.retry_count, job.fence), (1, 1));
    check_eq!(job.last_error.as_deref(), Some("first"));
    check_eq!(job.next_attempt_at, cx.now());
    no_lease(&job)
}

pub(crate) async fn a_reset_makes_a_waiting_job_due(cx: &Cx) -> CaseResult {
    let late = NewJob::new("job", "{}").with_next_attempt_at(cx.at(60_000));
    let job = cx.create(late).await?;
    check_eq!(cx.claim(1).await?.len(), 0);
    let job = cx.update(job.id, Action::Reset).await?;
    check_eq!(job.next_attempt_at, cx.now());
    check_eq!(cx.claim_one().await?.id, job.id);
    Ok(())
}

pub(crate) async fn a_worker_may_hand_its_job_back(cx: &Cx) -> CaseResult {
    let job = running(cx).await?;
    let back = cx.update(job.claim(), Action::Reset).await?;
    check_eq!((back.status, back.retry_count), (JobStatus::Pending, 0));
    no_lease(&back)?;
    let again = cx.claim_one().await?;
    check_eq!((again.id, again.fence), (job.id, 2));
    Ok(())
}

pub(crate) async fn the_fence_never_goes_back(cx: &Cx) -> CaseResult {
    let job = cx.job("job").await?;
    for (round, end) in [
        retry("no", POLICY),
        Action::Reset,
        Action::Cancel,
        finish("done"),
        fail("no"),
        Action::TimeOut,
    ]
    .into_iter()
    .enumerate()
    {
        let run = cx.update(job.id, start("ada")).await?;
        check_eq!(run.fence, round as u64 + 1);
        check_eq!(cx.update(job.id, end).await?.fence, run.fence);
        check_eq!(cx.update(job.id, Action::Reset).await?.fence, run.fence);
    }
    check_eq!(cx.claim_one().await?.fence, 7);
    Ok(())
}

pub(crate) async fn what_was_given_at_creation_never_changes(cx: &Cx) -> CaseResult {
    let asked = NewJob::new("job", r#"{ "a" : 1 }"#)
        .with_timeout(Duration::from_secs(3))
        .with_priority(4)
        .with_max_retries(5)
        .with_unique_key("key");
    let job = cx.create(asked).await?;
    for action in every_action() {
        cx.tick();
        if cx.get(job.id).await?.status != JobStatus::Running {
            cx.update(job.id, Action::Reset).await?;
            cx.update(job.id, start("ada")).await?;
        }
        let _ = cx.update(job.id, action).await;
        let now = cx.get(job.id).await?;
        let kept = Job {
            status: now.status,
            result: now.result.clone(),
            retry_count: now.retry_count,
            last_update_time: now.last_update_time,
            next_attempt_at: now.next_attempt_at,
            lease_owner: now.lease_owner.clone(),
            lease_expires_at: now.lease_expires_at,
            fence: now.fence,
            last_error: now.last_error.clone(),
            ..job.clone()
        };
        same(&now, &kept)?;
    }
    Ok(())
}

pub(crate) async fn an_update_touches_no_other_job(cx: &Cx) -> CaseResult {
    let others = cx.jobs_in(&JobStatus::ALL).await?;
    for action in every_action() {
        let job = cx.job("job").await?;
        cx.tick();
        cx.update(job.id, start("ada")).await?;
        cx.advance(LEASE);
        let _ = cx.update(job.id, action).await;
    }
    let ids = others.iter().map(|job| job.id);
    same_all(&cx.get_all(ids).await?, &others)
}

pub(crate) async fn an_unknown_job_is_not_found_by_any_action(cx: &Cx) -> CaseResult {
    let unknown = JobId::generate();
    let claim = Claim {
        id: unknown,
        fence: 1,
    };
    for action in every_action() {
        let by_id = cx.update(unknown, action.clone()).await;
        check_err!(by_id, Error::NotFound { id } if id == unknown);
        let by_claim = cx.update(claim, action).await;
        check_err!(by_claim, Error::NotFound { id } if id == unknown);
    }
    check_eq!(cx.total().await?, 0);
    Ok(())
}

pub(crate) async fn a_result_of_8_mib_comes_back(cx: &Cx) -> CaseResult {
    let job = cx.job("job").await?;
    let result = "é".repeat(jobstore_core::validate::MAX_PAYLOAD_BYTES / 2);
    let done = cx.update(job.id, finish(&result)).await?;
    check!(
        done.result.as_deref() == Some(&result),
        "the result returned"
    );
    cx.unchanged(&done).await
}

pub(crate) async fn messages_name_the_job_but_no_payload(cx: &Cx) -> CaseResult {
    let job = cx
        .create(NewJob::new("job", r#"{"a":"canary"}"#).with_unique_key("canary"))
        .await?;
    cx.update(job.id, finish("canary")).await?;
    let actions = [
        (start("canary1"), "start"),
        (Action::Renew { lease: LEASE }, "renew"),
        (finish("canary2"), "finish"),
        (fail("canary3"), "fail"),
        (Action::TimeOut, "time out"),
        (retry("canary4", POLICY), "retry"),
        (Action::Recover { policy: POLICY }, "recover"),
        (Action::Cancel, "cancel"),
    ];
    let updates = actions.iter();
    let updates = updates.map(|(action, _)| Update::new(job.id, action.clone()));
    let verdicts = cx.store().update_jobs(updates.collect()).await?;
    check_eq!(verdicts.len(), actions.len(), "verdicts");
    for (verdict, (_, name)) in verdicts.into_iter().zip(actions) {
        let Err(error) = verdict else {
            return Err(Failure::new("a refusal", "success"));
        };
        let text = format!("{error} {error:?}");
        check!(text.contains(&job.id.to_string()), "the id in {text:?}");
        check!(text.contains("SUCCEEDED"), "the status in {text:?}");
        check!(
            error.to_string().contains(name),
            "the action {name} in {text:?}"
        );
        check!(!text.contains("canary"), "no payload in {text:?}");
    }
    Ok(())
}

pub(crate) async fn a_limit_lowered_later_ends_the_job(cx: &Cx) -> CaseResult {
    let job = cx.job("a").await?;
    let retry = |max_retries| {
        let policy = RetryPolicy {
            max_retries,
            ..POLICY
        };
        retry("no", policy)
    };
    for _ in 0..3 {
        cx.update(job.id, start("ada")).await?;
        cx.update(job.id, retry(9)).await?;
    }
    cx.update(job.id, start("ada")).await?;
    let ended = cx.update(job.id, retry(1)).await?;
    check_eq!((ended.status, ended.retry_count), (JobStatus::Failed, 3));
    cx.unchanged(&ended).await
}

pub(crate) async fn hundreds_of_retries_overflow_nothing(cx: &Cx) -> CaseResult {
    let job = cx.job("a").await?;
    let policy = RetryPolicy {
        max_retries: 1_000,
        ..RetryPolicy::default()
    };
    let round = || [start("ada"), retry("no", policy)];
    let rounds = (0..400).flat_map(|_| round());
    let updates = rounds.map(|action| Update::new(job.id, action)).collect();
    cx.apply_all(updates).await?;
    let job = cx.get(job.id).await?;
    check_eq!((job.retry_count, job.fence), (400, 400));
    let wait = job.next_attempt_at.as_millis() - cx.now().as_millis();
    check_eq!(wait, policy.max.as_millis() as i64, "the wait");
    Ok(())
}

pub(crate) async fn tens_of_thousands_of_runs_are_counted(cx: &Cx) -> CaseResult {
    let job = cx.job("a").await?;
    let round = [Action::Start { lease: None }, Action::Reset].map(|act| Update::new(job.id, act));
    let batch = vec![round; validate::MAX_ITEMS / 2].concat();
    for batches in 1..=66 {
        let fence = batches * 500;
        let last = cx.apply_all(batch.clone()).await?.pop();
        check_eq!(last.map(|job| job.fence), Some(fence), "job {}", job.id);
    }
    check_eq!(cx.get(job.id).await?.fence, 33_000, "job {}", job.id);
    Ok(())
}
