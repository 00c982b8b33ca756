//! A cluster of three MariaDB servers with Galera, written to through all of them at once.
#![cfg(feature = "mysql")]

mod common;

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::load;
use jobstore_core::{JobFilter, JobId, JobStatus, JobStore};
use jobstore_sql::{MySqlJobStore, MySqlOptions};
use jobstore_test_servers::{Server, Setup};
use sqlx::Connection as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use tokio::task::JoinHandle;

/// Where Debian's package galera-4 has its library.
const LIBRARY: &str = "/usr/lib/galera/libgalera_smm.so";

/// The ports on which a node hears from the others.
struct Ports {
    group: u16,
    state: u16,
    whole: u16,
}

impl Ports {
    fn free() -> Self {
        // Held together, so that they differ.
        let held = [0; 3].map(|port| TcpListener::bind(("127.0.0.1", port)).expect("binds"));
        let [group, state, whole] =
            held.map(|held| held.local_addr().expect("has an address").port());
        Self {
            group,
            state,
            whole,
        }
    }
}

/// A node of a cluster; the first one of all has nobody to join.
fn node(name: &str, ports: &Ports, join: &str) -> Setup {
    let provider = format!(
        "gmcast.listen_addr=tcp://127.0.0.1:{};ist.recv_addr=127.0.0.1:{};gcache.size=64M",
        ports.group, ports.state
    );
    Server::mariadb()
        .with("wsrep-on", "ON")
        .with("wsrep-provider", LIBRARY)
        .with("wsrep-provider-options", &provider)
        .with("wsrep-cluster-address", &format!("gcomm://{join}"))
        .with("wsrep-node-name", name)
        .with("wsrep-node-address", "127.0.0.1")
        .with("wsrep-sst-method", "rsync")
        .with(
            "wsrep-sst-receive-address",
            &format!("127.0.0.1:{}", ports.whole),
        )
        .with("binlog-format", "ROW")
        .with("innodb-autoinc-lock-mode", "2")
}

fn way_to(server: &Server) -> MySqlConnectOptions {
    server.url().parse().expect("a URL")
}

/// Waits until a node has everything that was committed on any, and takes writes.
async fn synced(server: &Server) {
    let start = Instant::now();
    loop {
        let asked = async {
            let mut connection = MySqlConnection::connect_with(&way_to(server)).await?;
            let wait = "SET SESSION wsrep_sync_wait = 15; SELECT COUNT(*) FROM mysql.db";
            sqlx::raw_sql(wait).execute(&mut connection).await
        };
        match asked.await {
            Ok(_) => return,
            Err(error) if start.elapsed() > Duration::from_secs(120) => {
                panic!("{error}\n{}", server.log())
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs the package galera-4; run by `cargo xtask galera`"]
async fn jobs_are_claimed_and_finished_once_through_three_nodes_of_which_one_is_killed() {
    assert!(
        Path::new(LIBRARY).exists(),
        "apt-get install galera-4 rsync"
    );
    let ports = [Ports::free(), Ports::free(), Ports::free()];
    let join = ports
        .each_ref()
        .map(|ports| format!("127.0.0.1:{}", ports.group));
    let join = join.join(",");
    let first = node("first", &ports[0], "").start().expect("starts");
    synced(&first).await;
    let second = node("second", &ports[1], &join).start().expect("starts");
    synced(&second).await;
    let mut third = node("third", &ports[2], &join).start().expect("starts");
    synced(&third).await;

    let mut stores: Vec<Arc<MySqlJobStore>> = Vec::new();
    for server in [&first, &second, &third] {
        let store = load::again(|| MySqlOptions::new(way_to(server)).open()).await;
        stores.push(Arc::new(store));
    }
    let nodes = [&first, &second, &third];
    let jobs = load::jobs(3_000);
    let mut created = create(&stores, jobs / 2).await;
    for server in nodes {
        synced(server).await;
    }
    let start = Instant::now();
    let working = work(&stores, "before");
    // In the middle of the work, wherever that is on this machine.
    let all = JobFilter::default();
    loop {
        let counts = load::again(|| stores[0].count_jobs(&all)).await;
        if counts.get(JobStatus::Succeeded) * 4 > counts.total() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let third = tokio::task::spawn_blocking(move || {
        third.kill().expect("kills");
        std::thread::sleep(Duration::from_secs(1));
        third.restart().expect("starts again");
        third
    });
    let mut acknowledged = String::new();
    for worker in working {
        acknowledged += &worker.await.expect("works");
    }
    println!("finished {:?} later, one node killed", start.elapsed());
    let third = third.await.expect("does not panic");
    let nodes = [&first, &second, &third];
    for server in nodes {
        synced(server).await;
    }
    println!("it was back after {:?}", start.elapsed());

    // Alone, since of few jobs the others may leave it none.
    created.extend(create(&stores[2..], 30).await);
    for worker in work(&stores[2..], "returned") {
        acknowledged += &worker.await.expect("works");
    }
    assert!(acknowledged.contains(" worker-returned-"), "it did nothing");
    for server in nodes {
        synced(server).await;
    }

    let start = Instant::now();
    created.extend(create(&stores, jobs / 2).await);
    for worker in work(&stores, "after") {
        acknowledged += &worker.await.expect("works");
    }
    println!(
        "as many created and finished in {:?}, all nodes there",
        start.elapsed()
    );
    // Each node tells the same.
    for (server, store) in nodes.into_iter().zip(stores) {
        synced(server).await;
        load::check(store, &created, &acknowledged).await;
    }
}

/// Creates jobs through all nodes at once.
async fn create(stores: &[Arc<MySqlJobStore>], jobs: usize) -> Vec<JobId> {
    let through = |store: &Arc<MySqlJobStore>| {
        let store = Arc::clone(store);
        async move { load::create(&*store, jobs / 3).await }
    };
    let creating = stores.iter().map(through);
    futures_util::future::join_all(creating).await.concat()
}

/// Works through all nodes at once, two workers each.
fn work(stores: &[Arc<MySqlJobStore>], when: &str) -> Vec<JoinHandle<String>> {
    let work = |number: usize| {
        let store = Arc::clone(&stores[number % stores.len()]);
        let worker = format!("worker-{when}-{number}");
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            load::work(&*store, &worker, 10, &mut acknowledged).await;
            String::from_utf8(acknowledged).expect("UTF-8")
        })
    };
    (0..2 * stores.len()).map(work).collect()
}
