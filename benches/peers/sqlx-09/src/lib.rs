//! What the peers of this package share.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Result;
use apalis::prelude::Filter;
use jobstore_peers_harness::BATCH;
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

/// How often an idle worker of apalis looks for jobs.
pub const APALIS_POLL: Duration = Duration::from_millis(10);

/// Which page of apalis's lists was turned to, counted from 1.
#[derive(Debug, Default)]
pub struct Page(AtomicU32);

impl Page {
    /// Turns to the page behind `behind` jobs.
    pub fn turn_to(&self, behind: usize) {
        let page = u32::try_from(behind / BATCH).expect("fewer jobs than that");
        self.0.store(page + 1, Ordering::Relaxed);
    }

    /// The request for it.
    pub fn filter(&self) -> Filter {
        Filter {
            status: None,
            page: self.0.load(Ordering::Relaxed),
            page_size: Some(BATCH as u32),
        }
    }
}
