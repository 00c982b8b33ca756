//! The seam: what a store needs of an ordered key-value engine.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;

use jobstore_core::{Order, Result};
use jobstore_group_commit::Failure;

/// What one atomic step writes: a new value for a key, or none to remove it.
pub type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The entries of a range, in order.
pub type Entries<'a> = Box<dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>)>> + 'a>;

/// What is shown the key and the value of an entry, and says whether it wants the next.
pub type Each<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>> + 'a;

/// What a returned call means after a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It is on disk.
    #[default]
    Immediate,
    /// It is on disk half a second later. The death of the process, or a power cut, may lose what
    /// came after. The engine's own page says in which state it is found then.
    Relaxed,
}

/// How an engine is to open its file or folder.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Opening {
    /// Make it when it is not there; without, that is an error.
    pub create: bool,
    /// About how much memory the engine may use to keep what it read and wrote.
    pub cache_bytes: usize,
}

impl Opening {
    /// Opens with about this much memory, and makes what is not there only if told to.
    pub const fn new(create: bool, cache_bytes: usize) -> Self {
        Self {
            create,
            cache_bytes,
        }
    }
}

/// One ordered map of bytes to bytes on disk, with atomic steps, used by one process.
///
/// The store calls all of it on threads that may block, but for [`view_now`](Self::view_now), and writes
/// from one thread at a time. A panic of the engine reaches no caller: the call it happened in fails.
pub trait Engine: fmt::Debug + Send + Sync + Sized + 'static {
    /// The engine's name, for people.
    const NAME: &'static str;

    /// Opens the map.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`](jobstore_core::Error::Unavailable) while another process or handle
    /// has it, so that asking again may help;
    /// [`Error::Incompatible`](jobstore_core::Error::Incompatible) when it is not the engine's, or
    /// of a version it does not read; [`Error::Backend`](jobstore_core::Error::Backend) for the
    /// rest.
    fn open(path: &Path, opening: &Opening) -> Result<Self>;

    /// Shows the map as it is between two steps: no step happens while the view exists, or none is
    /// seen in it.
    ///
    /// # Errors
    ///
    /// What the engine brings about.
    fn view(&self) -> Result<Box<dyn View + '_>>;

    /// As [`view`](Self::view), if that waits for nobody else; none if it would.
    ///
    /// The store calls this on threads of its callers, which are not to be held up, and reads little
    /// there: a job, a page. It goes to a thread that may block when there is none, as is given here, or
    /// when reading takes long, because it comes from a slow disk. An engine whose views are never in the
    /// way of a step, nor a step in theirs, should give them.
    ///
    /// # Errors
    ///
    /// What the engine brings about.
    fn view_now(&self) -> Result<Option<Box<dyn View + '_>>> {
        Ok(None)
    }

    /// Takes one step, wholly or not at all. When this returns, what [`Durability`] says holds of
    /// this step and of all before it. A store whose steps are [`Durability::Immediate`] takes no
    /// others.
    ///
    /// # Errors
    ///
    /// [`Failure::Refused`] when nothing was done, [`Failure::Unknown`] when that cannot be said.
    fn apply(&self, changes: &Changes, durability: Durability) -> Result<(), Failure>;

    /// Brings to disk what was applied with [`Durability::Relaxed`].
    ///
    /// # Errors
    ///
    /// What the engine brings about.
    fn sync(&self) -> Result<()>;
}

/// The map between two steps.
pub trait View {
    /// The value of a key.
    ///
    /// # Errors
    ///
    /// What the engine brings about.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// The entries from one key up to, and without, another; the first key is less than the second.
    ///
    /// # Errors
    ///
    /// What the engine brings about.
    fn range<'a>(&'a self, from: &[u8], to: &[u8], order: Order) -> Result<Entries<'a>>;

    /// Shows the entries of a [`range`](Self::range) where they lie, until no more are wanted.
    ///
    /// What is given here makes copies of them. An engine that can do without should.
    ///
    /// # Errors
    ///
    /// What the engine brings about, and what `each` returns.
    fn scan(&self, from: &[u8], to: &[u8], order: Order, each: &mut Each<'_>) -> Result<()> {
        show(self.range(from, to, order)?, each)
    }
}

/// Shows entries until no more are wanted.
pub(crate) fn show(entries: Entries<'_>, each: &mut Each<'_>) -> Result<()> {
    for entry in entries {
        let (key, value) = entry?;
        if each(&key, &value)?.is_break() {
            break;
        }
    }
    Ok(())
}
