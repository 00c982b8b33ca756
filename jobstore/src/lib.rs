//! One place that knows every job: who may run it now, what became of it, which to list.
//!
//! ```
//! use std::time::Duration;
//! use jobstore::{ClaimRequest, JobStoreExt as _, NewJob};
//!
//! # async fn example() -> jobstore::Result<()> {
//! let store = jobstore::open("sqlite://jobs.db").await?;
//! store.create_job(NewJob::new("send-mail", r#"{"to": "ada"}"#)).await?;
//!
//! let request = ClaimRequest::new("worker-1", Duration::from_secs(60)).with_job_name("send-mail");
//! while let Some(job) = store.claim_job(&request).await? {
//!     store.finish_job(job.claim(), "sent").await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`open`] turns a URL into a store; [`Opener`] does so with options. Everything else is the
//! contract, re-exported from `jobstore-core`: [`JobStore`] says what each operation promises, and
//! [`JobStoreExt`] has the verbs of one job. Each store's own type and options are in the module of its
//! feature.
//!
//! # Stores and features
//!
//! | URL | feature | jobs live in |
//! | --- | --- | --- |
//! | `sqlite://jobs.db`, `sqlite:///var/lib/jobs.db` | `sqlite` (default) | a SQLite file |
//! | `sqlite::memory:` | `sqlite` (default) | a SQLite database of this store handle |
//! | `postgres://USER:PASSWORD@HOST/DATABASE` | `postgres` | a PostgreSQL database |
//! | `mysql://USER:PASSWORD@HOST/DATABASE`, `mariadb://…` | `mysql` | a MySQL or MariaDB database |
//! | `sled://jobs` | `sled` | a sled folder |
//! | `redb://jobs.redb` | `redb` | a redb file |
//! | `memory:` | `memory` | the store handle |
//!
//! # What it is not
//!
//! Not a scheduler and not a worker framework: it starts no tasks of yours and calls no code of
//! yours. The `jobstore` command runs programs as jobs.
#![forbid(unsafe_code)]

mod check;
#[cfg(feature = "memory")]
pub mod memory;
#[cfg(feature = "mysql")]
pub mod mysql;
mod open;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redb")]
pub mod redb;
#[cfg(feature = "sled")]
pub mod sled;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod url;

pub use jobstore_core::*;

pub use crate::check::{CheckReport, Problem, Repair, check};
pub use crate::open::{Opener, open};
pub use crate::url::{ServerKind, ServerUrl, SqlitePlace, StoreUrl};

/// Has the README's program compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
