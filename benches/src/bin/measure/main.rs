//! Measures one engine, beside what it can do when driven directly, and writes what it saw as JSON.
//!
//! `cargo run --release --package jobstore-benches --bin measure -- --help`
#![forbid(unsafe_code)]

mod about;
mod growth;
mod pick_up;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use jobstore_benches::limit::Raw;
use jobstore_benches::results::{Figure, Results};
use jobstore_benches::{Case, Engine, Ground, Listing, Run, Side, open};
use tokio::sync::Mutex;

/// The most calls that raw group commit merges.
const MERGED: usize = 512;

/// Measures one engine.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// memory, sqlite, sled, redb, postgres or mariadb
    engine: Engine,
    /// How many times each case is run on each side, in turns
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// About how long each run takes
    #[arg(long, default_value_t = 250)]
    millis: u64,
    /// The most jobs that a run is about
    #[arg(long, default_value_t = 50_000)]
    jobs: usize,
    /// How many jobs stand beside those measured when the store is compared with the engine
    #[arg(long, default_value_t = 10_000)]
    rows: usize,
    /// The sizes at which growth is measured; 0 for none
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1000,10000,100000,1000000"
    )]
    growth: Vec<usize>,
    /// The sizes, at least two, at which growth of the engine driven directly is measured; those of
    /// `--growth` up to a million unless given
    #[arg(long, value_delimiter = ',')]
    engine_growth: Option<Vec<usize>>,
    /// Only growth, added to what is in the file already
    #[arg(long)]
    only_growth: bool,
    /// Only make the data sets of growth, which are kept
    #[arg(long)]
    only_fill: bool,
    /// Only the comparisons whose names have this in them, for a look while working: nothing is written
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["growth", "engine_growth", "only_growth", "only_fill", "out"])]
    only: Option<String>,
    /// Where to write
    #[arg(long, default_value = "measured.json")]
    out: PathBuf,
}

impl Options {
    fn time(&self) -> Duration {
        Duration::from_millis(self.millis)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let sizes = in_order(&options.growth);
    // One size alone says nothing of growth; what was measured of several stays then.
    let mut limits = match &options.engine_growth {
        Some(limits) => in_order(limits),
        None => growth::limits(&sizes),
    };
    if limits.len() < 2 {
        limits.clear();
    }
    if options.only_fill {
        growth::fill(&options, &sizes).await;
        return Ok(());
    }
    let mut results = match options.only_growth {
        true => read(&options)?.also_measured_by(about::command()),
        false => compare(&options).await?,
    };
    if options.only.is_some() {
        return Ok(());
    }
    write(&options, &results)?;
    results.figures.retain(|figure| {
        let sizes = if figure.side == "limit" {
            &limits
        } else {
            &sizes
        };
        figure.group != "growth" || !sizes.contains(&figure.rows)
    });
    results.facts.retain(|fact| !sizes.contains(&fact.rows));
    growth::fill_apart(&options, &sizes)?;
    growth::measure(&options, &sizes, &mut results).await;
    write(&options, &results)?;
    // After all of those, so that the memory that this has taken and left is in none of their figures.
    growth::measure_limit(&options, &limits, &mut results).await;
    write(&options, &results)?;
    Ok(())
}

/// The sizes that are meant, each once.
fn in_order(sizes: &[usize]) -> Vec<usize> {
    let mut sizes = sizes.to_vec();
    sizes.retain(|rows| *rows > 0);
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

fn read(options: &Options) -> anyhow::Result<Results> {
    let text = fs::read_to_string(&options.out).context("there is nothing to add to")?;
    Ok(serde_json::from_str(&text)?)
}

fn write(options: &Options, results: &Results) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(results)?;
    text.push('\n');
    fs::write(&options.out, text).with_context(|| options.out.display().to_string())
}

/// The sides of one engine, each with the same jobs in a place of its own.
struct Sides {
    store: Side,
    limit: Side,
    /// Memory has no commit that could be shared, so nothing to be beside for many callers.
    single: Option<Side>,
    group: Option<Side>,
}

/// A comparison under way.
struct Comparison<'a> {
    options: &'a Options,
    ground: Ground,
    results: Results,
}

/// The store beside its engine.
async fn compare(options: &Options) -> anyhow::Result<Results> {
    let engine = options.engine;
    let ground = Ground::new(engine);
    let store = open(&ground.place().await).await;
    let sides = Sides {
        store: Side::Store(Arc::clone(&store)),
        limit: limit(engine, &ground).await,
        single: raw(engine, &ground, engine.writers(), 1).await,
        group: raw(engine, &ground, 1, MERGED).await,
    };
    let mut compared = Comparison {
        options,
        results: Results {
            engine: engine.name().to_owned(),
            title: engine.to_string(),
            about: about::about(engine, &ground).await?,
            figures: Vec::new(),
            facts: Vec::new(),
        },
        ground,
    };
    let all = [
        Some(&sides.store),
        Some(&sides.limit),
        sides.single.as_ref(),
        sides.group.as_ref(),
    ];
    for side in all.into_iter().flatten() {
        side.fill_others(options.rows).await;
    }
    let alone = [("store", Some(&sides.store)), ("limit", Some(&sides.limit))];
    for group in ["create", "claim", "finish"] {
        for batch in [1, 10, 100, 1000] {
            compared.turns(&Case::write(group, 1, batch), &alone).await;
        }
    }
    let lifecycles = |batch| Case::write("lifecycle", 1, batch);
    compared.turns(&lifecycles(1), &alone[..1]).await;
    compared.turns(&lifecycles(100), &alone).await;
    let first = Case::page("first page", Listing::default());
    compared.turns(&first, &alone).await;
    // Each side has a place in the middle of its own.
    let mut deep = sides.store.deep(options.rows / 2).await;
    deep.after = sides.limit.deep(options.rows / 2).await.after;
    let deep = Case::page("page in the middle", deep);
    compared.turns(&deep, &alone).await;
    let many = [
        ("store", Some(&sides.store)),
        ("single", sides.single.as_ref()),
        ("group", sides.group.as_ref()),
    ];
    for callers in [8, 64] {
        for group in ["create", "claim", "finish", "lifecycle"] {
            compared.turns(&Case::write(group, callers, 1), &many).await;
        }
        let mixed = Case::write("mixed", callers, 1);
        compared.turns(&mixed, &many[..1]).await;
    }
    if options.only.is_some() {
        return Ok(compared.results);
    }
    compared.ground.settle().await;
    pick_up::measure(options, &sides.store, &mut compared.results).await;
    Ok(compared.results)
}

async fn limit(engine: Engine, ground: &Ground) -> Side {
    let mut limits = engine.limit(&ground.place().await, 1).await;
    let limit = limits.pop().expect("one writer");
    Side::Limit(Arc::new(Mutex::new(limit)))
}

/// The engine for many callers.
async fn raw(engine: Engine, ground: &Ground, writers: usize, merge: usize) -> Option<Side> {
    if engine == Engine::Memory {
        return None;
    }
    let limits = engine.limit(&ground.place().await, writers).await;
    Some(Side::Raw(Raw::spawn(limits, merge)))
}

impl Comparison<'_> {
    /// A case on each of the sides there are, in turns.
    async fn turns(&mut self, case: &Case, sides: &[(&str, Option<&Side>)]) {
        let options = self.options;
        let case_name = case.to_string();
        if options
            .only
            .as_ref()
            .is_some_and(|only| !case_name.contains(only))
        {
            return;
        }
        let mut rounds: Vec<(&str, &Side, usize, Vec<Run>)> = Vec::new();
        for (name, side) in sides {
            if let Some(side) = side {
                self.ground.settle().await;
                let (calls, _) = case.calls_in(side, options.time(), options.jobs).await;
                rounds.push((name, side, calls, Vec::new()));
            }
        }
        for _ in 0..options.rounds {
            // Every other round goes the other way, so that nobody is always behind the same one.
            rounds.reverse();
            for (_, side, calls, runs) in &mut rounds {
                self.ground.settle().await;
                runs.push(case.run(side, *calls).await);
            }
        }
        for (name, _, _, runs) in &rounds {
            let figure = Figure::of(case, options.rows, name, runs);
            eprintln!(
                "{}: {case}, {name}: {:.0} jobs/s",
                options.engine,
                figure.rate()
            );
            self.results.figures.push(figure);
        }
    }
}
