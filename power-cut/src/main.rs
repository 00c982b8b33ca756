//! Kills a store at work, or cuts its power, and looks what is left.
//!
//! A child process works on the store and says on a pipe what it was promised. Then the end comes:
//!
//! * a kill: SIGKILL for the child, or for every process of the server it works on;
//! * a power cut: the same, and then the file system of its own that the store lives on (ext4 in a
//!   file, mounted as a loop device) is shut down without writing its log (`EXT4_IOC_SHUTDOWN`), which
//!   loses what no fsync brought to disk. Killing alone proves little about disks, because the system
//!   still writes what it was handed.
//!
//! Opened again, the store must hold everything that was promised and nothing that was not begun. What
//! was begun and not acknowledged may have happened, or not, but not by half. Its indexes must say what
//! the jobs say.
//!
//! Power cuts need root, loop devices, `mkfs.ext4` and `perl`, and say so when they are not there.
#![forbid(unsafe_code)]

mod disk;
mod ledger;
mod load;
mod report;
mod server;
mod site;
mod worker;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use jobstore_test_servers::Kind;

use crate::disk::Disk;
use crate::ledger::{Dump, Ledger};
use crate::report::Report;
use crate::site::Site;
use crate::worker::{Worker, dump};

/// Kills a store at work, or cuts its power, and looks what is left.
#[derive(Debug, Parser)]
enum Cli {
    /// Kills or cuts again and again
    Run(RunArgs),
    /// Says whether the power can be cut here, and why not
    Probe,
    /// Works on a store until killed, and prints what it is promised
    #[command(hide = true)]
    Load {
        url: String,
        #[arg(long)]
        relaxed: bool,
    },
    /// Prints what a store holds
    #[command(hide = true)]
    Dump { url: String },
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Which store
    #[arg(long, value_enum)]
    store: Store,

    /// How it ends
    #[arg(long, value_enum, default_value = "power")]
    by: By,

    /// How often
    #[arg(long, default_value_t = 10)]
    cycles: u64,

    /// After how many cycles to begin with an empty store
    #[arg(long, default_value_t = 25)]
    fresh: u64,

    /// The longest time to work before the end, in milliseconds
    #[arg(long, default_value_t = 600)]
    work: u64,

    /// Have the store or its server promise more than it keeps in a power cut, until that is found;
    /// fail when it never is
    #[arg(long)]
    relaxed: bool,

    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// The stores that outlive their processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Store {
    Sqlite,
    Sled,
    Redb,
    Postgres,
    Mariadb,
}

impl Store {
    fn scheme(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Sled => "sled",
            Self::Redb => "redb",
            Self::Postgres => "postgres",
            Self::Mariadb => "mariadb",
        }
    }

    fn server(self) -> Option<Kind> {
        match self {
            Self::Sqlite | Self::Sled | Self::Redb => None,
            Self::Postgres => Some(Kind::Postgres),
            Self::Mariadb => Some(Kind::MariaDb),
        }
    }
}

/// How a store at work ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// SIGKILL
    Kill,
    /// SIGKILL, and a disk that forgets what was not synced
    Power,
}

fn main() -> ExitCode {
    let done = match Cli::parse() {
        Cli::Run(args) => run(&args),
        Cli::Probe => Disk::probe(),
        Cli::Load { url, relaxed } => {
            runtime().and_then(|runtime| runtime.block_on(load::load(&url, relaxed)))
        }
        Cli::Dump { url } => runtime().and_then(|runtime| runtime.block_on(load::dump(&url))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no runtime")
}

fn run(args: &RunArgs) -> Result<()> {
    if args.by == By::Power {
        Disk::probe()?;
    }
    let mut report = Report::new(args.store, args.by);
    let mut random = Random::new();
    // Once broken promises are found where they are to be, there is nothing more to see.
    let found = |report: &Report| args.relaxed && report.has_failures();
    while report.cycles < args.cycles && !found(&report) {
        run_on_one_site(args, &mut random, &mut report)?;
    }
    match args.json {
        true => println!("{}", report.json()),
        false => println!("{report}"),
    }
    ensure!(report.is_telling(), "nothing was promised");
    match args.relaxed {
        true => ensure!(report.has_failures(), "broken promises were not found"),
        false => ensure!(!report.has_failures(), "promises were broken"),
    }
    Ok(())
}

/// Begins with an empty store, and ends it again and again until that breaks a promise.
fn run_on_one_site(args: &RunArgs, random: &mut Random, report: &mut Report) -> Result<()> {
    let mut site = Site::new(args.store, args.by, args.relaxed)?;
    let mut ledger = Ledger::default();
    for _ in 0..args.fresh.min(args.cycles - report.cycles) {
        // Now and then the end comes before the store is open, but not in each cycle of a short run.
        let early = report.cycles > 0 && random.below(8) == 0;
        let work = Duration::from_millis(5 + random.below(args.work));
        let said = work_until_ended(&mut site, args.relaxed, early, work)?;
        report.ended(ledger.extend(&said)?);
        let dump = match site.revive() {
            Ok(()) => dump(site.url())?,
            Err(error) => {
                eprintln!("{error:#}");
                Dump::none()
            }
        };
        let failures = ledger.compare(&dump);
        if !failures.is_empty() {
            report.failed(&failures);
            if !dump.opened && !args.relaxed {
                let kept = site.keep(args.store)?;
                eprintln!("what is left is kept as {}", kept.display());
            }
            // What is wrong now would be found wrong in every cycle that follows.
            break;
        }
        ledger = Ledger::of(dump);
        if report.cycles.is_multiple_of(50) {
            eprintln!("{report}");
        }
    }
    Ok(())
}

/// Lets a child work, from its start or from the first promise on, and ends it and all that it works
/// on; returns what it said.
fn work_until_ended(
    site: &mut Site,
    relaxed: bool,
    early: bool,
    work: Duration,
) -> Result<Vec<String>> {
    let mut worker = Worker::start(site.url(), relaxed)?;
    if !early {
        worker.wait_for_a_promise()?;
    }
    std::thread::sleep(work);
    worker.still_works()?;
    // The server first, so that calls fail for those who wait for them.
    site.kill_server()?;
    let said = worker.kill()?;
    site.cut()?;
    Ok(said)
}

/// Numbers that differ from run to run: nothing here is repeatable, since the disk is not.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn new() -> Self {
        Self(uuid::Uuid::now_v7().as_u64_pair().1 | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }
}
