//! A job store over SQL databases through `sqlx`: one store, a small dialect for each engine.
//!
//! # Group commit
//!
//! Calls that write go to one task, which merges those that wait while the transaction before is
//! being committed. One caller alone waits for nobody; many callers share one commit.
//!
//! # Durability
//!
//! SQLite: a returned call is on disk (WAL with `synchronous=FULL`) and survives a power cut. The
//! lower level is [`Synchronous::Normal`](sqlite::Synchronous::Normal), by name only.
//!
//! # Runtime
//!
//! The task runs on the tokio runtime that opened the store. When that runtime is gone, calls that
//! write return [`Error::Unavailable`](jobstore_core::Error::Unavailable).
#![forbid(unsafe_code)]

#[cfg(feature = "sqlite")]
pub mod sqlite;

#[cfg(feature = "sqlite")]
mod dialect;
#[cfg(feature = "sqlite")]
mod error;
#[cfg(feature = "sqlite")]
mod migrate;
#[cfg(feature = "sqlite")]
mod read;
#[cfg(feature = "sqlite")]
mod row;
#[cfg(feature = "sqlite")]
mod store;
#[cfg(feature = "sqlite")]
mod write;
#[cfg(feature = "sqlite")]
mod writer;

#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteJobStore, SqliteOptions};
#[cfg(feature = "sqlite")]
pub use store::SqlJobStore;
