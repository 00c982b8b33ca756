//! What the benchmarks share: stores to measure, data to fill them with, and the engine driven
//! directly, to be measured beside them.
#![forbid(unsafe_code)]

pub mod direct;
mod engine;
pub mod limit;

use std::path::Path;
use std::sync::Arc;

use jobstore_core::{
    Action, JobId, JobStore, JobStoreExt as _, ManualClock, NewJob, Timestamp, Update,
};
use jobstore_memory::MemoryJobStore;
use jobstore_redb::RedbOptions;
use jobstore_sled::SledOptions;
use jobstore_sql::SqliteOptions;

pub use crate::engine::Engine;

/// What a job in a benchmark carries.
pub const PARAMS: &str = r#"{"to":"ada@example.org","template":"welcome","attempt":1}"#;

/// The backends, each with a store that reads a clock standing still.
pub async fn stores(folder: &Path) -> Vec<(&'static str, Arc<dyn JobStore>)> {
    let clock = || Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let sqlite = SqliteOptions::new(folder.join("jobs.db")).with_clock(clock());
    let sqlite = sqlite.open().await.expect("opens");
    let sled = SledOptions::new(folder.join("jobs.sled")).with_clock(clock());
    let redb = RedbOptions::new(folder.join("jobs.redb")).with_clock(clock());
    vec![
        ("memory", Arc::new(MemoryJobStore::with_clock(clock()))),
        ("sqlite", Arc::new(sqlite)),
        ("sled", Arc::new(sled.open().await.expect("opens"))),
        ("redb", Arc::new(redb.open().await.expect("opens"))),
    ]
}

/// Creates jobs in batches of 1,000 and returns their ids.
pub async fn fill(store: &dyn JobStore, name: &str, jobs: usize) -> Vec<JobId> {
    let mut ids = Vec::with_capacity(jobs);
    while ids.len() < jobs {
        let batch = vec![NewJob::new(name, PARAMS); (jobs - ids.len()).min(1000)];
        let created = store.create_jobs(batch).await.expect("creates");
        ids.extend(created.iter().map(|creation| creation.job().id));
    }
    ids
}

/// Adds `rows` jobs that no claim wants: a third finished, a third not due for a year and of a
/// higher priority, a third of another name.
pub async fn fill_others(store: &dyn JobStore, rows: usize) {
    let third = rows / 3;
    for ids in fill(store, "mail", third).await.chunks(1000) {
        let finish = |id: &JobId| Update::new(*id, Action::Finish { result: None });
        store
            .update_jobs(ids.iter().map(finish).collect())
            .await
            .expect("finishes");
    }
    let next_year = Timestamp::from_millis(store.now().as_millis() + 365 * 86_400_000);
    let later = NewJob::new("mail", PARAMS)
        .with_priority(9)
        .with_next_attempt_at(next_year);
    for start in (0..third).step_by(1000) {
        let batch = vec![later.clone(); (third - start).min(1000)];
        store.create_jobs(batch).await.expect("creates");
    }
    fill(store, "render", third).await;
}

/// One caller's work: creates a job.
pub async fn create_one(store: &dyn JobStore) {
    store
        .create_job(NewJob::new("mail", PARAMS))
        .await
        .expect("creates");
}
