use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use jobstore_core::{
    Action, ClaimRequest, DeleteRequest, Error, Job, JobFilter, JobId, JobStore, JobStoreExt as _,
    ManualClock, NewJob, Order, PageRequest, Result, RetryPolicy, Timestamp, Update,
};
use jobstore_kv::{
    Changes, Durability, Engine, Entries, Failure, KvJobStore, Opening, Options, Repair, View,
};

use crate::runtime;

/// When the clock of every store stands.
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// The first byte of the key of a job.
const JOB: u8 = 1;

/// Damages one entry of a store on a key-value engine, key or value, as the bytes say, and asks the
/// store everything there is: nothing panics, every walk ends, and a job that was not touched is
/// listed once and as it was. What was touched is a job or reported, where its key is sound.
///
/// # Panics
///
/// When that is not so.
pub fn value(bytes: &[u8]) {
    runtime::block_on(async {
        let Some(damaged) = Damaged::by(bytes) else {
            return;
        };
        let store = match damaged.open().await {
            Ok(store) => store,
            Err(Error::Incompatible { .. }) => return,
            Err(error) => panic!("opening: {error:?}"),
        };
        for order in [Order::Ascending, Order::Descending] {
            damaged.is_listed(&store, order).await;
        }
        asked(&store).await;
        damaged.is_mended().await;
    });
}

/// A store with one entry that is not as it was written.
struct Damaged {
    map: Map,
    /// The jobs that have nothing to do with the entry.
    untouched: Vec<Job>,
    /// The id of the job whose value was changed under its own key.
    suspect: Option<JobId>,
}

impl Damaged {
    /// Of the bytes, the first two say which entry and how, the rest what is written there.
    fn by(bytes: &[u8]) -> Option<Self> {
        let [which, how, rest @ ..] = bytes else {
            return None;
        };
        let (mut map, jobs) = sound().clone();
        let key = map.keys().nth(usize::from(*which) % map.len())?.clone();
        let mut value = map.get(&key)?.clone();
        let mut new_key = key.clone();
        match how % 6 {
            0 => value = rest.to_vec(),
            // A version byte, so that fields are read.
            1 => value = [&[1], rest].concat(),
            2 => flip(&mut value, rest),
            3 => value.truncate(rest.iter().map(|byte| usize::from(*byte)).sum()),
            4 => flip(&mut new_key, rest),
            _ => new_key.truncate(rest.iter().map(|byte| usize::from(*byte)).sum()),
        }
        if new_key != key {
            map.remove(&key);
        }
        let in_place = new_key == key && key[0] == JOB;
        map.insert(new_key.clone(), value);
        let touches = |job: &&Job| {
            let id = job.id.as_uuid().as_bytes();
            let among = |key: &[u8]| key.windows(16).any(|part| part == id);
            // An entry of a unique key names its job in its value.
            among(&key) || among(&new_key) || (key[0] > JOB && job.unique_key.is_some())
        };
        let suspect = jobs.iter().find(touches).map(|job| job.id);
        Some(Self {
            untouched: jobs.iter().filter(|job| !touches(job)).cloned().collect(),
            suspect: suspect.filter(|_| in_place),
            map,
        })
    }

    async fn open(&self) -> Result<KvJobStore<Memory>> {
        opened(&Memory(Arc::new(RwLock::new(self.map.clone())))).await
    }

    /// A check with repair leaves nothing that it says it can repair.
    async fn is_mended(&self) {
        let store = self.open().await.expect("opened before");
        let first = store.check(Repair::Indexes, |_| {}).await;
        let first = first.unwrap_or_else(|error| panic!("checking: {error:?}"));
        let left = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&left);
        let second = store.check(Repair::Indexes, move |difference| {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push(difference.clone());
        });
        let second = second.await;
        let second = second.unwrap_or_else(|error| panic!("checking: {error:?}"));
        let left = left.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(second.repaired, 0, "after {first:?}, {second:?}: {left:?}");
    }

    async fn is_listed(&self, store: &KvJobStore<Memory>, order: Order) {
        let mut page = PageRequest::default().with_size(2).with_order(order);
        let (mut found, mut reported) = (Vec::new(), Vec::new());
        for _ in 0..=self.map.len() {
            let list = store.list_jobs(&JobFilter::default(), &page).await;
            let list = list.unwrap_or_else(|error| panic!("listing: {error:?}"));
            found.extend(list.items);
            reported.extend(list.unreadable);
            match list.token {
                Some(token) => page.token = Some(token),
                None => {
                    self.are_all(&found, &reported);
                    return;
                }
            }
        }
        panic!("a walk that does not end");
    }

    fn are_all(&self, found: &[Job], reported: &[Error]) {
        for job in &self.untouched {
            let times = found.iter().filter(|found| *found == job).count();
            assert_eq!(times, 1, "how often {job:?} is listed");
        }
        if let Some(id) = self.suspect {
            let listed = found.iter().filter(|job| job.id == id).count();
            let named = |error: &&Error| matches!(error, Error::Unreadable { id: of, .. } if *of == id.to_string());
            let reports = reported.iter().filter(named).count();
            assert_eq!(listed + reports, 1, "job {id} listed or reported once");
        }
    }
}

/// Turns over bits: pairs of bytes say where and which.
fn flip(bytes: &mut [u8], by: &[u8]) {
    for pair in by.chunks_exact(2) {
        if !bytes.is_empty() {
            let at = usize::from(pair[0]) % bytes.len();
            bytes[at] ^= pair[1];
        }
    }
}

/// Every other call. Each may refuse, none may break.
async fn asked(store: &KvJobStore<Memory>) {
    let ids: Vec<JobId> = sound().1.iter().map(|job| job.id).collect();
    let sane = |error: &Error| {
        assert!(
            !matches!(error, Error::Backend { .. } | Error::Unavailable { .. }),
            "{error:?}"
        );
    };
    for id in &ids {
        let _ = store.get_jobs(&[*id]).await.inspect_err(sane);
    }
    let by_params = JobFilter::default().with_params(r#"{"n":1}"#);
    let counted = store.count_jobs(&by_params).await;
    let _ = counted.inspect_err(sane);
    let again = NewJob::new("b", "{}").with_unique_key("key");
    let _ = store.create_jobs(vec![again]).await.inspect_err(sane);
    let request = ClaimRequest::new("ada", Duration::from_secs(9)).with_limit(9);
    let _ = store.claim_jobs(&request).await.inspect_err(sane);
    let policy = RetryPolicy::default();
    let recovered = store.recover_expired(&[], policy).await;
    let _ = recovered.inspect_err(sane);
    let resets = ids.iter().map(|id| Update::new(*id, Action::Reset));
    match store.update_jobs(resets.collect()).await {
        Ok(verdicts) => verdicts
            .iter()
            .filter_map(|verdict| verdict.as_ref().err())
            .for_each(sane),
        Err(error) => sane(&error),
    }
    let old = DeleteRequest::Before {
        cutoff: Timestamp::MAX,
        job_names: Vec::new(),
        statuses: Vec::new(),
        limit: 9,
    };
    let _ = store.delete_jobs(&old).await.inspect_err(sane);
    let _ = store
        .delete_jobs(&DeleteRequest::Ids(ids))
        .await
        .inspect_err(sane);
    let _ = store.check(Repair::Indexes, |_| {}).await.inspect_err(sane);
}

/// The entries of a store that is whole, and its jobs.
fn sound() -> &'static (Map, Vec<Job>) {
    static SOUND: OnceLock<(Map, Vec<Job>)> = OnceLock::new();
    SOUND.get_or_init(|| {
        // Whoever asks first may be on a runtime, which cannot wait for another.
        let made = std::thread::spawn(|| runtime::block_on(made()));
        made.join().expect("is made")
    })
}

async fn made() -> (Map, Vec<Job>) {
    let memory = Memory::default();
    let store = opened(&memory).await.expect("opens");
    let long = format!("{{\"n\":1,\"text\":\"{}\"}}", "x".repeat(5_000));
    let new = vec![
        NewJob::new("a", long),
        NewJob::new("b", r#"{"n":1}"#).with_unique_key("key"),
        NewJob::new("a\u{1}b", "{}").with_timeout(Duration::from_secs(3)),
        NewJob::new("b", "{}").with_next_attempt_at(Timestamp::MAX),
        NewJob::new("a", "{}").with_priority(7).with_max_retries(1),
    ];
    let created = store.create_jobs(new).await.expect("creates");
    let ids: Vec<JobId> = created.iter().map(|creation| creation.job().id).collect();
    store.fail_job(ids[2], "no").await.expect("fails");
    let request = ClaimRequest::new("ada", Duration::from_nanos(1));
    store.claim_jobs(&request).await.expect("claims");
    let jobs = store.get_jobs(&ids).await.expect("reads");
    let map = memory
        .0
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    (map, jobs.into_iter().flatten().collect())
}

async fn opened(memory: &Memory) -> Result<KvJobStore<Memory>> {
    let path = memory.lend();
    let clock = Arc::new(ManualClock::new(NOW));
    Options::new(path).with_clock(clock).open().await
}

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// An engine in memory.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<RwLock<Map>>);

/// Those that wait to be opened, by the path made up for them.
static LENT: Mutex<BTreeMap<PathBuf, Memory>> = Mutex::new(BTreeMap::new());

impl Memory {
    fn lend(&self) -> PathBuf {
        let path = PathBuf::from(JobId::generate().to_string());
        let mut lent = LENT.lock().unwrap_or_else(PoisonError::into_inner);
        lent.insert(path.clone(), self.clone());
        path
    }
}

impl Engine for Memory {
    const NAME: &'static str = "memory";

    fn open(path: &Path, _: &Opening) -> Result<Self> {
        let mut lent = LENT.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(lent.remove(path).unwrap_or_default())
    }

    fn view(&self) -> Result<Box<dyn View + '_>> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Ok(Box::new(Locked(map)))
    }

    fn apply(&self, changes: &Changes, _: Durability) -> Result<(), Failure> {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in changes {
            match value {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(key),
            };
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

struct Locked<'a>(RwLockReadGuard<'a, Map>);

impl View for Locked<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.0.get(key).cloned())
    }

    fn range<'a>(&'a self, from: &[u8], to: &[u8], order: Order) -> Result<Entries<'a>> {
        let range = self.0.range::<[u8], _>((Included(from), Excluded(to)));
        let range = range.map(|(key, value)| Ok((key.clone(), value.clone())));
        Ok(match order {
            Order::Ascending => Box::new(range),
            Order::Descending => Box::new(range.rev()),
        })
    }
}
