//! The suite as a program: for a command line of yours, or a `main` of its own.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::{Certificate, Harness, Report, Seed, Selection, run};

/// What may be asked for on the command line.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only rules whose id or name contains this
    #[arg(default_value = "", hide_default_value = true)]
    filter: String,

    /// Repeat the random choices of a run that named this seed
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// Name every rule, not only what failed
    #[arg(long)]
    verbose: bool,

    /// Write what was found to this file, as JSON
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,

    /// The date for the certificate
    #[arg(
        long,
        requires = "certificate",
        default_value = "",
        hide_default_value = true
    )]
    date: String,
}

impl Args {
    /// Which rules to check. `again` is what to type before a rule's id to check just that.
    pub fn selection(&self, again: &str) -> Selection {
        let seed = self.seed.map_or_else(Seed::random, Seed);
        let selection = Selection::new(&*self.filter).with_seed(seed);
        selection.with_again(again)
    }

    /// The report in words, once the certificate was written if one is asked for.
    ///
    /// # Errors
    ///
    /// When the certificate cannot be written.
    pub fn tell(&self, report: &Report) -> io::Result<String> {
        if let Some(path) = &self.certificate {
            std::fs::write(path, Certificate::of(report, &self.date).to_json())?;
        }
        Ok(match self.verbose {
            true => format!("{}\n{report}", report.table()),
            false => report.to_string(),
        })
    }
}

/// Checks that a store keeps the rules of the contract.
#[derive(Debug, Parser)]
struct Alone {
    #[command(flatten)]
    args: Args,
}

/// Runs the suite as the whole of a program: reads its arguments, checks, and prints the report.
///
/// ```
/// use std::process::ExitCode;
///
/// use jobstore_conformance::{Harness, command};
///
/// /// All that a program's `main` does, with the harness of its backend.
/// fn check(mine: &dyn Harness) -> ExitCode {
///     command::main(mine)
/// }
/// ```
pub fn main(harness: &dyn Harness) -> ExitCode {
    let args = Alone::parse().args;
    let program = std::env::args().next().unwrap_or_default();
    let report = crate::run::runtime().block_on(run(harness, args.selection(&program)));
    match args.tell(&report) {
        Ok(text) => println!("{text}"),
        Err(error) => {
            eprintln!("error: the certificate was not written: {error}");
            return ExitCode::FAILURE;
        }
    }
    match report.is_success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
