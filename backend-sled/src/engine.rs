//! sled as an ordered map with atomic steps that are on disk.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use jobstore_core::{Error, Order, Result};
use jobstore_kv::error::{backend, incompatible, unavailable};
use jobstore_kv::{Changes, Durability, Engine, Entries, Failure, Opening, View};
use sled::Batch;

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
        let exists = path.join("db").exists();
        if !exists && !opening.create {
            return Err(incompatible("no sled store is there"));
        }
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(opening.cache_bytes as u64)
            // Otherwise a thread syncs when it likes. Here every step is synced, or the store says
            // when.
            .flush_every_ms(None);
        let db = config.open().map_err(error)?;
        if db.tree_names().len() > 1 {
            return Err(incompatible(
                "what is there is sled data of another program",
            ));
        }
        let log = File::open(path.join("db")).map_err(io_error)?;
        if !exists {
            sync_new_folder(path).map_err(io_error)?;
        }
        Ok(Self {
            db,
            log,
            blobs: path.join("blobs"),
            steps: RwLock::new(()),
        })
    }

    fn view(&self) -> Result<Box<dyn View + '_>> {
        Ok(Box::new(SledView {
            db: &self.db,
            _steps: self.steps.read().unwrap_or_else(PoisonError::into_inner),
        }))
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
        // After an error nobody knows how far sled came.
        applied.map_err(|e| Failure::Unknown(error(e)))?;
        match durability {
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
}

/// Brings a folder that was just made to disk, with the names of everything in it and its own.
fn sync_new_folder(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        File::open(entry?.path())?.sync_all()?;
    }
    File::open(path)?.sync_all()?;
    let absolute = path.canonicalize()?;
    match absolute.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
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
