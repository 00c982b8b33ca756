//! A first worker: creates jobs, claims them one after another, renews, finishes, and lists.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use jobstore_core::{
    ClaimRequest, JobFilter, JobStore as _, JobStoreExt as _, NewJob, PageRequest, Result,
};
use jobstore_memory::MemoryJobStore;

#[tokio::main]
async fn main() -> Result<()> {
    let store = MemoryJobStore::default();
    let names = ["ada", "grace", "barbara"];
    let mails = names.map(|name| NewJob::new("send-mail", serde_json::json!({ "to": name })));
    store.create_jobs(mails.to_vec()).await?;

    let lease = Duration::from_secs(60);
    let request = ClaimRequest::new("worker-1", lease).with_job_name("send-mail");
    while let Some(job) = store.claim_job(&request).await? {
        store.renew_lease(job.claim(), lease).await?;
        store
            .finish_job(job.claim(), format!("sent {}", job.params.as_str()))
            .await?;
    }

    let jobs = store.stream_jobs(JobFilter::default(), PageRequest::default());
    let jobs: Vec<_> = jobs.try_collect().await?;
    for job in jobs {
        println!(
            "{} {} {}",
            job.id,
            job.status,
            job.result.as_deref().unwrap_or_default()
        );
    }
    Ok(())
}
