//! sled and redb driven directly: the jobs in the order of listing and the same indexes beside them as
//! the store keeps, in one tree, as durably.
//!
//! What differs: each entry of an index is one of the engine, where the store lays many into one. No
//! job is unreadable, none becomes due later than it is made, texts are not cut in pieces, values have
//! no versions, and nothing is checked but that a job is there and runs under the claim given. A page
//! is read by one scan, which is what the store does as well.

use std::collections::HashMap;
use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use jobstore_core::{Claim, JobId, NewJob, Timestamp};
use redb::ReadableDatabase as _;

use super::{Limit, OWNER, Page, Write};

/// The cache of the store, unless it is told otherwise.
const CACHE: usize = 64 << 20;
const LEASE_MILLIS: i64 = 3_600_000;

// The ranges of the one tree, by the first byte of a key.
const JOB: u8 = 1;
const ID: u8 = 2;
const BY_STATUS: u8 = 3;
const BY_NAME: u8 = 4;
const DUE: u8 = 5;
const DUE_BY_NAME: u8 = 6;
const WAITING: u8 = 7;
const ENDED: u8 = 8;
const LEASE: u8 = 9;

const PENDING: u8 = 0;
const RUNNING: u8 = 1;
const SUCCEEDED: u8 = 2;

/// The limit of sled, on a folder.
pub(super) fn sled(path: &Path) -> Box<dyn Limit> {
    let config = sled::Config::new().path(path).flush_every_ms(None);
    let db = config.cache_capacity(CACHE as u64).open().expect("opens");
    let log = File::open(path.join("db")).expect("is there");
    Box::new(Jobs(Sled { db, log }))
}

/// The limit of redb, on a file.
pub(super) fn redb(path: &Path) -> Box<dyn Limit> {
    let mut builder = redb::Database::builder();
    builder.set_cache_size(CACHE);
    let database = builder.create(path).expect("opens");
    let transaction = database.begin_write().expect("begins");
    drop(transaction.open_table(TABLE).expect("opens"));
    transaction.commit().expect("commits");
    Box::new(Jobs(Redb(database)))
}

type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// What both engines do.
trait Tree: Send + Sync + 'static {
    type View: View;

    fn view(&self) -> Self::View;

    /// Takes one atomic step, on disk when this returns.
    fn apply(&self, changes: Changes);
}

/// What both engines show.
trait View {
    /// The value of a key that is there.
    fn get(&self, key: &[u8]) -> Vec<u8>;

    /// Shows the entries from one key up to another until told to stop.
    fn scan(&self, from: &[u8], to: &[u8], each: impl FnMut(&[u8], &[u8]) -> bool);
}

struct Sled {
    db: sled::Db,
    log: File,
}

impl View for sled::Db {
    fn get(&self, key: &[u8]) -> Vec<u8> {
        let value = (**self).get(key).expect("reads");
        value.expect("is there").to_vec()
    }

    fn scan(&self, from: &[u8], to: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> bool) {
        for entry in self.range(from..to) {
            let (key, value) = entry.expect("reads");
            if !each(&key, &value) {
                return;
            }
        }
    }
}

impl Tree for Sled {
    type View = sled::Db;

    fn view(&self) -> sled::Db {
        self.db.clone()
    }

    fn apply(&self, changes: Changes) {
        let mut batch = sled::Batch::default();
        let count = changes.len();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.db.apply_batch(batch).expect("applies");
        // Without this a million jobs take gigabytes of memory.
        for _ in 0..count / 64 + 2 {
            crossbeam_epoch::pin().flush();
        }
        self.db.flush().expect("flushes");
        self.log.sync_all().expect("syncs");
    }
}

const TABLE: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("jobs");

struct Redb(redb::Database);

type RedbTable = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

impl View for RedbTable {
    fn get(&self, key: &[u8]) -> Vec<u8> {
        let value = redb::ReadableTable::get(self, key).expect("reads");
        value.expect("is there").value().to_vec()
    }

    fn scan(&self, from: &[u8], to: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> bool) {
        for entry in self.range(from..to).expect("reads") {
            let (key, value) = entry.expect("reads");
            if !each(key.value(), value.value()) {
                return;
            }
        }
    }
}

impl Tree for Redb {
    type View = RedbTable;

    fn view(&self) -> RedbTable {
        let transaction = self.0.begin_read().expect("begins");
        transaction.open_table(TABLE).expect("opens")
    }

    fn apply(&self, changes: Changes) {
        let transaction = self.0.begin_write().expect("begins");
        let mut table = transaction.open_table(TABLE).expect("opens");
        for (key, value) in &changes {
            match value {
                Some(value) => drop(table.insert(&**key, &**value).expect("writes")),
                None => drop(table.remove(&**key).expect("writes")),
            }
        }
        drop(table);
        transaction.commit().expect("commits");
    }
}

struct Jobs<T>(T);

#[async_trait]
impl<T: Tree> Limit for Jobs<T> {
    async fn write(&mut self, calls: Vec<Write>) -> Vec<Vec<Claim>> {
        let now = now();
        let mut changes = Changes::new();
        let view = self.0.view();
        let mut claimable = claimable(&view, &calls);
        let answers = calls
            .into_iter()
            .map(|call| match call {
                Write::Create(jobs) => create(&mut changes, jobs, now),
                Write::Claim { name, limit } => {
                    let jobs = claimable.get_mut(&name).expect("was looked for");
                    let jobs = jobs.drain(..jobs.len().min(limit as usize));
                    jobs.map(|job| claim(&mut changes, job, now)).collect()
                }
                Write::Finish(claims) => finish(&view, &mut changes, claims, now),
            })
            .collect();
        drop(view);
        // In the order of keys, as the store has them; it spares redb many ways down.
        changes.sort_unstable();
        self.0.apply(changes);
        answers
    }

    async fn page(&mut self, after: Option<(Timestamp, JobId)>, size: usize) -> Page {
        let mut from = vec![JOB];
        if let Some((time, id)) = after {
            push_place(&mut from, time.as_millis(), id);
            from.push(0);
        }
        let mut jobs = Vec::with_capacity(size);
        self.0.view().scan(&from, &[JOB + 1], |key, value| {
            jobs.push(Job::read(key, value));
            jobs.len() < size
        });
        let last = jobs.last();
        let last = last.map(|job| (Timestamp::from_millis(job.created), job.id));
        let jobs = black_box(jobs).len();
        Page { jobs, last }
    }
}

/// The jobs of each name that calls claim, as many as all of them want.
fn claimable(view: &impl View, calls: &[Write]) -> HashMap<String, Vec<Job>> {
    let mut wanted: HashMap<&str, usize> = HashMap::new();
    for call in calls {
        if let Write::Claim { name, limit } = call {
            *wanted.entry(name).or_default() += *limit as usize;
        }
    }
    let found = wanted.into_iter().map(|(name, limit)| {
        let from = named(DUE_BY_NAME, name);
        let mut to = from.clone();
        *to.last_mut().expect("is not empty") = 1;
        let mut keys = Vec::with_capacity(limit);
        view.scan(&from, &to, |key, created| {
            keys.push([&[JOB], created, &key[key.len() - 16..]].concat());
            keys.len() < limit
        });
        let jobs = keys.iter().map(|key| Job::read(key, &view.get(key)));
        (name.to_owned(), jobs.collect())
    });
    found.collect()
}

fn finish(view: &impl View, changes: &mut Changes, claims: Vec<Claim>, now: i64) -> Vec<Claim> {
    let mut finished = Vec::with_capacity(claims.len());
    for claim in claims {
        let id = [&[ID], claim.id.as_uuid().as_bytes().as_slice()].concat();
        let created = view.get(&id);
        let key = [&[JOB], &*created, &id[1..]].concat();
        let mut job = Job::read(&key, &view.get(&key));
        if job.status != RUNNING || job.fence != claim.fence {
            continue;
        }
        changes.push((job.in_order(LEASE, job.expires), None));
        job.expires = 0;
        job.texts[5].clear();
        job.updated = now;
        job.move_to(changes, SUCCEEDED);
        changes.push((job.in_order(ENDED, now), Some(created)));
        black_box(job);
        finished.push(claim);
    }
    finished
}

fn create(changes: &mut Changes, jobs: Vec<NewJob>, now: i64) -> Vec<Claim> {
    let create = |new: NewJob| {
        let timeout = new.timeout.map_or(0.0, |timeout| timeout.as_secs_f64());
        let next = new.next_attempt_at.map_or(now, Timestamp::as_millis);
        let job = Job {
            id: JobId::generate(),
            created: now,
            status: PENDING,
            fence: 0,
            retries: 0,
            priority: new.priority,
            next,
            updated: now,
            expires: 0,
            timeout,
            max_retries: new.max_retries.map_or(-1, i64::from),
            texts: [
                new.job_name,
                new.params.as_str().to_owned(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
            ],
        };
        let created = order(now).to_vec();
        changes.push((job.key(), Some(job.value())));
        let id = [&[ID], job.id.as_uuid().as_bytes().as_slice()].concat();
        changes.push((id, Some(created.clone())));
        changes.push((job.listed(vec![BY_STATUS]), Some(Vec::new())));
        changes.push((job.listed(named(BY_NAME, job.name())), Some(Vec::new())));
        if next <= now {
            changes.push((job.due(vec![DUE]), Some(created.clone())));
            changes.push((job.due(named(DUE_BY_NAME, job.name())), Some(created)));
        } else {
            changes.push((job.in_order(WAITING, next), Some(created)));
        }
        let claim = Claim {
            id: job.id,
            fence: 0,
        };
        black_box(job);
        claim
    };
    jobs.into_iter().map(create).collect()
}

fn claim(changes: &mut Changes, mut job: Job, now: i64) -> Claim {
    changes.push((job.due(vec![DUE]), None));
    changes.push((job.due(named(DUE_BY_NAME, job.name())), None));
    job.fence += 1;
    job.updated = now;
    job.expires = now + LEASE_MILLIS;
    OWNER.clone_into(&mut job.texts[5]);
    job.move_to(changes, RUNNING);
    let created = order(job.created).to_vec();
    changes.push((job.in_order(LEASE, job.expires), Some(created)));
    let claim = Claim {
        id: job.id,
        fence: job.fence,
    };
    black_box(job);
    claim
}

/// A job with all that the store keeps; what is absent is empty or a number that no job has.
struct Job {
    id: JobId,
    created: i64,
    status: u8,
    fence: u64,
    retries: u32,
    priority: i16,
    next: i64,
    updated: i64,
    expires: i64,
    timeout: f64,
    max_retries: i64,
    /// Name, params, result, last error, unique key, owner.
    texts: [String; 6],
}

impl Job {
    fn name(&self) -> &str {
        &self.texts[0]
    }

    fn key(&self) -> Vec<u8> {
        let mut key = vec![JOB];
        push_place(&mut key, self.created, self.id);
        key
    }

    fn listed(&self, mut key: Vec<u8>) -> Vec<u8> {
        key.push(self.status);
        push_place(&mut key, self.created, self.id);
        key
    }

    fn due(&self, mut key: Vec<u8>) -> Vec<u8> {
        let upwards = self.priority.cast_unsigned() ^ 0x8000;
        key.extend_from_slice(&(!upwards).to_be_bytes());
        push_place(&mut key, self.next, self.id);
        key
    }

    fn in_order(&self, range: u8, time: i64) -> Vec<u8> {
        let mut key = vec![range];
        push_place(&mut key, time, self.id);
        key
    }

    /// Gives the job another status, and writes it with its places in the listings.
    fn move_to(&mut self, changes: &mut Changes, status: u8) {
        let name = named(BY_NAME, self.name());
        changes.push((self.listed(vec![BY_STATUS]), None));
        changes.push((self.listed(name.clone()), None));
        self.status = status;
        changes.push((self.listed(vec![BY_STATUS]), Some(Vec::new())));
        changes.push((self.listed(name), Some(Vec::new())));
        changes.push((self.key(), Some(self.value())));
    }

    fn value(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(256);
        value.push(self.status);
        value.extend_from_slice(&self.fence.to_be_bytes());
        value.extend_from_slice(&self.retries.to_be_bytes());
        value.extend_from_slice(&self.priority.to_be_bytes());
        value.extend_from_slice(&self.next.to_be_bytes());
        value.extend_from_slice(&self.updated.to_be_bytes());
        value.extend_from_slice(&self.expires.to_be_bytes());
        value.extend_from_slice(&self.timeout.to_be_bytes());
        value.extend_from_slice(&self.max_retries.to_be_bytes());
        for text in &self.texts {
            let len = u32::try_from(text.len()).expect("is short");
            value.extend_from_slice(&len.to_be_bytes());
            value.extend_from_slice(text.as_bytes());
        }
        value
    }

    fn read(key: &[u8], mut value: &[u8]) -> Self {
        fn take<const N: usize>(value: &mut &[u8]) -> [u8; N] {
            let (bytes, rest) = value.split_first_chunk().expect("is whole");
            *value = rest;
            *bytes
        }
        let text = |value: &mut &[u8]| {
            let len = u32::from_be_bytes(take(value)) as usize;
            let (text, rest) = value.split_at(len);
            *value = rest;
            String::from_utf8(text.to_vec()).expect("is text")
        };
        let value = &mut value;
        let (created, id) = key[1..].split_at(8);
        let created = u64::from_be_bytes(created.try_into().expect("eight bytes"));
        let id = u128::from_be_bytes(id.try_into().expect("sixteen bytes"));
        Self {
            id: JobId::from_uuid(uuid::Uuid::from_u128(id)),
            created: (created ^ (1 << 63)).cast_signed(),
            status: take::<1>(value)[0],
            fence: u64::from_be_bytes(take(value)),
            retries: u32::from_be_bytes(take(value)),
            priority: i16::from_be_bytes(take(value)),
            next: i64::from_be_bytes(take(value)),
            updated: i64::from_be_bytes(take(value)),
            expires: i64::from_be_bytes(take(value)),
            timeout: f64::from_be_bytes(take(value)),
            max_retries: i64::from_be_bytes(take(value)),
            texts: std::array::from_fn(|_| text(value)),
        }
    }
}

/// The beginning of the keys of a name; names in benchmarks have no zero byte.
fn named(range: u8, name: &str) -> Vec<u8> {
    [&[range], name.as_bytes(), &[0]].concat()
}

fn push_place(key: &mut Vec<u8>, time: i64, id: JobId) {
    key.extend_from_slice(&order(time));
    key.extend_from_slice(id.as_uuid().as_bytes());
}

/// Bytes that compare as the time does.
fn order(time: i64) -> [u8; 8] {
    (time.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.expect("is after 1970").as_millis();
    i64::try_from(millis).expect("is near")
}
