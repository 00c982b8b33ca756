//! What the benchmarks share: the engines and where they are put, the jobs that are there before, the
//! cases and the loop that measures them, and the engines driven directly, to be measured beside the
//! stores.
#![forbid(unsafe_code)]

mod case;
mod data;
mod engine;
mod ground;
pub mod limit;
pub mod results;
mod side;

pub use crate::case::{Case, Run, Work, filters};
pub use crate::data::{NAME, PARAMS, RARE, fill, fill_others};
pub use crate::engine::Engine;
pub use crate::ground::{DataSet, Ground, open};
pub use crate::side::{Listing, Read, Side, write};
