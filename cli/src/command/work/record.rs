//! Recording what became of a run.

use std::time::Duration;

use jobstore::{Action, Claim, Error, Job, JobStore, JobStoreExt as _, Result, Update};

/// How long a worker holds on to an outcome that a busy store does not take.
const PATIENCE: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Records an outcome under a claim, again and again while the store is too busy: the work is done
/// and should not be lost. Saying it twice is safe.
///
/// A result that the store refuses as input fails the job, with the reason as its error.
pub(super) async fn record(store: &dyn JobStore, claim: Claim, action: Action) -> Result<Job> {
    match record_patiently(store, claim, action.clone()).await {
        Err(error @ Error::InvalidArgument { .. }) if matches!(action, Action::Finish { .. }) => {
            let error = error.to_string();
            record_patiently(store, claim, Action::Fail { error }).await
        }
        recorded => recorded,
    }
}

async fn record_patiently(store: &dyn JobStore, claim: Claim, action: Action) -> Result<Job> {
    let update = Update::new(claim, action);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut wait = Duration::from_millis(50);
    loop {
        match store.update_job(update.clone()).await {
            Err(error) if error.is_retryable() && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            recorded => return recorded,
        }
    }
}
