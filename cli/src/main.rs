//! The command `jobstore`: submits, lists and runs jobs.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
#![forbid(unsafe_code)]

mod args;
mod command;
mod output;
mod time;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use jobstore::{Error, JobStore, Opener, StoreUrl};

use crate::args::{Cli, Command};
use crate::output::{Output, ReaderGone};

/// Why the command ends with something else than 0.
#[derive(Debug)]
enum Failure {
    /// The command line was read by clap and is wrong all the same.
    Usage(anyhow::Error),
    /// The store refused, or something failed.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

type Result<T = (), E = Failure> = std::result::Result<T, E>;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let only_reads = cli.command.only_reads();
    let code = match run(cli).await {
        Ok(()) => 0,
        // `jobstore list --all | head` has done what it was asked for.
        Err(Failure::Failed(error)) if only_reads && error.is::<ReaderGone>() => 0,
        Err(Failure::Failed(error)) => {
            output::report(&error);
            1
        }
        Err(Failure::Usage(error)) => {
            output::report(&error);
            2
        }
    };
    // Not a return: a read of standard input that never ends would hold the runtime open.
    std::process::exit(code)
}

async fn run(cli: Cli) -> Result {
    let output = Output::new(cli.json);
    // What only reads leaves a directory without a store, and an older schema, as they are.
    let store = async || open(&cli.store, !cli.command.only_reads()).await;
    match cli.command.clone() {
        Command::Submit(args) => command::submit::run(&*store().await?, args, output).await,
        Command::Get(args) => command::read::get(&*store().await?, args, output).await,
        Command::List(args) => command::read::list(&*store().await?, args, output).await,
        Command::Count(args) => command::read::count(&*store().await?, args, output).await,
        Command::Claim(args) => command::update::claim(&*store().await?, args, output).await,
        Command::Update(args) => command::update::update(&*store().await?, args, output).await,
        Command::Recover(args) => command::keep::recover(&*store().await?, args, output).await,
        Command::Delete(args) => command::keep::delete(&*store().await?, args, output).await,
        Command::Work(args) => command::work::run(store().await?, args, output).await,
        Command::Migrate(args) => command::schema::migrate(&url(&cli.store)?, args, output).await,
        Command::Check(args) => command::check::run(&cli.store, args, output).await,
        Command::Conformance(args) => {
            command::conformance::run(&url(&cli.store)?, args, output).await
        }
        Command::Info => command::schema::info(&url(&cli.store)?, output).await,
    }
}

async fn open(url: &str, migrate: bool) -> Result<Arc<dyn JobStore>> {
    let opened = Opener::new(url).with_migrate(migrate).open().await;
    opened.map_err(usage)
}

fn url(url: &str) -> Result<StoreUrl> {
    url.parse().map_err(usage)
}

/// A store that cannot be opened because of its URL is wrong usage.
fn usage(error: Error) -> Failure {
    match error {
        Error::InvalidArgument { .. } => Failure::Usage(error.into()),
        error => Failure::Failed(error.into()),
    }
}
