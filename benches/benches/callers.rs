//! Single calls from 64 concurrent callers: the store, which merges them, beside one commit each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jobstore_benches::{create_one, direct, fill};
use jobstore_core::{ClaimRequest, JobStore, Timestamp};
use jobstore_sql::SqliteOptions;
use tokio::runtime::Runtime;

const CALLERS: u64 = 64;
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Runs `call` in all `count` times from 64 tasks and says how long that took.
fn from_callers<F, Call>(runtime: &Runtime, count: u64, call: F) -> Duration
where
    F: Fn() -> Call + Clone + Send + 'static,
    Call: Future<Output = ()> + Send,
{
    runtime.block_on(async {
        let start = Instant::now();
        let callers = (0..CALLERS).map(|index| {
            let call = call.clone();
            let share = count / CALLERS + u64::from(index < count % CALLERS);
            tokio::spawn(async move {
                for _ in 0..share {
                    call().await;
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.expect("no panic");
        }
        start.elapsed()
    })
}

fn callers(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("starts");
    let mut group = criterion.benchmark_group("sqlite (FULL), single calls from 64 callers");
    group.throughput(Throughput::Elements(1));

    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("makes a folder");
    let open = SqliteOptions::new(folder.path().join("store.db")).open();
    let store: Arc<dyn JobStore> = Arc::new(runtime.block_on(open).expect("opens"));
    let direct_pool = runtime.block_on(direct::open(&folder.path().join("direct.db")));

    group.bench_function("create, the store", |bencher| {
        bencher.iter_custom(|count| {
            let store = Arc::clone(&store);
            from_callers(&runtime, count, move || {
                let store = Arc::clone(&store);
                async move { create_one(&*store).await }
            })
        });
    });
    group.bench_function("create, one commit each", |bencher| {
        bencher.iter_custom(|count| {
            let pool = direct_pool.clone();
            from_callers(&runtime, count, move || {
                let pool = pool.clone();
                async move { direct::create_one(&pool, NOW).await }
            })
        });
    });
    group.bench_function("claim, the store", |bencher| {
        bencher.iter_custom(|count| {
            runtime.block_on(fill(&*store, "mail", count as usize));
            let store = Arc::clone(&store);
            let request = ClaimRequest::new("bench", Duration::from_secs(60));
            let request = Arc::new(request.with_job_name("mail"));
            from_callers(&runtime, count, move || {
                let (store, request) = (Arc::clone(&store), Arc::clone(&request));
                async move { assert_eq!(store.claim_jobs(&request).await.expect("claims").len(), 1) }
            })
        });
    });
    group.bench_function("claim, one commit each", |bencher| {
        bencher.iter_custom(|count| {
            runtime.block_on(async {
                sqlx::query("BEGIN")
                    .execute(&direct_pool)
                    .await
                    .expect("begins");
                for _ in 0..count {
                    direct::create_one(&direct_pool, NOW).await;
                }
                sqlx::query("COMMIT")
                    .execute(&direct_pool)
                    .await
                    .expect("commits");
            });
            let pool = direct_pool.clone();
            from_callers(&runtime, count, move || {
                let pool = pool.clone();
                async move { assert!(direct::claim_one(&pool, NOW).await) }
            })
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(8)).sample_size(15);
    targets = callers
}
criterion_main!(benches);
