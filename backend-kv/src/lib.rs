//! A job store over ordered key-value engines: one store, and a small seam for each engine.
//!
//! An engine is an ordered map of bytes to bytes with atomic steps ([`Engine`]). Everything else is
//! here, once: the keys, the indexes, the encoding of jobs, and what each operation does to them.
//!
//! # Transactions
//!
//! An engine is used by one process, and one task writes. It merges the calls that wait, reads what
//! they need, asks the rules of `core`, and makes one atomic step of everything that changes, jobs
//! and indexes alike. So no two writers can be in each other's way.
//!
//! # Durability
//!
//! A returned call is on disk and survives a power cut, unless [`Durability::Relaxed`] is asked for.
//!
//! # Runtime
//!
//! Engines block, so what reads runs on tokio's blocking threads, and what writes on one thread of the
//! store's. A small read (jobs by up to 100 ids, a page of up to 100 without params and leases) is tried
//! on its caller's thread first, for a fifth of a millisecond, where the engine
//! [lets it](Engine::view_now): when the engine has it in memory, going to another thread and back would
//! take longer than the read. The task that hands it work runs on the runtime that opened the store; when that is gone,
//! calls that write return [`Error::Unavailable`](jobstore_core::Error::Unavailable).
#![forbid(unsafe_code)]

mod check;
mod engine;
pub mod error;
mod glance;
mod key;
mod leaf;
#[cfg(test)]
mod memory;
mod packed;
mod read;
mod record;
mod store;
#[cfg(test)]
mod tests;
mod transaction;
mod value;
mod write;

pub use crate::check::{CheckReport, Difference, Repair};
pub use crate::engine::{Changes, Durability, Each, Engine, Entries, Opening, View};
pub use crate::store::{KvJobStore, Options};

/// What [`Engine::apply`] fails with.
pub use jobstore_group_commit::Failure;
