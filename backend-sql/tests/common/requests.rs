//! What the harnesses of the suite share.

use std::sync::Mutex;

use jobstore_conformance::Versions;
use jobstore_sql::{About, Statements};

/// How many statements the handles of a test have sent, those included that are closed.
#[derive(Default)]
pub(crate) struct Requests(Mutex<Vec<Statements>>);

impl Requests {
    /// Counts another handle's.
    pub(crate) fn add(&self, statements: Statements) {
        self.0.lock().expect("no panic").push(statements);
    }

    pub(crate) fn sent(&self) -> u64 {
        let counters = self.0.lock().expect("no panic");
        counters.iter().map(Statements::sent).sum()
    }
}

/// The versions that a certificate names.
pub(crate) fn versions(about: &About) -> Versions {
    Versions {
        backend: env!("CARGO_PKG_VERSION").to_owned(),
        engine: format!("{} {}", about.engine, about.version),
    }
}
