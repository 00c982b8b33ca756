//! Callers that give up.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::poll_immediate;
use jobstore_core::{
    Action, DeleteRequest, Job, JobFilter, JobId, JobStatus, JobStoreExt as _, NewJob, RetryPolicy,
    Update,
};

use crate::Cx;
use crate::cx::{LEASE, finish, worker};
use crate::failure::{CaseResult, check, check_eq, same};

/// Polls a future so often at most, then drops it.
async fn dropped<T>(future: impl Future<Output = T>, polls: usize) -> Poll<T> {
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Some(output) = poll_immediate(future.as_mut()).await {
            return Poll::Ready(output);
        }
        tokio::task::yield_now().await;
    }
    Poll::Pending
}

pub(crate) async fn a_dropped_create_happened_whole_or_not(cx: &Cx) -> CaseResult {
    let mut expected = Vec::new();
    for polls in 0..12 {
        let name = format!("n{polls}");
        let batch = vec![NewJob::new(&*name, "{}"); 25];
        let store = cx.store();
        let _ = dropped(store.create_jobs(batch), polls).await;
        expected.push(JobFilter::default().with_job_name(name));
    }
    // A create that was dropped may still be on its way; the one after it waits its turn.
    cx.job("last").await?;
    for filter in expected {
        let found = cx.count(&filter).await?.total();
        check!(
            found == 0 || found == 25,
            "all of a batch or nothing, not {found}"
        );
    }
    Ok(())
}

pub(crate) async fn a_dropped_claim_loses_no_job(cx: &Cx) -> CaseResult {
    cx.create_all(vec![NewJob::new("a", "{}"); 30]).await?;
    for polls in 0..12 {
        let store = cx.store();
        let request = worker().with_limit(2);
        let _ = dropped(store.claim_jobs(&request), polls).await;
    }
    let mut rest = cx.claim(100).await?;
    // A claim that was dropped may still be on its way, and others pass over what it holds.
    let pending = JobFilter::default().with_statuses([JobStatus::Pending]);
    for _ in 0..500 {
        if cx.count(&pending).await?.total() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        rest.extend(cx.claim(100).await?);
    }
    for job in cx.list(&JobFilter::default()).await? {
        let whole = (job.status, job.fence, job.lease_owner.as_deref());
        check_eq!(whole, (JobStatus::Running, 1, Some("ada")));
    }
    check!(
        rest.len() >= 6,
        "what was not claimed to be left, not {}",
        rest.len()
    );
    cx.advance(LEASE);
    let recovered = cx
        .store()
        .recover_expired(&[], RetryPolicy::default())
        .await?;
    check_eq!(recovered.len(), 30);
    Ok(())
}

pub(crate) async fn a_dropped_update_happened_whole_or_not(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&[JobStatus::Running; 12]).await?;
    cx.tick();
    for (polls, job) in jobs.iter().enumerate() {
        let store = cx.store();
        let _ = dropped(store.finish_job(job.claim(), "done"), polls).await;
    }
    for job in &jobs {
        // Repeating the call says what became of it, and does it if it did not happen.
        let done = cx.update(job.claim(), finish("done")).await?;
        let expected = Job {
            status: JobStatus::Succeeded,
            result: Some("done".to_owned()),
            last_update_time: cx.now(),
            lease_owner: None,
            lease_expires_at: None,
            ..job.clone()
        };
        same(&done, &expected)?;
    }
    Ok(())
}

pub(crate) async fn dropped_reads_leave_the_store_usable(cx: &Cx) -> CaseResult {
    let jobs = cx.create_all(vec![NewJob::new("a", "{}"); 50]).await?;
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    for polls in 0..8 {
        let store = cx.store();
        let filter = JobFilter::default();
        let page = jobstore_core::PageRequest::default();
        let _ = dropped(store.list_jobs(&filter, &page), polls).await;
        let _ = dropped(store.count_jobs(&filter), polls).await;
        let _ = dropped(store.get_jobs(&ids), polls).await;
    }
    check_eq!(cx.total().await?, 50);
    cx.update(ids[0], finish("done")).await?;
    Ok(())
}

pub(crate) async fn a_dropped_deletion_happened_whole_or_not(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&[JobStatus::Failed; 60]).await?;
    for (polls, group) in jobs.chunks(10).enumerate() {
        let request = DeleteRequest::Ids(group.iter().map(|job| job.id).collect());
        let store = cx.store();
        let _ = dropped(store.delete_jobs(&request), polls).await;
    }
    cx.job("last").await?;
    for group in jobs.chunks(10) {
        let ids: Vec<JobId> = group.iter().map(|job| job.id).collect();
        let answers = cx.store().get_jobs(&ids).await?;
        let left = answers.iter().flatten().count();
        check!(left == 0 || left == 10, "all of them or none, not {left}");
    }
    Ok(())
}

pub(crate) async fn a_call_that_is_never_polled_does_nothing(cx: &Cx) -> CaseResult {
    let job = cx.jobs_in(&[JobStatus::Pending]).await?.remove(0);
    let store = cx.store();
    drop(store.create_jobs(vec![NewJob::new("b", "{}")]));
    drop(store.claim_jobs(&crate::cx::worker()));
    drop(store.update_jobs(vec![Update::new(job.id, Action::Cancel)]));
    tokio::task::yield_now().await;
    check_eq!(cx.total().await?, 1);
    cx.unchanged(&job).await
}

pub(crate) async fn a_handle_may_be_dropped_on_any_thread(cx: &Cx) -> CaseResult {
    let job = cx.jobs_in(&[JobStatus::Running]).await?.remove(0);
    let handle = cx.store();
    cx.close().await;
    let dropped = std::thread::spawn(move || drop(handle)).join();
    check!(
        dropped.is_ok(),
        "no panic where the last handle, which knew job {}, is dropped on a thread without a runtime",
        job.id
    );
    cx.reopen().await
}
