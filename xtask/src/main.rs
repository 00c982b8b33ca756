//! The demonstration, checks and tests of this workspace, run as `cargo xtask <command>`.
//!
//! They live in Rust rather than in CI configuration so that a contributor and
//! CI run exactly the same command lines.

#![forbid(unsafe_code)]

mod bench;
mod demo;
mod documents;
mod reliability;
mod servers;

use std::{
    env,
    ffi::OsString,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;

/// Packages whose features must compile with none enabled and with each one alone.
///
/// The other steps build with `--all-features`, where one feature can silently
/// supply what another forgot to ask for; only building them apart shows it.
const FEATURES: &[(&str, &[&str])] = &[
    (
        "jobstore",
        &["memory", "mysql", "postgres", "redb", "sled", "sqlite"],
    ),
    ("jobstore-sql", &["mysql", "postgres", "sqlite"]),
];

/// The examples that users read first; compiling them does not show that they work.
const EXAMPLES: [&str; 5] = [
    "first_job",
    "claim_loop",
    "idle_worker",
    "paging",
    "unique_key",
];

/// Shows, checks and tests this workspace.
#[derive(Debug, Parser)]
enum Cli {
    /// The main job on real input: a checksum of every file of this project.
    Demo,
    /// Formatting, lints, documentation, what is made of the rules, and features built one at a time.
    Check,
    /// Writes what is made of the suite's rules: docs/specification.md, and the table of certificates.
    Docs,
    /// Runs the suite on every backend and writes the certificates, with today's date.
    Certificates,
    /// All tests, doctests included, with all features enabled; then the demonstration and examples.
    ///
    /// Starts a private PostgreSQL and a private MariaDB for them, after installing Debian's packages
    /// where they are missing and it may, unless JOBSTORE_TEST_POSTGRES and JOBSTORE_TEST_MYSQL name
    /// servers.
    Test {
        /// Passed on to `cargo test` as they are; with any, nothing but the tests is run.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Three MariaDB servers as a Galera cluster: claims and finishes jobs through all of them while
    /// one is killed and brought back, and checks that each job was finished once.
    ///
    /// Installs Debian's packages galera-4 and rsync where they are missing and it may.
    Galera {
        /// How many jobs.
        #[arg(long, default_value_t = 30_000)]
        jobs: u32,
    },
    /// Measures every backend beside its engine driven directly and beside other job queues, and writes
    /// docs/benchmarks. Takes an hour on a machine that does nothing else.
    Bench(bench::Options),
    /// How reliable each backend is, for a release: random programs, histories of callers at once, kills
    /// and power cuts, each by the thousand; takes hours. Adds a line for each to
    /// target/reliability.jsonl.
    Reliability(reliability::Options),
}

/// Reports errors itself: returning them from `main` would print a backtrace
/// under `RUST_BACKTRACE`, burying the output of the step that failed.
fn main() -> ExitCode {
    let mut argv: Vec<OsString> = env::args_os().collect();
    if argv.get(2).is_some_and(|arg| arg == "--") {
        argv.insert(2, "--".into()); // clap drops the first; the second is cargo's
    }
    let result = match Cli::parse_from(argv) {
        Cli::Demo => demo::demo(),
        Cli::Check => check(),
        Cli::Docs => documents::write(),
        Cli::Certificates => documents::certify(),
        Cli::Test { args } => test(&args),
        Cli::Galera { jobs } => galera(jobs),
        Cli::Bench(options) => bench::bench(&options),
        Cli::Reliability(options) => reliability::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the cheapest steps first, so that the usual mistakes show up early.
fn check() -> Result<()> {
    run(&mut cargo("fmt --all --check"))?;
    run(&mut cargo(
        "clippy --workspace --all-targets --all-features -- -D warnings",
    ))?;
    run(cargo("doc --workspace --all-features --no-deps").env("RUSTDOCFLAGS", "-D warnings"))?;
    documents::compare()?;
    for (package, features) in FEATURES {
        let check = || cargo(&format!("check -p {package} --no-default-features"));
        run(&mut check())?;
        for feature in *features {
            run(check().args(["--features", feature]))?;
        }
    }
    Ok(())
}

fn test(args: &[OsString]) -> Result<()> {
    let servers = servers::start()?;
    let mut tests = cargo("test --workspace --all-features");
    let records = documents::records()?;
    if args.is_empty() {
        tests.env(documents::VARIABLE, &records);
    }
    run(tests.args(args).envs(servers.variables()))?;
    drop(servers);
    if args.is_empty() {
        documents::compare_certificates(&records)?;
        // Each criterion benchmark once, on a few rows. Of the whole workspace, as the tests before: a
        // package alone has its dependencies built again, with other features.
        let data = tempfile::tempdir()?;
        let mut benches = cargo("test --quiet --workspace --all-features --bench jobs");
        benches.env("JOBSTORE_BENCH_ROWS", "30");
        run(benches.env("JOBSTORE_BENCH_DATA", data.path()))?;
        galera(600)?;
        reliability::ends_in_short()?;
        // The first command of the README, on the binaries that the tests have built.
        demo::demo()?;
        for example in EXAMPLES {
            run(&mut cargo(&format!(
                "run --quiet --package jobstore --all-features --example {example}"
            )))?;
        }
    }
    Ok(())
}

fn galera(jobs: u32) -> Result<()> {
    servers::install_galera()?;
    let mut test = cargo("test --workspace --all-features --test galera");
    test.args(["--", "--ignored", "--nocapture"]);
    run(test.env("JOBSTORE_FAULT_JOBS", jobs.to_string()))
}

/// A cargo command with arguments separated by spaces.
///
/// Takes the binary from `CARGO`, which cargo sets for what it runs, so that
/// `cargo +nightly xtask` keeps to that toolchain in every step.
/// The project's folder. Cargo says which when it runs this program: one that was built in another clone,
/// with a target folder that both share, would take that clone's for it.
fn root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    here.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
        .join("..")
}

fn cargo(args: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args.split_whitespace());
    command
}

/// Runs one step, after printing it in a form that can be pasted into a shell.
fn run(command: &mut Command) -> Result<()> {
    let line = display(command);
    eprintln!("$ {line}");
    let status = command
        .status()
        .with_context(|| format!("could not start `{line}`"))?;
    ensure!(status.success(), "`{line}` failed ({status})");
    Ok(())
}

/// The command line as one would type it, with `cargo` for the binary's path.
fn display(command: &Command) -> String {
    let envs = command.get_envs().filter_map(|(name, value)| {
        let (name, value) = (name.to_string_lossy(), value?.to_string_lossy());
        Some(format!("{name}={}", quote(&value)))
    });
    let args = command.get_args().map(|arg| quote(&arg.to_string_lossy()));
    let program = command.get_program();
    let program = match env::var_os("CARGO").is_some_and(|cargo| cargo == program) {
        true => "cargo".to_owned(),
        false => quote(&program.to_string_lossy()),
    };
    envs.chain([program])
        .chain(args)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Quotes an argument only where a shell would otherwise take it apart.
fn quote(arg: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,:/@+".contains(c);
    if !arg.is_empty() && arg.chars().all(plain) {
        arg.to_owned()
    } else {
        format!("'{}'", arg.replace('\'', r"'\''"))
    }
}
