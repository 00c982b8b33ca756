//! The job store's trait, types and rules.
//!
//! A job store is the one place that knows every job: who may run it now, what became of it, which
//! to list. [`JobStore`] is what a backend writes, [`JobStoreExt`] what callers use. The rules that
//! every backend shares are plain functions here, so that no two engines can mean different things:
//! [`Update::apply`] decides every transition, [`claimed`] what a claim makes of a job,
//! [`JobFilter::compile`] and [`DeleteRequest::matches`] which jobs are meant, [`validate`] which
//! input is refused, [`PageRequest`] what a page token says.
//!
//! This crate knows no engine and no runtime.
//!
//! # What a worker may do
//!
//! | action | from | to |
//! | --- | --- | --- |
//! | start, claim | pending | running, fence + 1 |
//! | renew | running | running, a later expiry |
//! | finish, fail, time out, cancel | pending, running | succeeded, failed, timeout, canceled |
//! | retry | running | pending after a backoff, or failed when the retries are spent |
//! | recover | running, lease over | as retry |
//! | reset | any | pending, due now |
//!
//! Each takes an id, an operator's override, or a [`Claim`]: the pair of id and fence handed out by
//! start and claim. A claim that is not the job's current run gets [`Error::LeaseLost`], so a worker
//! that lost its job can never finish it. Repeating, with the same claim, the outcome it recorded
//! already is no error and changes nothing, so a lost reply does no harm. An expired lease changes
//! nothing by itself: until somebody recovers the job, its holder may still renew or finish it.
#![forbid(unsafe_code)]

mod action;
mod arrival;
mod error;
mod ext;
mod filter;
mod job;
mod json;
mod page;
mod retry;
mod status;
mod store;
mod time;
pub mod validate;

pub use action::{Action, ActionKind, Applied, Lease, MAX_ERROR_BYTES, Target, Update, claimed};
pub use arrival::{Arrivals, Bell};
pub use error::{Error, Result};
pub use ext::JobStoreExt;
pub use filter::{DeleteRequest, JobFilter, Matcher, StatusCounts};
pub use job::{Claim, Creation, Job, JobId, JobParams, NewJob};
pub use page::{Order, PageRequest, PageToken, PagedList};
pub use retry::RetryPolicy;
pub use status::JobStatus;
pub use store::{ClaimRequest, JobStore};
pub use time::{Clock, ManualClock, StoreClock, SystemClock, Timestamp};
