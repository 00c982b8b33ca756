//! The cases, by subject: one rule each, on a fresh store.

pub(crate) mod claim;
pub(crate) mod count;
pub(crate) mod create;
pub(crate) mod get;
pub(crate) mod lease;
pub(crate) mod list;
pub(crate) mod matrix;
pub(crate) mod repeat;
pub(crate) mod token;
pub(crate) mod transition;
pub(crate) mod unique;

/// A duration as the whole milliseconds that timestamps count.
pub(crate) fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
