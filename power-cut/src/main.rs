//! Cuts the power under a store at work, and looks what is left.
//!
//! Killing a process proves little, because the system still writes what it was handed. Here the
//! store lives on an ext4 file system of its own, in a file mounted as a loop device. A child process
//! works on the store and says on a pipe what it was promised. It is killed, and the file system is
//! shut down without writing its log (`EXT4_IOC_SHUTDOWN`), which loses what no fsync brought to disk.
//! Mounted again, the store must open, hold everything that was promised and nothing that was not
//! begun, and its indexes must say what the jobs say.
//!
//! Needs root, loop devices, `mkfs.ext4` and `perl`, and says so when they are not there.
#![forbid(unsafe_code)]

mod disk;
mod ledger;
mod load;
mod report;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;

use crate::disk::Disk;
use crate::ledger::Ledger;
use crate::report::Report;

/// Cuts the power under a store at work, and looks what is left.
#[derive(Debug, Parser)]
enum Cli {
    /// Cuts the power again and again
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
    /// The scheme of the store: sled, redb or sqlite
    #[arg(long)]
    store: String,

    /// How often to cut the power
    #[arg(long, default_value_t = 10)]
    cycles: u32,

    /// After how many cycles to begin with an empty disk
    #[arg(long, default_value_t = 25)]
    fresh: u32,

    /// The longest time to work before the power is cut, in milliseconds
    #[arg(long, default_value_t = 600)]
    work: u64,

    /// Open sled or redb with a lower durability, to see that broken promises are found
    #[arg(long)]
    relaxed: bool,
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
    Disk::probe()?;
    let mut report = Report::new(&args.store);
    let mut random = Random::new();
    let mut cycle = 0;
    while cycle < args.cycles {
        let mut disk = Disk::new()?;
        let mut ledger = Ledger::default();
        for _ in 0..args.fresh.min(args.cycles - cycle) {
            cycle += 1;
            report.cycles += 1;
            let work = Duration::from_millis(5 + random.below(args.work));
            let url = format!("{}://{}", args.store, disk.path().join("jobs").display());
            let acknowledged = work_until_cut(&url, args.relaxed, &mut disk, &mut ledger, work)?;
            report.acknowledged += acknowledged;
            let dump = dump(&url)?;
            let failures = ledger.compare(&dump);
            if !failures.is_empty() {
                report.failed(cycle, &failures);
                if !dump.opened {
                    let kept = disk.keep(&args.store)?;
                    eprintln!("the disk is kept as {}", kept.display());
                }
                // What is wrong now would be found wrong in every cycle that follows.
                break;
            }
            ledger = Ledger::of(dump);
            if cycle % 50 == 0 {
                eprintln!("{report}");
            }
        }
    }
    println!("{report}");
    ensure!(report.is_success(), "promises were broken");
    Ok(())
}

/// Lets a child work, kills it, cuts the power and mounts the disk again.
fn work_until_cut(
    url: &str,
    relaxed: bool,
    disk: &mut Disk,
    ledger: &mut Ledger,
    work: Duration,
) -> Result<u64> {
    let relaxed: &[&str] = if relaxed { &["--relaxed"] } else { &[] };
    let mut child = itself(&[&["load", url], relaxed].concat())?;
    let pipe = child.stdout.take().context("the child has no pipe")?;
    let start = Instant::now();
    let reader = std::thread::spawn(move || -> std::io::Result<Vec<String>> {
        // The last line may be cut; what is not a whole line was not said.
        let mut reader = BufReader::new(pipe);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || !line.ends_with('\n') {
                return Ok(lines);
            }
            lines.push(line.trim_end().to_owned());
        }
    });
    std::thread::sleep(work.saturating_sub(start.elapsed()));
    let early = child.try_wait()?;
    child.kill()?;
    // Killed before the power is cut, so that nobody sees a file system that fails.
    child.wait()?;
    disk.cut()?;
    let lines = reader
        .join()
        .map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    if let Some(status) = early {
        bail!("the child ended by itself, {status}");
    }
    disk.mount()?;
    ledger.extend(&lines)
}

/// What the store holds, read by a child, so that everything is closed when it has ended.
fn dump(url: &str) -> Result<ledger::Dump> {
    let output = itself(&["dump", url])?.wait_with_output()?;
    let text = String::from_utf8(output.stdout)?;
    ledger::Dump::parse(&text, output.status.success())
}

fn itself(args: &[&str]) -> Result<Child> {
    let program: PathBuf = std::env::current_exe().context("could not find this program")?;
    let mut child = Command::new(Path::new(&program));
    child.args(args).stdout(Stdio::piped());
    child.stdin(Stdio::null());
    child.spawn().context("could not start a child")
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
