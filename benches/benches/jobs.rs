//! Every operation on every backend, by criterion.
//!
//! `cargo bench --package jobstore-benches -- FILTER`; names are `engine/group/case/rows`. The sizes in
//! `JOBSTORE_BENCH_ROWS` (1000 and 100000 unless set, separated by commas) are how many other jobs there
//! are; data sets are made once and kept below `target`. Engines in `JOBSTORE_BENCH_ENGINES`; unset, all.

use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jobstore::JobStore;
use jobstore_benches::{Case, DataSet, Engine, Side, filters};
use tokio::runtime::Runtime;

fn jobs(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("starts");
    for engine in list("JOBSTORE_BENCH_ENGINES", &Engine::ALL) {
        for rows in list("JOBSTORE_BENCH_ROWS", &[1_000, 100_000]) {
            let set = runtime.block_on(DataSet::open(engine, rows));
            let side = Side::Store(Arc::clone(&set.store));
            let deep = runtime.block_on(side.deep(rows / 2));
            for case in filters(&deep, set.store.now()).into_iter().chain(cases()) {
                let mut group = criterion.benchmark_group(format!("{engine}/{}", case.group));
                group.throughput(Throughput::Elements(case.batch as u64));
                let id = BenchmarkId::new(case.to_string(), rows);
                group.bench_function(id, |bencher| {
                    bencher.iter_custom(|calls| {
                        runtime.block_on(run(&case, &side, &*set.store, calls))
                    });
                });
            }
            drop(side);
            set.close();
        }
    }
}

async fn run(case: &Case, side: &Side, store: &dyn JobStore, calls: u64) -> Duration {
    let calls = usize::try_from(calls).expect("a number of calls");
    // All callers take part, however few calls are asked for.
    let made = calls.max(case.callers);
    let run = case.run(side, made).await;
    run.delete(store).await;
    run.elapsed.mul_f64(calls as f64 / made as f64)
}

/// What is not about one page.
fn cases() -> impl Iterator<Item = Case> {
    let groups = ["create", "claim", "finish", "lifecycle"].into_iter();
    let alone = [1, 10, 100].map(|batch| (1, batch));
    let many = [8, 64].map(|callers| (callers, 1));
    let shapes = alone.into_iter().chain(many);
    let writes = groups.flat_map(move |group| {
        let shapes = shapes.clone();
        shapes.map(move |(callers, batch)| Case::write(group, callers, batch))
    });
    writes.chain([Case::write("mixed", 8, 1), Case::walk()])
}

/// What the environment names, separated by commas, or these.
fn list<T: FromStr<Err: Debug> + Clone>(variable: &str, unset: &[T]) -> Vec<T> {
    match std::env::var(variable) {
        Ok(text) => text
            .split(',')
            .map(|item| item.parse().expect(variable))
            .collect(),
        Err(_) => unset.to_vec(),
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .measurement_time(Duration::from_secs(2))
        .warm_up_time(Duration::from_millis(500))
        .sample_size(10);
    targets = jobs
}
criterion_main!(benches);
