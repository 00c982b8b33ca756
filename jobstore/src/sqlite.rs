//! Jobs in a SQLite file: `sqlite://jobs.db`, or `sqlite::memory:`.

use std::sync::Arc;

use jobstore_core::{Clock, JobStore, Result};

pub use jobstore_sql::About;
pub use jobstore_sql::sqlite::*;

use crate::url::SqlitePlace;

impl From<&SqlitePlace> for SqliteOptions {
    fn from(place: &SqlitePlace) -> Self {
        match place {
            SqlitePlace::Memory => Self::in_memory(),
            SqlitePlace::File(path) => Self::new(path),
        }
    }
}

pub(crate) async fn open(
    place: &SqlitePlace,
    clock: Option<Arc<dyn Clock>>,
    migrate: bool,
) -> Result<Arc<dyn JobStore>> {
    let options = SqliteOptions::from(place).with_migrate(migrate);
    let options = match clock {
        Some(clock) => options.with_clock(clock),
        None => options,
    };
    Ok(Arc::new(options.open().await?))
}
