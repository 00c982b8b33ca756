//! How long a job waits for a worker that has nothing else to do: from the call that creates it until
//! the claim that found it has returned. The worker asks again and again without a pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jobstore::NewJob;
use jobstore_benches::limit::Write;
use jobstore_benches::results::{Figure, Results};
use jobstore_benches::{Case, NAME, PARAMS, Run, Side};
use tokio::sync::mpsc;

use crate::Options;

/// How many others create, claim and finish meanwhile.
const LOAD: usize = 16;
/// Jobs picked up in a round.
const TIMES: usize = 50;

pub(crate) async fn measure(options: &Options, side: &Side, results: &mut Results) {
    for (name, load) in [("idle", 0), ("beside 16 busy callers", LOAD)] {
        let mut runs = Vec::new();
        for _ in 0..options.rounds {
            runs.push(round(side, load).await);
        }
        let case = Case {
            name,
            ..Case::write("pick-up", 1, 1)
        };
        let figure = Figure::of(&case, options.rows, "store", &runs);
        eprintln!("{}: pick-up, {name}: {:.0} µs", options.engine, figure.p50);
        results.figures.push(figure);
    }
}

async fn round(side: &Side, load: usize) -> Run {
    let ends = Arc::new(AtomicBool::new(false));
    let mut tasks: Vec<_> = (0..load)
        .map(|_| tokio::spawn(be_busy(side.clone(), Arc::clone(&ends))))
        .collect();
    let (found, mut founds) = mpsc::unbounded_channel();
    tasks.push(tokio::spawn(work(side.clone(), Arc::clone(&ends), found)));
    let mut run = Run::default();
    for _ in 0..TIMES {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let start = Instant::now();
        side.write(Write::Create(vec![NewJob::new(NAME, PARAMS)]))
            .await;
        let end: Instant = founds.recv().await.expect("the worker runs");
        run.add(1, end.saturating_duration_since(start));
    }
    ends.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no panic");
    }
    run
}

async fn work(side: Side, ends: Arc<AtomicBool>, found: mpsc::UnboundedSender<Instant>) {
    while !ends.load(Ordering::Relaxed) {
        let claims = claim(&side, NAME).await;
        if claims.is_empty() {
            tokio::task::yield_now().await;
        } else {
            found.send(Instant::now()).expect("somebody waits");
            side.write(Write::Finish(claims)).await;
        }
    }
}

async fn be_busy(side: Side, ends: Arc<AtomicBool>) {
    while !ends.load(Ordering::Relaxed) {
        side.write(Write::Create(vec![NewJob::new("load", PARAMS)]))
            .await;
        let claims = claim(&side, "load").await;
        side.write(Write::Finish(claims)).await;
        tokio::task::yield_now().await;
    }
}

async fn claim(side: &Side, name: &str) -> Vec<jobstore::Claim> {
    let name = name.to_owned();
    side.write(Write::Claim { name, limit: 1 }).await
}
