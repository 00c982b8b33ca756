//! Where times come from.

use std::time::Duration;

use jobstore_core::{Action, JobStatus, NewJob, RetryPolicy, Timestamp};

use crate::Cx;
use crate::cx::{LEASE, fail, finish, start};
use crate::failure::{CaseResult, check, check_eq};

pub(crate) async fn the_store_shows_its_clock(cx: &Cx) -> CaseResult {
    check_eq!(cx.store().now(), cx.now());
    cx.advance(Duration::from_millis(1_234));
    check_eq!(cx.store().now(), cx.now());
    Ok(())
}

pub(crate) async fn every_change_is_dated(cx: &Cx) -> CaseResult {
    let created = cx.job("a").await?;
    let retry = |max_retries| Action::RetryOrFail {
        error: "no".to_owned(),
        policy: RetryPolicy {
            max_retries,
            ..RetryPolicy::default()
        },
    };
    let policy = RetryPolicy::default();
    for action in [
        start("ada"),
        finish("done"),
        Action::Reset,
        Action::Cancel,
        Action::Reset,
        start("ada"),
        Action::Renew { lease: LEASE },
        Action::Recover { policy },
        Action::TimeOut,
        Action::Reset,
        fail("no"),
        Action::Reset,
        start("ada"),
        retry(9),
        start("ada"),
        // The retries are spent, so this one ends the job.
        retry(0),
    ] {
        // So long that every lease is over.
        cx.advance(LEASE + Duration::from_millis(7));
        let job = cx.update(created.id, action).await?;
        check_eq!(job.last_update_time, cx.now());
        check_eq!(job.creation_time, created.creation_time);
        cx.unchanged(&job).await?;
    }
    Ok(())
}

pub(crate) async fn reading_dates_nothing(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&JobStatus::ALL).await?;
    cx.tick();
    for job in &jobs {
        cx.unchanged(job).await?;
    }
    cx.list(&jobstore_core::JobFilter::default()).await?;
    cx.total().await?;
    crate::failure::same_all(&cx.get_all(jobs.iter().map(|job| job.id)).await?, &jobs)
}

pub(crate) async fn times_never_go_back(cx: &Cx) -> CaseResult {
    cx.advance(Duration::from_secs(100));
    let latest = cx.now();
    let job = cx.job("a").await?;
    cx.set_clock(cx.at(-50_000));
    check_eq!(cx.store().now(), latest);
    let run = cx.update(job.id, start("ada")).await?;
    check_eq!(run.last_update_time, latest);
    let later = cx.job("a").await?;
    check_eq!(later.creation_time, latest);
    let claimed = cx.claim_one().await?;
    check!(
        claimed.lease_expires_at > Some(latest),
        "a lease that ends after {latest}"
    );
    cx.set_clock(cx.at(60_000));
    check_eq!(cx.store().now(), cx.now());
    Ok(())
}

pub(crate) async fn what_was_due_stays_due_when_the_clock_goes_back(cx: &Cx) -> CaseResult {
    let job = cx.job("a").await?;
    cx.set_clock(cx.at(-1_000));
    check_eq!(cx.claim_one().await?.id, job.id);
    Ok(())
}

pub(crate) async fn milliseconds_are_kept_exactly(cx: &Cx) -> CaseResult {
    for millis in [1, 999, 1_000, 1_001] {
        cx.set_clock(Timestamp::from_millis(4_102_444_800_000 + millis));
        let job = cx.job("a").await?;
        check_eq!(job.creation_time.as_millis(), 4_102_444_800_000 + millis);
        cx.unchanged(&job).await?;
    }
    Ok(())
}

pub(crate) async fn a_clock_at_the_end_of_time_overflows_nothing(cx: &Cx) -> CaseResult {
    cx.set_clock(Timestamp::MAX);
    cx.create(NewJob::new("a", "{}")).await?;
    let job = cx.claim_one().await?;
    check_eq!(job.lease_expires_at, Some(Timestamp::MAX));
    let (error, policy) = ("no".to_owned(), jobstore_core::RetryPolicy::default());
    let waiting = cx
        .update(job.claim(), Action::RetryOrFail { error, policy })
        .await?;
    check_eq!(waiting.next_attempt_at, Timestamp::MAX);
    check_eq!(cx.claim_one().await?.fence, 2);
    Ok(())
}
