//! The engine's errors, fit to be shown.

use std::sync::Arc;

use jobstore_core::Error;
pub(crate) use jobstore_group_commit::Failure;

use crate::dialect::Dialect;

/// Makes a failure of an engine's error inside a transaction.
pub(crate) trait FailureExt {
    fn of<D: Dialect>(error: sqlx::Error) -> Self;
}

impl FailureExt for Failure {
    fn of<D: Dialect>(error: sqlx::Error) -> Self {
        match D::is_conflict(&error) {
            true => Self::Conflict(D::error(error)),
            false => Self::Refused(D::error(error)),
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
