//! The suite that every job store passes.
//!
//! A backend hands over a [`Harness`] and gets one named `#[test]` for each rule of the contract:
//!
//! ```
//! use std::sync::Arc;
//!
//! use async_trait::async_trait;
//! use jobstore_conformance::{Capabilities, Harness, Surroundings};
//! use jobstore_core::{JobStore, ManualClock, Result};
//! use jobstore_memory::MemoryJobStore;
//!
//! struct Memory;
//!
//! #[async_trait]
//! impl Harness for Memory {
//!     fn capabilities(&self) -> Capabilities {
//!         Capabilities::default()
//!     }
//!
//!     async fn fresh(&self, clock: ManualClock) -> Result<Box<dyn Surroundings>> {
//!         let store = MemoryJobStore::with_clock(Arc::new(clock));
//!         Ok(Box::new(Held(Arc::new(store))))
//!     }
//! }
//!
//! struct Held(Arc<MemoryJobStore>);
//!
//! #[async_trait]
//! impl Surroundings for Held {
//!     async fn open(&self) -> Result<Arc<dyn JobStore>> {
//!         Ok(self.0.clone())
//!     }
//! }
//!
//! jobstore_conformance::conformance_tests!(Memory);
//! # fn main() {}
//! ```
//!
//! `conformance_durable_tests!` and `conformance_shared_tests!` add what only some backends promise,
//! `conformance_model_tests!` random programs that are compared with a [`model`].
//!
//! A program can run the same cases with [`run`] and print the [`Report`].
//!
//! The suite knows the contract, `jobstore-core`, and no engine. [`RULES`] lists what it checks;
//! a rule keeps its id for ever.
#![forbid(unsafe_code)]

mod cases;
mod cx;
mod failure;
mod fault;
mod harness;
pub mod history;
mod list;
mod macros;
pub mod model;
mod rule;
mod run;
mod trace;

pub use cx::Cx;
pub use failure::{CaseResult, Failure};
pub use fault::{Fault, FaultStore};
pub use harness::{Capabilities, Harness, Surroundings};
pub use rule::{Level, Needs, RULES, Rule};
#[doc(hidden)]
pub use run::test;
pub use run::{Outcome, Report, Verdict, check, run};
