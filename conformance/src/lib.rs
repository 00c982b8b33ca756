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
//! jobstore_conformance::conformance_tests!(
//!     Memory,
//!     without durable, shared, arrivals, tamper, requests, kill, power_cut
//! );
//! # fn main() {}
//! ```
//!
//! The words after `without` are what the backend does not claim ([`Capabilities`]) and the hooks that
//! its harness does not have ([`Surroundings`]). Tests that need them stand in the list of tests all
//! the same, ignored with that reason; when the words are not true, a test fails. So the same names
//! are listed for every backend, and nothing is left out in silence.
//!
//! `conformance_model_tests!` adds random programs that are compared with a [`model`],
//! `conformance_history_tests!` callers at once.
//!
//! A program can run the same cases with [`run`] and print the [`Report`] or keep the
//! [`Certificate`]; with the feature `command`, the module `command` is a whole command line.
//!
//! The suite knows the contract, `jobstore-core`, and no engine. [`RULES`] lists what it checks;
//! a rule keeps its id for ever. [`specification`] is the list as a document.
#![forbid(unsafe_code)]

mod cases;
mod certificate;
#[cfg(feature = "command")]
pub mod command;
mod cx;
mod failure;
mod fault;
mod harness;
pub mod history;
mod list;
mod macros;
pub mod model;
mod report;
mod rule;
mod run;
mod specification;
mod trace;

pub use certificate::{Broken, Certificate, table};
pub use cx::Cx;
pub use failure::{CaseResult, Failure};
pub use fault::{Fault, FaultStore};
pub use harness::{Capabilities, Crash, Harness, Surroundings, Tamper, Tampering, Versions};
pub use report::{Outcome, Report, Verdict};
pub use rule::{Level, Needs, RULES, Rule};
#[doc(hidden)]
pub use run::{Place, test, test_what_is_lacking};
pub use run::{Seed, Selection, check, run};
pub use specification::specification;
