//! The store over any engine.

use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use jobstore_core::{
    Arrivals, ClaimRequest, Clock, Creation, DeleteRequest, Error, Job, JobFilter, JobId, JobStore,
    NewJob, PageRequest, PagedList, Result, StatusCounts, StoreClock, Timestamp, Update, validate,
};
use jobstore_group_commit::{Answers, Engine as Committer, Failure, Group, GroupCommit};
use tokio::sync::oneshot;

use crate::check::{Check, CheckReport, Difference, Repair};
use crate::engine::{Durability, Engine, Opening};
use crate::error::{incompatible, panicked, unavailable};
use crate::glance::{Glances, Source};
use crate::key::{self, Key};
use crate::transaction::Transaction;
use crate::{read, write};

/// The version of the layout of keys and of what they mean.
pub(crate) const FORMAT_VERSION: u32 = 2;
/// Stands before the version, so that a map of another program is not taken for ours.
const MAGIC: &[u8] = b"jobstore";
/// How often what was written with [`Durability::Relaxed`] is brought to disk.
const RELAXED_SYNC: Duration = Duration::from_millis(500);
/// The most jobs that become due in one step.
const MAX_PROMOTED: usize = 10_000;

/// How to open a store on an engine.
#[derive(Debug)]
pub struct Options<E> {
    path: PathBuf,
    clock: Option<Arc<dyn Clock>>,
    durability: Durability,
    lock_timeout: Duration,
    opening: Opening,
    engine: PhantomData<fn() -> E>,
}

impl<E> Clone for Options<E> {
    fn clone(&self) -> Self {
        Self {
            path: self.path.clone(),
            clock: self.clock.clone(),
            durability: self.durability,
            lock_timeout: self.lock_timeout,
            opening: self.opening,
            engine: PhantomData,
        }
    }
}

impl<E: Engine> Options<E> {
    /// A store at this path, which is made when it does not exist.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            clock: None,
            durability: Durability::Immediate,
            lock_timeout: Duration::from_secs(2),
            opening: Opening {
                create: true,
                cache_bytes: 64 * 1024 * 1024,
            },
            engine: PhantomData,
        }
    }

    /// Reads the time from `clock` instead of the machine's.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock: Some(clock),
            ..self
        }
    }

    /// Sets what a returned call means after a power cut.
    #[must_use]
    pub fn with_durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// Sets how long to wait for another process or handle to let go of the path; 2 seconds unless
    /// set. A handle that was just dropped lets go as soon as its last call ended.
    #[must_use]
    pub fn with_lock_timeout(self, lock_timeout: Duration) -> Self {
        Self {
            lock_timeout,
            ..self
        }
    }

    /// Sets about how much memory the engine may use to keep what it read and wrote; 64 MiB unless
    /// set.
    #[must_use]
    pub fn with_cache_bytes(mut self, cache_bytes: usize) -> Self {
        self.opening.cache_bytes = cache_bytes;
        self
    }

    /// Sets whether opening makes a store where none is, which it does unless told otherwise.
    #[must_use]
    pub fn with_create(mut self, create: bool) -> Self {
        self.opening.create = create;
        self
    }

    /// Opens the store.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when another process or handle has it;
    /// [`Error::Incompatible`] when what is there is not a store of this engine, was written by a
    /// newer version, or is not there and may not be made; [`Error::Backend`] when the engine
    /// cannot open it, also when it panics.
    pub async fn open(self) -> Result<KvJobStore<E>> {
        let start = tokio::time::Instant::now();
        let engine = loop {
            let (path, opening) = (self.path.clone(), self.opening);
            let opened = blocking::<E, _>(move || open(&path, &opening)).await;
            match opened {
                Err(Error::Unavailable { .. }) if start.elapsed() < self.lock_timeout => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                opened => break opened?,
            }
        };
        let clock = self.clock.map_or_else(StoreClock::default, StoreClock::new);
        let shared = Arc::new(Shared::new(engine, clock, self.durability));
        if self.durability == Durability::Relaxed {
            tokio::spawn(sync_regularly(Arc::downgrade(&shared)));
        }
        Ok(KvJobStore {
            writer: GroupCommit::spawn(Writer::spawn(Arc::clone(&shared))?, 1),
            shared,
        })
    }
}

/// Opens the engine and looks whether what it holds is ours.
fn open<E: Engine>(path: &Path, opening: &Opening) -> Result<E> {
    let engine = E::open(path, opening)?;
    let format = Key::new(key::FORMAT).into_bytes();
    let found = {
        let view = engine.view()?;
        let found = view.get(&format)?;
        if found.is_none()
            && view
                .range(&[], &[u8::MAX], jobstore_core::Order::Ascending)?
                .next()
                .is_some()
        {
            return Err(incompatible(format!(
                "what is there is {} data of another program",
                E::NAME
            )));
        }
        found
    };
    let ours = [MAGIC, &FORMAT_VERSION.to_be_bytes()].concat();
    let Some(found) = found else {
        if !opening.create {
            return Err(incompatible("it holds no store yet"));
        }
        let changes = [(format, Some(ours))].into();
        engine.apply(&changes, Durability::Immediate)?;
        return Ok(engine);
    };
    let version = found
        .strip_prefix(MAGIC)
        .and_then(|version| version.try_into().ok());
    match version.map(u32::from_be_bytes) {
        Some(FORMAT_VERSION) => Ok(engine),
        Some(version) => Err(incompatible(format!(
            "its format has version {version}, this program knows {FORMAT_VERSION}"
        ))),
        None => Err(incompatible(format!(
            "what is there is {} data of another program",
            E::NAME
        ))),
    }
}

/// Runs what may block where it may. A panic of the engine becomes an error.
async fn blocking<E: Engine, T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => Err(panicked(E::NAME)),
        Err(_) => Err(unavailable("the runtime is shutting down")),
    }
}

/// What the handles of a store share.
struct Shared<E: Engine> {
    engine: E,
    clock: StoreClock,
    durability: Durability,
    /// Held by whoever reads in order to write.
    writing: Mutex<()>,
    /// Whether something was applied with [`Durability::Relaxed`] since the last sync began.
    unsynced: AtomicBool,
    glances: Glances,
}

impl<E: Engine> Shared<E> {
    fn new(engine: E, clock: StoreClock, durability: Durability) -> Self {
        Self {
            engine,
            clock,
            durability,
            writing: Mutex::new(()),
            unsynced: AtomicBool::new(false),
            glances: Glances::new(),
        }
    }

    fn commit(&self, group: &Group) -> Result<Answers, Failure> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken while nobody else writes, so that times follow the order of commits.
        let now = self.clock.now();
        let mut transaction = Transaction::of(&self.engine)?;
        if !group.claims().is_empty() {
            // What became due goes where claims find it, in the same step, or, so that memory stays
            // bounded, in some of their own before it: nobody sees a difference.
            while write::promote(&mut transaction, now, MAX_PROMOTED)? == MAX_PROMOTED {
                let moved = self.apply(transaction)?;
                transaction = Transaction::of(&self.engine)?;
                if !moved {
                    break;
                }
            }
        }
        let answers = write::run(&mut transaction, group, now)?;
        self.apply(transaction)?;
        Ok(answers)
    }

    /// Takes the step that a transaction came to; says whether it changes anything.
    fn apply(&self, transaction: Transaction<'_>) -> Result<bool, Failure> {
        let changes = transaction.into_changes()?;
        if changes.is_empty() {
            return Ok(false);
        }
        let applied = self.engine.apply(&changes, self.durability);
        if self.durability == Durability::Relaxed {
            // Not before: a sync that begins meanwhile may miss the step.
            self.unsynced.store(true, Ordering::Release);
        }
        applied.map(|()| true)
    }

    fn sync(&self) -> Result<()> {
        if self.unsynced.swap(false, Ordering::AcqRel) {
            let synced = self.engine.sync();
            if synced.is_err() {
                self.unsynced.store(true, Ordering::Release);
            }
            return synced;
        }
        Ok(())
    }

    fn check(&self, repair: Repair, each: &mut dyn FnMut(&Difference)) -> Result<CheckReport> {
        let mut check = Check::new();
        while !check.is_done() {
            let repairing = (repair == Repair::Indexes)
                .then(|| self.writing.lock().unwrap_or_else(PoisonError::into_inner));
            let mut transaction = Transaction::of(&self.engine)?;
            check.round(&mut transaction, each)?;
            if repairing.is_some() {
                self.apply(transaction)?;
            }
        }
        if repair == Repair::No {
            check.report.repaired = 0;
        }
        Ok(check.report)
    }
}

impl<E: Engine> Drop for Shared<E> {
    fn drop(&mut self) {
        if let Err(error) = self.sync() {
            tracing::error!(%error, "the last changes may not be on disk");
        }
    }
}

/// Syncs until the store is gone.
async fn sync_regularly<E: Engine>(shared: Weak<Shared<E>>) {
    loop {
        tokio::time::sleep(RELAXED_SYNC).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        if let Err(error) = blocking::<E, _>(move || shared.sync()).await {
            tracing::error!(%error, "what was written is not on disk");
        }
    }
}

/// What the writing task writes with: a thread of its own.
///
/// A pool would hand the groups from thread to thread. An engine that frees on one thread what it
/// allocated on another pays for it: sled took a tenth longer.
struct Writer(mpsc::Sender<Writing>);

/// A group on its way to the thread, and the way back.
type Writing = (Arc<Group>, oneshot::Sender<Result<Answers, Failure>>);

impl Writer {
    /// Starts the thread. It ends when the writer is dropped and what was begun is done.
    fn spawn<E: Engine>(shared: Arc<Shared<E>>) -> Result<Self> {
        let (groups, received) = mpsc::channel::<Writing>();
        let write = move || {
            for (group, reply) in received {
                let done = catch_unwind(AssertUnwindSafe(|| shared.commit(&group)));
                let done = done.unwrap_or_else(|_| Err(Failure::Unknown(panicked(E::NAME))));
                // An error means that the runtime went away meanwhile.
                let _ = reply.send(done);
            }
        };
        let thread = thread::Builder::new().name("jobstore-writer".to_owned());
        let spawned = thread.spawn(write);
        spawned.map_err(|error| unavailable(format!("no thread to write with: {error}")))?;
        Ok(Self(groups))
    }
}

impl Committer for Writer {
    async fn commit(&self, group: &Arc<Group>) -> Result<Answers, Failure> {
        let (reply, done) = oneshot::channel();
        let ended = || Failure::Unknown(unavailable("the store's writing thread has ended"));
        let sent = self.0.send((Arc::clone(group), reply));
        sent.map_err(|_| ended())?;
        done.await.unwrap_or_else(|_| Err(ended()))
    }
}

/// A job store on an ordered key-value engine. Clones share everything.
pub struct KvJobStore<E: Engine> {
    shared: Arc<Shared<E>>,
    writer: GroupCommit,
}

impl<E: Engine> KvJobStore<E> {
    /// Checks that the indexes say what the jobs say, and tells each difference, in bounded memory.
    ///
    /// The store may be in use meanwhile: every difference told was there.
    ///
    /// # Errors
    ///
    /// What the engine brings about.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the check goes on to its end on its own thread.
    pub async fn check(
        &self,
        repair: Repair,
        mut each: impl FnMut(&Difference) + Send + 'static,
    ) -> Result<CheckReport> {
        self.run(move |shared| shared.check(repair, &mut each))
            .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared<E>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        blocking::<E, _>(move || work(&shared)).await
    }

    /// Reads what is little: on this thread when that is done in a moment, else where it may block.
    async fn read<T: Send + 'static>(
        &self,
        read: impl Fn(&dyn Source) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Shared {
            engine, glances, ..
        } = &*self.shared;
        if let Some(done) = glances.read(engine, &read).await {
            return done;
        }
        self.run(move |shared| shared.glances.measure(|| read(&shared.engine)))
            .await
    }
}

/// The most jobs that a small read looks at.
const FEW: usize = 100;

/// Whether a page is found by looking at about as many jobs as it has, and these are few.
fn is_small(filter: &JobFilter, page: &PageRequest) -> bool {
    page.size as usize <= FEW
        && filter.params.is_none()
        && filter.lease_expired_by.is_none()
        && filter.ids.as_ref().is_none_or(|ids| ids.len() <= FEW)
}

impl<E: Engine> Clone for KvJobStore<E> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            writer: self.writer.clone(),
        }
    }
}

impl<E: Engine> fmt::Debug for KvJobStore<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvJobStore")
            .field("engine", &self.shared.engine)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<E: Engine> JobStore for KvJobStore<E> {
    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    async fn create_jobs(&self, jobs: Vec<NewJob>) -> Result<Vec<Creation>> {
        validate::new_jobs(&jobs)?;
        self.writer.create(jobs).await
    }

    async fn get_jobs(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>> {
        validate::ids(ids)?;
        let ids = ids.to_vec();
        if ids.len() <= FEW {
            return self.read(move |source| read::get(source, &ids)).await;
        }
        self.run(move |shared| read::get(&shared.engine, &ids))
            .await
    }

    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<PagedList<Job>> {
        let start = page.start(&filter.compile()?)?;
        let (filter, page) = (filter.clone(), page.clone());
        if is_small(&filter, &page) {
            let read = move |source: &dyn Source| read::list(source, &filter, &page, start);
            return self.read(read).await;
        }
        self.run(move |shared| read::list(&shared.engine, &filter, &page, start))
            .await
    }

    async fn count_jobs(&self, filter: &JobFilter) -> Result<StatusCounts> {
        filter.compile()?;
        let filter = filter.clone();
        self.run(move |shared| read::count(&shared.engine, &filter))
            .await
    }

    async fn claim_jobs(&self, request: &ClaimRequest) -> Result<Vec<Job>> {
        validate::claim(request)?;
        self.writer.claim(request.clone()).await
    }

    async fn update_jobs(&self, updates: Vec<Update>) -> Result<Vec<Result<Job>>> {
        validate::updates(&updates)?;
        self.writer.update(updates).await
    }

    async fn delete_jobs(&self, request: &DeleteRequest) -> Result<Vec<JobId>> {
        request.validate()?;
        self.writer.delete(request.clone()).await
    }

    /// Hears every handle of this store, which no other process has open.
    fn arrivals(&self) -> Arrivals {
        self.writer.arrivals()
    }
}

#[cfg(test)]
mod tests {
    use jobstore_core::ManualClock;

    use super::*;
    use crate::error::backend;
    use crate::memory::Told;

    fn relaxed(engine: Told) -> Shared<Told> {
        Shared::new(engine, StoreClock::default(), Durability::Relaxed)
    }

    fn step(shared: &Shared<Told>) {
        let mut transaction = Transaction::of(&shared.engine).expect("views");
        transaction.put(b"key".to_vec(), Vec::new());
        assert!(shared.apply(transaction).expect("applies"));
    }

    #[test]
    fn a_step_that_a_sync_fell_into_is_synced_again() {
        let shared = Arc::new_cyclic(|shared: &Weak<Shared<Told>>| {
            let shared = Weak::clone(shared);
            relaxed(Told::new(move |_| {
                let shared = shared.upgrade().expect("is there");
                shared.sync().expect("syncs");
            }))
        });
        shared.unsynced.store(true, Ordering::Release);
        shared.engine.tell(Ok(()));
        step(&shared);
        assert_eq!(shared.engine.left(), 0);
        shared.engine.tell(Ok(()));
        shared.sync().expect("syncs");
        assert_eq!(shared.engine.left(), 0);
        shared.sync().expect("has nothing to do");
    }

    #[test]
    fn a_sync_that_failed_is_tried_again_by_the_next() {
        let shared = relaxed(Told::new(|_| {}));
        step(&shared);
        shared.engine.tell(Err(backend("no space")));
        assert!(matches!(shared.sync(), Err(Error::Backend { .. })));
        shared.engine.tell(Ok(()));
        shared.sync().expect("syncs");
        assert_eq!(shared.engine.left(), 0);
    }

    /// sled may lose what it has if it takes a second step before the first is on disk.
    #[tokio::test]
    async fn every_step_is_on_disk_before_the_next() {
        let steps = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&steps);
        let engine = Told::new(move |durability| {
            seen.lock().expect("no panic").push(durability);
        });
        let clock = ManualClock::new(Timestamp::from_millis(0));
        let shared = Shared::new(
            engine,
            StoreClock::new(Arc::new(clock.clone())),
            Durability::Immediate,
        );
        let writer = Writer::spawn(Arc::new(shared)).expect("starts");
        let writer = GroupCommit::spawn(writer, 1);
        let later = NewJob::new("a", "{}").with_next_attempt_at(Timestamp::from_millis(1000));
        writer.create(vec![later]).await.expect("creates");
        clock.advance(Duration::from_secs(1));
        // Comes due, and is claimed.
        let request = ClaimRequest::new("w", Duration::from_secs(1));
        let claimed = writer.claim(request).await.expect("claims");
        assert_eq!(claimed.len(), 1);
        let steps = steps.lock().expect("no panic").clone();
        assert_eq!(steps, [Durability::Immediate; 2]);
    }
}
