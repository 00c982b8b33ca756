//! The cases, by subject: one rule each, on a fresh store.

pub(crate) mod batch;
pub(crate) mod claim;
pub(crate) mod concurrency;
pub(crate) mod count;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod durable;
pub(crate) mod fault;
pub(crate) mod get;
pub(crate) mod input;
pub(crate) mod lease;
pub(crate) mod list;
pub(crate) mod matrix;
pub(crate) mod params;
pub(crate) mod repeat;
pub(crate) mod shared;
pub(crate) mod text;
pub(crate) mod time;
pub(crate) mod token;
pub(crate) mod transition;
pub(crate) mod unique;
