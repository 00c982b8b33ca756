//! What a page and a claim cost beside a thousand and beside a hundred thousand other jobs.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use jobstore_benches::{fill, fill_others, stores};
use jobstore_core::{
    ClaimRequest, Job, JobFilter, JobStatus, JobStore, Order, PageRequest, PagedList,
};
use tokio::runtime::Runtime;

const SIZES: [usize; 2] = [1_000, 100_000];

async fn page(store: &dyn JobStore, filter: &JobFilter, page: &PageRequest) -> PagedList<Job> {
    store.list_jobs(filter, page).await.expect("lists")
}

/// The page of 100 that starts in the middle.
async fn middle(store: &dyn JobStore, filter: &JobFilter, jobs: usize) -> PageRequest {
    let mut request = PageRequest::default().with_size(1000);
    for _ in 0..(jobs / 2).div_ceil(1000) {
        let token = page(store, filter, &request).await.token.clone();
        request = request.with_token(token);
    }
    request.with_size(100)
}

fn growth(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("starts");
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("makes a folder");
    let mut present = 0;
    let stores = runtime.block_on(stores(folder.path()));
    for rows in SIZES {
        for (_, store) in &stores {
            runtime.block_on(fill_others(&**store, rows - present));
        }
        present = rows;
        for (backend, store) in &stores {
            let store = &**store;
            let mut group = criterion.benchmark_group(*backend);
            let any = JobFilter::default();
            let deep = runtime.block_on(middle(store, &any, rows));
            let named = any.clone().with_job_name("render");
            let named = named.with_statuses([JobStatus::Pending]);
            let first = PageRequest::default();
            let last = first.clone().with_order(Order::Descending);
            for (what, filter, request) in [
                ("first page of 100", &any, &first),
                ("last page of 100", &any, &last),
                ("page of 100 in the middle", &any, &deep),
                ("first page of 100 of a name and status", &named, &first),
            ] {
                group.bench_function(BenchmarkId::new(what, rows), |bencher| {
                    bencher.iter(|| {
                        let list = runtime.block_on(page(store, filter, request));
                        assert_eq!(list.len(), 100);
                    });
                });
            }
            for limit in [1_u32, 100] {
                let request = ClaimRequest::new("bench", Duration::from_secs(60));
                let request = request.with_job_name("claimed").with_limit(limit);
                group.bench_function(
                    BenchmarkId::new(format!("claim {limit}"), rows),
                    |bencher| {
                        bencher.iter_custom(|count| {
                            let jobs = count as usize * limit as usize;
                            runtime.block_on(fill(store, "claimed", jobs));
                            let start = Instant::now();
                            runtime.block_on(async {
                                for _ in 0..count {
                                    let jobs = store.claim_jobs(&request).await.expect("claims");
                                    assert_eq!(jobs.len(), limit as usize);
                                }
                            });
                            start.elapsed()
                        });
                    },
                );
            }
            group.finish();
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).sample_size(10);
    targets = growth
}
criterion_main!(benches);
