//! sled as an ordered map with atomic steps that are on disk.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use jobstore_core::{Error, Order, Result};
use jobstore_kv::error::{backend, incompatible, unavailable};
use jobstore_kv::{Changes, Durability, Each, Engine, Entries, Failure, Opening, View};
use sled::Batch;

/// How long to wait for a handle of our own to be gone.
const LETTING_GO: Duration = Duration::from_secs(30);

/// sled, opened. All keys are in its default tree, so that one batch is one atomic step.
pub struct Sled {
    db: sled::Db,
    /// sled's log, held open to be synced.
    log: File,
    /// Where sled puts values that are too long for its log. It never syncs them.
    blobs: PathBuf,
    /// Keeps steps from happening while somebody looks: sled's iterators see half a batch.
    steps: RwLock<()>,
}

impl Engine for Sled {
    const NAME: &'static str = "sled";

    fn open(path: &Path, opening: &Opening) -> Result<Self> {
        let config = || config(path).cache_capacity(opening.cache_bytes as u64);
        let db = if path.join("db").exists() {
            config().open().map_err(error)?
        } else if opening.create {
            make(path)?;
            // The handle that made it lets go when the last of sled's threads has, which takes long
            // on a busy machine. That is nothing to trouble the caller with.
            let start = Instant::now();
            loop {
                match config().open().map_err(error) {
                    Err(error) if error.is_retryable() && start.elapsed() < LETTING_GO => {
                        thread::sleep(Duration::from_millis(5));
                    }
                    opened => break opened?,
                }
            }
        } else {
            return Err(incompatible("no sled store is there"));
        };
        if db.tree_names().len() > 1 {
            return Err(incompatible(
                "what is there is sled data of another program",
            ));
        }
        let log = File::open(path.join("db")).map_err(io_error)?;
        Ok(Self {
            db,
            log,
            blobs: path.join("blobs"),
            steps: RwLock::new(()),
        })
    }

    fn view(&self) -> Result<Box<dyn View + '_>> {
        let steps = self.steps.read().unwrap_or_else(PoisonError::into_inner);
        Ok(self.view_between(steps))
    }

    fn view_now(&self) -> Result<Option<Box<dyn View + '_>>> {
        let steps = match self.steps.try_read() {
            Ok(steps) => steps,
            Err(TryLockError::Poisoned(steps)) => steps.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(None),
        };
        Ok(Some(self.view_between(steps)))
    }

    fn apply(&self, changes: &Changes, durability: Durability) -> Result<(), Failure> {
        let mut batch = Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        let step = self.steps.write().unwrap_or_else(PoisonError::into_inner);
        let applied = self.db.apply_batch(batch);
        drop(step);
        free_garbage(changes.len());
        // After an error nobody knows how far sled came.
        applied.map_err(|e| Failure::Unknown(error(e)))?;
        match durability {
            // Not left to a later sync: sled takes what it wrote for durable before it is, and the next
            // step may be written over what this one replaced.
            Durability::Immediate => self.sync().map_err(Failure::Unknown),
            Durability::Relaxed => Ok(()),
        }
    }

    fn sync(&self) -> Result<()> {
        self.db.flush().map_err(error)?;
        // Values are cut so that sled keeps them in its log; this is for what nobody foresaw.
        for blob in fs::read_dir(&self.blobs).map_err(io_error)? {
            let blob = File::open(blob.map_err(io_error)?.path());
            blob.and_then(|blob| blob.sync_all()).map_err(io_error)?;
        }
        self.log.sync_all().map_err(io_error)
    }
}

impl Sled {
    fn view_between<'a>(&'a self, steps: RwLockReadGuard<'a, ()>) -> Box<dyn View + 'a> {
        Box::new(SledView {
            db: &self.db,
            _steps: steps,
        })
    }
}

/// Has the pages freed that a batch replaced.
///
/// sled leaves them to an epoch collector that frees a little at every 128th operation. That keeps
/// up with single operations; a batch is one operation that leaves thousands of pages, and without
/// this a process that writes batches grows by gigabytes.
fn free_garbage(changes: usize) {
    // A change leaves a few pages, and a flush frees at most 512.
    for _ in 0..changes / 64 + 2 {
        crossbeam_epoch::pin().flush();
    }
}

impl fmt::Debug for Sled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sled").finish_non_exhaustive()
    }
}

struct SledView<'a> {
    db: &'a sled::Db,
    _steps: RwLockReadGuard<'a, ()>,
}

impl View for SledView<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.db.get(key).map_err(error)?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn range<'a>(&'a self, from: &[u8], to: &[u8], order: Order) -> Result<Entries<'a>> {
        let entries = self.db.range(from..to);
        let pair = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = entry.map_err(error)?;
            Ok((key.to_vec(), value.to_vec()))
        };
        Ok(match order {
            Order::Ascending => Box::new(entries.map(pair)),
            Order::Descending => Box::new(entries.rev().map(pair)),
        })
    }

    fn scan(&self, from: &[u8], to: &[u8], order: Order, each: &mut Each<'_>) -> Result<()> {
        let mut entries = self.db.range(from..to);
        while let Some(entry) = match order {
            Order::Ascending => entries.next(),
            Order::Descending => entries.next_back(),
        } {
            let (key, value) = entry.map_err(error)?;
            if each(&key, &value)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn config(path: &Path) -> sled::Config {
    // Otherwise a thread flushes when it likes. Here every step is synced, or the store says when.
    sled::Config::new().path(path).flush_every_ms(None)
}

/// Makes a folder under another name and gives it its own once all of it is on disk: sled does not
/// sync the file in which it keeps its settings, nor any folder.
fn make(path: &Path) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // sled panics over some damaged folders.
    let opened = catch_unwind(|| config(&new).open().map_err(error));
    let db = match opened {
        // Who is at it now has it locked.
        Ok(Err(error)) if error.is_retryable() => return Err(error),
        Ok(Err(_)) | Err(_) => {
            // Left by somebody who was cut off.
            fs::remove_dir_all(&new).map_err(io_error)?;
            config(&new).open().map_err(error)?
        }
        Ok(Ok(db)) => db,
    };
    db.flush().map_err(error)?;
    sync_folder(&new).map_err(io_error)?;
    match fs::rename(&new, path) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            return Err(incompatible(
                "the folder is not empty, and holds no sled store",
            ));
        }
        renamed => renamed.map_err(io_error)?,
    }
    let folder = path.canonicalize().map_err(io_error)?;
    match folder.parent() {
        Some(parent) => {
            let synced = File::open(parent).and_then(|parent| parent.sync_all());
            synced.map_err(io_error)
        }
        None => Ok(()),
    }
}

/// Brings a folder to disk, with everything in it.
fn sync_folder(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        match path.is_dir() {
            true => sync_folder(&path)?,
            false => File::open(path)?.sync_all()?,
        }
    }
    File::open(path)?.sync_all()
}

fn error(error: sled::Error) -> Error {
    match error {
        sled::Error::Unsupported(reason) => incompatible(reason),
        // sled hides the kind of this error, so its words have to do.
        sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock") => {
            unavailable("the folder is in use by another process, or by another handle of this one")
        }
        sled::Error::Io(error) => io_error(error),
        sled::Error::Corruption { .. } => backend("sled found its folder damaged"),
        error => backend(error.to_string()),
    }
}

fn io_error(error: io::Error) -> Error {
    backend(format!("sled: {error}"))
}
