//! What the peers of this package share.
#![forbid(unsafe_code)]

pub mod apalis;

use std::time::Duration;

use anyhow::Result;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

/// Connects to PostgreSQL.
///
/// # Errors
///
/// When it cannot be reached.
pub async fn connect_postgres(url: &str, connections: u32) -> Result<PgPool> {
    let options = PgPoolOptions::new().max_connections(connections);
    // More callers than connections wait for one another.
    Ok(options
        .acquire_timeout(Duration::from_secs(60))
        .connect(url)
        .await?)
}
