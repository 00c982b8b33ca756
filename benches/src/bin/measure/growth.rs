//! What things cost beside how many jobs.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use anyhow::Context as _;
use jobstore_benches::results::{Fact, Figure, Results};
use jobstore_benches::{Case, DataSet, Engine, Ground, Listing, Run, Side, filters};

use crate::Options;

/// More jobs than this are not walked over, nor made again for the engine by itself unless asked for.
const MOST: usize = 1_000_000;
/// The case that reads all jobs where params are not indexed, which is not done over more than [`MOST`].
const READS_ALL: &str = "params that ten have";
/// How many jobs are claimed at once.
const CLAIMS: [usize; 3] = [1, 10, 100];

/// Jobs, and where they are.
struct Place {
    rows: usize,
    side: Side,
    home: Home,
}

enum Home {
    Set(DataSet),
    Ground(Ground),
}

impl Place {
    async fn settle(&self) {
        match &self.home {
            Home::Set(set) => set.settle().await,
            Home::Ground(ground) => ground.settle().await,
        }
    }

    async fn delete(&self, runs: &[Run]) {
        if let Home::Set(set) = &self.home {
            for run in runs {
                run.delete(&*set.store).await;
            }
        }
    }
}

/// Makes the data sets that are not there.
pub(crate) async fn fill(options: &Options, sizes: &[usize]) {
    for &rows in sizes {
        DataSet::open(options.engine, rows).await.close();
    }
}

/// Makes the data sets that are not there in a process of its own. One that has just written a million
/// jobs has its memory in pieces: claims on sled, with glibc's allocator, then took 1.4 to 1.7 times as
/// long.
pub(crate) fn fill_apart(options: &Options, sizes: &[usize]) -> anyhow::Result<()> {
    let missing = sizes.iter().copied();
    let missing = missing.filter(|rows| !DataSet::is_there(options.engine, *rows));
    let missing: Vec<String> = missing.map(|rows| rows.to_string()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut fill = Command::new(std::env::current_exe()?);
    fill.args([
        options.engine.name(),
        "--only-fill",
        "--growth",
        &missing.join(","),
    ]);
    let filled = fill
        .status()
        .context("starting the process that makes the data sets")?;
    anyhow::ensure!(filled.success(), "making the data sets: {filled}");
    Ok(())
}

/// Pages, claims and space with each of these numbers of other jobs. The sizes take turns: what a
/// call costs changes over the minutes that this takes, with or without more jobs.
pub(crate) async fn measure(options: &Options, sizes: &[usize], results: &mut Results) {
    let mut places = Vec::new();
    let mut cases = Vec::new();
    for &rows in sizes {
        let before = memory("VmRSS:");
        let set = DataSet::open(options.engine, rows).await;
        let mut fact = |name: &str, value: f64| {
            results.facts.push(Fact {
                name: name.to_owned(),
                rows,
                value,
                unit: "MiB".to_owned(),
            });
        };
        match options.engine {
            Engine::Memory => fact("memory", memory("VmRSS:") - before),
            _ => fact("disk", set.disk() as f64 / f64::from(1 << 20)),
        }
        let side = Side::Store(Arc::clone(&set.store));
        let deep = side.deep(rows / 2).await;
        let claims = CLAIMS.map(|batch| Case::write("claim", 1, batch));
        cases.push([filters(&deep, set.store.now()), claims.to_vec()].concat());
        places.push(Place {
            rows,
            side,
            home: Home::Set(set),
        });
    }
    turns(options, &places, &cases, "store", results).await;
    for place in &places {
        walk(options, place, results).await;
    }
    for place in places {
        drop(place.side);
        if let Home::Set(set) = place.home {
            set.close();
        }
    }
}

/// A walk over everything, and the memory it takes.
async fn walk(options: &Options, place: &Place, results: &mut Results) {
    if place.rows > MOST {
        return;
    }
    // Linux forgets the most memory that was in use when 5 is written there.
    let is_reset = fs::write("/proc/self/clear_refs", "5").is_ok();
    let before = memory("VmRSS:");
    let places = std::slice::from_ref(place);
    turns(options, places, &[vec![Case::walk()]], "store", results).await;
    if is_reset {
        let more = memory("VmHWM:") - before;
        results.facts.push(Fact {
            name: "memory that a walk adds".to_owned(),
            rows: place.rows,
            value: more.max(0.0),
            unit: "MiB".to_owned(),
        });
    }
}

/// Beside which of these numbers of jobs the engine is measured by itself, unless told.
pub(crate) fn limits(sizes: &[usize]) -> Vec<usize> {
    let limits = sizes.iter().copied().filter(|rows| *rows <= MOST);
    limits.collect()
}

/// The cases that the engine knows by itself, on places of its own beside as many jobs: what it makes
/// dearer as they become more is not the store's.
pub(crate) async fn measure_limit(options: &Options, sizes: &[usize], results: &mut Results) {
    let mut places = Vec::new();
    let mut cases = Vec::new();
    for &rows in sizes {
        let ground = Ground::new(options.engine);
        let side = crate::limit(options.engine, &ground).await;
        side.fill_others(rows).await;
        let deep = side.deep(rows / 2).await;
        let mut all = vec![
            Case::page("first page", Listing::default()),
            Case::page("page in the middle", deep),
        ];
        all.extend(CLAIMS.map(|batch| Case::write("claim", 1, batch)));
        cases.push(all);
        places.push(Place {
            rows,
            side,
            home: Home::Ground(ground),
        });
    }
    turns(options, &places, &cases, "limit", results).await;
}

/// Runs the cases of all places one after the other, each in turns, and settles before each round.
async fn turns(
    options: &Options,
    places: &[Place],
    cases: &[Vec<Case>],
    name: &str,
    results: &mut Results,
) {
    let most = cases.iter().map(Vec::len).max().unwrap_or_default();
    for index in 0..most {
        let mut turns = Vec::new();
        for (place, cases) in places.iter().zip(cases) {
            let case = &cases[index];
            let indexes_params = options.engine == Engine::Postgres;
            if case.name == READS_ALL && place.rows > MOST && !indexes_params {
                continue;
            }
            place.settle().await;
            let most = options.jobs.min(10_000);
            let (calls, tried) = case.calls_in(&place.side, options.time(), most).await;
            place.delete(&[tried]).await;
            turns.push((place, case, calls, Vec::new()));
        }
        for _ in 0..options.rounds {
            turns.reverse();
            for (place, case, calls, runs) in &mut turns {
                place.settle().await;
                runs.push(case.run(&place.side, *calls).await);
            }
        }
        turns.sort_by_key(|(place, ..)| place.rows);
        for (place, case, _, runs) in turns {
            let mut figure = Figure::of(case, place.rows, name, &runs);
            eprintln!(
                "{} beside {}: {case}, {name}: {:.0} µs",
                options.engine, place.rows, figure.p50
            );
            if case.name.is_empty() {
                figure.name = case.to_string();
            }
            "growth".clone_into(&mut figure.group);
            results.figures.push(figure);
            place.delete(&runs).await;
        }
    }
}

/// A line of the process's own status, in MiB; Linux only.
fn memory(line: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|text| text.strip_prefix(line));
    let kib = line.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}
