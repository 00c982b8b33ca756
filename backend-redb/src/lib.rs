//! A job store in a redb file: embedded, pure Rust, for one process.
//!
//! ```
//! # async fn example() -> jobstore_core::Result<()> {
//! use jobstore_core::{JobStoreExt, NewJob};
//! use jobstore_redb::RedbOptions;
//!
//! let store = RedbOptions::new("jobs.redb").open().await?;
//! store.create_job(NewJob::new("send-mail", r#"{"to": "ada"}"#)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Durability
//!
//! A returned call is on disk and survives a power cut: each step is a redb transaction with
//! `Durability::Immediate`. Calls that wait share one.
//!
//! With [`Durability::Relaxed`] a power cut, or the death of the process, brings the store back to
//! how it was up to half a second before; it opens all the same.
//!
//! One process at a time has the file; a second is told
//! [`Error::Unavailable`](jobstore_core::Error::Unavailable). Within a process, clone the handle.
#![forbid(unsafe_code)]

mod engine;

pub use jobstore_kv::{CheckReport, Difference, Durability, Repair};

pub use crate::engine::Redb;

/// A job store in a redb file. Clones share everything.
pub type RedbJobStore = jobstore_kv::KvJobStore<Redb>;

/// How to open a redb store.
pub type RedbOptions = jobstore_kv::Options<Redb>;
