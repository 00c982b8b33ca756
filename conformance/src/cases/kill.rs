//! What is left when the process that held the jobs was killed.

use jobstore_core::{Action, DeleteRequest, Error, JobFilter, JobStatus, JobStoreExt as _, NewJob};

use crate::Cx;
use crate::cx::finish;
use crate::failure::{CaseResult, check, check_eq, check_err, same, same_all};
use crate::harness::Crash;

pub(crate) async fn what_calls_did_is_there(cx: &Cx) -> CaseResult {
    everything_is_there_after(cx, cx.surroundings().kill()).await
}

pub(crate) async fn claims_and_keys_are_good(cx: &Cx) -> CaseResult {
    claims_and_keys_are_good_after(cx, cx.surroundings().kill()).await
}

pub(crate) async fn a_kill_after_every_call_loses_nothing(cx: &Cx) -> CaseResult {
    let mut jobs = Vec::new();
    for priority in 0..4 {
        jobs.push(
            cx.create(NewJob::new("a", "{}").with_priority(priority))
                .await?,
        );
        cx.crash(cx.surroundings().kill()).await?;
    }
    while let Some(job) = jobs.pop() {
        let run = cx.claim_one().await?;
        check_eq!(run.id, job.id, "the highest priority that is left");
        cx.crash(cx.surroundings().kill()).await?;
        cx.unchanged(&run).await?;
    }
    check_eq!(cx.claim(10).await?.len(), 0, "after all were claimed");
    Ok(())
}

/// Creates, changes and deletes; after the crash every answer must be as before.
pub(super) async fn everything_is_there_after(cx: &Cx, crash: Option<&dyn Crash>) -> CaseResult {
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(100_000));
    cx.create(NewJob::new("tráin 😀", long)).await?;
    let jobs = cx.jobs_in(&JobStatus::ALL).await?;
    let deleted = cx.jobs_in(&[JobStatus::Failed]).await?.remove(0);
    let request = DeleteRequest::Ids(vec![deleted.id]);
    cx.store().delete_jobs(&request).await?;
    cx.update(jobs[1].id, finish("done")).await?;
    let any = JobFilter::default();
    let (listed, counts) = (cx.list(&any).await?, cx.count(&any).await?);
    cx.crash(crash).await?;
    same_all(&cx.list(&any).await?, &listed)?;
    check_eq!(cx.count(&any).await?, counts);
    for job in &listed {
        cx.unchanged(job).await?;
    }
    Ok(())
}

pub(super) async fn claims_and_keys_are_good_after(
    cx: &Cx,
    crash: Option<&dyn Crash>,
) -> CaseResult {
    let keyed = || NewJob::new("a", "{}").with_unique_key("key");
    cx.create(keyed()).await?;
    let run = cx.claim_one().await?;
    cx.crash(crash).await?;
    cx.unchanged(&run).await?;
    check_eq!(cx.claim(10).await?.len(), 0, "while the job runs");
    let found = cx.store().create_job(keyed()).await?;
    check!(!found.is_new(), "the holder of the key");
    same(found.job(), &run)?;
    cx.update(run.claim(), Action::Reset).await?;
    cx.crash(crash).await?;
    let next = cx.claim_one().await?;
    check_eq!((next.id, next.fence), (run.id, 2));
    let late = cx.update(run.claim(), finish("late")).await;
    check_err!(late, Error::LeaseLost { id } if id == run.id);
    Ok(())
}
