//! What the contract says, asked of the SQLite store.
#![cfg(feature = "sqlite")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use jobstore_core::{
    ClaimRequest, DeleteRequest, Error, Job, JobFilter, JobId, JobStatus, JobStore, JobStoreExt,
    ManualClock, NewJob, Order, PageRequest, RetryPolicy, Timestamp,
};
use jobstore_sql::{SqliteJobStore, SqliteOptions};

const LEASE: Duration = Duration::from_secs(60);

async fn store() -> (SqliteJobStore, ManualClock) {
    let clock = ManualClock::new(Timestamp::from_millis(1_000));
    let options = SqliteOptions::in_memory().with_clock(Arc::new(clock.clone()));
    (options.open().await.expect("opens"), clock)
}

async fn create(store: &SqliteJobStore, job: NewJob) -> Job {
    store.create_job(job).await.expect("creates").into_job()
}

fn worker(owner: &str) -> ClaimRequest {
    ClaimRequest::new(owner, LEASE).with_limit(10)
}

#[tokio::test]
async fn a_worker_that_lost_its_job_cannot_finish_it() {
    let (store, clock) = store().await;
    create(&store, NewJob::new("mail", "{}")).await;
    let first = store
        .claim_job(&worker("ada"))
        .await
        .expect("claims")
        .expect("due");
    clock.advance(LEASE);
    let policy = RetryPolicy {
        base: Duration::ZERO,
        ..RetryPolicy::default()
    };
    assert_eq!(
        store
            .recover_expired(&[], policy)
            .await
            .expect("recovers")
            .len(),
        1
    );
    let second = store
        .claim_job(&worker("bob"))
        .await
        .expect("claims")
        .expect("due");
    let late = store.finish_job(first.claim(), "late").await;
    assert!(matches!(late, Err(Error::LeaseLost { .. })));
    let done = store
        .finish_job(second.claim(), "done")
        .await
        .expect("finishes");
    assert_eq!((done.fence, done.result.as_deref()), (2, Some("done")));
    let again = store
        .finish_job(second.claim(), "done")
        .await
        .expect("a repeated reply");
    assert_eq!(again, done);
}

#[tokio::test]
async fn claims_come_by_priority_then_due_time_and_skip_what_is_not_due() {
    let (store, clock) = store().await;
    let at = Timestamp::from_millis;
    create(&store, NewJob::new("a", r#"{"n":3}"#)).await;
    create(
        &store,
        NewJob::new("b", r#"{"n":2}"#).with_next_attempt_at(at(5)),
    )
    .await;
    create(&store, NewJob::new("a", r#"{"n":1}"#).with_priority(1)).await;
    create(
        &store,
        NewJob::new("a", r#"{"n":0}"#)
            .with_priority(9)
            .with_next_attempt_at(at(1001)),
    )
    .await;
    let params = |jobs: Vec<Job>| -> Vec<String> {
        jobs.into_iter()
            .map(|job| job.params.as_str().to_owned())
            .collect()
    };
    let two = worker("w").with_limit(2);
    assert_eq!(
        params(store.claim_jobs(&two).await.expect("claims")),
        [r#"{"n":1}"#, r#"{"n":2}"#]
    );
    clock.advance(Duration::from_millis(1));
    let rest = store
        .claim_jobs(&worker("w").with_job_name("a"))
        .await
        .expect("claims");
    assert_eq!(params(rest), [r#"{"n":0}"#, r#"{"n":3}"#]);
}

#[tokio::test]
async fn of_concurrent_claimers_each_job_goes_to_one() {
    let store = Arc::new(store().await.0);
    for _ in 0..500 {
        create(&store, NewJob::new("a", "{}")).await;
    }
    let claimers: Vec<_> = (0..8)
        .map(|index| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut ids = Vec::new();
                let request = worker(&format!("w{index}")).with_limit(3);
                loop {
                    let jobs = store.claim_jobs(&request).await.expect("claims");
                    if jobs.is_empty() {
                        return ids;
                    }
                    ids.extend(jobs.into_iter().map(|job| job.id));
                }
            })
        })
        .collect();
    let mut ids = Vec::new();
    for claimer in claimers {
        ids.extend(claimer.await.expect("no panic"));
    }
    assert_eq!(ids.len(), 500);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 500);
}

#[tokio::test]
async fn a_batch_with_a_known_id_creates_nothing() {
    let (store, _) = store().await;
    let first = create(&store, NewJob::new("a", "{}")).await;
    let batch = vec![
        NewJob::new("b", "{}").with_unique_key("k"),
        NewJob::new("c", "{}").with_id(first.id),
    ];
    let refused = store.create_jobs(batch).await;
    assert!(matches!(refused, Err(Error::AlreadyExists { id }) if id == first.id));
    let counts = store
        .count_jobs(&JobFilter::default())
        .await
        .expect("counts");
    assert_eq!(counts.total(), 1);
    assert!(
        create(&store, NewJob::new("b", "{}").with_unique_key("k"))
            .await
            .unique_key
            .is_some()
    );
    assert_eq!(store.get_job(first.id).await.expect("exists"), first);
}

#[tokio::test]
async fn a_unique_key_is_held_until_its_job_ends_and_reset_cannot_steal_it() {
    let (store, _) = store().await;
    let keyed = || NewJob::new("a", "{}").with_unique_key("k");
    let twice = store
        .create_jobs(vec![keyed(), keyed()])
        .await
        .expect("creates");
    assert!(twice[0].is_new() && !twice[1].is_new());
    assert_eq!(twice[0].job().id, twice[1].job().id);
    let first = twice[0].job().id;
    store.cancel_job(first).await.expect("cancels");
    let second = create(&store, keyed()).await;
    assert_ne!(second.id, first);
    let stolen = store.reset_job(first).await;
    assert!(matches!(stolen, Err(Error::AlreadyExists { id }) if id == second.id));
    assert_eq!(
        store.get_job(first).await.expect("exists").status,
        JobStatus::Canceled
    );
}

#[tokio::test]
async fn a_walk_returns_every_surviving_job_once_while_jobs_change() {
    let (store, _) = store().await;
    for _ in 0..50 {
        store
            .create_jobs(vec![NewJob::new("a", "{}"); 100])
            .await
            .expect("creates");
    }
    let filter = JobFilter::default();
    for order in [Order::Ascending, Order::Descending] {
        let before = store.count_jobs(&filter).await.expect("counts").total();
        let mut page = PageRequest::default().with_size(7).with_order(order);
        let mut seen: Vec<JobId> = Vec::new();
        let mut deleted = 0;
        loop {
            let list = store.list_jobs(&filter, &page).await.expect("lists");
            seen.extend(list.iter().map(|job| job.id));
            if let Some(job) = list.first().filter(|job| !job.status.is_finalized()) {
                store.finish_job(job.id, "").await.expect("finishes");
                let request = DeleteRequest::Ids(vec![job.id]);
                deleted += store.delete_jobs(&request).await.expect("deletes").len();
            }
            let Some(token) = list.token.clone() else {
                break;
            };
            page = page.with_token(Some(token));
        }
        assert_eq!(seen.len() as u64, before);
        let ascending = order == Order::Ascending;
        assert!(seen.is_sorted_by(|a, b| if ascending { a < b } else { a > b }));
        let after = store.count_jobs(&filter).await.expect("counts").total();
        assert_eq!(after + deleted as u64, before);
    }
}

#[tokio::test]
async fn filters_agree_between_list_and_count() {
    let (store, clock) = store().await;
    for n in 0..40 {
        let job = NewJob::new(["a", "A"][n % 2], format!("{{\"n\": {}.0}}", n % 4));
        let job = create(&store, job).await;
        if n % 3 == 0 {
            store.start_job(job.id).await.expect("starts");
        }
        clock.advance(Duration::from_millis(1));
    }
    let filters = [
        (JobFilter::default(), 40),
        (JobFilter::default().with_job_name("a"), 20),
        (JobFilter::default().with_statuses([JobStatus::Running]), 14),
        (JobFilter::default().with_params(r#"{"n":1}"#), 10),
        (JobFilter::default().with_params(r#"{"n":true}"#), 0),
        (JobFilter::default().with_ids([]), 0),
        (
            JobFilter {
                created_to: Some(Timestamp::from_millis(1_009)),
                ..JobFilter::default()
            },
            10,
        ),
    ];
    for (filter, expected) in filters {
        let page = PageRequest::default().with_size(3);
        let walk: Vec<Job> = store
            .stream_jobs(filter.clone(), page)
            .try_collect()
            .await
            .expect("walks");
        assert_eq!(walk.len(), expected, "{filter:?}");
        let counts = store.count_jobs(&filter).await.expect("counts");
        for (status, count) in counts.iter() {
            let walked = walk.iter().filter(|job| job.status == status).count();
            assert_eq!(count, walked as u64, "{status} of {filter:?}");
        }
    }
}

#[tokio::test]
async fn deleting_takes_the_oldest_finalized_jobs_and_no_others() {
    let (store, clock) = store().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        let job = create(&store, NewJob::new("a", "{}")).await;
        ids.push(job.id);
        clock.advance(Duration::from_millis(1));
    }
    for id in [ids[3], ids[1], ids[0]] {
        store.cancel_job(id).await.expect("cancels");
        clock.advance(Duration::from_millis(1));
    }
    let before = |cutoff, limit| DeleteRequest::Before {
        cutoff: Timestamp::from_millis(cutoff),
        job_names: Vec::new(),
        statuses: Vec::new(),
        limit,
    };
    let nothing = store
        .delete_jobs(&DeleteRequest::Ids(Vec::new()))
        .await
        .expect("deletes");
    assert!(nothing.is_empty());
    assert!(
        store
            .delete_jobs(&before(1_005, 9))
            .await
            .expect("deletes")
            .is_empty()
    );
    assert_eq!(
        store.delete_jobs(&before(1_008, 2)).await.expect("deletes"),
        [ids[3], ids[1]]
    );
    let rest = DeleteRequest::Ids(vec![ids[0], ids[0], ids[2], ids[3]]);
    assert_eq!(store.delete_jobs(&rest).await.expect("deletes"), [ids[0]]);
}

#[tokio::test]
async fn what_is_refused_is_named_and_writes_nothing() {
    let (store, _) = store().await;
    let deep = format!("{{\"a\":{}", "[".repeat(1_000_000));
    let long = "x".repeat(501);
    let bad = [
        (NewJob::new("", "{}"), "job_name"),
        (NewJob::new(long, "{}"), "job_name"),
        (NewJob::new("a\0b", "{}"), "job_name"),
        (NewJob::new("a", "[]"), "params"),
        (NewJob::new("a", deep), "params"),
        (
            NewJob::new("a", format!("{{\"a\":\"{}\"}}", "x".repeat(8 << 20))),
            "params",
        ),
        (
            NewJob::new("a", "{}").with_timeout(Duration::ZERO),
            "timeout",
        ),
        (
            NewJob::new("a", "{}").with_max_retries(u32::MAX),
            "max_retries",
        ),
        (NewJob::new("a", "{}").with_unique_key(""), "unique_key"),
    ];
    for (job, expected) in bad {
        let refused = store.create_jobs(vec![NewJob::new("ok", "{}"), job]).await;
        let Err(Error::InvalidArgument { field, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(field, format!("jobs[1].{expected}"));
    }
    for limit in [0, 1_001] {
        let refused = store.claim_jobs(&worker("w").with_limit(limit)).await;
        assert!(matches!(refused, Err(Error::InvalidArgument { field, .. }) if field == "limit"));
        let page = PageRequest::default().with_size(limit);
        assert!(store.list_jobs(&JobFilter::default(), &page).await.is_err());
    }
    assert!(
        store
            .create_jobs(vec![NewJob::new("a", "{}"); 1_001])
            .await
            .is_err()
    );
    assert!(
        store
            .claim_jobs(&ClaimRequest::new("w", Duration::ZERO))
            .await
            .is_err()
    );
    let counts = store
        .count_jobs(&JobFilter::default())
        .await
        .expect("still works");
    assert_eq!(counts.total(), 0);
}
