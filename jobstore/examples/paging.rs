//! Two ways through a long list: page by page, and as a stream.

use futures_util::TryStreamExt as _;
use jobstore::{JobFilter, JobStatus, JobStoreExt as _, NewJob, PageRequest};

#[tokio::main]
async fn main() -> jobstore::Result<()> {
    let store = jobstore::open("sqlite::memory:").await?;
    let jobs = (0..25).map(|number| {
        let params = serde_json::json!({ "number": number, "even": number % 2 == 0 });
        NewJob::new("count", params)
    });
    store.create_jobs(jobs.collect()).await?;

    // A token may be kept, sent to a browser, and used on another machine.
    let filter = JobFilter::default().with_statuses([JobStatus::Pending]);
    let mut page = PageRequest::default().with_size(10);
    loop {
        let jobs = store.list_jobs(&filter, &page).await?;
        println!("a page of {} jobs", jobs.len());
        match &jobs.token {
            Some(token) => page.token = Some(token.clone()),
            None => break,
        }
    }

    // The stream fetches its pages as it is read.
    let even = JobFilter::default().with_params(r#"{"even": true}"#);
    let jobs = store.stream_jobs(even, PageRequest::default().with_size(10));
    let jobs: Vec<_> = jobs.try_collect().await?;
    println!("{} even numbers", jobs.len());
    Ok(())
}
