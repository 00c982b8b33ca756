//! A unique key: many may ask for a job, and one unfinished job exists at a time.

use jobstore::{JobStoreExt as _, NewJob};

#[tokio::main]
async fn main() -> jobstore::Result<()> {
    let store = jobstore::open("sqlite::memory:").await?;
    let invoice = || NewJob::new("send-invoice", r#"{"order": 7}"#).with_unique_key("order-7");

    let first = store.create_job(invoice()).await?;
    let again = store.create_job(invoice()).await?;
    assert!(first.is_new() && !again.is_new());
    assert_eq!(first.job().id, again.job().id);

    // Once the job has ended its key is free.
    store.finish_job(first.job().id, "sent").await?;
    let next = store.create_job(invoice()).await?;
    assert!(next.is_new());
    println!("{} came after {}", next.job().id, first.job().id);
    Ok(())
}
