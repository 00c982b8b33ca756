//! What must hold of any bytes that come from outside: each function takes some, and panics when a
//! promise is broken.
//!
//! `tests/some.rs` tries some in every run of the tests, and as many as one likes. `libfuzzer/` has a
//! program for each function, to be guided by what it covers.
#![forbid(unsafe_code)]

mod params;
mod row;
mod runtime;
mod token;
mod url;
mod value;

pub use params::params;
pub use row::row;
pub use token::token;
pub use url::url;
pub use value::value;
