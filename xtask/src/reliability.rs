//! How reliable each backend is: long runs for a release, and short ones.

mod part;
mod record;

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use jobstore_test_servers::Kind;

use crate::servers;
use part::{Lengths, Part};

/// What to run, and how long.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these; all unless given
    #[arg(long, value_enum)]
    backend: Vec<Backend>,
    /// Only these; all unless given
    #[arg(long, value_enum)]
    what: Vec<What>,
    /// Some of each, built without optimization
    #[arg(long)]
    short: bool,
    /// Only print a table of the latest full runs
    #[arg(long)]
    table: bool,
}

/// What keeps the jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Backend {
    Memory,
    Sqlite,
    Sled,
    Redb,
    Postgres,
    Mariadb,
}

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Random programs, compared with a model
    Model,
    /// Histories of callers at once, checked for an order that explains them
    Histories,
    /// Many jobs, of which none may be lost or done twice
    ManyJobs,
    /// Kills of whoever writes: the process, or the server
    Kills,
    /// Kills, with a disk that forgets what was not synced
    PowerCuts,
}

impl Backend {
    fn server(self) -> Option<Kind> {
        match self {
            Self::Postgres => Some(Kind::Postgres),
            Self::Mariadb => Some(Kind::MariaDb),
            _ => None,
        }
    }
}

impl What {
    /// Whether it ends processes, which jobs in memory do not outlive.
    fn is_an_end(self) -> bool {
        matches!(self, Self::Kills | Self::PowerCuts)
    }
}

/// Everything that was asked for, one part after the other. A part that fails keeps no other from
/// being run.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.table {
        print!("{}", record::table()?);
        return Ok(());
    }
    let lengths = match options.short {
        true => Lengths::Short,
        false => Lengths::Full,
    };
    run_parts(&parts(&options.backend, &options.what), lengths)
}

/// What `cargo xtask test` adds to the tests, which have some programs and histories of their own.
pub(crate) fn ends_in_short() -> Result<()> {
    let ends = [What::Kills, What::PowerCuts];
    run_parts(&parts(&[], &ends), Lengths::Short)
}

/// Without any, all are meant.
fn parts(backends: &[Backend], whats: &[What]) -> Vec<Part> {
    let mut parts = Vec::new();
    for what in What::value_variants() {
        for backend in Backend::value_variants() {
            let lasts = *backend != Backend::Memory || !what.is_an_end();
            let wanted = (backends.is_empty() || backends.contains(backend))
                && (whats.is_empty() || whats.contains(what));
            if lasts && wanted {
                parts.push(Part {
                    backend: *backend,
                    what: *what,
                });
            }
        }
    }
    parts
}

/// Where what need not last is kept.
fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => memory.to_owned(),
        false => env::temp_dir(),
    }
}

fn run_parts(parts: &[Part], lengths: Lengths) -> Result<()> {
    let is_tested = |part: &Part| part.backend.server().is_some() && !part.what.is_an_end();
    let servers = match parts.iter().any(is_tested) {
        true => Some(servers::start_in(&memory())?),
        false => None,
    };
    if parts.iter().any(|part| part.what.is_an_end()) {
        servers::install_missing()?;
        part::build(lengths)?;
    }
    let cannot_cut = match parts.iter().any(|part| part.what == What::PowerCuts) {
        true => part::why_no_power_cuts(lengths)?,
        false => None,
    };
    if let Some(why) = &cannot_cut {
        eprintln!("# NOT RUN: power cuts ({why})");
    }
    let mut failed = Vec::new();
    for part in parts {
        if part.what == What::PowerCuts && cannot_cut.is_some() {
            continue;
        }
        let outcome = part.run(lengths, servers.as_ref())?;
        let is_success = outcome.is_success();
        record::add(part, lengths, &outcome)?;
        if !is_success {
            failed.push(part.to_string());
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    // A release is not checked without them; elsewhere the line above has to do.
    let complete = cannot_cut.is_none() || lengths == Lengths::Short;
    ensure!(complete, "power cuts were not run");
    Ok(())
}
