//! The report: what was measured as JSON, and a table made of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use jobstore_peers_harness::Operation;
use serde::{Deserialize, Serialize};

use crate::lineup::Engine;

/// What `peers.json` holds. The README beside this package says what its fields mean.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    comparisons: Vec<Comparison>,
    failures: Vec<Failure>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Machine {
    cores: usize,
    system: String,
    rustc: String,
    postgres: String,
    date: String,
    command: String,
}

/// An operation of a peer and of ours, measured in the same rounds.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Comparison {
    pub(crate) engine: String,
    pub(crate) operation: Operation,
    pub(crate) title: String,
    pub(crate) unit: String,
    pub(crate) peer: Side,
    pub(crate) ours: Side,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Side {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) settings: String,
    pub(crate) durability: String,
    pub(crate) rounds: Vec<f64>,
    pub(crate) handled_again: usize,
}

/// What a peer could not do here.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Failure {
    pub(crate) engine: String,
    pub(crate) peer: String,
    pub(crate) operation: Operation,
    pub(crate) reason: String,
}

impl Side {
    fn sorted(&self) -> Vec<f64> {
        let mut rounds = self.rounds.clone();
        rounds.sort_by(f64::total_cmp);
        rounds
    }

    fn median(&self) -> f64 {
        let rounds = self.sorted();
        rounds[rounds.len() / 2]
    }

    /// The median, with the least and the most behind it.
    fn cell(&self) -> String {
        let rounds = self.sorted();
        let [least, .., most] = rounds.as_slice() else {
            return number(self.median());
        };
        format!(
            "{} ({}–{})",
            number(self.median()),
            number(*least),
            number(*most)
        )
    }
}

impl Comparison {
    /// How many times as fast ours is.
    fn ratio(&self) -> f64 {
        let ratio = self.ours.median() / self.peer.median();
        if self.unit == "ms" {
            1.0 / ratio
        } else {
            ratio
        }
    }
}

impl Report {
    /// Reads the report of a folder, or begins one.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("peers.json");
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(&path)?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Adds a comparison in the place of an older one.
    pub(crate) fn put(&mut self, new: Comparison) {
        let key = |one: &Comparison| {
            let sides =
                [&one.peer, &one.ours].map(|side| (side.name.clone(), side.durability.clone()));
            (one.engine.clone(), one.operation, sides)
        };
        self.comparisons.retain(|old| key(old) != key(&new));
        self.comparisons.push(new);
        self.comparisons.sort_by_key(key);
    }

    /// Removes the failures of a peer that is about to try again.
    pub(crate) fn forget_failures(&mut self, peer: &str, operation: Operation) {
        self.failures
            .retain(|failure| failure.peer != peer || failure.operation != operation);
    }

    /// Adds a failure.
    pub(crate) fn fail(&mut self, new: Failure) {
        eprintln!("{} {}: {}", new.peer, new.operation.name(), new.reason);
        self.failures.push(new);
    }

    /// Writes `peers.json` and `peers.md`.
    pub(crate) fn write(&mut self, folder: &Path) -> Result<()> {
        self.machine = Machine::this()?;
        fs::create_dir_all(folder)?;
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        fs::write(folder.join("peers.json"), json)?;
        fs::write(folder.join("peers.md"), self.table()?)?;
        Ok(())
    }

    fn table(&self) -> Result<String> {
        let mut text = String::new();
        let machine = &self.machine;
        writeln!(
            text,
            "# Beside other job queues\n\n\
             Written by `{}`. The numbers are in [peers.json](peers.json), and\n\
             [benches/peers](../../benches/peers/README.md) says how they came about.\n\n\
             Last measured on {} on {} cores, {}, {}, {}.\n\n\
             Each row is one run, in which ours and the peer took turns: the median of {} rounds and, in brackets, the\n\
             least and the most. A ratio above 1 means that ours is faster. Durability is what a returned call means after\n\
             a power cut, and a row compares like with like only where it is the same.",
            machine.command,
            machine.date,
            machine.cores,
            machine.system,
            machine.rustc,
            machine.postgres,
            self.rounds(),
        )?;
        for engine in Engine::ALL.map(Engine::title) {
            let rows: Vec<_> = self
                .comparisons
                .iter()
                .filter(|one| one.engine == engine)
                .collect();
            if rows.is_empty() {
                continue;
            }
            writeln!(
                text,
                "\n## {engine}\n\n| | peer | durability | peer | ours | durability | ours ÷ peer |\n\
                 | --- | --- | --- | --- | --- | --- | --- |"
            )?;
            for row in rows {
                writeln!(
                    text,
                    "| {} | {} | {} | {} {} | {} {} | {} | {} |",
                    row.title,
                    row.peer.name,
                    row.peer.durability,
                    row.peer.cell(),
                    row.unit,
                    row.ours.cell(),
                    row.unit,
                    row.ours.durability,
                    ratio(row.ratio()),
                )?;
            }
        }
        writeln!(text, "\n## Settings\n")?;
        let sides = self.comparisons.iter().flat_map(|one| {
            [&one.ours, &one.peer].map(|side| {
                format!(
                    "* {} {} on {}: {}.",
                    side.name, side.version, one.engine, side.settings
                )
            })
        });
        for line in sides.collect::<BTreeSet<_>>() {
            writeln!(text, "{line}")?;
        }
        if !self.failures.is_empty() {
            writeln!(text, "\n## What a peer could not do here\n")?;
            for failure in &self.failures {
                let Failure {
                    engine,
                    peer,
                    operation,
                    reason,
                } = failure;
                writeln!(
                    text,
                    "* {peer} on {engine}, {}: {reason}",
                    operation.title()
                )?;
            }
        }
        let sides = self.comparisons.iter().flat_map(|one| {
            [&one.ours, &one.peer]
                .into_iter()
                .filter(|side| side.handled_again > 0)
                .map(|side| {
                    format!(
                        "* {} on {}, {}: {} times in {} rounds.",
                        side.name,
                        one.engine,
                        one.title,
                        side.handled_again,
                        side.rounds.len(),
                    )
                })
        });
        let again: BTreeSet<_> = sides.collect();
        if !again.is_empty() {
            writeln!(text, "\n## Jobs that handlers were given more than once\n")?;
            for line in again {
                writeln!(text, "{line}")?;
            }
        }
        write!(text, "\n{}", include_str!("../notes.md"))?;
        Ok(text)
    }

    fn rounds(&self) -> usize {
        let rounds = self.comparisons.iter().map(|one| one.peer.rounds.len());
        rounds.min().unwrap_or_default()
    }
}

impl Machine {
    fn this() -> Result<Self> {
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            system: said("uname", &["-sr"])?,
            rustc: said("rustc", &["--version"])?,
            postgres: said("psql", &["--version"])?,
            date: said("date", &["--utc", "--iso-8601"])?,
            command: "cargo run --release --manifest-path benches/peers/Cargo.toml".to_owned(),
        })
    }
}

/// The first line that a program writes.
fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("{program} cannot be run"))?;
    let said = String::from_utf8(output.stdout)?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

/// A rate or a time as people read it.
fn number(value: f64) -> String {
    let whole = value.round() as u64;
    match whole {
        0..10 => format!("{value:.2}"),
        10..100 => format!("{value:.1}"),
        100..1000 => whole.to_string(),
        _ => format!("{},{:03}", whole / 1000, whole % 1000),
    }
}

fn ratio(ratio: f64) -> String {
    if ratio < 10.0 {
        format!("{ratio:.2}")
    } else {
        format!("{ratio:.0}")
    }
}
