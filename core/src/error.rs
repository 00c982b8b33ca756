//! One error type for every backend.

use std::sync::Arc;

use crate::{ActionKind, JobId, JobStatus};

/// The result of a store's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation was refused or failed.
///
/// Messages name the job, its status and the action. They never hold params, results or passwords.
/// Errors are cheap to clone, because one failed write may have carried many calls.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No job has this id.
    #[error("job {id} does not exist")]
    NotFound {
        /// The id asked for.
        id: JobId,
    },
    /// A job with this id exists already, or an unfinished job with this id holds the unique key.
    #[error("job {id} already exists")]
    AlreadyExists {
        /// The job that is in the way.
        id: JobId,
    },
    /// The job's status does not allow the action. The job is unchanged.
    #[error("job {id} is {status}, cannot {action}")]
    InvalidTransition {
        /// The job.
        id: JobId,
        /// The status it is in.
        status: JobStatus,
        /// What was asked for.
        action: ActionKind,
    },
    /// The claim is not the job's current one: it was recovered, claimed again, or ended.
    #[error("the claim on job {id} was lost")]
    LeaseLost {
        /// The job.
        id: JobId,
    },
    /// The call itself is wrong. Nothing was written; the same call will always be refused.
    #[error("invalid {field}: {reason}")]
    InvalidArgument {
        /// The field, with its place in a batch: `jobs[3].params`.
        field: String,
        /// What is wrong with it, without its value.
        reason: String,
    },
    /// The page token is damaged, foreign, of another version, or of another filter or order.
    #[error("invalid page token")]
    InvalidPageToken,
    /// A stored row cannot be read as a job; another program or a newer version wrote it.
    #[error("job {id} cannot be read: {reason}")]
    Unreadable {
        /// The row's id as far as it could be read.
        id: String,
        /// Which column is wrong, and how.
        reason: String,
    },
    /// The engine cannot be reached or is too busy: try again.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        /// What happened, fit to be shown.
        reason: String,
    },
    /// The store was written by a newer version, or is not ours.
    #[error("the store is incompatible: {reason}")]
    Incompatible {
        /// What was found instead.
        reason: String,
    },
    /// The engine failed in a way that trying again will not mend.
    #[error("the storage engine failed")]
    Backend {
        /// The engine's own error.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// An [`Error::InvalidArgument`].
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::InvalidArgument {
            field: field.into(),
            reason: reason.into(),
        }
    }

    /// Whether the same call may work later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// A stable name of the variant, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::AlreadyExists { .. } => "already_exists",
            Self::InvalidTransition { .. } => "invalid_transition",
            Self::LeaseLost { .. } => "lease_lost",
            Self::InvalidArgument { .. } => "invalid_argument",
            Self::InvalidPageToken => "invalid_page_token",
            Self::Unreadable { .. } => "unreadable",
            Self::Unavailable { .. } => "unavailable",
            Self::Incompatible { .. } => "incompatible",
            Self::Backend { .. } => "backend",
        }
    }
}
