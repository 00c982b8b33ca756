//! The suite of every backend, run on a redb store of its own for each test.

#[path = "../../backend-kv/tests/place/mod.rs"]
mod place;

use jobstore_redb::Redb;

use place::OnEngine;

const HARNESS: OnEngine<Redb> = OnEngine::new(env!("CARGO_PKG_VERSION"));

jobstore_conformance::conformance_tests!(HARNESS, without shared, power_cut);
jobstore_conformance::conformance_model_tests!(HARNESS);
jobstore_conformance::conformance_history_tests!(HARNESS);
