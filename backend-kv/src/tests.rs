//! The store on an engine in memory: the suite of every backend, and what only this one has.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jobstore_conformance::{Capabilities, Harness, Surroundings, Tamper, Tampering};
use jobstore_core::{
    ClaimRequest, Error, Job, JobFilter, JobId, JobStatus, JobStore, JobStoreExt as _, ManualClock,
    NewJob, Order, PageRequest, Result, RetryPolicy, Timestamp,
};

use crate::memory::Memory;
use crate::packed::Unpacked;
use crate::store::{FORMAT_VERSION, KvJobStore, Options};
use crate::value::{self, Record};
use crate::{CheckReport, Difference, Durability, Engine as _, Repair, View as _, key, record};

struct InMemory;

#[async_trait]
impl Harness for InMemory {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            shared: false,
            arrivals: true,
        }
    }

    async fn fresh(&self, clock: ManualClock) -> Result<Box<dyn Surroundings>> {
        Ok(Box::new(Place(path(), clock)))
    }
}

struct Place(PathBuf, ManualClock);

#[async_trait]
impl Surroundings for Place {
    async fn open(&self) -> Result<Arc<dyn JobStore>> {
        let options = Options::<Memory>::new(&self.0);
        let store = options.with_clock(Arc::new(self.1.clone())).open().await?;
        // Between any two openings the indexes must say what the jobs say.
        let wrong = Arc::new(Mutex::new(Vec::new()));
        let found = Arc::clone(&wrong);
        let each = move |difference: &Difference| {
            // That one the suite has made itself.
            if !matches!(difference, Difference::Unreadable { .. }) {
                found.lock().expect("no panic").push(difference.clone());
            }
        };
        store.check(Repair::No, each).await?;
        assert_eq!(*wrong.lock().expect("no panic"), []);
        Ok(Arc::new(store))
    }

    fn tamper(&self) -> Option<&dyn Tamper> {
        Some(self)
    }
}

#[async_trait]
impl Tamper for Place {
    async fn tamper(&self, id: JobId, with: Tampering) -> Result<()> {
        let memory = Memory::at(&self.0);
        let mut map = memory.0.write().expect("no panic");
        let id = id.as_uuid().as_bytes();
        let mut jobs = map.iter_mut();
        let job = jobs.find(|(key, _)| key[0] == key::JOB && key.ends_with(id));
        let (_, value) = job.expect("the job is there");
        match with {
            // An encoding that does not exist yet.
            Tampering::Unreadable => value[0] = u8::MAX,
            Tampering::Params(text) => {
                let mut pieces = value.windows(text.len());
                let place = pieces.position(|piece| piece == br#"{"a":1}"#);
                let place = place.expect("the params are in the value");
                value[place..place + text.len()].copy_from_slice(text.as_bytes());
            }
        }
        Ok(())
    }
}

fn path() -> PathBuf {
    JobId::generate().to_string().into()
}

mod suite {
    use super::*;

    jobstore_conformance::conformance_tests!(
        InMemory,
        without shared, requests, kill, power_cut
    );
    jobstore_conformance::conformance_model_tests!(InMemory, 200);
}

/// A store and what is under it.
struct Opened {
    store: KvJobStore<Memory>,
    memory: Memory,
    clock: ManualClock,
}

async fn opened() -> Opened {
    let path = path();
    let clock = ManualClock::new(Timestamp::from_millis(1000));
    let options = Options::new(&path).with_clock(Arc::new(clock.clone()));
    Opened {
        store: options.open().await.expect("opens"),
        memory: Memory::at(&path),
        clock,
    }
}

impl Opened {
    fn view(&self) -> Unpacked<'_> {
        Unpacked::of(&self.memory).expect("shows")
    }

    fn change(&self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let changes = self.view().pack([(key, value)].into()).expect("packs");
        let changed = self.memory.apply(&changes, Durability::Immediate);
        changed.expect("applies");
    }

    fn put(&self, key: Vec<u8>, value: Vec<u8>) {
        self.change(key, Some(value));
    }

    fn remove(&self, key: &[u8]) {
        let found = self.view().get(key).expect("reads");
        assert!(found.is_some(), "there is such a key");
        self.change(key.to_vec(), None);
    }

    fn entries(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let view = self.view();
        let entries = view.range(&[], &[u8::MAX], Order::Ascending);
        let entries = entries.expect("reads").collect::<Result<_>>();
        entries.expect("reads")
    }

    fn keys(&self) -> Vec<Vec<u8>> {
        self.entries().into_keys().collect()
    }

    async fn create(&self, job: NewJob) -> Job {
        self.store
            .create_job(job)
            .await
            .expect("creates")
            .into_job()
    }

    async fn check(&self, repair: Repair) -> (CheckReport, Vec<Difference>) {
        let found = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&found);
        let each =
            move |difference: &Difference| seen.lock().expect("no panic").push(difference.clone());
        let report = self.store.check(repair, each).await.expect("checks");
        let found = found.lock().expect("no panic").clone();
        (report, found)
    }
}

/// Jobs in every status, with every kind of entry.
async fn populated() -> Opened {
    let opened = opened().await;
    let store = &opened.store;
    let lease = Duration::from_secs(60);
    for number in 0..5_u8 {
        let job = opened
            .create(NewJob::new("a", "{}").with_unique_key(format!("{number}")))
            .await;
        let request = ClaimRequest::new("w", lease).with_job_name("a");
        match number {
            0 => drop(store.claim_job(&request).await.expect("claims")),
            1 => drop(
                store
                    .finish_job(job.id, "x".repeat(5000))
                    .await
                    .expect("finishes"),
            ),
            2 => drop(store.cancel_job(job.id).await.expect("cancels")),
            3 => drop(store.start_job(job.id).await.expect("starts")),
            _ => {}
        }
    }
    let later = Timestamp::from_millis(9_000_000);
    let long = format!(r#"{{"a":"{}"}}"#, "y".repeat(9000));
    opened
        .create(NewJob::new("b", long).with_next_attempt_at(later))
        .await;
    opened
}

#[tokio::test]
async fn a_store_in_order_has_no_differences() {
    let opened = populated().await;
    let (report, found) = opened.check(Repair::No).await;
    assert_eq!(found, []);
    assert_eq!(report.jobs, 6);
    assert_eq!(report.entries as usize, opened.keys().len() - 6 - 1);
}

#[tokio::test]
async fn every_entry_that_is_lost_is_told_and_made_again() {
    let opened = populated().await;
    let all = opened.keys();
    let lost = all.iter().filter(|key| key[0] > key::TEXT);
    for key in lost.clone() {
        opened.remove(key);
        let (report, found) = opened.check(Repair::No).await;
        assert!(
            matches!(found[..], [Difference::Missing { .. }]),
            "{key:?}: {found:?}"
        );
        assert_eq!((report.differences, report.repaired), (1, 0));
        let (report, _) = opened.check(Repair::Indexes).await;
        assert_eq!((report.differences, report.repaired), (1, 1));
        assert_eq!(opened.check(Repair::No).await.1, []);
    }
    assert_eq!(opened.keys(), all);
    assert!(lost.count() > 15);
}

#[tokio::test]
async fn every_entry_of_no_job_is_told_and_removed() {
    let opened = populated().await;
    let all = opened.keys();
    let other = JobId::generate();
    for key in all.iter().filter(|key| key[0] > key::JOB) {
        let (mut stray, mut value) = (key.clone(), vec![]);
        match key[0] {
            key::UNIQUE => {
                stray.push(9);
                value = key::place_bytes((Timestamp::default(), other));
            }
            key::TEXT => stray[9..25].copy_from_slice(other.as_uuid().as_bytes()),
            range => {
                let start = stray.len() - 16;
                stray[start..].copy_from_slice(other.as_uuid().as_bytes());
                if ![key::BY_STATUS, key::BY_NAME].contains(&range) {
                    value = key::time_bytes(Timestamp::default()).to_vec();
                }
            }
        }
        opened.put(stray, value);
        let (report, found) = opened.check(Repair::Indexes).await;
        assert!(
            matches!(found[..], [Difference::Stray { id: Some(id), .. }] if id == other),
            "{key:?}: {found:?}"
        );
        assert_eq!(report.repaired, 1);
        assert_eq!(opened.keys(), all);
    }
}

#[tokio::test]
async fn everything_but_the_jobs_can_be_rebuilt() {
    let opened = populated().await;
    let all = opened.keys();
    for key in all.iter().filter(|key| key[0] > key::TEXT) {
        opened.remove(key);
    }
    let (report, _) = opened.check(Repair::Indexes).await;
    assert_eq!(report.differences, report.repaired);
    assert_eq!(opened.keys(), all);
}

#[tokio::test]
async fn a_part_of_an_index_that_is_lost_or_damaged_is_told_and_made_again() {
    let opened = populated().await;
    let all = opened.entries();
    let stored = opened.memory.0.read().expect("no panic").clone();
    let leaves = stored.iter().filter(|(key, _)| !all.contains_key(*key));
    for (leaf, value) in leaves.clone() {
        for damaged in [
            None,
            Some(vec![]),
            Some(vec![1, 200]),
            Some(value[..9].to_vec()),
        ] {
            let changes = [(leaf.clone(), damaged)].into();
            let done = opened.memory.apply(&changes, Durability::Immediate);
            done.expect("applies");
            let (report, found) = opened.check(Repair::Indexes).await;
            assert!(
                matches!(found[..], [Difference::Missing { .. }, ..]),
                "{leaf:?}: {found:?}"
            );
            assert_eq!(report.repaired, report.differences);
            assert!(opened.entries() == all, "{leaf:?}");
        }
    }
    assert!(leaves.count() >= 6);
}

#[tokio::test]
async fn a_key_held_twice_is_told_and_left_to_people() {
    let opened = opened().await;
    let first = opened
        .create(NewJob::new("a", "{}").with_unique_key("k"))
        .await;
    let mut second = opened.create(NewJob::new("a", "{}")).await;
    second.unique_key = Some("k".into());
    let value = value::encode(&Record {
        job: second.clone(),
        due: true,
        unknown: Vec::new(),
    });
    opened.put(key::job(second.list_order()), value);
    let (report, found) = opened.check(Repair::Indexes).await;
    let twice = Difference::HeldTwice {
        id: second.id,
        holder: first.id,
    };
    assert_eq!(found, [twice]);
    assert_eq!(report.repaired, 0);
}

#[tokio::test]
async fn a_second_job_of_an_id_is_told_and_left_to_people() {
    let opened = opened().await;
    let first = opened.create(NewJob::new("a", "{}")).await;
    let second = Job {
        creation_time: Timestamp::from_millis(2000),
        status: JobStatus::Canceled,
        ..first.clone()
    };
    let value = value::encode(&Record {
        job: second.clone(),
        due: false,
        unknown: Vec::new(),
    });
    opened.put(key::job(second.list_order()), value);
    let (_, found) = opened.check(Repair::Indexes).await;
    assert!(
        matches!(&found[0], Difference::Unreadable { id: Some(id), .. } if *id == first.id),
        "{found:?}"
    );
    assert_eq!(opened.store.get_job(first.id).await.expect("reads"), first);
}

#[tokio::test]
async fn an_entry_that_leads_elsewhere_is_told_and_put_right() {
    let opened = populated().await;
    let all = opened.entries();
    let entries = all
        .iter()
        .filter(|(key, value)| key[0] > key::TEXT && !value.is_empty());
    for (key, value) in entries {
        let elsewhere = [&[value[0] ^ 1], &value[1..]].concat();
        opened.put(key.clone(), elsewhere);
        assert_ne!(opened.check(Repair::Indexes).await.1, [], "{key:?}");
        assert!(opened.entries() == all, "{key:?}");
    }
}

#[tokio::test]
async fn a_job_that_cannot_be_read_hides_no_other() {
    let opened = populated().await;
    let bad = opened
        .create(NewJob::new("a", "{}").with_priority(99))
        .await;
    let good = opened
        .create(NewJob::new("a", "{}").with_priority(98))
        .await;
    opened.put(key::job(bad.list_order()), vec![7, 7, 7]);

    let list = opened
        .store
        .list_jobs(&JobFilter::default(), &PageRequest::default())
        .await;
    let list = list.expect("lists");
    assert_eq!(list.len(), 7);
    assert!(
        matches!(&list.unreadable[..], [Error::Unreadable { id, .. }] if *id == bad.id.to_string())
    );
    let by_id = JobFilter::default().with_ids([bad.id, good.id]);
    let list = opened
        .store
        .list_jobs(&by_id, &PageRequest::default())
        .await
        .expect("lists");
    assert_eq!((list.len(), list.unreadable.len()), (1, 1));

    let got = opened.store.get_jobs(&[good.id, bad.id]).await;
    assert!(matches!(got, Err(Error::Unreadable { .. })));
    let finished = opened.store.finish_job(bad.id, "x").await;
    assert!(matches!(finished, Err(Error::Unreadable { .. })));
    let request = ClaimRequest::new("w", Duration::from_secs(1));
    let claimed = opened
        .store
        .claim_job(&request)
        .await
        .expect("claims")
        .expect("there is one");
    assert_eq!(claimed.id, good.id);
    let (report, found) = opened.check(Repair::Indexes).await;
    assert!(matches!(&found[..], [Difference::Unreadable { id: Some(id), .. }] if *id == bad.id));
    assert_eq!(report.repaired, 0);
}

#[tokio::test]
async fn a_long_text_that_lost_a_piece_is_unreadable() {
    let opened = opened().await;
    let long = format!(r#"{{"a":"{}"}}"#, "y".repeat(9000));
    let job = opened.create(NewJob::new("a", &*long)).await;
    assert_eq!(
        opened
            .store
            .get_job(job.id)
            .await
            .expect("reads")
            .params
            .as_str(),
        long
    );
    opened.remove(&key::text(job.list_order(), value::Text::Params as u8, 1));
    let got = opened.store.get_job(job.id).await;
    assert!(matches!(got, Err(Error::Unreadable { .. })));
}

#[tokio::test]
async fn an_update_writes_no_params_again_and_leaves_no_piece_behind() {
    let opened = opened().await;
    let long = format!(r#"{{"a":"{}"}}"#, "y".repeat(9000));
    let job = opened.create(NewJob::new("a", long)).await;
    let pieces = || {
        opened
            .keys()
            .iter()
            .filter(|key| key[0] == key::TEXT)
            .count()
    };
    assert_eq!(pieces(), 3);
    opened
        .store
        .finish_job(job.id, "z".repeat(20_000))
        .await
        .expect("finishes");
    assert_eq!(pieces(), 3 + 6);
    opened.store.reset_job(job.id).await.expect("resets");
    assert_eq!(pieces(), 3);
    opened.store.cancel_job(job.id).await.expect("cancels");
    opened
        .store
        .delete_jobs(&jobstore_core::DeleteRequest::Ids(vec![job.id]))
        .await
        .expect("deletes");
    assert_eq!(opened.keys().len(), 1, "only the format is left");
}

#[tokio::test]
async fn a_waiting_job_is_moved_once_and_claimed_when_its_time_has_come() {
    let opened = opened().await;
    let later = Timestamp::from_millis(5000);
    let job = opened
        .create(NewJob::new("a", "{}").with_next_attempt_at(later))
        .await;
    let request = ClaimRequest::new("w", Duration::from_secs(1));
    let waiting = || {
        opened
            .keys()
            .iter()
            .filter(|key| key[0] == key::WAITING)
            .count()
    };
    assert_eq!(
        opened.store.claim_job(&request).await.expect("claims"),
        None
    );
    assert_eq!(waiting(), 1);
    opened.clock.set(later);
    let other = ClaimRequest::new("w", Duration::from_secs(1)).with_job_name("other");
    assert_eq!(opened.store.claim_job(&other).await.expect("claims"), None);
    assert_eq!(waiting(), 0, "it became due, though nobody took it");
    let claimed = opened
        .store
        .claim_job(&request)
        .await
        .expect("claims")
        .expect("is due");
    assert_eq!(claimed.id, job.id);
    let policy = RetryPolicy::default();
    opened
        .store
        .retry_or_fail_job(claimed.claim(), "x", policy)
        .await
        .expect("retries");
    assert_eq!(waiting(), 1);
}

#[tokio::test]
async fn fields_of_a_later_version_survive_an_update() {
    let opened = opened().await;
    let job = opened.create(NewJob::new("a", "{}")).await;
    let unknown = vec![200, 2, 1, 2];
    let later = Record {
        job: job.clone(),
        due: true,
        unknown: unknown.clone(),
    };
    opened.put(key::job(job.list_order()), value::encode(&later));
    opened.store.start_job(job.id).await.expect("starts");
    let view = opened.memory.view().expect("shows");
    let found = record::load(&*view, job.id)
        .expect("reads")
        .expect("is there");
    assert_eq!(found.unknown, unknown);
}

#[tokio::test]
async fn another_format_and_other_data_are_refused() {
    let format = vec![key::FORMAT];
    let version = FORMAT_VERSION + 1;
    let later = [&b"jobstore"[..], &version.to_be_bytes()].concat();
    let is_later = format!("format has version {version}");
    for (key, value, reason) in [
        (&format, later, &*is_later),
        (&format, b"jobs".to_vec(), "another program"),
        (&vec![7], vec![], "another program"),
    ] {
        let path = path();
        let memory = Memory::at(&path);
        memory
            .0
            .write()
            .expect("no panic")
            .insert(key.clone(), value);
        drop(memory);
        let error = Options::<Memory>::new(path)
            .open()
            .await
            .expect_err("is refused");
        assert!(
            matches!(&error, Error::Incompatible { reason: found } if found.contains(reason)),
            "{error}"
        );
    }
}

#[tokio::test]
async fn nothing_is_made_when_that_is_not_wanted() {
    let path = path();
    let options = Options::<Memory>::new(&path).with_create(false);
    assert!(matches!(
        options.clone().open().await,
        Err(Error::Incompatible { .. })
    ));
    drop(Options::<Memory>::new(&path).open().await.expect("opens"));
    options.open().await.expect("opens");
}
