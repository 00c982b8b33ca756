//! One thing done to one backend.

use std::env;
use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value};

use super::{Backend, What, memory};
use crate::servers::Servers;
use crate::{cargo, display, run};

/// How often things are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lengths {
    Full,
    Short,
}

/// One thing done to one backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) backend: Backend,
    pub(super) what: What,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) asked: u64,
    /// How many were done, where that is known.
    pub(super) done: Option<u64>,
    pub(super) failed: u64,
    pub(super) took: Duration,
    /// What else is known, by name.
    pub(super) more: Map<String, Value>,
}

impl Outcome {
    pub(super) fn is_success(&self) -> bool {
        self.failed == 0 && self.done == Some(self.asked)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::Model => "programs",
            What::Histories => "histories",
            What::ManyJobs => "many jobs",
            What::Kills => "kills",
            What::PowerCuts => "power cuts",
        };
        write!(f, "{what} on {}", name(self.backend))
    }
}

/// As the command line has it.
pub(super) fn name(value: impl clap::ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Steps of a random program.
const STEPS: u64 = 50;
/// So often at most the power is cut under a store that promises more than it keeps, until that is
/// found.
const RELAXED: u64 = 20;

impl Part {
    fn asked(self, lengths: Lengths) -> u64 {
        match (lengths, self.what) {
            (Lengths::Full, What::Model) => match self.backend {
                Backend::Memory | Backend::Sqlite => 10_000,
                _ => 2_000,
            },
            (Lengths::Full, What::Histories) => 10_000,
            (Lengths::Full, What::ManyJobs) => 1_000_000,
            (Lengths::Full, What::Kills | What::PowerCuts) => 1_000,
            (Lengths::Short, What::Model | What::Histories) => 50,
            (Lengths::Short, What::ManyJobs) => 2_000,
            (Lengths::Short, What::Kills | What::PowerCuts) => 2,
        }
    }

    /// # Errors
    ///
    /// When something cannot be started. What fails is an outcome.
    pub(super) fn run(self, lengths: Lengths, servers: Option<&Servers>) -> Result<Outcome> {
        match self.what.is_an_end() {
            true => self.run_ends(lengths),
            false => self.run_tests(lengths, servers),
        }
    }

    /// A test of the backend that takes its number from the environment.
    fn run_tests(self, lengths: Lengths, servers: Option<&Servers>) -> Result<Outcome> {
        let asked = self.asked(lengths);
        let (package, tests, module) = match self.backend {
            Backend::Memory => ("jobstore-memory", "conformance", ""),
            Backend::Sqlite => ("jobstore-sql", "conformance", "file::"),
            Backend::Sled => ("jobstore-sled", "conformance", ""),
            Backend::Redb => ("jobstore-redb", "conformance", ""),
            Backend::Postgres => ("jobstore-sql", "conformance_postgres", "postgres::"),
            Backend::Mariadb => ("jobstore-sql", "conformance_mysql", "mysql::"),
        };
        let (variable, test) = match self.what {
            What::Model => (
                "JOBSTORE_MODEL_PROGRAMS",
                "conformance_model::store_and_model_agree",
            ),
            What::ManyJobs => (
                "JOBSTORE_MANY_JOBS",
                "conformance_history::of_many_jobs_none_is_lost_and_none_done_twice",
            ),
            _ => (
                "JOBSTORE_HISTORIES",
                "conformance_history::some_order_explains_what_callers_saw",
            ),
        };
        let tests = || {
            let mut command = cargo("test --quiet --all-features");
            command.args(release(lengths));
            command.args(["--package", package, "--test", tests]);
            command
        };
        // Before time is taken.
        run(tests().arg("--no-run"))?;
        let mut command = tests();
        command.args(["--", "--exact", &format!("{module}{test}")]);
        command.env(variable, asked.to_string());
        if self.what == What::Model {
            command.env("JOBSTORE_MODEL_STEPS", STEPS.to_string());
        }
        // What is on disk after the end of a process is asked elsewhere.
        command.env("TMPDIR", memory());
        if self.backend.server().is_some() {
            command.envs(servers.into_iter().flat_map(Servers::variables));
        }
        let start = Instant::now();
        let (text, success) = output(&mut command)?;
        let done = match success {
            // A name that fits no test is no success.
            true => text.contains("1 passed").then_some(asked),
            false => done_before_a_failure(&text),
        };
        Ok(Outcome {
            asked,
            done,
            failed: u64::from(done != Some(asked)),
            took: start.elapsed(),
            more: Map::new(),
        })
    }

    /// The program that ends stores.
    fn run_ends(self, lengths: Lengths) -> Result<Outcome> {
        let asked = self.asked(lengths);
        let by = match self.what {
            What::Kills => "kill",
            _ => "power",
        };
        let command = |cycles: u64, more: &[&str]| {
            let mut command = Command::new(power_cut(lengths)?);
            let (store, cycles) = (name(self.backend), cycles.to_string());
            let args = ["run", "--store", &store, "--by", by, "--cycles", &cycles];
            command.args(args).args(more).arg("--json");
            anyhow::Ok(command)
        };
        let start = Instant::now();
        let mut outcome = Outcome {
            asked,
            done: None,
            failed: 0,
            took: Duration::ZERO,
            more: Map::new(),
        };
        let (text, success) = output(&mut command(asked, &[])?)?;
        outcome.took = start.elapsed();
        let figures = text.lines().last();
        let figures = figures.and_then(|line| serde_json::from_str::<Map<_, _>>(line).ok());
        if let Some(mut figures) = figures {
            let mut take = |name| figures.remove(name).and_then(|figure| figure.as_u64());
            outcome.done = take("cycles");
            outcome.failed = take("failed").unwrap_or(1);
            outcome.more = figures;
        }
        outcome.failed = outcome.failed.max(u64::from(!success));
        if self.what == What::PowerCuts {
            // Who finds nothing has to show that there is something to be found.
            let (_, found) = output(&mut command(RELAXED, &["--relaxed"])?)?;
            outcome
                .more
                .insert("found_when_relaxed".into(), found.into());
            outcome.failed += u64::from(!found);
        }
        Ok(outcome)
    }
}

/// As a failing test says it.
fn done_before_a_failure(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.windows(3).find_map(|words| match words {
        ["after", number, "programs:" | "histories:"] => number.parse().ok(),
        _ => None,
    })
}

fn release(lengths: Lengths) -> &'static [&'static str] {
    match lengths {
        Lengths::Full => &["--release"],
        Lengths::Short => &[],
    }
}

/// Builds the program that ends stores, with the features of the tests, so that it is not built twice.
pub(super) fn build(lengths: Lengths) -> Result<()> {
    let mut build = cargo("build --quiet --workspace --all-features --bin jobstore-power-cut");
    run(build.args(release(lengths)))
}

fn power_cut(lengths: Lengths) -> Result<PathBuf> {
    // Cargo has a folder for each profile, and this program is in one of them.
    let this = env::current_exe().context("could not find this program")?;
    let target = this.ancestors().nth(2);
    let target = target.context("this program is not where cargo puts it")?;
    let profile = match lengths {
        Lengths::Full => "release",
        Lengths::Short => "debug",
    };
    let program = target.join(profile).join("jobstore-power-cut");
    ensure!(program.exists(), "{} was not built", program.display());
    Ok(program)
}

/// Why the power cannot be cut here, if so.
pub(super) fn why_no_power_cuts(lengths: Lengths) -> Result<Option<String>> {
    let probe = Command::new(power_cut(lengths)?).arg("probe").output();
    let probe = probe.context("could not start the power cuts")?;
    let why = String::from_utf8_lossy(&probe.stderr).trim().to_owned();
    Ok((!probe.status.success()).then_some(why))
}

/// Runs a command to its end; returns what it wrote to its output, and whether it succeeded.
fn output(command: &mut Command) -> Result<(String, bool)> {
    let line = display(command);
    eprintln!("$ {line}");
    let output = command.stderr(std::process::Stdio::inherit()).output();
    let output = output.with_context(|| format!("could not start `{line}`"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("{text}");
    Ok((text, output.status.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_test_tells_how_many_passed_before() {
        let text = "thread panicked:\nafter 12 programs: store and model differ\n";
        assert_eq!(done_before_a_failure(text), Some(12));
        let text = "after 1234 histories:\n  no order\n";
        assert_eq!(done_before_a_failure(text), Some(1234));
        assert_eq!(done_before_a_failure("after all it panicked"), None);
    }

    #[test]
    fn what_was_not_done_or_failed_is_no_success() {
        let outcome = |done, failed| Outcome {
            asked: 2,
            done,
            failed,
            took: Duration::ZERO,
            more: Map::new(),
        };
        assert!(outcome(Some(2), 0).is_success());
        assert!(!outcome(Some(2), 1).is_success());
        assert!(!outcome(Some(1), 0).is_success());
        assert!(!outcome(None, 0).is_success());
    }
}
