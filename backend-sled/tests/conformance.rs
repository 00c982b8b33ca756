//! The suite of every backend, run on a sled store of its own for each test.

#[path = "../../backend-kv/tests/place/mod.rs"]
mod place;

use jobstore_sled::Sled;

use place::OnEngine;

const HARNESS: OnEngine<Sled> = OnEngine::new(env!("CARGO_PKG_VERSION"));

jobstore_conformance::conformance_tests!(HARNESS, without shared, power_cut);
jobstore_conformance::conformance_model_tests!(HARNESS);
jobstore_conformance::conformance_history_tests!(HARNESS);
