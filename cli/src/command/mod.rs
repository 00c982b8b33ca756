//! One module for each group of commands.

pub(crate) mod check;
pub(crate) mod conformance;
pub(crate) mod keep;
pub(crate) mod read;
pub(crate) mod schema;
pub(crate) mod submit;
pub(crate) mod update;
pub(crate) mod work;

use std::io::{self, Read as _};

use anyhow::Context as _;
use jobstore::Error;
use jobstore::validate::MAX_PAYLOAD_BYTES;

/// The text of an argument, which is read from standard input when it is `-`.
fn text(argument: String) -> anyhow::Result<String> {
    if argument != "-" {
        return Ok(argument);
    }
    // One byte more than is allowed, so that the store refuses what is too long.
    let limit = MAX_PAYLOAD_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(limit)
        .read_to_end(&mut bytes)
        .context("standard input cannot be read")?;
    // Cut inside a character: too long all the same, which is what must be said about it.
    if bytes.len() as u64 == limit {
        anyhow::bail!("standard input is longer than {MAX_PAYLOAD_BYTES} bytes");
    }
    String::from_utf8(bytes).context("standard input is not UTF-8")
}

/// Names the field without the job's place in a batch, which nobody wrote.
fn only_one(error: Error) -> Error {
    match error {
        Error::InvalidArgument { field, reason } => {
            let field = field.trim_start_matches("jobs[0].");
            Error::invalid(field.trim_start_matches("updates[0]."), reason)
        }
        error => error,
    }
}
