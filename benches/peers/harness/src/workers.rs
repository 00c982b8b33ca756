//! Workers that are tasks of one process.

use anyhow::Result;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Until;

/// Runs workers while `until` lasts, tells them to stop, and waits for them.
///
/// # Errors
///
/// Those of the workers.
pub async fn run_workers<W>(
    workers: usize,
    until: Until,
    worker: impl Fn(usize, CancellationToken) -> W + Send,
) -> Result<()>
where
    W: Future<Output = Result<()>> + Send + 'static,
{
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    for index in 0..workers {
        running.spawn(worker(index, stop.clone()));
    }
    until.await;
    stop.cancel();
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}
