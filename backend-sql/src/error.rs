//! The engine's errors, fit to be shown.

use std::sync::Arc;

use jobstore_core::Error;

use crate::dialect::Dialect;

/// Why a transaction did not come to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Another writer was in the way, and the transaction did nothing: run again, it will see what
    /// the other did.
    Conflict(Error),
    /// The transaction did nothing.
    Refused(Error),
    /// The engine did not say whether the commit happened.
    Unknown(Error),
}

impl Failure {
    /// Takes an engine's error inside a transaction.
    pub(crate) fn of<D: Dialect>(error: sqlx::Error) -> Self {
        match D::is_conflict(&error) {
            true => Self::Conflict(D::error(error)),
            false => Self::Refused(D::error(error)),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Conflict(error) | Failure::Refused(error) | Failure::Unknown(error) => error,
        }
    }
}

/// What an engine said. The driver's own error is not kept, because its `Debug` form may hold
/// values of rows and the password.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct EngineError(String);

/// An error that trying again will not mend.
pub(crate) fn backend(message: impl Into<String>) -> Error {
    Error::Backend {
        source: Arc::new(EngineError(message.into())),
    }
}

/// An error for now.
pub(crate) fn unavailable(reason: impl Into<String>) -> Error {
    Error::Unavailable {
        reason: reason.into(),
    }
}

/// A store that is not ours, or not ours yet.
pub(crate) fn incompatible(reason: impl Into<String>) -> Error {
    Error::Incompatible {
        reason: reason.into(),
    }
}
