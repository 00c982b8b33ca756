//! Jobs in a redb file: `redb://jobs.redb`.

use std::path::Path;
use std::sync::Arc;

use jobstore_core::{Clock, JobStore, Result};

pub use jobstore_redb::*;

pub(crate) async fn open(
    path: &Path,
    clock: Option<Arc<dyn Clock>>,
    create: bool,
) -> Result<Arc<dyn JobStore>> {
    let options = RedbOptions::new(path).with_create(create);
    let options = match clock {
        Some(clock) => options.with_clock(clock),
        None => options,
    };
    Ok(Arc::new(options.open().await?))
}
