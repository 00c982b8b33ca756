//! Claiming.

use std::time::Duration;

use jobstore_core::{
    Action, ClaimRequest, Job, JobId, JobStatus, NewJob, RetryPolicy, Timestamp, validate,
};

use crate::Cx;
use crate::cx::{LEASE, finish, worker};
use crate::failure::{CaseResult, check_eq, same_all};

fn ids(jobs: &[Job]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

async fn claim_named(cx: &Cx, names: &[&str]) -> CaseResult<Vec<JobId>> {
    let mut request = worker().with_limit(100);
    for name in names {
        request = request.with_job_name(*name);
    }
    Ok(ids(&cx.store().claim_jobs(&request).await?))
}

pub(crate) async fn a_claimed_job_runs_under_its_lease(cx: &Cx) -> CaseResult {
    let created = cx.job("job").await?;
    cx.tick();
    let expected = Job {
        status: JobStatus::Running,
        fence: 1,
        lease_owner: Some("ada".to_owned()),
        lease_expires_at: Some(cx.now().saturating_add(LEASE)),
        last_update_time: cx.now(),
        ..created
    };
    same_all(&cx.claim(1).await?, [&expected])?;
    cx.unchanged(&expected).await
}

pub(crate) async fn nothing_due_gives_no_jobs(cx: &Cx) -> CaseResult {
    check_eq!(cx.claim(10).await?.len(), 0);
    Ok(())
}

pub(crate) async fn a_claim_keeps_to_its_limit(cx: &Cx) -> CaseResult {
    cx.create_all(vec![NewJob::new("a", "{}"); 6]).await?;
    for (limit, expected) in [(1, 1), (3, 3), (1_000, 2), (1, 0)] {
        check_eq!(cx.claim(limit).await?.len(), expected, "limit {limit}");
    }
    Ok(())
}

pub(crate) async fn a_thousand_jobs_are_claimed_at_once(cx: &Cx) -> CaseResult {
    let jobs = cx.create_all(vec![NewJob::new("a", "{}"); 1_000]).await?;
    cx.job("a").await?;
    let claimed = cx.claim(validate::MAX_ITEMS as u32).await?;
    check_eq!(ids(&claimed), ids(&jobs));
    Ok(())
}

pub(crate) async fn a_higher_priority_goes_first(cx: &Cx) -> CaseResult {
    let priorities = [0, i16::MIN, 5, -1, i16::MAX, 4];
    let jobs = priorities.map(|priority| NewJob::new("a", "{}").with_priority(priority));
    cx.create_all(jobs).await?;
    let claimed = cx.claim(100).await?;
    let claimed: Vec<i16> = claimed.iter().map(|job| job.priority).collect();
    check_eq!(claimed, [i16::MAX, 5, 4, 0, -1, i16::MIN]);
    Ok(())
}

pub(crate) async fn of_one_priority_the_longest_due_goes_first(cx: &Cx) -> CaseResult {
    let now = cx.now().as_millis();
    let due = [now, now - 5, -3, now - 1, 0, i64::MIN];
    let jobs =
        due.map(|at| NewJob::new("a", "{}").with_next_attempt_at(Timestamp::from_millis(at)));
    cx.create_all(jobs).await?;
    let claimed = cx.claim(100).await?;
    let claimed: Vec<i64> = claimed
        .iter()
        .map(|job| job.next_attempt_at.as_millis())
        .collect();
    check_eq!(claimed, [i64::MIN, -3, 0, now - 5, now - 1, now]);
    Ok(())
}

pub(crate) async fn of_one_time_the_least_id_goes_first(cx: &Cx) -> CaseResult {
    let id = |n: &str| format!("{n}0000000-0000-4000-8000-000000000000").parse::<JobId>();
    for n in ["8", "f", "0", "7"] {
        cx.create(NewJob::new("a", "{}").with_id(id(n)?)).await?;
    }
    let expected = [id("0")?, id("7")?, id("8")?, id("f")?];
    check_eq!(ids(&cx.claim(100).await?), expected);
    Ok(())
}

pub(crate) async fn priority_beats_due_time_beats_id(cx: &Cx) -> CaseResult {
    let new = |n: i64| {
        NewJob::new(["a", "b", "c"][n as usize % 3], "{}")
            .with_priority((n * 7 % 4) as i16)
            .with_next_attempt_at(cx.at(-(n * 5 % 3)))
    };
    let mut jobs = cx.create_all((0..60).map(new)).await?;
    jobs.sort_by_key(Job::claim_order);
    let mut claimed = Vec::new();
    for limit in [1, 7, 20, 100] {
        claimed.extend(ids(&cx.claim(limit).await?));
    }
    check_eq!(claimed, ids(&jobs));
    Ok(())
}

pub(crate) async fn the_exact_first_are_claimed_of_many(cx: &Cx) -> CaseResult {
    // More candidates than a batch, and the first ones were created last.
    let new = |n: i64| NewJob::new("a", "{}").with_priority((n / 100) as i16);
    let mut jobs = cx.create_all((0..1_000).map(new)).await?;
    jobs.sort_by_key(Job::claim_order);
    check_eq!(ids(&cx.claim(150).await?), ids(&jobs[..150]));
    check_eq!(ids(&cx.claim(1).await?), ids(&jobs[150..151]));
    Ok(())
}

pub(crate) async fn a_job_is_due_at_its_instant_and_not_before(cx: &Cx) -> CaseResult {
    let late = NewJob::new("a", "{}").with_next_attempt_at(cx.at(2));
    let job = cx.create(late).await?;
    for _ in 0..2 {
        check_eq!(cx.claim(10).await?.len(), 0);
        cx.tick();
    }
    check_eq!(ids(&cx.claim(10).await?), [job.id]);
    Ok(())
}

pub(crate) async fn a_job_that_is_never_due_is_never_claimed(cx: &Cx) -> CaseResult {
    let never = NewJob::new("a", "{}").with_next_attempt_at(Timestamp::MAX);
    cx.create(never).await?;
    cx.advance(Duration::from_secs(86_400 * 365 * 1_000));
    check_eq!(cx.claim(10).await?.len(), 0);
    Ok(())
}

pub(crate) async fn what_is_not_due_hides_nothing(cx: &Cx) -> CaseResult {
    let late = NewJob::new("a", "{}")
        .with_priority(9)
        .with_next_attempt_at(cx.at(1));
    cx.create_all(vec![late; 50]).await?;
    let due = cx.job("a").await?;
    check_eq!(ids(&cx.claim(1).await?), [due.id]);
    check_eq!(cx.claim(1).await?.len(), 0);
    Ok(())
}

pub(crate) async fn only_pending_jobs_are_claimed(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&JobStatus::ALL).await?;
    cx.advance(LEASE * 2);
    check_eq!(ids(&cx.claim(100).await?), [jobs[0].id]);
    let ids = jobs[1..].iter().map(|job| job.id);
    same_all(&cx.get_all(ids).await?, &jobs[1..])
}

pub(crate) async fn only_the_names_given_are_claimed(cx: &Cx) -> CaseResult {
    let names = ["a", "b", "c", "a"];
    let jobs = cx
        .create_all(names.map(|name| NewJob::new(name, "{}")))
        .await?;
    check_eq!(claim_named(cx, &["unknown"]).await?, []);
    check_eq!(claim_named(cx, &["b"]).await?, [jobs[1].id]);
    let rest = claim_named(cx, &["c", "a", "c"]).await?;
    check_eq!(rest, [jobs[0].id, jobs[2].id, jobs[3].id]);
    Ok(())
}

pub(crate) async fn no_names_mean_any(cx: &Cx) -> CaseResult {
    let jobs = cx
        .create_all(["b", "a"].map(|name| NewJob::new(name, "{}")))
        .await?;
    check_eq!(claim_named(cx, &[]).await?, ids(&jobs));
    Ok(())
}

pub(crate) async fn the_order_reaches_across_names(cx: &Cx) -> CaseResult {
    let new = |name: &str, priority| NewJob::new(name, "{}").with_priority(priority);
    let jobs = cx
        .create_all([
            new("a", 1),
            new("b", 3),
            new("a", 2),
            new("c", 9),
            new("b", 0),
        ])
        .await?;
    let claimed = claim_named(cx, &["a", "b"]).await?;
    check_eq!(claimed, [1, 2, 0, 4].map(|index: usize| jobs[index].id));
    Ok(())
}

pub(crate) async fn a_thousand_names_may_be_given(cx: &Cx) -> CaseResult {
    let job = cx.job("n999").await?;
    let names: Vec<String> = (0..validate::MAX_ITEMS).map(|n| format!("n{n}")).collect();
    let request = ClaimRequest {
        job_names: names,
        ..worker()
    };
    check_eq!(ids(&cx.store().claim_jobs(&request).await?), [job.id]);
    Ok(())
}

pub(crate) async fn a_claimed_job_is_not_claimed_again(cx: &Cx) -> CaseResult {
    cx.job("a").await?;
    check_eq!(cx.claim(10).await?.len(), 1);
    cx.advance(LEASE * 10);
    check_eq!(cx.claim(10).await?.len(), 0);
    Ok(())
}

pub(crate) async fn every_claim_raises_the_fence(cx: &Cx) -> CaseResult {
    cx.job("a").await?;
    for fence in 1..=3 {
        let job = cx.claim_one().await?;
        check_eq!(job.fence, fence);
        cx.update(job.claim(), Action::Reset).await?;
    }
    Ok(())
}

pub(crate) async fn a_retry_is_claimed_after_its_wait(cx: &Cx) -> CaseResult {
    cx.job("a").await?;
    let job = cx.claim_one().await?;
    let (error, policy) = ("no".to_owned(), RetryPolicy::default());
    let retry = Action::RetryOrFail { error, policy };
    cx.update(job.claim(), retry).await?;
    cx.advance(Duration::from_millis(14_999));
    check_eq!(cx.claim(1).await?.len(), 0);
    cx.tick();
    let again = cx.claim_one().await?;
    check_eq!((again.id, again.retry_count, again.fence), (job.id, 1, 2));
    check_eq!(again.last_error.as_deref(), Some("no"));
    Ok(())
}

pub(crate) async fn a_reset_job_does_not_jump_the_queue(cx: &Cx) -> CaseResult {
    let first = cx.job("a").await?;
    cx.update(first.id, finish("done")).await?;
    cx.tick();
    let second = cx.job("a").await?;
    cx.tick();
    cx.update(first.id, Action::Reset).await?;
    check_eq!(ids(&cx.claim(10).await?), [second.id, first.id]);
    Ok(())
}

pub(crate) async fn a_new_lease_has_its_own_owner_and_end(cx: &Cx) -> CaseResult {
    cx.job("a").await?;
    let first = cx.claim_one().await?;
    cx.update(first.claim(), Action::Reset).await?;
    cx.tick();
    let bob = ClaimRequest::new("bob", Duration::from_secs(1));
    let second = cx.store().claim_jobs(&bob).await?;
    check_eq!(second.len(), 1);
    check_eq!(second[0].lease_owner.as_deref(), Some("bob"));
    check_eq!(second[0].lease_expires_at, Some(cx.at(1_000)));
    Ok(())
}

pub(crate) async fn a_lease_without_end_saturates(cx: &Cx) -> CaseResult {
    cx.job("a").await?;
    let request = ClaimRequest::new("ada", Duration::MAX);
    let claimed = cx.store().claim_jobs(&request).await?;
    check_eq!(claimed.len(), 1);
    check_eq!(claimed[0].lease_expires_at, Some(Timestamp::MAX));
    cx.unchanged(&claimed[0]).await
}

pub(crate) async fn deleted_jobs_are_not_claimed(cx: &Cx) -> CaseResult {
    let job = cx.job("a").await?;
    cx.update(job.id, Action::Cancel).await?;
    let request = jobstore_core::DeleteRequest::Ids(vec![job.id]);
    cx.store().delete_jobs(&request).await?;
    check_eq!(cx.claim(10).await?.len(), 0);
    Ok(())
}

pub(crate) async fn of_one_due_time_the_least_id_goes_first(cx: &Cx) -> CaseResult {
    let due = cx.now();
    let id = |n: &str| format!("{n}0000000-0000-4000-8000-000000000000").parse::<JobId>();
    for n in ["8", "f", "0", "7"] {
        let job = NewJob::new("a", "{}").with_next_attempt_at(due);
        cx.create(job.with_id(id(n)?)).await?;
        cx.tick();
    }
    let expected = [id("0")?, id("7")?, id("8")?, id("f")?];
    check_eq!(ids(&cx.claim(100).await?), expected);
    Ok(())
}

pub(crate) async fn what_is_not_due_hides_nothing_at_any_priority(cx: &Cx) -> CaseResult {
    let new = |n: i16| {
        let job = NewJob::new(["a", "b"][n as usize % 2], "{}").with_priority(100 - n);
        // One in four is due; among them are priorities that have both.
        let job = job.with_next_attempt_at(cx.at(i64::from(n % 4) * 1_000));
        [job.clone(), job.with_priority(50)]
    };
    let mut jobs = cx.create_all((0..40).flat_map(new)).await?;
    jobs.retain(|job| job.is_claimable(cx.now()));
    jobs.sort_by_key(Job::claim_order);
    let mut claimed = Vec::new();
    for limit in [1, 5, 100] {
        claimed.extend(ids(&cx.claim(limit).await?));
    }
    check_eq!(claimed, ids(&jobs));
    Ok(())
}
