//! What is under a store.

use jobstore_core::Result;
use sqlx::QueryBuilder;

use crate::dialect::{ClaimBy, Dialect};
use crate::error::Failure;
use crate::migrate;
use crate::store::SqlJobStore;
use crate::wire::Wire;

/// What is under a store, as the engine says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct About {
    /// The engine's name: `SQLite`, `PostgreSQL`, `MySQL` or `MariaDB`.
    pub engine: &'static str,
    /// The engine's version, which on servers is the server's.
    pub version: String,
    /// The version of the schema, counted from one.
    pub schema_version: i64,
}

impl<D: Dialect> SqlJobStore<D> {
    /// What is under this store.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`](jobstore_core::Error::Unavailable) when the engine cannot be asked;
    /// [`Error::Incompatible`](jobstore_core::Error::Incompatible) when the schema was replaced by
    /// a newer one meanwhile.
    pub async fn about(&self) -> Result<About> {
        let asking = self.readers().bounded(async {
            let mut session = self.readers().acquire_to_read().await?;
            let done = ask::<D>(&mut session.wire(ClaimBy::default())).await;
            Ok(session.end(done).await?)
        });
        asking.await?
    }
}

async fn ask<D: Dialect>(wire: &mut Wire<'_, D>) -> Result<About, Failure> {
    let schema_version = migrate::version::<D>(wire).await?;
    let mut version = String::new();
    let each = |row: &D::Row| version = D::text(row, 0).ok().flatten().unwrap_or_default();
    wire.fetch(QueryBuilder::new(D::VERSION), each).await?;
    // MariaDB speaks MySQL's protocol and is told from it by its version only.
    let engine = match version.contains("MariaDB") {
        true => "MariaDB",
        false => D::NAME,
    };
    Ok(About {
        engine,
        version,
        schema_version,
    })
}
