//! What things cost beside how many jobs.

use std::fs;
use std::sync::Arc;

use jobstore_benches::results::{Fact, Figure, Results};
use jobstore_benches::{Case, DataSet, Engine, Ground, Listing, Run, Side, filters};

use crate::Options;

/// More jobs than this are not walked over, nor made again for the engine by itself.
const MOST: usize = 1_000_000;
/// How many jobs are claimed at once.
const CLAIMS: [usize; 3] = [1, 10, 100];

/// Pages, claims and space with this many other jobs.
pub(crate) async fn measure(options: &Options, rows: usize, results: &mut Results) {
    let before = memory("VmRSS:");
    let set = DataSet::open(options.engine, rows).await;
    let mut fact = |name: &str, value: f64, unit: &str| {
        results.facts.push(Fact {
            name: name.to_owned(),
            rows,
            value,
            unit: unit.to_owned(),
        });
    };
    match options.engine {
        Engine::Memory => fact("memory", memory("VmRSS:") - before, "MiB"),
        _ => fact("disk", set.disk() as f64 / f64::from(1 << 20), "MiB"),
    }
    let store = Side::Store(Arc::clone(&set.store));
    let deep = store.deep(rows / 2).await;
    for case in filters(&deep, set.store.now()) {
        let (figure, _) = run(options, rows, &case, &store, "store", || set.settle()).await;
        results.figures.push(figure);
    }
    for batch in CLAIMS {
        let case = Case::write("claim", 1, batch);
        let (figure, runs) = run(options, rows, &case, &store, "store", || set.settle()).await;
        results.figures.push(figure);
        for run in &runs {
            run.delete(&*set.store).await;
        }
    }
    if rows <= MOST {
        // Linux forgets the most memory that was in use when 5 is written there.
        let is_reset = fs::write("/proc/self/clear_refs", "5").is_ok();
        let before = memory("VmRSS:");
        let walk = Case::walk();
        let (figure, _) = run(options, rows, &walk, &store, "store", || set.settle()).await;
        results.figures.push(figure);
        if is_reset {
            let more = memory("VmHWM:") - before;
            results.facts.push(Fact {
                name: "memory that a walk adds".to_owned(),
                rows,
                value: more.max(0.0),
                unit: "MiB".to_owned(),
            });
        }
    }
    drop(store);
    set.close();
}

/// The cases that the engine knows by itself, on a place of its own beside as many jobs: what it makes
/// dearer as they become more is not the store's.
pub(crate) async fn measure_limit(options: &Options, rows: usize, results: &mut Results) {
    if rows > MOST {
        return;
    }
    let ground = Ground::new(options.engine);
    let limit = crate::limit(options.engine, &ground).await;
    limit.fill_others(rows).await;
    let deep = limit.deep(rows / 2).await;
    let mut cases = vec![
        Case::page("first page", Listing::default()),
        Case::page("page in the middle", deep),
    ];
    cases.extend(CLAIMS.map(|batch| Case::write("claim", 1, batch)));
    for case in &cases {
        let (figure, _) = run(options, rows, case, &limit, "limit", || ground.settle()).await;
        results.figures.push(figure);
    }
}

/// Runs a case on a side, `settle` before each round.
async fn run<S: Future<Output = ()>>(
    options: &Options,
    rows: usize,
    case: &Case,
    side: &Side,
    name: &str,
    settle: impl Fn() -> S,
) -> (Figure, Vec<Run>) {
    settle().await;
    let calls = case
        .calls_in(side, options.time(), options.jobs.min(10_000))
        .await;
    let mut runs = Vec::new();
    for _ in 0..options.rounds {
        settle().await;
        runs.push(case.run(side, calls).await);
    }
    let mut figure = Figure::of(case, rows, name, &runs);
    eprintln!(
        "{} beside {rows}: {case}, {name}: {:.0} µs",
        options.engine, figure.p50
    );
    if case.name.is_empty() {
        figure.name = case.to_string();
    }
    "growth".clone_into(&mut figure.group);
    (figure, runs)
}

/// A line of the process's own status, in MiB; Linux only.
fn memory(line: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|text| text.strip_prefix(line));
    let kib = line.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}
