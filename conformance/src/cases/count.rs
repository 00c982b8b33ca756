//! Counting.

use jobstore_core::{
    Action, DeleteRequest, JobFilter, JobStatus, NewJob, Order, RetryPolicy, StatusCounts,
};

use crate::Cx;
use crate::cx::{fail, finish, start};
use crate::failure::{CaseResult, check_eq};

/// The counts of pending, running, succeeded, failed, timed out and canceled jobs.
fn numbers(counts: &StatusCounts) -> Vec<u64> {
    counts.iter().map(|(_, number)| number).collect()
}

async fn counted(cx: &Cx, expected: [u64; 6]) -> CaseResult {
    let counts = cx.count(&JobFilter::default()).await?;
    check_eq!(numbers(&counts), expected);
    let each = JobStatus::ALL.map(|status| counts.get(status));
    check_eq!(each, expected, "asked for one by one");
    Ok(())
}

pub(crate) async fn an_empty_store_counts_zero_of_each(cx: &Cx) -> CaseResult {
    counted(cx, [0; 6]).await
}

pub(crate) async fn each_status_has_its_number(cx: &Cx) -> CaseResult {
    let mut statuses = Vec::new();
    for (index, status) in JobStatus::ALL.into_iter().enumerate() {
        statuses.extend(vec![status; index + 1]);
    }
    cx.jobs_in(&statuses).await?;
    counted(cx, [1, 2, 3, 4, 5, 6]).await
}

pub(crate) async fn the_numbers_move_with_every_change(cx: &Cx) -> CaseResult {
    let job = cx.job("a").await?;
    let policy = RetryPolicy::default();
    let error = "no".to_owned();
    for (action, expected) in [
        (start("ada"), [0, 1, 0, 0, 0, 0]),
        (Action::RetryOrFail { error, policy }, [1, 0, 0, 0, 0, 0]),
        (finish("done"), [0, 0, 1, 0, 0, 0]),
        (Action::Reset, [1, 0, 0, 0, 0, 0]),
        (fail("no"), [0, 0, 0, 1, 0, 0]),
        (Action::Reset, [1, 0, 0, 0, 0, 0]),
        (Action::TimeOut, [0, 0, 0, 0, 1, 0]),
        (Action::Reset, [1, 0, 0, 0, 0, 0]),
        (Action::Cancel, [0, 0, 0, 0, 0, 1]),
        (Action::Reset, [1, 0, 0, 0, 0, 0]),
    ] {
        cx.update(job.id, action).await?;
        counted(cx, expected).await?;
    }
    cx.claim_one().await?;
    counted(cx, [0, 1, 0, 0, 0, 0]).await
}

pub(crate) async fn refusals_and_deletions_are_counted_right(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&[JobStatus::Failed, JobStatus::Failed]).await?;
    let _ = cx.update(jobs[0].id, finish("late")).await;
    counted(cx, [0, 0, 0, 2, 0, 0]).await?;
    let request = DeleteRequest::Ids(vec![jobs[0].id]);
    cx.store().delete_jobs(&request).await?;
    counted(cx, [0, 0, 0, 1, 0, 0]).await
}

pub(crate) async fn a_count_agrees_with_a_walk_for_every_filter(cx: &Cx) -> CaseResult {
    let new = |n: usize| NewJob::new(["a", "A"][n % 2], format!("{{\"n\":{}}}", n % 4));
    for first in [0, 30] {
        let jobs = cx.create_all((first..first + 30).map(new)).await?;
        let statuses: Vec<_> = (0..30).map(|n| JobStatus::ALL[n % 6]).collect();
        cx.bring(&jobs, &statuses).await?;
        cx.tick();
    }
    let ids: Vec<_> = cx.list(&JobFilter::default()).await?;
    let ids: Vec<_> = ids.iter().step_by(2).map(|job| job.id).collect();
    // Each bit adds one condition.
    for bits in 0..64_u32 {
        let on = |bit: u32| bits & (1 << bit) != 0;
        let mut filter = JobFilter::default();
        if on(0) {
            filter = filter.with_job_name("a");
        }
        if on(1) {
            filter = filter.with_statuses([JobStatus::Running, JobStatus::Failed]);
        }
        if on(2) {
            filter = filter.with_params(r#"{"n":2.0}"#);
        }
        if on(3) {
            filter = filter.with_ids(ids.clone());
        }
        filter.created_from = on(4).then(|| cx.at(-1));
        filter.lease_expired_by = on(5).then(|| cx.at(3_600_000));
        let mut walked = StatusCounts::default();
        for job in cx.walk(&filter, 50, Order::Ascending).await? {
            walked.add(job.status, 1);
        }
        let counts = cx.count(&filter).await?;
        check_eq!(numbers(&counts), numbers(&walked), "{filter:?}");
    }
    check_eq!(cx.total().await?, 60);
    Ok(())
}

pub(crate) async fn what_is_named_twice_is_counted_once(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&[JobStatus::Failed, JobStatus::Pending]).await?;
    let (failed, pending) = (jobs[0].id, jobs[1].id);
    let any = JobFilter::default;
    for filter in [
        any().with_ids([failed, pending, failed]),
        any().with_job_name("job").with_job_name("job"),
        any().with_statuses([JobStatus::Failed, JobStatus::Pending, JobStatus::Failed]),
    ] {
        let counts = cx.count(&filter).await?;
        check_eq!(numbers(&counts), [1, 0, 0, 1, 0, 0], "{filter:?}");
    }
    Ok(())
}
