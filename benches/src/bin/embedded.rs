//! sled and redb measured, each in a process of its own: `embedded sled`, `embedded redb`.
//!
//! A second argument is how many other jobs "many" are; a million unless given. A third is the one
//! part to measure: `callers`, `batches`, `limits`, `growth` or `churn`. Prints one line for each figure. Criterion repeats, which a million jobs do not allow, so this is a program.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jobstore_benches::limit::{OWNER, Raw, Write};
use jobstore_benches::{PARAMS, fill, fill_others};
use jobstore_core::{
    Action, ClaimRequest, DeleteRequest, Job, JobFilter, JobId, JobStatus, JobStore, NewJob,
    PageRequest, Result, Timestamp, Update,
};
use jobstore_kv::{Changes, Durability, Engine, Failure, KvJobStore, Opening, Options, View};
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
        Some("sled") => measure::<Sled>(jobstore_benches::Engine::Sled, many).await,
        Some("redb") => measure::<Redb>(jobstore_benches::Engine::Redb, many).await,
        _ => eprintln!("say sled or redb"),
    }
}

async fn measure<E: Engine>(engine: jobstore_benches::Engine, many: usize) {
    let folder = tempfile::tempdir().expect("makes a folder");
    let section = std::env::args().nth(3);
    let wanted = |name: &str| section.as_deref().is_none_or(|section| section == name);
    if wanted("callers") {
        callers::<E>(&folder.path().join("callers")).await;
    }
    if wanted("batches") {
        batches::<E>(folder.path()).await;
    }
    if wanted("limits") {
        limits::<E>(folder.path(), engine).await;
    }
    if wanted("growth") {
        growth::<E>(&folder.path().join("growth"), many).await;
    }
    if wanted("churn") {
        churn::<E>(&folder.path().join("churn"), many).await;
    }
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
async fn rate<T: Clone + Send + 'static, Done: Future<Output = ()> + Send>(
    subject: &T,
    callers: usize,
    call: impl Fn(T) -> Done + Copy + Send + 'static,
) -> u64 {
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let subject = subject.clone();
            tokio::spawn(async move {
                let mut done = 0;
                while start.elapsed() < FOR {
                    call(subject.clone()).await;
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

/// How often many callers do something in a second, once for each item.
async fn rate_of_items<T, I, Done>(
    subject: &T,
    callers: usize,
    items: Vec<I>,
    call: impl Fn(T, I) -> Done + Copy + Send + 'static,
) -> u64
where
    T: Clone + Send + 'static,
    I: Clone + Send + 'static,
    Done: Future<Output = ()> + Send,
{
    let start = Instant::now();
    let share = items.len().div_ceil(callers);
    let tasks: Vec<_> = items
        .chunks(share)
        .map(|items| {
            let (subject, items) = (subject.clone(), items.to_vec());
            tokio::spawn(async move {
                let mut done = 0;
                for item in items {
                    if start.elapsed() > FOR {
                        break;
                    }
                    call(subject.clone(), item).await;
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
    rate_of_items(store, callers, ids, |store, id| async move {
        let update = Update::new(id, Action::Finish { result: None });
        let verdicts = store.update_jobs(vec![update]).await.expect("updates");
        assert!(verdicts[0].is_ok());
    })
    .await
}

/// The store beside the engine driven directly, in turns, and then both under many callers.
async fn limits<E: Engine>(folder: &Path, engine: jobstore_benches::Engine) {
    let store = open::<E>(&folder.join("ours")).await;
    let limit = folder.join("limit");
    let mut limits = engine.limit(limit.to_str().expect("is text"), 1).await;
    let limit = &mut limits[0];
    let request = ClaimRequest::new(OWNER, Duration::from_secs(3600)).with_job_name("mail");
    let hundred = request.clone().with_limit(100);
    let mut ours = [Duration::ZERO; 3];
    let mut raw = [Duration::ZERO; 3];
    let claim = |limit| Write::Claim {
        name: "mail".to_owned(),
        limit,
    };
    for _ in 0..BATCHES {
        let mut start = Instant::now();
        let mut lap =
            |sum: &mut Duration| *sum += std::mem::replace(&mut start, Instant::now()).elapsed();
        fill(&*store, "mail", 100).await;
        lap(&mut ours[0]);
        let jobs = store.claim_jobs(&hundred).await.expect("claims");
        lap(&mut ours[1]);
        let finish = |job: &Job| Update::new(job.claim(), Action::Finish { result: None });
        let updates = jobs.iter().map(finish).collect();
        let verdicts = store.update_jobs(updates).await.expect("updates");
        lap(&mut ours[2]);
        assert_eq!(verdicts.iter().flatten().count(), 100);

        let jobs = vec![NewJob::new("mail", PARAMS); 100];
        limit.write(vec![Write::Create(jobs)]).await;
        lap(&mut raw[0]);
        let claims = limit.write(vec![claim(100)]).await.remove(0);
        lap(&mut raw[1]);
        let finished = limit.write(vec![Write::Finish(claims)]).await.remove(0);
        lap(&mut raw[2]);
        assert_eq!(finished.len(), 100);
    }
    let jobs = (BATCHES * 100) as u64;
    for (index, what) in ["create 100", "claim 100", "finish 100"].iter().enumerate() {
        let (ours, raw) = (per_second(jobs, ours[index]), per_second(jobs, raw[index]));
        tell_ratio::<E>(&format!("{what}, jobs /s"), ours, raw);
    }
    let any = JobFilter::default();
    let half = PageRequest::default().with_size(1000);
    let mut page = half.clone();
    let mut after = None;
    for _ in 0..BATCHES / 20 {
        let token = store.list_jobs(&any, &page).await.expect("lists").token;
        page = half.clone().with_token(token);
        after = limit.page(after, 1000).await.last;
    }
    let page = page.with_size(100);
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    for _ in 0..2000 {
        let start = Instant::now();
        let jobs = store.list_jobs(&any, &page).await.expect("lists");
        ours.push(start.elapsed());
        assert_eq!(jobs.len(), 100);
        let start = Instant::now();
        let jobs = limit.page(after, 100).await.jobs;
        raw.push(start.elapsed());
        assert_eq!(jobs, 100);
    }
    // Medians: a page takes so little that one interruption would count for hundreds.
    ours.sort_unstable();
    raw.sort_unstable();
    let (ours, raw) = (per_second(100, ours[1000]), per_second(100, raw[1000]));
    tell_ratio::<E>("page of 100, jobs /s", ours, raw);

    let engine = Raw::spawn(limits, 512);
    let create = |engine: Raw| async move {
        let jobs = vec![NewJob::new("mail", PARAMS)];
        engine.write(Write::Create(jobs)).await;
    };
    let raw = rate(&engine, CALLERS, create).await;
    let ours = rate(&store, CALLERS, |store| async move {
        let jobs = vec![NewJob::new("mail", PARAMS)];
        store.create_jobs(jobs).await.expect("creates");
    });
    tell_ratio::<E>("creates /s, 64 callers", ours.await, raw);
    fill(&*store, "mail", 60_000).await;
    for _ in 0..60 {
        let jobs = vec![NewJob::new("mail", PARAMS); 1000];
        engine.write(Write::Create(jobs)).await;
    }
    let raw = rate(&engine, CALLERS, move |engine| async move {
        let name = "mail".to_owned();
        let claims = engine.write(Write::Claim { name, limit: 1 }).await;
        assert_eq!(claims.len(), 1, "there are enough");
    });
    let raw = raw.await;
    let ours = rate_of_claims(&store, CALLERS).await;
    tell_ratio::<E>("claims /s, 64 callers", ours, raw);
    let mut claims = Vec::new();
    for _ in 0..30 {
        claims.extend(engine.write(claim(1000)).await);
        let thousand = request.clone().with_limit(1000);
        store.claim_jobs(&thousand).await.expect("claims");
    }
    let raw = rate_of_items(&engine, CALLERS, claims, |engine, claim| async move {
        let finished = engine.write(Write::Finish(vec![claim])).await;
        assert_eq!(finished.len(), 1);
    });
    let raw = raw.await;
    let running = JobFilter::default().with_statuses([JobStatus::Running]);
    let ids = all(&*store, &running).await;
    let ours = finish_rate(&store, CALLERS, ids).await;
    tell_ratio::<E>("finishes /s, 64 callers", ours, raw);
}

fn tell_ratio<E: Engine>(what: &str, ours: u64, raw: u64) {
    let ratio = ours as f64 / raw as f64;
    tell::<E>(
        what,
        format!("{ours}, the engine alone {raw}, ratio {ratio:.2}"),
    );
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

/// Batches of 100 through the store, then the very same steps through the engine alone.
async fn batches<E: Engine>(folder: &Path) {
    let store = open::<Recorded<E>>(&folder.join("batches")).await;
    take_steps();
    let start = Instant::now();
    for _ in 0..BATCHES {
        fill(&*store, "mail", 100).await;
    }
    let ours = start.elapsed();
    let steps = take_steps();
    drop(store);
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
        "the same steps by the engine alone, jobs /s",
        per_second(jobs, alone),
    );
    tell::<E>(
        "of the engine alone",
        format!("{:.2}", alone.as_secs_f64() / ours.as_secs_f64()),
    );
    let entries = entries as f64 / jobs as f64;
    tell::<E>("entries written for a job", format!("{entries:.1}"));
}

/// The steps that stores on a [`Recorded`] engine took.
static STEPS: Mutex<Vec<Changes>> = Mutex::new(Vec::new());

fn take_steps() -> Vec<Changes> {
    let mut steps = STEPS.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut *steps)
}

/// An engine of which every step is kept.
#[derive(Debug)]
struct Recorded<E>(E);

impl<E: Engine> Engine for Recorded<E> {
    const NAME: &'static str = E::NAME;

    fn open(path: &Path, opening: &Opening) -> Result<Self> {
        E::open(path, opening).map(Self)
    }

    fn view(&self) -> Result<Box<dyn View + '_>> {
        self.0.view()
    }

    fn apply(&self, changes: &Changes, durability: Durability) -> Result<(), Failure> {
        let mut steps = STEPS.lock().unwrap_or_else(PoisonError::into_inner);
        steps.push(changes.clone());
        drop(steps);
        self.0.apply(changes, durability)
    }

    fn sync(&self) -> Result<()> {
        self.0.sync()
    }
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
