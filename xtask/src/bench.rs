//! The benchmarks and their report.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use crate::{cargo, root, run};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Memory,
    Sqlite,
    Sled,
    Redb,
    Postgres,
    Mariadb,
    /// Other job queues, which `benches/peers` measures.
    Peers,
}

impl Part {
    /// Sizes at which growth is measured. Ten million rows only where making them takes minutes.
    fn growth(self) -> &'static str {
        match self {
            Self::Memory | Self::Sqlite | Self::Redb => "1000,10000,100000,1000000,10000000",
            _ => "1000,10000,100000,1000000",
        }
    }
}

/// What to measure, and how long.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these; all unless given
    #[arg(long, value_enum)]
    part: Vec<Part>,
    /// A few minutes, into target/bench-short: shorter runs, fewer rounds, fewer rows
    #[arg(long)]
    short: bool,
    /// Only make the report again of what was measured
    #[arg(long)]
    only_report: bool,
}

pub(crate) fn bench(options: &Options) -> Result<()> {
    let root = root().canonicalize().context("the project is gone")?;
    let folder: PathBuf = match options.short {
        true => root.join("target/bench-short"),
        false => root.join("docs/benchmarks"),
    };
    fs::create_dir_all(&folder).context("could not make the folder of the report")?;
    let parts = match options.part.as_slice() {
        [] => Part::value_variants(),
        parts => parts,
    };
    for part in parts.iter().filter(|_| !options.only_report) {
        measure(*part, &root, &folder, options.short)?;
    }
    let report = "run --release --quiet --package jobstore-benches --bin report --";
    run(cargo(report).arg(&folder))
}

fn measure(part: Part, root: &Path, folder: &Path, short: bool) -> Result<()> {
    if part == Part::Peers {
        let mut peers = cargo("run --release --quiet --manifest-path");
        peers.arg(root.join("benches/peers/Cargo.toml"));
        peers.arg("--").arg("--report").arg(folder);
        if short {
            peers.args(["--rounds", "1"]);
        }
        return run(&mut peers);
    }
    let value = part.to_possible_value().context("every part has a name")?;
    let name = value.get_name();
    let mut measure = cargo("run --release --quiet --package jobstore-benches --bin measure --");
    measure.arg(name);
    match short {
        true => measure.args("--rounds 3 --millis 20 --jobs 5000 --growth 1000,10000".split(' ')),
        false => measure.args(["--growth", part.growth()]),
    };
    run(measure
        .arg("--out")
        .arg(folder.join(format!("{name}.json"))))
}
