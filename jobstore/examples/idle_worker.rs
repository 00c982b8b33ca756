//! A worker that waits for jobs: it looks when the store tells of one, and now and then by itself.

use std::sync::Arc;
use std::time::Duration;

use jobstore::{ClaimRequest, JobStore, JobStoreExt as _, NewJob, Result};
use tokio::time::{sleep, timeout};

/// For jobs whose time comes, and for what nobody tells: a job that was created by a process that the
/// store does not hear.
const LOOK: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<()> {
    let store = jobstore::open("sqlite::memory:").await?;
    let worker = tokio::spawn(work(Arc::clone(&store)));
    for name in ["Ada", "Grace", "Barbara"] {
        sleep(Duration::from_millis(100)).await;
        let params = serde_json::json!({ "name": name });
        store.create_job(NewJob::new("greet", params)).await?;
    }
    worker.await.expect("the worker does not panic")
}

async fn work(store: Arc<dyn JobStore>) -> Result<()> {
    let request = ClaimRequest::new("worker-1", Duration::from_secs(60)).with_job_name("greet");
    // Before the first claim, so that no job falls in between.
    let mut arrivals = store.arrivals();
    let mut greeted = 0;
    while greeted < 3 {
        let Some(job) = store.claim_job(&request).await? else {
            // A hint, or the time to look.
            let _ = timeout(LOOK, arrivals.next()).await;
            continue;
        };
        println!("{} {}", job.job_name, job.params.as_str());
        store.finish_job(job.claim(), "greeted").await?;
        greeted += 1;
    }
    Ok(())
}
