//! What survives when every handle is dropped and the store is opened again.

use std::time::Duration;

use jobstore_core::{
    Action, DeleteRequest, Error, JobFilter, JobId, JobStatus, JobStoreExt as _, NewJob, Order,
    PageRequest, RetryPolicy,
};

use crate::Cx;
use crate::cx::{LEASE, finish};
use crate::failure::{CaseResult, check, check_eq, check_err, same, same_all};

pub(crate) async fn every_field_survives(cx: &Cx) -> CaseResult {
    let asked = NewJob::new("tráin 😀", "{ \"a\" : 1e400,\n\"a\":\"\\u0000\" }")
        .with_timeout(Duration::from_secs(1) / 3)
        .with_priority(-7)
        .with_next_attempt_at(cx.at(-5_000))
        .with_max_retries(9)
        .with_unique_key("key ");
    let bare = cx.job("bare").await?;
    let full = cx.create(asked).await?;
    cx.reopen().await?;
    cx.unchanged(&full).await?;
    cx.unchanged(&bare).await
}

pub(crate) async fn every_status_survives(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&JobStatus::ALL).await?;
    let counts = cx.count(&JobFilter::default()).await?;
    cx.reopen().await?;
    same_all(&cx.list(&JobFilter::default()).await?, &jobs)?;
    check_eq!(cx.count(&JobFilter::default()).await?, counts);
    Ok(())
}

pub(crate) async fn an_empty_store_opens_again(cx: &Cx) -> CaseResult {
    cx.reopen().await?;
    cx.reopen().await?;
    check_eq!(cx.total().await?, 0);
    cx.job("a").await?;
    Ok(())
}

pub(crate) async fn a_claim_survives(cx: &Cx) -> CaseResult {
    cx.job("a").await?;
    let run = cx.claim_one().await?;
    cx.reopen().await?;
    cx.unchanged(&run).await?;
    check_eq!(cx.claim(10).await?.len(), 0);
    let done = cx.update(run.claim(), finish("done")).await?;
    cx.reopen().await?;
    same(&cx.update(run.claim(), finish("done")).await?, &done)
}

pub(crate) async fn a_lease_runs_out_while_nobody_looks(cx: &Cx) -> CaseResult {
    cx.job("a").await?;
    let run = cx.claim_one().await?;
    cx.reopen().await?;
    cx.advance(LEASE);
    let recovered = cx
        .store()
        .recover_expired(&[], RetryPolicy::default())
        .await?;
    check_eq!(recovered.len(), 1);
    cx.reopen().await?;
    cx.unchanged(&recovered[0]).await?;
    let late = cx.update(run.claim(), finish("late")).await;
    check_err!(late, Error::LeaseLost { id } if id == run.id);
    Ok(())
}

pub(crate) async fn fences_go_on(cx: &Cx) -> CaseResult {
    cx.job("a").await?;
    for fence in 1..=3 {
        let run = cx.claim_one().await?;
        check_eq!(run.fence, fence);
        cx.update(run.claim(), Action::Reset).await?;
        cx.reopen().await?;
    }
    Ok(())
}

pub(crate) async fn a_unique_key_stays_held_and_stays_free(cx: &Cx) -> CaseResult {
    let keyed = |key: &str| NewJob::new("a", "{}").with_unique_key(key);
    let held = cx.create(keyed("held")).await?;
    let free = cx.create(keyed("free")).await?;
    cx.update(free.id, Action::Cancel).await?;
    cx.reopen().await?;
    let found = cx.store().create_job(keyed("held")).await?;
    check!(!found.is_new(), "the holder found");
    same(found.job(), &held)?;
    cx.create(keyed("free")).await?;
    Ok(())
}

pub(crate) async fn ids_stay_taken(cx: &Cx) -> CaseResult {
    let job = cx.job("a").await?;
    cx.reopen().await?;
    let again = cx
        .store()
        .create_job(NewJob::new("b", "{}").with_id(job.id))
        .await;
    check_err!(again, Error::AlreadyExists { id } if id == job.id);
    cx.unchanged(&job).await
}

pub(crate) async fn the_deleted_stay_gone(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&[JobStatus::Failed; 4]).await?;
    let request = DeleteRequest::Ids(vec![jobs[0].id, jobs[2].id]);
    cx.store().delete_jobs(&request).await?;
    cx.reopen().await?;
    let left = cx.list(&JobFilter::default()).await?;
    same_all(&left, [&jobs[1], &jobs[3]])
}

pub(crate) async fn a_token_is_good_after_a_restart(cx: &Cx) -> CaseResult {
    let jobs = cx.create_all(vec![NewJob::new("a", "{}"); 5]).await?;
    let any = JobFilter::default();
    let page = PageRequest::default()
        .with_size(2)
        .with_order(Order::Descending);
    let list = cx.store().list_jobs(&any, &page).await?;
    cx.reopen().await?;
    let page = page.with_token(list.token);
    let list = cx.store().list_jobs(&any, &page).await?;
    same_all(&list, [&jobs[2], &jobs[1]])
}

pub(crate) async fn the_order_of_claiming_survives(cx: &Cx) -> CaseResult {
    let new = |n: i64| {
        NewJob::new("a", "{}")
            .with_priority((n % 3) as i16)
            .with_next_attempt_at(cx.at(-(n % 4)))
    };
    let mut jobs = cx.create_all((0..24).map(new)).await?;
    cx.reopen().await?;
    jobs.sort_by_key(jobstore_core::Job::claim_order);
    let expected: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let claimed = cx.claim(100).await?;
    let claimed: Vec<JobId> = claimed.iter().map(|job| job.id).collect();
    check_eq!(claimed, expected);
    Ok(())
}

pub(crate) async fn ids_made_after_a_restart_are_new(cx: &Cx) -> CaseResult {
    let before = cx.create_all(vec![NewJob::new("a", "{}"); 50]).await?;
    cx.reopen().await?;
    let after = cx.create_all(vec![NewJob::new("a", "{}"); 50]).await?;
    let last = before.iter().map(|job| job.id).max();
    check!(after.iter().all(|job| Some(job.id) > last), "greater ids");
    check_eq!(cx.total().await?, 100);
    Ok(())
}

pub(crate) async fn a_refused_batch_leaves_nothing_behind(cx: &Cx) -> CaseResult {
    let job = cx.job("a").await?;
    let keyed = NewJob::new("b", "{}").with_unique_key("key");
    let batch = vec![keyed.clone(), NewJob::new("c", "{}").with_id(job.id)];
    let refused = cx.store().create_jobs(batch).await;
    check_err!(refused, Error::AlreadyExists { id } if id == job.id);
    cx.reopen().await?;
    same_all(&cx.list(&JobFilter::default()).await?, [&job])?;
    cx.create(keyed).await?;
    Ok(())
}
