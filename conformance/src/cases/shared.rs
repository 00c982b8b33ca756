//! Several handles on the same jobs.

use jobstore_core::{
    Action, ClaimRequest, DeleteRequest, Error, JobFilter, JobStoreExt as _, NewJob, PageRequest,
    RetryPolicy,
};

use crate::Cx;
use crate::cx::{LEASE, finish};
use crate::failure::{CaseResult, check, check_eq, check_err, same, same_all};

pub(crate) async fn what_one_writes_the_other_reads(cx: &Cx) -> CaseResult {
    let other = cx.open_another().await?;
    let job = cx.job("a").await?;
    same(&other.get_job(job.id).await?, &job)?;
    // What a handle has read before must not hide what the other writes now.
    cx.unchanged(&job).await?;
    let done = other.finish_job(job.id, "done").await?;
    cx.unchanged(&done).await?;
    check_eq!(other.count_jobs(&JobFilter::default()).await?.total(), 1);
    other.delete_jobs(&DeleteRequest::Ids(vec![job.id])).await?;
    check_eq!(cx.total().await?, 0);
    Ok(())
}

pub(crate) async fn a_job_claimed_by_one_is_not_claimed_by_the_other(cx: &Cx) -> CaseResult {
    let other = cx.open_another().await?;
    cx.create_all(vec![NewJob::new("a", "{}"); 4]).await?;
    let bob = ClaimRequest::new("bob", LEASE).with_limit(10);
    check_eq!(cx.claim(3).await?.len(), 3);
    check_eq!(other.claim_jobs(&bob).await?.len(), 1);
    check_eq!(other.claim_jobs(&bob).await?.len(), 0);
    Ok(())
}

pub(crate) async fn handles_that_claim_at_once_share_the_jobs(cx: &Cx) -> CaseResult {
    let jobs = cx.create_all(vec![NewJob::new("a", "{}"); 100]).await?;
    let mut workers = Vec::new();
    for owner in ["ada", "bob", "eve"] {
        let store = cx.open_another().await?;
        let request = ClaimRequest::new(owner, LEASE).with_limit(2);
        workers.push(tokio::spawn(async move {
            let mut ids = Vec::new();
            loop {
                let claimed = store.claim_jobs(&request).await?;
                if claimed.is_empty() {
                    return Ok::<_, Error>(ids);
                }
                ids.extend(claimed.iter().map(|job| job.id));
            }
        }));
    }
    let mut ids = Vec::new();
    for worker in workers {
        let joined = worker.await;
        ids.extend(joined.map_err(|panic| crate::Failure::new("no panic", panic.to_string()))??);
    }
    ids.sort_unstable();
    check_eq!(ids, jobs.iter().map(|job| job.id).collect::<Vec<_>>());
    Ok(())
}

pub(crate) async fn one_key_is_one_job_for_all_handles(cx: &Cx) -> CaseResult {
    let other = cx.open_another().await?;
    let keyed = NewJob::new("a", "{}").with_unique_key("key");
    let job = cx.create(keyed.clone()).await?;
    let found = other.create_job(keyed).await?;
    check!(!found.is_new(), "the holder found");
    same(found.job(), &job)
}

pub(crate) async fn one_handle_recovers_what_another_lost(cx: &Cx) -> CaseResult {
    let other = cx.open_another().await?;
    cx.job("a").await?;
    let run = cx.claim_one().await?;
    cx.advance(LEASE);
    let recovered = other.recover_expired(&[], RetryPolicy::default()).await?;
    check_eq!(recovered.len(), 1);
    let late = cx.update(run.claim(), finish("late")).await;
    check_err!(late, Error::LeaseLost { id } if id == run.id);
    cx.unchanged(&recovered[0]).await
}

pub(crate) async fn a_token_of_one_is_good_for_the_other(cx: &Cx) -> CaseResult {
    let other = cx.open_another().await?;
    let jobs = cx.create_all(vec![NewJob::new("a", "{}"); 3]).await?;
    let any = JobFilter::default();
    let page = PageRequest::default().with_size(2);
    let list = cx.store().list_jobs(&any, &page).await?;
    let page = page.with_token(list.token);
    same_all(&other.list_jobs(&any, &page).await?, &jobs[2..])
}

pub(crate) async fn a_claim_of_one_is_good_for_the_other(cx: &Cx) -> CaseResult {
    let other = cx.open_another().await?;
    cx.job("a").await?;
    let run = cx.claim_one().await?;
    let done = other.finish_job(run.claim(), "done").await?;
    same(&cx.update(run.claim(), finish("done")).await?, &done)?;
    let reset = cx.update(run.id, Action::Reset).await?;
    same(&other.get_job(run.id).await?, &reset)
}

pub(crate) async fn closing_one_does_not_disturb_the_other(cx: &Cx) -> CaseResult {
    let other = cx.open_another().await?;
    let job = cx.job("a").await?;
    drop(other);
    cx.unchanged(&job).await?;
    cx.claim_one().await?;
    Ok(())
}
