//! Jobs in a sled folder: `sled://jobs`.

use std::path::Path;
use std::sync::Arc;

use jobstore_core::{Clock, JobStore, Result};

pub use jobstore_sled::*;

pub(crate) async fn open(
    path: &Path,
    clock: Option<Arc<dyn Clock>>,
    create: bool,
) -> Result<Arc<dyn JobStore>> {
    let options = SledOptions::new(path).with_create(create);
    let options = match clock {
        Some(clock) => options.with_clock(clock),
        None => options,
    };
    Ok(Arc::new(options.open().await?))
}
