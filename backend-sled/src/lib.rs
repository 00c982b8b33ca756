//! A job store in a sled folder: embedded, pure Rust, for one process.
//!
//! ```
//! # async fn example() -> jobstore_core::Result<()> {
//! use jobstore_core::{JobStoreExt, NewJob};
//! use jobstore_sled::SledOptions;
//!
//! let store = SledOptions::new("jobs.sled").open().await?;
//! store.create_job(NewJob::new("send-mail", r#"{"to": "ada"}"#)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Durability
//!
//! A returned call is on disk and survives a power cut. sled's own `flush()` does not promise that:
//! it asks the system to write without waiting for the disk's cache, so the store syncs the file
//! itself before it answers. Calls that wait share one sync.
//!
//! With [`Durability::Relaxed`] the store syncs every half second. After a power cut such a store
//! may have lost what came last, and it may be that sled cannot open it at all: use it only for jobs
//! that can be made again.
//!
//! What a reader sees may not be on disk yet: a change shows as soon as it is made, its own caller
//! hears of it once it is synced.
//!
//! # When it cannot be opened
//!
//! sled is a beta by its author's word, and there has been no release since 2021. Opening a damaged
//! folder makes it fail or panic; either is an
//! [`Error::Backend`](jobstore_core::Error::Backend) here. What to do then: copy the folder, move
//! every `snap.*` file out of the copy and open it, because sled can make those anew from the file
//! `db`; check it with [`SledJobStore::check`](jobstore_kv::KvJobStore::check), repairing its
//! indexes. When that fails too, go back to a backup.
//!
//! One process at a time has the folder; a second is told
//! [`Error::Unavailable`](jobstore_core::Error::Unavailable). Within a process, clone the handle.
//!
//! # Speed
//!
//! sled allocates and frees whole pages, on several threads, which glibc's allocator is slow at. A program
//! that makes jemalloc its allocator (`tikv-jemallocator`) gets 1.2 to 1.5 times the rate of creates,
//! claims and finishes.
#![forbid(unsafe_code)]

mod engine;

pub use jobstore_kv::{CheckReport, Difference, Durability, Repair};

pub use crate::engine::Sled;

/// A job store in a sled folder. Clones share everything.
pub type SledJobStore = jobstore_kv::KvJobStore<Sled>;

/// How to open a sled store.
pub type SledOptions = jobstore_kv::Options<Sled>;
