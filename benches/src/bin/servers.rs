//! The store on PostgreSQL and MariaDB beside the same server driven directly, with as many
//! connections and as durably, in turns. Prints a table.
//!
//! `cargo run --release --package jobstore-benches --bin servers [-- postgres|mariadb]`

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jobstore_benches::limit::{Limit, OWNER, Raw, Write};
use jobstore_benches::{Engine, PARAMS};
use jobstore_core::{
    Action, Claim, ClaimRequest, Job, JobFilter, JobId, JobStore, JobStoreExt as _, NewJob,
    PageRequest, Timestamp, Update,
};
use jobstore_sql::{MySqlOptions, PostgresOptions};
use jobstore_test_servers::Server;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, Executor as _};
use tokio::task::JoinSet;

const ROUNDS: usize = 7;
/// What half of the store's connections are.
const WRITERS: usize = 4;
const CALLERS: usize = 64;
/// Calls of 100 in a round, and calls of one.
const BATCHES: usize = 20;
const SINGLES: usize = 3_000;

#[tokio::main]
async fn main() {
    let wanted = std::env::args().nth(1);
    for name in ["postgres", "mariadb"] {
        if wanted.as_deref().is_none_or(|wanted| wanted == name) {
            measure(name).await;
        }
    }
}

async fn measure(name: &str) {
    // The server goes with this, and the folder of both databases.
    let (_server, store, url, engine) = match name {
        "postgres" => {
            let server = Server::postgres().start().expect("starts");
            let way = PgConnectOptions::from_str(&server.url()).expect("a URL");
            let mut connection = PgConnection::connect_with(&way).await.expect("connects");
            let make = "CREATE DATABASE direct";
            connection.execute(make).await.expect("makes a database");
            let url = beside(&server.url());
            let store = PostgresOptions::new(way).open().await.expect("opens");
            (
                server,
                Arc::new(store) as Arc<dyn JobStore>,
                url,
                Engine::Postgres,
            )
        }
        _ => {
            let server = Server::mariadb().start().expect("starts");
            let way = MySqlConnectOptions::from_str(&server.url()).expect("a URL");
            let mut connection = MySqlConnection::connect_with(&way).await.expect("connects");
            let make = "CREATE DATABASE direct";
            connection.execute(make).await.expect("makes a database");
            let url = beside(&server.url());
            let store = MySqlOptions::new(way).open().await.expect("opens");
            (
                server,
                Arc::new(store) as Arc<dyn JobStore>,
                url,
                Engine::MariaDb,
            )
        }
    };
    let mut limits = engine.limit(&url, 2 * WRITERS + 1).await;
    let mut alone = limits.pop().expect("as many as asked for");
    let each = Raw::spawn(limits.split_off(WRITERS), 1);
    let merged = Raw::spawn(limits, CALLERS);

    println!("\n{engine}\n");
    println!("| | store, jobs/s | directly | ratio |\n| --- | --- | --- | --- |");
    let mut ours = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    let mut theirs = ours.clone();
    for _ in 0..ROUNDS {
        for (rates, rate) in ours.iter_mut().zip(of_store(&*store).await) {
            rates.push(rate);
        }
        for (rates, rate) in theirs.iter_mut().zip(of_limit(&mut *alone).await) {
            rates.push(rate);
        }
    }
    let labels = ["create 100", "page of 100", "claim 100", "finish 100"];
    for ((label, ours), theirs) in labels.iter().zip(&mut ours).zip(&mut theirs) {
        report(label, ours, theirs);
    }
    let mut ours = [Vec::new(), Vec::new(), Vec::new()];
    let (mut one_each, mut all) = (ours.clone(), ours.clone());
    for _ in 0..ROUNDS {
        for (rates, rate) in ours.iter_mut().zip(singles_of_store(&store).await) {
            rates.push(rate);
        }
        for (rates, rate) in one_each.iter_mut().zip(singles_of_limit(&each).await) {
            rates.push(rate);
        }
        for (rates, rate) in all.iter_mut().zip(singles_of_limit(&merged).await) {
            rates.push(rate);
        }
    }
    let labels = ["create", "claim", "finish"];
    for (index, label) in labels.iter().enumerate() {
        let single = format!("{label} 1, {CALLERS} callers, beside a statement each");
        report(&single, &mut ours[index], &mut one_each[index]);
        let single = format!("{label} 1, {CALLERS} callers, beside merged calls");
        report(&single, &mut ours[index], &mut all[index]);
    }
}

/// The URL of the other database.
fn beside(url: &str) -> String {
    let (path, arguments) = url
        .split_once('?')
        .map_or((url, ""), |(path, rest)| (path, rest));
    let (server, _) = path.rsplit_once('/').expect("names a database");
    let arguments = arguments.split('&').filter(|argument| !argument.is_empty());
    let arguments: Vec<&str> = arguments.collect();
    let mark = if arguments.is_empty() { "" } else { "?" };
    format!("{server}/direct{mark}{}", arguments.join("&"))
}

fn report(label: &str, ours: &mut [f64], theirs: &mut [f64]) {
    let middle = |rates: &mut [f64]| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let (ours_middle, theirs_middle) = (middle(ours), middle(theirs));
    println!(
        "| {label} | {ours_middle:.0} ({:.0}–{:.0}) | {theirs_middle:.0} ({:.0}–{:.0}) | {:.2} |",
        ours[0],
        ours[ours.len() - 1],
        theirs[0],
        theirs[theirs.len() - 1],
        ours_middle / theirs_middle
    );
}

fn rate(jobs: usize, start: Instant) -> f64 {
    jobs as f64 / start.elapsed().as_secs_f64()
}

fn request(limit: u32) -> ClaimRequest {
    let request = ClaimRequest::new(OWNER, Duration::from_secs(3600));
    request.with_job_name("mail").with_limit(limit)
}

/// Creates, lists, claims and finishes by one caller: the rate of each.
async fn of_store(store: &dyn JobStore) -> [f64; 4] {
    let batches: Vec<Vec<NewJob>> = vec![vec![NewJob::new("mail", PARAMS); 100]; BATCHES];
    let start = Instant::now();
    let mut first = None;
    for batch in batches {
        let created = store.create_jobs(batch).await.expect("creates");
        first.get_or_insert(created[0].job().creation_time);
    }
    let create = rate(BATCHES * 100, start);
    let filter = JobFilter {
        created_from: first,
        ..JobFilter::default()
    };
    let mut page = PageRequest::default().with_size(100);
    let start = Instant::now();
    for _ in 0..BATCHES {
        let list = store.list_jobs(&filter, &page).await.expect("lists");
        assert_eq!(list.items.len(), 100);
        page.token = list.token;
    }
    let list = rate(BATCHES * 100, start);
    let mut claimed = Vec::new();
    let start = Instant::now();
    for _ in 0..BATCHES {
        claimed.push(store.claim_jobs(&request(100)).await.expect("claims"));
    }
    let claim = rate(BATCHES * 100, start);
    let start = Instant::now();
    for jobs in claimed {
        let finish = |job: &Job| Update::new(job.claim(), Action::Finish { result: None });
        let verdicts = store.update_jobs(jobs.iter().map(finish).collect()).await;
        assert!(verdicts.expect("finishes").iter().all(Result::is_ok));
    }
    [create, list, claim, rate(BATCHES * 100, start)]
}

async fn of_limit(limit: &mut dyn Limit) -> [f64; 4] {
    let batches: Vec<Vec<NewJob>> = vec![vec![NewJob::new("mail", PARAMS); 100]; BATCHES];
    let start = Instant::now();
    let began = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a time");
    for batch in batches {
        limit.write(vec![Write::Create(batch)]).await;
    }
    let create = rate(BATCHES * 100, start);
    let mut after = Some((
        Timestamp::from_millis(began.as_millis() as i64),
        JobId::from_uuid(Default::default()),
    ));
    let start = Instant::now();
    for _ in 0..BATCHES {
        let page = limit.page(after, 100).await;
        assert_eq!(page.jobs, 100);
        after = page.last;
    }
    let list = rate(BATCHES * 100, start);
    let mut claimed = Vec::new();
    let start = Instant::now();
    for _ in 0..BATCHES {
        let name = "mail".to_owned();
        claimed.extend(limit.write(vec![Write::Claim { name, limit: 100 }]).await);
    }
    let claim = rate(BATCHES * 100, start);
    let start = Instant::now();
    for claims in claimed {
        limit.write(vec![Write::Finish(claims)]).await;
    }
    [create, list, claim, rate(BATCHES * 100, start)]
}

/// Makes this many calls in all, by many callers, and returns their rate and their answers.
async fn by_callers<F, T>(
    calls: usize,
    call: impl Fn(usize) -> F + Send + Sync + 'static,
) -> (f64, Vec<T>)
where
    F: Future<Output = T> + Send,
    T: Send + 'static,
{
    let (call, next) = (Arc::new(call), Arc::new(AtomicUsize::new(0)));
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (call, next) = (Arc::clone(&call), Arc::clone(&next));
        callers.spawn(async move {
            let mut answers = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= calls {
                    return answers;
                }
                answers.push(call(number).await);
            }
        });
    }
    let answers = callers.join_all().await.into_iter().flatten().collect();
    (rate(calls, start), answers)
}

/// Single creates, claims and finishes by many callers: the rate of each.
async fn singles_of_store(store: &Arc<dyn JobStore>) -> [f64; 3] {
    let calls = Arc::clone(store);
    let (create, _) = by_callers(SINGLES, move |_| {
        let store = Arc::clone(&calls);
        async move {
            store
                .create_job(NewJob::new("mail", PARAMS))
                .await
                .expect("creates")
        }
    })
    .await;
    let calls = Arc::clone(store);
    let (claim, jobs) = by_callers(SINGLES, move |_| {
        let store = Arc::clone(&calls);
        async move {
            let mut jobs = store.claim_jobs(&request(1)).await.expect("claims");
            jobs.pop().map(|job| job.claim())
        }
    })
    .await;
    let claims: Vec<Claim> = jobs.into_iter().flatten().collect();
    assert_eq!(claims.len(), SINGLES, "each claim gets a job");
    let calls = Arc::clone(store);
    let (finish, _) = by_callers(SINGLES, move |number| {
        let (store, claim) = (Arc::clone(&calls), claims[number]);
        async move {
            store
                .update_job(Update::new(claim, Action::Finish { result: None }))
                .await
                .expect("finishes")
        }
    })
    .await;
    [create, claim, finish]
}

async fn singles_of_limit(raw: &Raw) -> [f64; 3] {
    let calls = raw.clone();
    let (create, _) = by_callers(SINGLES, move |_| {
        let raw = calls.clone();
        async move {
            raw.write(Write::Create(vec![NewJob::new("mail", PARAMS)]))
                .await
        }
    })
    .await;
    let calls = raw.clone();
    let (claim, claims) = by_callers(SINGLES, move |_| {
        let (raw, name) = (calls.clone(), "mail".to_owned());
        async move { raw.write(Write::Claim { name, limit: 1 }).await }
    })
    .await;
    let claims: Vec<Claim> = claims.into_iter().flatten().collect();
    assert_eq!(claims.len(), SINGLES, "each claim gets a job");
    let calls = raw.clone();
    let (finish, _) = by_callers(SINGLES, move |number| {
        let (raw, claim) = (calls.clone(), claims[number]);
        async move { raw.write(Write::Finish(vec![claim])).await }
    })
    .await;
    [create, claim, finish]
}
