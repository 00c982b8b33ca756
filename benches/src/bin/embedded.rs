//! sled and redb measured, each in a process of its own: `embedded sled`, `embedded redb`.
//!
//! A second argument is how many other jobs "many" are; a million unless given. Prints one line
//! for each figure. Criterion repeats, which a million jobs do not allow, so this is a program.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jobstore_benches::{PARAMS, fill, fill_others};
use jobstore_core::{
    Action, ClaimRequest, DeleteRequest, Job, JobFilter, JobId, JobStatus, JobStore, NewJob, Order,
    PageRequest, Timestamp, Update,
};
use jobstore_kv::{Changes, Durability, Engine, KvJobStore, Opening, Options};
use jobstore_redb::Redb;
use jobstore_sled::Sled;

const CALLERS: usize = 64;
const FOR: Duration = Duration::from_secs(3);
/// Batches of 100 jobs, as many as both sides write.
const BATCHES: usize = 200;

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let many = args
        .get(2)
        .map_or(1_000_000, |many| many.parse().expect("a number"));
    match args.get(1).map(String::as_str) {
        Some("sled") => measure::<Sled>(many).await,
        Some("redb") => measure::<Redb>(many).await,
        _ => eprintln!("say sled or redb"),
    }
}

async fn measure<E: Engine>(many: usize) {
    let folder = tempfile::tempdir().expect("makes a folder");
    callers::<E>(&folder.path().join("callers")).await;
    batches::<E>(folder.path()).await;
    growth::<E>(&folder.path().join("growth"), many).await;
    churn::<E>(&folder.path().join("churn"), many).await;
}

async fn open<E: Engine>(path: &Path) -> Arc<KvJobStore<E>> {
    Arc::new(Options::new(path).open().await.expect("opens"))
}

fn tell<E: Engine>(what: &str, value: impl std::fmt::Display) {
    println!("{} | {what} | {value}", E::NAME);
}

/// Single calls, from one caller (so one sync for each) and from many.
async fn callers<E: Engine>(path: &Path) {
    let store = open::<E>(path).await;
    for callers in [1, CALLERS] {
        let rate = rate(&store, callers, |store| async move {
            let job = NewJob::new("mail", PARAMS);
            store.create_jobs(vec![job]).await.expect("creates");
        });
        tell::<E>(&format!("creates /s, {callers} callers"), rate.await);
        fill(&*store, "mail", 30_000).await;
        let rate = rate_of_claims(&store, callers).await;
        tell::<E>(&format!("claims /s, {callers} callers"), rate);
        let running = JobFilter::default().with_statuses([JobStatus::Running]);
        let ids = all(&*store, &running).await;
        tell::<E>(
            &format!("finishes /s, {callers} callers"),
            finish_rate(&store, callers, ids).await,
        );
    }
}

/// How often many callers do something in a second.
async fn rate<E: Engine, Done: Future<Output = ()> + Send>(
    store: &Arc<KvJobStore<E>>,
    callers: usize,
    call: impl Fn(Arc<KvJobStore<E>>) -> Done + Copy + Send + 'static,
) -> u64 {
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let mut done = 0;
                while start.elapsed() < FOR {
                    call(Arc::clone(&store)).await;
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.expect("no panic");
    }
    per_second(done, start.elapsed())
}

fn per_second(done: u64, elapsed: Duration) -> u64 {
    (done as f64 / elapsed.as_secs_f64()) as u64
}

async fn rate_of_claims<E: Engine>(store: &Arc<KvJobStore<E>>, callers: usize) -> u64 {
    rate(store, callers, |store| async move {
        let request = ClaimRequest::new("bench", Duration::from_secs(3600)).with_job_name("mail");
        let jobs = store.claim_jobs(&request).await.expect("claims");
        assert_eq!(jobs.len(), 1, "there are enough");
    })
    .await
}

async fn finish_rate<E: Engine>(
    store: &Arc<KvJobStore<E>>,
    callers: usize,
    ids: Vec<JobId>,
) -> u64 {
    let start = Instant::now();
    let share = ids.len().div_ceil(callers);
    let tasks: Vec<_> = ids
        .chunks(share)
        .map(|ids| {
            let (store, ids) = (Arc::clone(store), ids.to_vec());
            tokio::spawn(async move {
                let mut done = 0;
                for id in ids {
                    if start.elapsed() > FOR {
                        break;
                    }
                    let update = Update::new(id, Action::Finish { result: None });
                    let verdicts = store.update_jobs(vec![update]).await.expect("updates");
                    assert!(verdicts[0].is_ok());
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.expect("no panic");
    }
    per_second(done, start.elapsed())
}

async fn all(store: &dyn JobStore, filter: &JobFilter) -> Vec<JobId> {
    let mut ids = Vec::new();
    let mut page = PageRequest::default().with_size(1000);
    loop {
        let jobs = store.list_jobs(filter, &page).await.expect("lists");
        ids.extend(jobs.iter().map(|job: &Job| job.id));
        let Some(token) = jobs.token else { return ids };
        page = page.with_token(Some(token));
    }
}

/// Batches of 100 through the store, then the very same bytes through the engine alone.
async fn batches<E: Engine>(folder: &Path) {
    let path = folder.join("batches");
    let store = open::<E>(&path).await;
    let mut batch_of: BTreeMap<JobId, usize> = BTreeMap::new();
    let start = Instant::now();
    for batch in 0..BATCHES {
        for id in fill(&*store, "mail", 100).await {
            batch_of.insert(id, batch);
        }
    }
    let ours = start.elapsed();
    drop(store);

    let stored = engine::<E>(&path).await;
    let mut steps: Vec<Changes> = vec![Changes::new(); BATCHES];
    let view = stored.view().expect("shows");
    // Keys from 1 on are of jobs and their indexes; each has the job's id at its end.
    for entry in view
        .range(&[1], &[u8::MAX], Order::Ascending)
        .expect("reads")
    {
        let (key, value) = entry.expect("reads");
        let id: [u8; 16] = key[key.len() - 16..].try_into().expect("an id");
        let id = id
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        let id = format!(
            "{}-{}-{}-{}-{}",
            &id[..8],
            &id[8..12],
            &id[12..16],
            &id[16..20],
            &id[20..]
        );
        let batch = batch_of[&id.parse::<JobId>().expect("an id")];
        steps[batch].insert(key, Some(value));
    }
    drop(view);
    drop(stored);
    let entries: usize = steps.iter().map(BTreeMap::len).sum();

    let raw = engine::<E>(&folder.join("raw")).await;
    let start = Instant::now();
    for step in &steps {
        raw.apply(step, Durability::Immediate).expect("applies");
    }
    let alone = start.elapsed();
    let jobs = (BATCHES * 100) as u64;
    tell::<E>("creates /s in batches of 100", per_second(jobs, ours));
    tell::<E>(
        "the same bytes by the engine alone, jobs /s",
        per_second(jobs, alone),
    );
    tell::<E>(
        "of the engine alone",
        format!("{:.2}", alone.as_secs_f64() / ours.as_secs_f64()),
    );
    tell::<E>("entries of a job", entries / jobs as usize);
}

/// The engine by itself; waits until a store that was dropped has let go of it.
async fn engine<E: Engine>(path: &Path) -> E {
    // The store knows how to open it, and an engine is opened as the store does.
    let opening = Opening::new(true, 64 * 1024 * 1024);
    loop {
        match E::open(path, &opening) {
            Err(error) if error.is_retryable() => {
                tokio::time::sleep(Duration::from_millis(20)).await
            }
            engine => return engine.expect("opens"),
        }
    }
}

/// A page and a claim beside a thousand and beside many other jobs.
async fn growth<E: Engine>(path: &Path, many: usize) {
    let store = open::<E>(path).await;
    let mut present = 0;
    for rows in [1000, many] {
        fill_others(&*store, rows - present).await;
        present = rows;
        let any = JobFilter::default();
        let named = any
            .clone()
            .with_job_name("render")
            .with_statuses([JobStatus::Pending]);
        let first = PageRequest::default();
        let mut deep = first.clone().with_size(1000);
        for _ in 0..(rows / 2).div_ceil(1000) {
            let token = store.list_jobs(&any, &deep).await.expect("lists").token;
            deep = deep.with_token(token);
        }
        let deep = deep.with_size(100);
        for (what, filter, page) in [
            ("first page of 100", &any, &first),
            ("page of 100 in the middle", &any, &deep),
            ("first page of 100 of a name and status", &named, &first),
        ] {
            let micros = median(200, async || {
                assert_eq!(
                    store.list_jobs(filter, page).await.expect("lists").len(),
                    100
                );
            });
            tell::<E>(&format!("{what} beside {rows}, µs"), micros.await);
        }
        for limit in [1, 100] {
            fill(&*store, "claimed", 200 * limit as usize).await;
            let request = ClaimRequest::new("bench", Duration::from_secs(3600)).with_limit(limit);
            let request = request.with_job_name("claimed");
            let micros = median(200, async || {
                let jobs = store.claim_jobs(&request).await.expect("claims");
                assert_eq!(jobs.len(), limit as usize);
            });
            tell::<E>(&format!("claim {limit} beside {rows}, µs"), micros.await);
        }
        let start = Instant::now();
        let count = store.count_jobs(&any).await.expect("counts").total();
        tell::<E>(
            &format!("count of {count}, ms"),
            start.elapsed().as_millis(),
        );
    }
    tell::<E>("memory in use, MiB", memory("VmRSS:"));
}

async fn median(times: usize, call: impl AsyncFn()) -> u128 {
    let mut micros = Vec::with_capacity(times);
    for _ in 0..times {
        let start = Instant::now();
        call().await;
        micros.push(start.elapsed().as_micros());
    }
    micros.sort_unstable();
    micros[times / 2]
}

/// Disk and memory after many jobs were created, finished and deleted.
async fn churn<E: Engine>(path: &Path, many: usize) {
    let store = open::<E>(path).await;
    let start = Instant::now();
    let ids = fill(&*store, "mail", many).await;
    tell::<E>(&format!("disk with {many} jobs, MiB"), disk(path));
    for ids in ids.chunks(1000) {
        let finish = |id: &JobId| Update::new(*id, Action::Finish { result: None });
        store
            .update_jobs(ids.iter().map(finish).collect())
            .await
            .expect("finishes");
    }
    tell::<E>("disk with all of them finished, MiB", disk(path));
    let request = DeleteRequest::Before {
        cutoff: Timestamp::MAX,
        job_names: Vec::new(),
        statuses: Vec::new(),
        limit: 1000,
    };
    while !store
        .delete_jobs(&request)
        .await
        .expect("deletes")
        .is_empty()
    {}
    tell::<E>("disk with all of them deleted, MiB", disk(path));
    tell::<E>(
        "creating, finishing and deleting them, s",
        start.elapsed().as_secs(),
    );
    tell::<E>("most memory in use, MiB", memory("VmHWM:"));
    drop(store);
    drop(open::<E>(path).await);
    tell::<E>("disk after opening again, MiB", disk(path));
}

/// The size of a file, or of all files in a folder, in MiB.
fn disk(path: &Path) -> u64 {
    fn bytes(path: &Path) -> u64 {
        let Ok(entries) = fs::read_dir(path) else {
            return fs::metadata(path).map_or(0, |file| file.len());
        };
        entries.flatten().map(|entry| bytes(&entry.path())).sum()
    }
    bytes(path) >> 20
}

/// A line of the process's own status, in MiB; Linux only.
fn memory(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|text| text.strip_prefix(line));
    let kib = line.and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or(0_u64) >> 10
}
