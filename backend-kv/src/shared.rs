//! What the handles of a store share: the engine, and the steps that are taken on it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use jobstore_core::{Clock as _, Error, Result, StoreClock, Timestamp};
use jobstore_group_commit::{Answers, Failure, Group};

use crate::check::{Check, CheckReport, Difference, Repair};
use crate::engine::{Durability, Engine};
use crate::error::backend;
use crate::transaction::Transaction;
use crate::write;

/// The most jobs that become due in one step.
const MAX_PROMOTED: usize = 10_000;

pub(crate) struct Shared<E: Engine> {
    pub(crate) engine: E,
    pub(crate) clock: StoreClock,
    pub(crate) durability: Durability,
    /// Held by whoever reads in order to write.
    writing: Mutex<()>,
    /// Held by whoever brings to disk what was applied, so that nobody else takes it for done.
    syncing: Mutex<()>,
    /// Whether something was applied that nobody has begun to bring to disk.
    unsynced: AtomicBool,
}

impl<E: Engine> Shared<E> {
    pub(crate) fn new(engine: E, clock: StoreClock, durability: Durability) -> Self {
        Self {
            engine,
            clock,
            durability,
            writing: Mutex::new(()),
            syncing: Mutex::new(()),
            unsynced: AtomicBool::new(false),
        }
    }

    /// Carries out a group of calls, with this durability. A panic of the engine becomes an error.
    ///
    /// # Errors
    ///
    /// What the engine brings about.
    pub(crate) fn commit(&self, group: &Group, durability: Durability) -> Result<Answers, Failure> {
        caught::<E, _>(|| {
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            // Taken while nobody else writes, so that times follow the order of commits.
            let now = self.clock.now();
            if !group.claims().is_empty() {
                self.promote(now)?;
            }
            let mut transaction = Transaction::new(self.engine.view()?);
            let answers = write::run(&mut transaction, group, now)?;
            self.apply(transaction, durability)?;
            Ok(answers)
        })
    }

    /// Moves what became due to where claims find it. That changes nothing that anybody sees, so
    /// it can be done in steps of its own, in bounded memory.
    fn promote(&self, now: Timestamp) -> Result<(), Failure> {
        loop {
            let mut transaction = Transaction::new(self.engine.view()?);
            let moved = write::promote(&mut transaction, now, MAX_PROMOTED)?;
            // On disk with the next step at the latest.
            let progress = self.apply(transaction, Durability::Relaxed)?;
            if moved < MAX_PROMOTED || !progress {
                return Ok(());
            }
        }
    }

    /// Takes the step that a transaction came to; says whether it changes anything.
    fn apply(&self, transaction: Transaction<'_>, durability: Durability) -> Result<bool, Failure> {
        let changes = transaction.into_changes();
        if changes.is_empty() {
            return Ok(false);
        }
        let applied = self.engine.apply(&changes, durability);
        if durability == Durability::Relaxed {
            // Only now: whoever sees it finds the step in the engine.
            self.unsynced.store(true, Ordering::Release);
        }
        applied.map(|()| true)
    }

    /// Brings to disk every step that was taken before; says whether there was any. A panic of the
    /// engine becomes an error.
    ///
    /// # Errors
    ///
    /// What the engine brings about. Then the next call tries again.
    pub(crate) fn sync(&self) -> Result<bool> {
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.unsynced.swap(false, Ordering::AcqRel) {
            return Ok(false);
        }
        let synced = caught::<E, _>(|| self.engine.sync().map_err(Failure::Unknown));
        if synced.is_err() {
            self.unsynced.store(true, Ordering::Release);
        }
        synced.map(|()| true).map_err(Error::from)
    }

    /// Compares the indexes with the jobs.
    ///
    /// # Errors
    ///
    /// What the engine brings about.
    pub(crate) fn check(
        &self,
        repair: Repair,
        each: &mut dyn FnMut(&Difference),
    ) -> Result<CheckReport> {
        let mut check = Check::new();
        while !check.is_done() {
            let repairing = (repair == Repair::Indexes)
                .then(|| self.writing.lock().unwrap_or_else(PoisonError::into_inner));
            let mut transaction = Transaction::new(self.engine.view()?);
            check.round(&mut transaction, each)?;
            if repairing.is_some() {
                self.apply(transaction, self.durability)?;
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

/// Runs what is the engine's. A panic becomes an error.
fn caught<E: Engine, T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|_| Err(Failure::Unknown(panicked::<E>())))
}

/// Says that the engine panicked, without its message, which may quote what it was about.
pub(crate) fn panicked<E: Engine>() -> Error {
    backend(format!(
        "{} panicked; its message is on standard error",
        E::NAME
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::memory::{Disk, Gated};

    fn shared() -> (Arc<Shared<Gated>>, Disk) {
        let (engine, disk) = Gated::new();
        let shared = Shared::new(engine, StoreClock::default(), Durability::Immediate);
        (Arc::new(shared), disk)
    }

    impl Shared<Gated> {
        /// Takes a step that is not on disk yet.
        fn step(&self) {
            let mut transaction = Transaction::new(self.engine.view().expect("views"));
            transaction.put(b"key".to_vec(), Vec::new());
            let applied = self.apply(transaction, Durability::Relaxed);
            assert!(applied.expect("applies"));
        }
    }

    fn sync(shared: &Arc<Shared<Gated>>) -> thread::JoinHandle<Result<bool>> {
        let shared = Arc::clone(shared);
        thread::spawn(move || shared.sync())
    }

    #[test]
    fn who_finds_a_sync_under_way_waits_for_its_end() {
        let (shared, disk) = shared();
        shared.step();
        let first = sync(&shared);
        disk.wait_for_a_sync();
        let second = sync(&shared);
        thread::sleep(Duration::from_millis(50));
        assert!(!second.is_finished());
        disk.end_sync(Ok(()));
        assert!(first.join().expect("no panic").expect("syncs"));
        assert!(!second.join().expect("no panic").expect("syncs"));
    }

    #[test]
    fn a_step_taken_beside_a_sync_is_brought_to_disk_by_the_next() {
        let (shared, disk) = shared();
        shared.step();
        let first = sync(&shared);
        disk.wait_for_a_sync();
        shared.step();
        disk.end_sync(Ok(()));
        assert!(first.join().expect("no panic").expect("syncs"));
        disk.end_sync(Ok(()));
        assert!(shared.sync().expect("syncs"));
        assert!(!shared.sync().expect("syncs"));
    }

    #[test]
    fn after_a_sync_that_failed_the_next_tries_again() {
        let (shared, disk) = shared();
        shared.step();
        disk.end_sync(Err(backend("no space")));
        assert!(matches!(shared.sync(), Err(Error::Backend { .. })));
        disk.end_sync(Ok(()));
        assert!(shared.sync().expect("syncs"));
    }
}
