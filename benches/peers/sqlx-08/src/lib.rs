//! What the peers of this package share.
#![forbid(unsafe_code)]

use std::str::FromStr as _;
use std::time::Duration;

use anyhow::Result;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// Connects to PostgreSQL.
///
/// # Errors
///
/// When it cannot be reached.
pub async fn connect_postgres(url: &str, connections: u32) -> Result<PgPool> {
    // Compiling a query takes longer than these queries do.
    let connect = PgConnectOptions::from_str(url)?.options([("jit", "off")]);
    // More callers than connections wait for one another.
    let options = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(60));
    Ok(options.connect_with(connect).await?)
}

/// What a query counts.
///
/// # Errors
///
/// When it fails.
pub async fn count(pool: &PgPool, query: &str) -> Result<usize> {
    let count: i64 = sqlx::query_scalar(query).fetch_one(pool).await?;
    Ok(usize::try_from(count)?)
}
