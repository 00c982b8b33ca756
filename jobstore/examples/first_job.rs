//! A first job: created, claimed, finished.

use std::time::Duration;

use jobstore::{ClaimRequest, JobStoreExt as _, NewJob};

#[tokio::main]
async fn main() -> jobstore::Result<()> {
    let store = jobstore::open("sqlite::memory:").await?;
    let mail = NewJob::new("send-mail", r#"{"to": "ada"}"#);
    store.create_job(mail).await?;

    let request = ClaimRequest::new("worker-1", Duration::from_secs(60));
    if let Some(job) = store.claim_job(&request).await? {
        let job = store.finish_job(job.claim(), "sent").await?;
        println!("{} is {}", job.id, job.status);
    }
    Ok(())
}
