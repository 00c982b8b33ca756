//! The harness of the suite for a store on an engine in files, with every hook that can be had
//! without ending a process. The backends of the engines share it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jobstore_conformance::{
    Capabilities, Crash, Harness, Surroundings, Tamper, Tampering, Versions,
};
use jobstore_core::{Error, JobId, JobStore, ManualClock, Order, Result};
use jobstore_kv::{
    Changes, Difference, Durability, Engine, Entries, Failure, Opening, Options, Repair, View,
};
use tempfile::TempDir;

/// Makes stores on the engine, each in a folder of its own.
pub(crate) struct OnEngine<E> {
    version: &'static str,
    engine: std::marker::PhantomData<fn() -> E>,
}

impl<E> OnEngine<E> {
    /// `version` is that of the backend.
    pub(crate) const fn new(version: &'static str) -> Self {
        Self {
            version,
            engine: std::marker::PhantomData,
        }
    }
}

#[async_trait]
impl<E: Engine> Harness for OnEngine<E> {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            // The engines let one handle have the store.
            shared: false,
            arrivals: true,
        }
    }

    async fn fresh(&self, clock: ManualClock) -> Result<Box<dyn Surroundings>> {
        let folder = tempfile::tempdir().expect("makes a folder");
        let path = Mutex::new(folder.path().join("jobs"));
        Ok(Box::new(Place::<E> {
            folder,
            path,
            clock,
            engine: std::marker::PhantomData,
        }))
    }

    fn name(&self) -> Option<&str> {
        Some(E::NAME)
    }

    async fn versions(&self) -> Result<Versions> {
        Ok(Versions {
            backend: self.version.to_owned(),
            // Compiled in: the lock file has its version.
            engine: E::NAME.to_owned(),
        })
    }
}

struct Place<E> {
    folder: TempDir,
    path: Mutex<PathBuf>,
    clock: ManualClock,
    engine: std::marker::PhantomData<fn() -> E>,
}

impl<E> Place<E> {
    fn path(&self) -> PathBuf {
        self.path.lock().expect("no panic").clone()
    }
}

#[async_trait]
impl<E: Engine> Surroundings for Place<E> {
    async fn open(&self) -> Result<Arc<dyn JobStore>> {
        let options = Options::<Counted<E>>::new(self.path());
        let options = options.with_clock(Arc::new(self.clock.clone()));
        let store = options.open().await?;
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

    fn requests(&self) -> Option<u64> {
        Some(counter(&self.path()).asked())
    }

    fn kill(&self) -> Option<&dyn Crash> {
        Some(self)
    }
}

#[async_trait]
impl<E: Engine> Tamper for Place<E> {
    async fn tamper(&self, id: JobId, with: Tampering) -> Result<()> {
        let engine = self.engine().await?;
        // `key.rs` puts the jobs into the range 1, each under a key that ends with its id.
        let mut job = None;
        for entry in engine.view()?.range(&[1], &[2], Order::Ascending)? {
            let (key, value) = entry?;
            if key.ends_with(id.as_uuid().as_bytes()) {
                job = Some((key, value));
            }
        }
        let (key, mut value) = job.expect("the job is there");
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
        let changes = BTreeMap::from([(key, Some(value))]);
        let applied = engine.apply(&changes, Durability::Immediate);
        applied.expect("the engine applies");
        Ok(())
    }
}

impl<E: Engine> Place<E> {
    /// The engine without a store, once the handle that was dropped has let go of it.
    async fn engine(&self) -> Result<E> {
        let opening = Opening::new(false, 1 << 20);
        loop {
            match E::open(&self.path(), &opening) {
                Err(Error::Unavailable { .. }) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                opened => return opened,
            }
        }
    }
}

#[async_trait]
impl<E: Engine> Crash for Place<E> {
    async fn crash(&self) -> Result<()> {
        // What the system has of the files now is what a killed process would leave.
        let next = self.folder.path().join(JobId::generate().to_string());
        let path = self.path();
        match path.is_dir() {
            true => copy(&path, &next),
            false => drop(fs::copy(path, &next).expect("copies")),
        }
        *self.path.lock().expect("no panic") = next;
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("makes a folder");
    for entry in fs::read_dir(from).expect("reads") {
        let entry = entry.expect("reads");
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).expect("copies")),
        }
    }
}

/// How many keys engines at a path were asked for, and how many entries they read and wrote.
#[derive(Debug, Default)]
struct Counter {
    requests: AtomicU64,
    is_asked: AtomicBool,
}

impl Counter {
    fn add(&self, requests: u64) {
        self.requests.fetch_add(requests, Relaxed);
    }

    /// The count. From now on all reads take the way on which none is begun twice.
    fn asked(&self) -> u64 {
        self.is_asked.store(true, Relaxed);
        self.requests.load(Relaxed)
    }
}

/// That of the engines at this path.
fn counter(path: &Path) -> Arc<Counter> {
    static COUNTERS: Mutex<BTreeMap<PathBuf, Arc<Counter>>> = Mutex::new(BTreeMap::new());
    let mut counters = COUNTERS.lock().expect("no panic");
    Arc::clone(counters.entry(path.to_owned()).or_default())
}

/// An engine that counts what it is asked.
#[derive(Debug)]
struct Counted<E> {
    engine: E,
    requests: Arc<Counter>,
}

impl<E: Engine> Engine for Counted<E> {
    const NAME: &'static str = E::NAME;

    fn open(path: &Path, opening: &Opening) -> Result<Self> {
        Ok(Self {
            engine: E::open(path, opening)?,
            requests: counter(path),
        })
    }

    fn view(&self) -> Result<Box<dyn View + '_>> {
        self.engine.view().map(|view| self.counted(view))
    }

    fn view_now(&self) -> Result<Option<Box<dyn View + '_>>> {
        if self.requests.is_asked.load(Relaxed) {
            return Ok(None);
        }
        let view = self.engine.view_now()?;
        Ok(view.map(|view| self.counted(view)))
    }

    fn apply(&self, changes: &Changes, durability: Durability) -> Result<(), Failure> {
        self.requests.add(changes.len() as u64);
        self.engine.apply(changes, durability)
    }

    fn sync(&self) -> Result<()> {
        self.engine.sync()
    }
}

impl<E> Counted<E> {
    fn counted<'a>(&'a self, view: Box<dyn View + 'a>) -> Box<dyn View + 'a> {
        Box::new(CountedView {
            view,
            requests: &self.requests,
        })
    }
}

struct CountedView<'a> {
    view: Box<dyn View + 'a>,
    requests: &'a Counter,
}

impl View for CountedView<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.requests.add(1);
        self.view.get(key)
    }

    fn range<'a>(&'a self, from: &[u8], to: &[u8], order: Order) -> Result<Entries<'a>> {
        let entries = self.view.range(from, to, order)?;
        Ok(Box::new(entries.inspect(|_| {
            self.requests.add(1);
        })))
    }
}
