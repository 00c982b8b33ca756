//! Small reads, tried on their caller's own thread.
//!
//! To go to a thread that may block and to come back costs more than to read a page that the engine has
//! in memory: an idle core has to wake for it, twice. So a read that asks for little is tried where its
//! caller is, for a [`MOMENT`]. Where the engine would have to wait, or the moment ends, because the
//! disk is slow or the processor busy, what was read so far is dropped, and all is read anew where it
//! may block. As long as small reads take long there, none is tried here.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jobstore_core::{Error, Order, Result};

use crate::engine::{Each, Engine, Entries, View};
use crate::error::{panicked, unavailable};

/// How long a caller's thread may be kept. Other tasks wait for it meanwhile, as they do while any task
/// works that long between two awaits.
const MOMENT: Duration = Duration::from_micros(200);

/// After how much reading on callers' threads one of them lets others have their turn: a yield costs as
/// much as some twenty jobs, and a task that reads page after page would else never wait for anything.
const TURN: Duration = Duration::from_millis(1);

/// After so many entries the clock is read: that takes a tenth of what an entry does.
const LOOKS: u32 = 8;

/// Where views come from: an engine, as long as it takes, or a [`Glance`] at it.
pub(crate) trait Source {
    /// As [`Engine::view`].
    fn view(&self) -> Result<Box<dyn View + '_>>;
}

impl<E: Engine> Source for E {
    fn view(&self) -> Result<Box<dyn View + '_>> {
        Engine::view(self)
    }
}

/// Whether small reads are tried on their callers' threads.
#[derive(Debug)]
pub(crate) struct Glances {
    are_tried: AtomicBool,
    /// For how long they were read since somebody yielded, in nanoseconds.
    turn: AtomicU64,
}

impl Glances {
    pub(crate) const fn new() -> Self {
        Self {
            are_tried: AtomicBool::new(true),
            turn: AtomicU64::new(0),
        }
    }

    /// Reads here and now, or gives none when that is not to be.
    pub(crate) async fn read<T>(
        &self,
        engine: &impl Engine,
        read: impl FnOnce(&dyn Source) -> Result<T>,
    ) -> Option<Result<T>> {
        let start = Instant::now();
        let done = self.take(engine, start, read)?;
        if self.is_turn_over(start.elapsed()) {
            tokio::task::yield_now().await;
        }
        Some(done)
    }

    /// Counts a read that is done. One may have taken long between two looks at the clock.
    fn is_turn_over(&self, took: Duration) -> bool {
        if took > MOMENT {
            self.are_tried.store(false, Ordering::Relaxed);
        }
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let before = self.turn.fetch_add(took, Ordering::Relaxed);
        let is_over = Duration::from_nanos(before.saturating_add(took)) > TURN;
        if is_over {
            self.turn.store(0, Ordering::Relaxed);
        }
        is_over
    }

    fn take<T, E: Engine>(
        &self,
        engine: &E,
        start: Instant,
        read: impl FnOnce(&dyn Source) -> Result<T>,
    ) -> Option<Result<T>> {
        if !self.are_tried.load(Ordering::Relaxed) {
            return None;
        }
        let glance = Glance::new(engine, start + MOMENT);
        let done = catch_unwind(AssertUnwindSafe(|| read(&glance)));
        let done = done.unwrap_or_else(|_| Err(panicked(E::NAME)));
        match glance.ended.get() {
            None => Some(done),
            Some(End::Waits) => None,
            Some(End::IsLate) => {
                self.are_tried.store(false, Ordering::Relaxed);
                None
            }
        }
    }

    /// Reads as long as it takes, and sees whether it is worth trying again.
    pub(crate) fn measure<T>(&self, read: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let done = read();
        self.learn(start.elapsed());
        done
    }

    /// Tries again what takes half a moment at most: with all of it for a measure, reads of about that
    /// length would be tried and dropped in turns.
    fn learn(&self, took: Duration) {
        if took < MOMENT / 2 {
            self.are_tried.store(true, Ordering::Relaxed);
        }
    }
}

/// Why a glance ended before the read did.
#[derive(Clone, Copy)]
enum End {
    /// The engine would have to wait.
    Waits,
    /// It took too long.
    IsLate,
}

/// An engine that is read from for a moment. After that, whatever is asked of it fails.
struct Glance<'a, E> {
    engine: &'a E,
    end: Instant,
    looks: Cell<u32>,
    ended: Cell<Option<End>>,
}

impl<'a, E> Glance<'a, E> {
    const fn new(engine: &'a E, end: Instant) -> Self {
        Self {
            engine,
            end,
            looks: Cell::new(0),
            ended: Cell::new(None),
        }
    }

    /// An error that nobody gets to see.
    fn end(&self, why: End) -> Error {
        self.ended.set(Some(why));
        unavailable("not in a moment")
    }

    /// Counts an entry.
    fn look(&self) -> Result<()> {
        let looks = self.looks.get() + 1;
        self.looks.set(looks);
        if looks.is_multiple_of(LOOKS) && Instant::now() > self.end {
            return Err(self.end(End::IsLate));
        }
        Ok(())
    }
}

impl<E: Engine> Source for Glance<'_, E> {
    fn view(&self) -> Result<Box<dyn View + '_>> {
        match self.engine.view_now()? {
            Some(view) => Ok(Box::new(Glanced { glance: self, view })),
            None => Err(self.end(End::Waits)),
        }
    }
}

struct Glanced<'a, E> {
    glance: &'a Glance<'a, E>,
    view: Box<dyn View + 'a>,
}

impl<E: Engine> View for Glanced<'_, E> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.glance.look()?;
        self.view.get(key)
    }

    fn range<'a>(&'a self, from: &[u8], to: &[u8], order: Order) -> Result<Entries<'a>> {
        let entries = self.view.range(from, to, order)?;
        Ok(Box::new(entries.map(|entry| {
            self.glance.look()?;
            entry
        })))
    }

    fn scan(&self, from: &[u8], to: &[u8], order: Order, each: &mut Each<'_>) -> Result<()> {
        self.view.scan(from, to, order, &mut |key,
                                              value|
         -> Result<ControlFlow<()>> {
            self.glance.look()?;
            each(key, value)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::thread;

    use super::*;
    use crate::engine::{Changes, Durability, Opening};
    use crate::key;
    use crate::memory::Memory;
    use crate::packed::Unpacked;

    /// With this many entries.
    fn engine(test: &str, entries: u8) -> Memory {
        let engine = Memory::at(Path::new(test));
        let changes: Changes = (0..entries)
            .map(|number| (vec![key::ID, number], Some(Vec::new())))
            .collect();
        engine
            .apply(&changes, Durability::Immediate)
            .expect("applies");
        engine
    }

    /// Counts the entries, and waits after the first.
    fn count(source: &dyn Source, wait: Duration) -> Result<usize> {
        let view = Unpacked::of(source)?;
        let entries = view.range(&[key::ID], &[key::ID + 1], Order::Ascending)?;
        let mut count = 0;
        for entry in entries {
            entry?;
            if count == 0 {
                thread::sleep(wait);
            }
            count += 1;
        }
        Ok(count)
    }

    #[test]
    fn a_read_that_takes_longer_than_a_moment_is_dropped_and_none_is_tried_until_one_is_short() {
        let engine = engine("late", 40);
        let glances = Glances::new();
        let take = |wait| {
            let read = |source: &dyn Source| count(source, wait);
            glances.take(&engine, Instant::now(), read)
        };
        assert!(take(2 * MOMENT).is_none());
        assert!(!glances.are_tried.load(Ordering::Relaxed));
        let read = |_: &dyn Source| -> Result<()> { unreachable!("is not tried") };
        assert!(glances.take(&engine, Instant::now(), read).is_none());
        glances.learn(MOMENT);
        assert!(!glances.are_tried.load(Ordering::Relaxed));
        glances.learn(MOMENT / 4);
        assert!(glances.are_tried.load(Ordering::Relaxed));
    }

    #[test]
    fn none_is_tried_after_one_that_was_done_but_took_long() {
        let glances = Glances::new();
        assert!(!glances.is_turn_over(MOMENT / 2));
        assert!(glances.are_tried.load(Ordering::Relaxed));
        assert!(!glances.is_turn_over(2 * MOMENT));
        assert!(!glances.are_tried.load(Ordering::Relaxed));
    }

    #[test]
    fn others_have_their_turn_each_millisecond_of_reading() {
        let glances = Glances::new();
        for _ in 0..3 {
            let turns = (0..11).map(|_| glances.is_turn_over(TURN / 10));
            assert_eq!(turns.filter(|is_over| *is_over).count(), 1);
        }
    }

    #[test]
    fn a_read_within_its_moment_sees_everything() {
        let engine = engine("whole", 40);
        let hour = Instant::now() + Duration::from_hours(1);
        let glance = Glance::new(&engine, hour);
        assert_eq!(count(&glance, Duration::ZERO).expect("reads"), 40);
        let view = glance.view().expect("shows");
        let mut shown = 0;
        let mut each = |_: &[u8], _: &[u8]| {
            shown += 1;
            Ok(ControlFlow::Continue(()))
        };
        view.scan(&[key::ID], &[key::ID + 1], Order::Descending, &mut each)
            .expect("shows");
        assert_eq!(shown, 40);
        assert_eq!(view.get(&[key::ID, 7]).expect("reads"), Some(Vec::new()));
    }

    #[test]
    fn nobody_waits_for_a_step_on_his_own_thread() {
        let engine = engine("step", 1);
        let glances = Glances::new();
        let step = engine.0.write().expect("no panic");
        let read = |source: &dyn Source| count(source, Duration::ZERO);
        assert!(glances.take(&engine, Instant::now(), read).is_none());
        drop(step);
        // That was nobody's fault, so it is tried again; on a busy machine it may take too long.
        assert!(glances.are_tried.load(Ordering::Relaxed));
    }

    #[test]
    fn an_engine_that_panics_on_its_callers_thread_fails_the_call() {
        let engine = engine("panic", 1);
        let read = |_: &dyn Source| -> Result<()> { panic!("what it says is its own") };
        let done = Glances::new().take(&engine, Instant::now(), read);
        let error = done.expect("is tried").expect_err("failed");
        let shown = format!("{error:?}");
        assert!(
            shown.contains("panicked") && !shown.contains("its own"),
            "{shown}"
        );
    }

    /// An engine that has nothing to show without waiting.
    #[derive(Debug)]
    struct Slow(Memory);

    impl Engine for Slow {
        const NAME: &'static str = "slow";

        fn open(path: &Path, opening: &Opening) -> Result<Self> {
            Memory::open(path, opening).map(Self)
        }

        fn view(&self) -> Result<Box<dyn View + '_>> {
            Engine::view(&self.0)
        }

        fn apply(
            &self,
            changes: &Changes,
            durability: Durability,
        ) -> Result<(), jobstore_group_commit::Failure> {
            self.0.apply(changes, durability)
        }

        fn sync(&self) -> Result<()> {
            self.0.sync()
        }
    }

    #[test]
    fn an_engine_that_gives_no_view_at_once_is_read_elsewhere() {
        let engine = Slow(engine("slow", 1));
        let read = |source: &dyn Source| count(source, Duration::ZERO);
        let done = Glances::new().take(&engine, Instant::now(), read);
        assert!(done.is_none());
        assert_eq!(count(&engine, Duration::ZERO).expect("reads"), 1);
    }
}
