//! Errors of engines, fit to be shown.

use std::sync::Arc;

use jobstore_core::Error;

/// What an engine said.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct EngineError(String);

/// An error that trying again will not mend.
pub fn backend(message: impl Into<String>) -> Error {
    Error::Backend {
        source: Arc::new(EngineError(message.into())),
    }
}

/// An error for now.
pub fn unavailable(reason: impl Into<String>) -> Error {
    Error::Unavailable {
        reason: reason.into(),
    }
}

/// A store that is not ours, or of a version that is not ours.
pub fn incompatible(reason: impl Into<String>) -> Error {
    Error::Incompatible {
        reason: reason.into(),
    }
}

/// Says that an engine panicked, without its message, which may quote what it was about.
pub(crate) fn panicked(engine: &str) -> Error {
    backend(format!(
        "{engine} panicked; its message is on standard error"
    ))
}
