//! The store's own threads: one carries out what is written, and one brings it to disk beside it.
//!
//! Threads of a pool would hand the groups to each other. An engine that frees on one thread what it
//! allocated on another pays for it: sled took a tenth longer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use jobstore_core::Result;
use jobstore_group_commit::{Answers, Engine as Committer, Failure, Group, Progress};
use tokio::sync::oneshot;

use crate::engine::{Durability, Engine};
use crate::error::unavailable;
use crate::shared::Shared;

/// How long a sync takes before one was seen: too long to be worth a thread.
const SLOW_NANOS: u64 = 100_000_000;

/// What the task that merges calls writes with.
pub(crate) struct Writer(mpsc::Sender<Writing>);

/// A group on its way to the writing thread, and the way back.
struct Writing {
    group: Arc<Group>,
    reply: oneshot::Sender<Result<Progress, Failure>>,
}

/// What a group came to, on its way to disk.
struct Written {
    answers: Answers,
    reply: oneshot::Sender<Result<Answers, Failure>>,
}

impl Writer {
    /// Starts the threads. They end when the writer is dropped and what was begun is done.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`](jobstore_core::Error::Unavailable) when the system gives no thread.
    pub(crate) fn spawn<E: Engine>(shared: &Arc<Shared<E>>) -> Result<Self> {
        let syncer = match E::SYNCS_BESIDE && shared.durability == Durability::Immediate {
            true => Some(Syncer::spawn(Arc::clone(shared))?),
            false => None,
        };
        let (groups, received) = mpsc::channel::<Writing>();
        let shared = Arc::clone(shared);
        spawn("jobstore-writer", move || {
            let mut overlaps = false;
            for Writing { group, reply } in received {
                let done = match &syncer {
                    Some(syncer) => write_beside(&shared, syncer, &mut overlaps, &group),
                    None => shared.commit(&group, shared.durability).map(Progress::Done),
                };
                // An error means that the runtime went away meanwhile.
                let _ = reply.send(done);
            }
        })?;
        Ok(Self(groups))
    }
}

impl Committer for Writer {
    async fn commit(&self, group: &Arc<Group>) -> Result<Progress, Failure> {
        let (reply, done) = oneshot::channel();
        let ended = || Failure::Unknown(unavailable("the store's writing thread has ended"));
        let group = Arc::clone(group);
        let sent = self.0.send(Writing { group, reply });
        sent.map_err(|_| ended())?;
        done.await.unwrap_or_else(|_| Err(ended()))
    }
}

/// Carries out a group, and leaves it to the other thread to bring it to disk if that pays.
///
/// Groups that overlap are half as large, so there are twice as many syncs. That costs nothing where
/// one of them is over long before the other half of the calls is carried out; where the disk is
/// slow, calls had better share one.
fn write_beside<E: Engine>(
    shared: &Shared<E>,
    syncer: &Syncer,
    overlaps: &mut bool,
    group: &Group,
) -> Result<Progress, Failure> {
    let start = Instant::now();
    let answers = shared.commit(group, Durability::Relaxed)?;
    let half = start.elapsed() / if *overlaps { 1 } else { 2 };
    *overlaps = syncer.takes() < half * 2 / 3;
    if *overlaps {
        return Ok(Progress::Pending(syncer.sync(answers)));
    }
    syncer.run(shared).map_err(Failure::Unknown)?;
    Ok(Progress::Done(answers))
}

/// The thread that brings to disk what was carried out.
struct Syncer {
    written: mpsc::Sender<Written>,
    /// How many nanoseconds a sync takes, by the last few.
    takes: Arc<AtomicU64>,
}

impl Syncer {
    fn spawn<E: Engine>(shared: Arc<Shared<E>>) -> Result<Self> {
        let (written, received) = mpsc::channel::<Written>();
        let takes = Arc::new(AtomicU64::new(SLOW_NANOS));
        let times = Arc::clone(&takes);
        spawn("jobstore-syncer", move || {
            while let Ok(first) = received.recv() {
                // One sync is for all that was carried out before it.
                let written: Vec<_> = [first].into_iter().chain(received.try_iter()).collect();
                let synced = timed(&times, &shared).map_err(Failure::Unknown);
                for Written { answers, reply } in written {
                    let _ = reply.send(synced.clone().map(|()| answers));
                }
            }
        })?;
        Ok(Self { written, takes })
    }

    fn sync(&self, answers: Answers) -> oneshot::Receiver<Result<Answers, Failure>> {
        let (reply, synced) = oneshot::channel();
        // Should the thread be gone, the sender goes with what was sent, and the receiver knows.
        let _ = self.written.send(Written { answers, reply });
        synced
    }

    /// Syncs on the caller's thread.
    fn run<E: Engine>(&self, shared: &Shared<E>) -> Result<()> {
        timed(&self.takes, shared)
    }

    fn takes(&self) -> Duration {
        Duration::from_nanos(self.takes.load(Ordering::Relaxed))
    }
}

/// Syncs, and notes how long that takes, if there was anything to sync.
fn timed<E: Engine>(takes: &AtomicU64, shared: &Shared<E>) -> Result<()> {
    let start = Instant::now();
    if shared.sync()? {
        let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // One that is quick by chance says little. An update that is lost between two threads, too.
        let before = takes.load(Ordering::Relaxed);
        takes.store(before - before / 4 + nanos / 4, Ordering::Relaxed);
    }
    Ok(())
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned
        .map(drop)
        .map_err(|error| unavailable(format!("no thread to write with: {error}")))
}

#[cfg(test)]
mod tests {
    use std::sync::PoisonError;

    use jobstore_core::{Error, NewJob, StoreClock};
    use jobstore_group_commit::GroupCommit;

    use super::*;
    use crate::memory::{Disk, Gated, Memory};

    /// Long enough to be worth a thread.
    const JOBS: usize = 1000;

    struct Opened {
        writer: GroupCommit,
        memory: Memory,
        disk: Disk,
    }

    fn opened() -> Opened {
        let (engine, disk) = Gated::new();
        let memory = engine.memory.clone();
        let shared = Shared::new(engine, StoreClock::default(), Durability::Immediate);
        let writer = Writer::spawn(&Arc::new(shared)).expect("starts");
        Opened {
            writer: GroupCommit::spawn(writer, 1),
            memory,
            disk,
        }
    }

    impl Opened {
        fn create(&self) -> tokio::task::JoinHandle<Result<()>> {
            let writer = self.writer.clone();
            let jobs = (0..JOBS).map(|_| NewJob::new("a", "{}")).collect();
            tokio::spawn(async move { writer.create(jobs).await.map(drop) })
        }

        /// Waits until this many jobs are in the map.
        async fn wait_for(&self, jobs: usize) {
            let there = || {
                let map = self.memory.0.read().unwrap_or_else(PoisonError::into_inner);
                map.keys().filter(|key| key[0] == crate::key::JOB).count()
            };
            while there() < jobs {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn where_syncs_are_quick_the_next_group_is_carried_out_meanwhile() {
        let opened = opened();
        let mut jobs = 0;
        // Syncs are taken for slow until some were seen.
        for _ in 0..40 {
            opened.disk.end_sync(Ok(()));
            opened.create().await.expect("no panic").expect("creates");
            opened.disk.wait_for_a_sync();
            jobs += JOBS;
        }
        let first = opened.create();
        opened.disk.wait_for_a_sync();
        let second = opened.create();
        let both = opened.wait_for(jobs + 2 * JOBS);
        let waited = tokio::time::timeout(Duration::from_secs(30), both).await;
        waited.expect("the second is carried out beside the sync of the first");
        // And nobody is told before it is on disk.
        assert!(!first.is_finished() && !second.is_finished());
        opened.disk.end_sync(Ok(()));
        first.await.expect("no panic").expect("creates");
        assert!(!second.is_finished());
        opened.disk.end_sync(Ok(()));
        second.await.expect("no panic").expect("creates");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn where_syncs_are_slow_a_group_waits_for_the_last() {
        let opened = opened();
        let first = opened.create();
        opened.disk.wait_for_a_sync();
        let second = opened.create();
        let both = opened.wait_for(2 * JOBS);
        let waited = tokio::time::timeout(Duration::from_millis(100), both).await;
        assert!(waited.is_err(), "the second waits");
        opened.disk.end_sync(Ok(()));
        first.await.expect("no panic").expect("creates");
        opened.disk.end_sync(Ok(()));
        second.await.expect("no panic").expect("creates");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_call_whose_sync_failed_does_not_know_and_the_next_one_syncs_again() {
        let opened = opened();
        opened.disk.end_sync(Err(crate::error::backend("no space")));
        let failed = opened.create().await.expect("no panic");
        assert!(matches!(failed, Err(Error::Backend { .. })));
        opened.disk.end_sync(Ok(()));
        opened.create().await.expect("no panic").expect("creates");
    }
}
