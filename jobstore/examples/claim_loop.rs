//! A worker: claims jobs one after another, renews its lease while it works, records the outcome.

use std::time::Duration;

use jobstore::{
    ClaimRequest, Error, Job, JobFilter, JobStore, JobStoreExt as _, NewJob, Result, RetryPolicy,
};

const LEASE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<()> {
    let store = jobstore::open("sqlite::memory:").await?;
    for number in [4, 9, -1] {
        let params = serde_json::json!({ "number": number });
        store.create_job(NewJob::new("root", params)).await?;
    }

    let request = ClaimRequest::new("worker-1", LEASE).with_job_name("root");
    while let Some(job) = store.claim_job(&request).await? {
        let recorded = match work_on(&*store, &job).await? {
            Ok(root) => store.finish_job(job.claim(), root.to_string()).await,
            Err(problem) => {
                let policy = RetryPolicy::default();
                store.retry_or_fail_job(job.claim(), problem, policy).await
            }
        };
        match recorded {
            Ok(job) => println!("{} is {}", job.id, job.status),
            // Somebody recovered the job meanwhile: it is theirs now, and nothing was recorded.
            Err(Error::LeaseLost { id }) => println!("{id} was lost"),
            Err(error) => return Err(error),
        }
    }
    let counts = store.count_jobs(&JobFilter::default()).await?;
    for (status, jobs) in counts.iter() {
        println!("{status:>9} {jobs}");
    }
    Ok(())
}

/// Does the work in steps, and renews the lease before each, so that nobody takes the job away.
async fn work_on(store: &dyn JobStore, job: &Job) -> Result<Result<f64, String>> {
    let mut root = 1.0;
    let params: serde_json::Value = serde_json::from_str(job.params.as_str()).unwrap_or_default();
    let Some(number) = params["number"].as_f64().filter(|number| *number >= 0.0) else {
        return Ok(Err("number is missing or negative".to_owned()));
    };
    for _ in 0..8 {
        store.renew_lease(job.claim(), LEASE).await?;
        root = (root + number / root) / 2.0;
    }
    Ok(Ok(root))
}
