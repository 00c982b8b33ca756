//! Jobs in this process, gone with it: `memory:`.

use std::sync::Arc;

use jobstore_core::{Clock, JobStore, SystemClock};

pub use jobstore_memory::*;

pub(crate) fn open(clock: Option<Arc<dyn Clock>>) -> Arc<dyn JobStore> {
    let clock = clock.unwrap_or_else(|| Arc::new(SystemClock));
    Arc::new(MemoryJobStore::with_clock(clock))
}
