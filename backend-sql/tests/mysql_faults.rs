//! What may go wrong with a MySQL or MariaDB server, done to servers that the test owns.
#![cfg(feature = "mysql")]

mod common;

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use common::mysql::{Database, run};
use common::proxy::Proxy;
use common::{disk, load};
use futures_util::future::join_all;
use jobstore_core::{
    Action, ClaimRequest, Error, JobFilter, JobId, JobStore, JobStoreExt as _, NewJob, Update,
};
use jobstore_sql::{MySqlJobStore, MySqlOptions};
use jobstore_test_servers::Server;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlPoolOptions, MySqlSslMode};
use sqlx::{AssertSqlSafe, Connection as _};

/// What a worker needs that finds the tables ready.
const WORKER: &str = "CREATE USER worker@'%' IDENTIFIED BY 'a password'; \
    GRANT SELECT, INSERT, UPDATE, DELETE ON test.* TO worker@'%'";

fn way_to(server: &Server) -> MySqlConnectOptions {
    MySqlConnectOptions::from_str(&server.url()).expect("a URL")
}

async fn open(options: MySqlOptions) -> MySqlJobStore {
    options.open().await.expect("opens")
}

/// Ends some of the connections that workers have, every 100 ms.
async fn kill_connections(server: MySqlConnectOptions) {
    let connected = MySqlConnection::connect_with(&server).await;
    let mut connection = connected.expect("connects");
    let mut killed = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let ids = "SELECT CAST(id AS SIGNED) FROM information_schema.processlist \
            WHERE user = 'worker' AND RAND() < 0.2";
        let ids: Vec<i64> = sqlx::query_scalar(ids)
            .fetch_all(&mut connection)
            .await
            .expect("asks");
        for id in ids {
            // It may have ended by itself.
            let kill = sqlx::raw_sql(AssertSqlSafe(format!("KILL {id}")));
            killed += u32::from(kill.execute(&mut connection).await.is_ok());
        }
        println!("{killed} connections killed so far");
    }
}

/// A worker in a process of its own.
#[tokio::test]
#[ignore = "run by other tests, with the variables that tell it what to do"]
async fn child_process() {
    let variable = |name| std::env::var(name).expect("is set");
    let connect = MySqlConnectOptions::from_str(&variable("JOBSTORE_TEST_URL")).expect("a URL");
    let connect = connect.username("worker").password("a password");
    let options = MySqlOptions::new(connect).with_migrate(false);
    let store = load::again(|| options.clone().open()).await;
    let mut acknowledged = Vec::new();
    let worker = variable("JOBSTORE_TEST_WORKER");
    load::work(&store, &worker, 20, &mut acknowledged).await;
    println!("\n{}", String::from_utf8(acknowledged).expect("UTF-8"));
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_processes_finish_each_job_once_while_connections_are_killed() {
    let server = Server::mariadb().start().expect("starts");
    let store = open(MySqlOptions::new(way_to(&server))).await;
    let connected = MySqlConnection::connect_with(&way_to(&server)).await;
    run(&mut connected.expect("connects"), WORKER).await;
    let created = load::create(&store, load::jobs(4_000)).await;
    let killing = tokio::spawn(kill_connections(way_to(&server)));
    let children = (0..8).map(|number| {
        let worker = format!("worker-{number}");
        let url = server.url();
        load::child(&[
            ("JOBSTORE_TEST_URL", &url),
            ("JOBSTORE_TEST_WORKER", &worker),
        ])
    });
    let acknowledged = load::acknowledged(children.collect()).await;
    assert!(!killing.is_finished(), "the killing went on to the end");
    killing.abort();
    load::check(Arc::new(store), &created, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_comes_back_has_lost_nothing() {
    let mut server = Server::mariadb().start().expect("starts");
    let store = Arc::new(open(MySqlOptions::new(way_to(&server))).await);
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
    let mut acknowledged = String::new();
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
    let database = Database::new().await;
    let store = open(database.options().with_max_connections(4)).await;
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
    // Whoever still held a lock on a row would be in the way of this.
    let mut connection = database.connect().await;
    run(&mut connection, "START TRANSACTION").await;
    let lock = "SELECT id FROM jobs FOR UPDATE NOWAIT";
    let locked = sqlx::query(lock).fetch_all(&mut connection).await;
    assert!(locked.expect("nobody has a lock").len() > 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_way_that_falls_silent_every_call_ends_in_time_and_the_next_way_works() {
    let server = Server::mariadb().start().expect("starts");
    let proxy = Proxy::to(server.port()).await;
    let bound = Duration::from_millis(700);
    let way = way_to(&server).port(proxy.address.port());
    let store = open(MySqlOptions::new(way).with_call_timeout(bound)).await;
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
                let unavailable = matches!(error, Some(Error::Unavailable { .. }));
                assert!(unavailable, "{error:?}");
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
    let database = Database::new().await;
    drop(database.open().await);
    let pool = MySqlPoolOptions::new().max_connections(2);
    let pool = pool.connect_with(database.connect_options()).await;
    let pool = pool.expect("connects");
    let options = MySqlOptions::existing(pool.clone());
    let store = open(options.with_call_timeout(Duration::from_millis(300))).await;
    let held = (pool.acquire().await, pool.acquire().await);
    let refused = store.create_job(NewJob::new("a", "{}")).await;
    let unavailable = matches!(refused, Err(Error::Unavailable { .. }));
    assert!(unavailable, "{refused:?}");
    let refused = store.count_jobs(&JobFilter::default()).await;
    let unavailable = matches!(refused, Err(Error::Unavailable { .. }));
    assert!(unavailable, "{refused:?}");
    drop(held);
    load::again(|| store.create_job(NewJob::new("a", "{}"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_in_each_others_way_all_get_their_verdicts() {
    // The isolation in which every read waits for writers, and two handles whose batches name the
    // same jobs in opposite orders.
    let server = Server::mariadb().with("transaction-isolation", "SERIALIZABLE");
    let server = server.start().expect("starts");
    let pool = MySqlPoolOptions::new().connect_with(way_to(&server)).await;
    let stores = [
        open(MySqlOptions::new(way_to(&server))).await,
        open(MySqlOptions::existing(pool.expect("connects"))).await,
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
async fn with_verify_identity_only_the_right_server_is_talked_to() {
    let key = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        rcgen::generate_simple_self_signed(names).expect("makes a certificate")
    };
    let (own, strange) = (key(&["127.0.0.1"]), key(&["127.0.0.1"]));
    let server = Server::mariadb()
        .with_certificate(&own.cert.pem(), &own.signing_key.serialize_pem())
        .start()
        .expect("starts");
    let verified = |authority: &rcgen::Certificate| {
        way_to(&server)
            .ssl_mode(MySqlSslMode::VerifyIdentity)
            .ssl_ca_from_pem(authority.pem().into_bytes())
    };
    let store = open(MySqlOptions::new(verified(&own.cert))).await;
    store
        .create_job(NewJob::new("a", "{}"))
        .await
        .expect("creates");
    for (way, what) in [
        (verified(&strange.cert), "another authority's certificate"),
        (
            verified(&own.cert).host("localhost"),
            "another host's certificate",
        ),
    ] {
        let refused = MySqlOptions::new(way).open().await;
        let Err(Error::Backend { source }) = refused else {
            panic!("{what}: {refused:?}")
        };
        assert!(source.to_string().contains("TLS"), "{what}: {source}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_calls_and_loses_nothing() {
    let server = Server::mariadb().with("innodb-log-file-size", "16M");
    disk::fill(server, 224, async |url: String| {
        open(MySqlOptions::new(url.parse().expect("a URL"))).await
    })
    .await;
}
