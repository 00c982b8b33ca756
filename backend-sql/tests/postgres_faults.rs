//! What may go wrong with a PostgreSQL server, done to servers that the test owns.
#![cfg(feature = "postgres")]

mod common;

use std::process::Command;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use common::postgres::Schema;
use common::proxy::Proxy;
use common::{disk, load};
use futures_util::future::join_all;
use jobstore_core::{
    Action, ClaimRequest, Error, JobFilter, JobId, JobStore, JobStoreExt as _, NewJob, Update,
};
use jobstore_sql::{PostgresJobStore, PostgresOptions};
use jobstore_test_servers::Server;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

fn way_to(server: &Server) -> PgConnectOptions {
    PgConnectOptions::from_str(&server.url()).expect("a URL")
}

async fn open(options: PostgresOptions) -> PostgresJobStore {
    options.open().await.expect("opens")
}

/// Ends some of the sessions that workers have, every 100 ms.
async fn terminate_sessions(server: PgConnectOptions) {
    let mut connection = PgConnection::connect_with(&server).await.expect("connects");
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
            WHERE application_name = 'worker' AND random() < 0.2";
        connection.execute(terminate).await.expect("terminates");
    }
}

/// A worker in a process of its own.
#[tokio::test]
#[ignore = "run by other tests, with the variables that tell it what to do"]
async fn child_process() {
    let variable = |name| std::env::var(name).expect("is set");
    let connect = PgConnectOptions::from_str(&variable("JOBSTORE_TEST_URL")).expect("a URL");
    let connect = connect.application_name("worker");
    let options = PostgresOptions::new(connect).with_migrate(false);
    let store = load::again(|| options.clone().open()).await;
    let mut acknowledged = Vec::new();
    load::work(
        &store,
        &variable("JOBSTORE_TEST_WORKER"),
        20,
        &mut acknowledged,
    )
    .await;
    println!("\n{}", String::from_utf8(acknowledged).expect("UTF-8"));
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_processes_finish_each_job_once_while_sessions_are_terminated() {
    let server = Server::postgres().start().expect("starts");
    let store = open(PostgresOptions::new(way_to(&server))).await;
    let created = load::create(&store, load::jobs(4_000)).await;
    let terminating = tokio::spawn(terminate_sessions(way_to(&server)));
    let children = (0..8).map(|number| {
        let worker = format!("worker-{number}");
        let url = server.url();
        load::child(&[
            ("JOBSTORE_TEST_URL", &url),
            ("JOBSTORE_TEST_WORKER", &worker),
        ])
    });
    let acknowledged = load::acknowledged(children.collect()).await;
    terminating.abort();
    load::check(Arc::new(store), &created, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_comes_back_has_lost_nothing() {
    let mut server = Server::postgres().start().expect("starts");
    let store = Arc::new(open(PostgresOptions::new(way_to(&server))).await);
    let creating = tokio::spawn({
        let store = Arc::clone(&store);
        async move { load::create(&*store, 4_000).await }
    });
    let working: Vec<_> = (0..4)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                load::work(&*store, &format!("worker-{number}"), 3, &mut acknowledged).await;
                String::from_utf8(acknowledged).expect("UTF-8")
            })
        })
        .collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        server = tokio::task::spawn_blocking(move || {
            server.kill().expect("kills");
            server.restart().expect("starts again");
            server
        })
        .await
        .expect("does not panic");
    }
    let created = creating.await.expect("creates");
    let mut acknowledged: String = String::new();
    for worker in working {
        acknowledged += &worker.await.expect("works");
    }
    // Workers that saw an empty queue before the last jobs came have gone home.
    let mut late = Vec::new();
    load::work(&*store, "worker-late", 20, &mut late).await;
    acknowledged += &String::from_utf8(late).expect("UTF-8");
    load::check(store, &created, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_calls_happen_wholly_or_not_at_all_and_leave_no_transaction_open() {
    let schema = Schema::new();
    let server = common::postgres::server().application_name(&schema.name);
    let options = PostgresOptions::new(server).with_schema(&schema.name);
    let store = open(options.with_max_connections(4)).await;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut batches: Vec<Vec<JobId>> = Vec::new();
    for _ in 0..2_000 {
        let ids: Vec<JobId> = (0..3).map(|_| JobId::generate()).collect();
        let jobs = ids
            .iter()
            .map(|id| NewJob::new("a", "{}").with_id(*id))
            .collect();
        batches.push(ids);
        let request = ClaimRequest::new("w", Duration::from_secs(60)).with_limit(2);
        let some: Vec<JobId> = batches[random.usize(..batches.len())].clone();
        let cancel = some
            .iter()
            .map(|id| Update::new(*id, Action::Cancel))
            .collect();
        let filter = JobFilter::default();
        let page = Default::default();
        let call = async {
            match random.u8(..5) {
                0 => drop(store.claim_jobs(&request).await),
                1 => drop(store.update_jobs(cancel).await),
                2 => drop(store.get_jobs(&some).await),
                3 => drop(store.list_jobs(&filter, &page).await),
                _ => drop(store.create_jobs(jobs).await),
            }
        };
        let patience = Duration::from_micros(fastrand::u64(..1500));
        let _ = tokio::time::timeout(patience, call).await;
    }
    for ids in &batches {
        let found = store.get_jobs(ids).await.expect("gets");
        let found = found.iter().flatten().count();
        assert!(found == 0 || found == 3, "{found} of a batch of 3 exist");
    }
    let mut connection = schema.connect().await;
    let idle = format!(
        "SELECT COUNT(*) FROM pg_stat_activity \
         WHERE application_name = '{}' AND state LIKE 'idle in transaction%'",
        schema.name
    );
    let idle: i64 = sqlx::query_scalar(AssertSqlSafe(idle))
        .fetch_one(&mut connection)
        .await
        .expect("asks");
    assert_eq!(idle, 0, "transactions are open");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_way_that_falls_silent_every_call_ends_in_time_and_the_next_way_works() {
    let server = Server::postgres().start().expect("starts");
    let proxy = Proxy::to(server.port()).await;
    let bound = Duration::from_millis(700);
    let way = way_to(&server).port(proxy.address.port());
    let store = open(PostgresOptions::new(way).with_call_timeout(bound)).await;
    let job = store
        .create_job(NewJob::new("a", "{}"))
        .await
        .expect("creates")
        .into_job();
    proxy.fall_silent();
    let request = ClaimRequest::new("w", Duration::from_secs(60));
    let calls = async {
        for _ in 0..3 {
            let (filter, ids) = (JobFilter::default(), [job.id]);
            let errors = tokio::join!(
                async { store.create_job(NewJob::new("a", "{}")).await.err() },
                async { store.claim_job(&request).await.err() },
                async { store.get_jobs(&ids).await.err() },
                async { store.count_jobs(&filter).await.err() },
                async { store.finish_job(job.id, "done").await.err() },
            );
            for error in [errors.0, errors.1, errors.2, errors.3, errors.4] {
                assert!(
                    matches!(error, Some(Error::Unavailable { .. })),
                    "{error:?}"
                );
            }
        }
    };
    let patience = Duration::from_secs(60);
    tokio::time::timeout(patience, calls)
        .await
        .expect("no call hangs");
    proxy.speak();
    let found = load::again(|| store.get_job(job.id)).await;
    assert_eq!(found.id, job.id);
    load::again(|| store.create_job(NewJob::new("b", "{}"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_pool_refuses_calls_in_time_and_serves_them_afterwards() {
    let schema = Schema::new();
    let pool = PgPoolOptions::new().max_connections(2);
    let pool = pool
        .connect_with(common::postgres::server())
        .await
        .expect("connects");
    let options = PostgresOptions::existing(pool.clone()).with_schema(&schema.name);
    let store = open(options.with_call_timeout(Duration::from_millis(300))).await;
    let held = (pool.acquire().await, pool.acquire().await);
    let refused = store.create_job(NewJob::new("a", "{}")).await;
    assert!(
        matches!(refused, Err(Error::Unavailable { .. })),
        "{refused:?}"
    );
    let refused = store.count_jobs(&JobFilter::default()).await;
    assert!(
        matches!(refused, Err(Error::Unavailable { .. })),
        "{refused:?}"
    );
    drop(held);
    load::again(|| store.create_job(NewJob::new("a", "{}"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_in_each_others_way_all_get_their_verdicts() {
    // The isolation that turns every overlap into an error, and two handles whose batches name the
    // same jobs in opposite orders.
    let server = Server::postgres().with("default_transaction_isolation", "serializable");
    let server = server.start().expect("starts");
    let pool = PgPoolOptions::new()
        .connect_with(way_to(&server))
        .await
        .expect("connects");
    let stores = [
        open(PostgresOptions::new(way_to(&server))).await,
        open(PostgresOptions::existing(pool)).await,
    ];
    let jobs = vec![NewJob::new("a", "{}"); 50];
    let jobs = stores[0].create_jobs(jobs).await.expect("creates");
    let ids: Vec<JobId> = jobs.iter().map(|created| created.job().id).collect();
    let callers = (0..8).map(|number| {
        let store = stores[number % 2].clone();
        let mut ids = ids.clone();
        if number % 4 < 2 {
            ids.reverse();
        }
        tokio::spawn(async move {
            for round in 0..10 {
                let updates = ids.iter().map(|id| Update::new(*id, Action::Reset));
                for verdict in store.update_jobs(updates.collect()).await.expect("updates") {
                    verdict.expect("a reset is never refused");
                }
                let mut keys: Vec<String> = (0..20).map(|key| format!("{round} {key}")).collect();
                if number % 4 < 2 {
                    keys.reverse();
                }
                let new = keys
                    .iter()
                    .map(|key| NewJob::new("b", "{}").with_unique_key(key));
                store.create_jobs(new.collect()).await.expect("creates");
                let request = ClaimRequest::new("w", Duration::from_secs(60)).with_limit(5);
                store.claim_jobs(&request).await.expect("claims");
            }
        })
    });
    for done in join_all(callers).await {
        done.expect("every call is answered");
    }
    let keys = JobFilter::default().with_job_name("b");
    let counts = stores[0].count_jobs(&keys).await.expect("counts");
    assert_eq!(counts.total(), 200, "one job for each key");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_agree_about_time_with_a_server_whose_clock_is_ten_minutes_off() {
    let Some(library) = faketime() else {
        panic!("libfaketime is not installed: apt-get install faketime");
    };
    let server = Server::postgres()
        .with_variable("LD_PRELOAD", &library)
        .with_variable("FAKETIME", "+600s")
        .with_variable("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let server = server.start().expect("starts");
    let store = open(PostgresOptions::new(way_to(&server))).await;
    let mut connection = PgConnection::connect_with(&way_to(&server))
        .await
        .expect("connects");
    let asked = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
    let before: i64 = sqlx::query_scalar(asked)
        .fetch_one(&mut connection)
        .await
        .expect("asks");
    let job = store
        .create_job(NewJob::new("a", "{}"))
        .await
        .expect("creates")
        .into_job();
    let after: i64 = sqlx::query_scalar(asked)
        .fetch_one(&mut connection)
        .await
        .expect("asks");
    let here = jobstore_core::Clock::now(&jobstore_core::SystemClock).as_millis();
    assert!(
        (after - here - 600_000).abs() < 60_000,
        "the server's clock is off"
    );
    let created = job.creation_time.as_millis();
    // The way to the server and back is what the offset may be wrong by.
    assert!(
        (before - 1_000..=after + 1_000).contains(&created),
        "{before} {created} {after}"
    );
}

/// The library that shows a program another time.
fn faketime() -> Option<String> {
    let listed = Command::new("dpkg")
        .args(["-L", "libfaketime"])
        .output()
        .ok()?;
    let listed = String::from_utf8(listed.stdout).ok()?;
    let library = listed
        .lines()
        .find(|line| line.ends_with("/libfaketime.so.1"));
    library.map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_calls_and_loses_nothing() {
    let server = Server::postgres()
        .with("max_wal_size", "32MB")
        .with("min_wal_size", "32MB");
    disk::fill(server, 192, async |url: String| {
        open(PostgresOptions::new(url.parse().expect("a URL"))).await
    })
    .await;
}
