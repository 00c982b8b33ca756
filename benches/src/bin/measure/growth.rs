//! What things cost beside how many jobs.

use std::fs;
use std::sync::Arc;

use jobstore_benches::results::{Fact, Figure, Results};
use jobstore_benches::{Case, DataSet, Engine, Run, Side, filters};

use crate::Options;

/// More jobs than this are not walked over.
const WALKED: usize = 1_000_000;

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
    let deep = Side::Store(Arc::clone(&set.store));
    let deep = deep.deep(rows / 2).await;
    for case in filters(&deep, set.store.now()) {
        run(options, rows, &case, &set, results).await;
    }
    for batch in [1, 10, 100] {
        let case = Case::write("claim", 1, batch);
        let runs = run(options, rows, &case, &set, results).await;
        for run in &runs {
            run.delete(&*set.store).await;
        }
    }
    if rows <= WALKED {
        // Linux forgets the most memory that was in use when 5 is written there.
        let is_reset = fs::write("/proc/self/clear_refs", "5").is_ok();
        let before = memory("VmRSS:");
        run(options, rows, &Case::walk(), &set, results).await;
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
    set.close();
}

async fn run(
    options: &Options,
    rows: usize,
    case: &Case,
    set: &DataSet,
    results: &mut Results,
) -> Vec<Run> {
    let side = Side::Store(Arc::clone(&set.store));
    set.settle().await;
    let calls = case
        .calls_in(&side, options.time(), options.jobs.min(10_000))
        .await;
    let mut runs = Vec::new();
    for _ in 0..options.rounds {
        set.settle().await;
        runs.push(case.run(&side, calls).await);
    }
    let mut figure = Figure::of(case, rows, "store", &runs);
    eprintln!(
        "{} beside {rows}: {case}: {:.0} µs",
        options.engine, figure.p50
    );
    if case.name.is_empty() {
        figure.name = case.to_string();
    }
    "growth".clone_into(&mut figure.group);
    results.figures.push(figure);
    runs
}

/// A line of the process's own status, in MiB; Linux only.
fn memory(line: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|text| text.strip_prefix(line));
    let kib = line.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}
