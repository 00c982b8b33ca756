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
//! MySQL and MariaDB: see [`mysql`].
//!
//! # Runtime
//!
//! The task runs on the tokio runtime that opened the store. When that runtime is gone, calls that
//! write return [`Error::Unavailable`](jobstore_core::Error::Unavailable).
#![forbid(unsafe_code)]

#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

// What every engine shares; without one there is no store. Each by itself: rustfmt does not see modules
// that a macro declares.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod about;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod change;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod claim;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod clock;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod dialect;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod error;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod migrate;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod read;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod row;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod session;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod store;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod update;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod wire;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod write;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod writer;

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub use about::About;
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub use dialect::ClaimBy;
#[cfg(feature = "mysql")]
pub use mysql::{MySqlJobStore, MySqlOptions};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresJobStore, PostgresOptions};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteJobStore, SqliteOptions};
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub use store::{SqlJobStore, Statements};
