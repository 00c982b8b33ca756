//! What was measured, as it is kept beside the report.

use serde::{Deserialize, Serialize};

use crate::{Case, Run};

/// Everything measured on one engine.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Results {
    /// The engine's name on the command line.
    pub engine: String,
    /// The engine's name in words.
    pub title: String,
    /// Where and how.
    pub about: About,
    /// What took time.
    pub figures: Vec<Figure>,
    /// What took space.
    pub facts: Vec<Fact>,
}

/// Where and how it was measured.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct About {
    /// Which day.
    pub date: String,
    /// Processors.
    pub cores: usize,
    /// Memory, in MiB.
    pub memory: u64,
    /// The system and its version.
    pub system: String,
    /// The compiler.
    pub rustc: String,
    /// The commit of this project.
    pub commit: String,
    /// The engine's version.
    pub version: String,
    /// What a returned call means, and with which settings.
    pub settings: String,
    /// The command; further lines are those that measured growth later.
    pub command: String,
}

impl Results {
    /// Adds the command that measures growth anew.
    #[must_use]
    pub fn also_measured_by(mut self, command: String) -> Self {
        let mut commands: Vec<&str> = self.about.command.lines().collect();
        commands.retain(|earlier| *earlier != command);
        commands.push(&command);
        self.about.command = commands.join("\n");
        self
    }
}

/// A case on one side.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Figure {
    /// The case's group.
    pub group: String,
    /// The case's name; empty for most.
    pub name: String,
    /// How many callers.
    pub callers: usize,
    /// How many jobs in each call.
    pub batch: usize,
    /// Beside this many other jobs.
    pub rows: usize,
    /// `store`, `limit` (the engine driven directly),
    /// `single` (for many callers, a step for each call) or `group` (for many callers, merged).
    pub side: String,
    /// Jobs per second, in each round.
    pub rates: Vec<f64>,
    /// The latency of a call over all rounds, in microseconds: half of them take no longer.
    pub p50: f64,
    /// 99 of 100 take no longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// A number of something.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Fact {
    /// What.
    pub name: String,
    /// With this many jobs.
    pub rows: usize,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: String,
}

impl Figure {
    /// What the rounds of a case came to.
    pub fn of(case: &Case, rows: usize, side: &str, rounds: &[Run]) -> Self {
        let mut all = rounds[0].latencies.clone();
        for run in &rounds[1..] {
            all.add(&run.latencies).expect("both grow");
        }
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        Self {
            group: case.group.to_owned(),
            name: case.name.to_owned(),
            callers: case.callers,
            batch: case.batch,
            rows,
            side: side.to_owned(),
            rates: rounds.iter().map(Run::rate).collect(),
            p50: micros(all.value_at_quantile(0.5)),
            p99: micros(all.value_at_quantile(0.99)),
            max: micros(all.max()),
        }
    }

    /// The median rate.
    pub fn rate(&self) -> f64 {
        let rates = self.sorted();
        rates[rates.len() / 2]
    }

    /// The least and the greatest rate.
    pub fn spread(&self) -> (f64, f64) {
        let rates = self.sorted();
        (rates[0], rates[rates.len() - 1])
    }

    fn sorted(&self) -> Vec<f64> {
        let mut rates = self.rates.clone();
        rates.sort_by(f64::total_cmp);
        rates
    }
}
