//! redb as an ordered map with atomic steps.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use jobstore_core::{Error, Order, Result};
use jobstore_kv::error::{backend, incompatible, unavailable};
use jobstore_kv::{Changes, Durability, Each, Engine, Entries, Failure, Opening, View};
use redb::{
    Database, DatabaseError, ReadOnlyTable, ReadableDatabase as _, StorageError, TableDefinition,
    TableError, TableHandle as _,
};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("jobstore");

/// redb, opened. All keys are in one table.
pub struct Redb(Database);

impl Engine for Redb {
    const NAME: &'static str = "redb";

    fn open(path: &Path, opening: &Opening) -> Result<Self> {
        let mut builder = Database::builder();
        builder.set_cache_size(opening.cache_bytes);
        let opened = match (path.exists(), opening.create) {
            (true, true) => builder.create(path),
            (true, false) => builder.open(path),
            (false, true) => return make(&builder, path),
            (false, false) => return Err(incompatible("no redb store is there")),
        };
        let redb = Self(opened.map_err(open_error)?);
        redb.check_tables()?;
        Ok(redb)
    }

    fn view(&self) -> Result<Box<dyn View + '_>> {
        let transaction = self.0.begin_read().map_err(|e| error(e.into()))?;
        match transaction.open_table(TABLE) {
            Ok(table) => Ok(Box::new(RedbView(Some(table)))),
            Err(TableError::TableDoesNotExist(_)) => Ok(Box::new(RedbView(None))),
            Err(e) => Err(error(e.into())),
        }
    }

    // A transaction that reads has a snapshot, and is in nobody's way.
    fn view_now(&self) -> Result<Option<Box<dyn View + '_>>> {
        self.view().map(Some)
    }

    fn apply(&self, changes: &Changes, durability: Durability) -> Result<(), Failure> {
        let write = || -> Result<redb::WriteTransaction, redb::Error> {
            let mut transaction = self.0.begin_write()?;
            transaction.set_durability(match durability {
                Durability::Immediate => redb::Durability::Immediate,
                Durability::Relaxed => redb::Durability::None,
            })?;
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in changes {
                match value {
                    Some(value) => drop(table.insert(key.as_slice(), value.as_slice())?),
                    None => drop(table.remove(key.as_slice())?),
                }
            }
            drop(table);
            Ok(transaction)
        };
        let transaction = write().map_err(error)?;
        let committed = transaction.commit();
        committed.map_err(|e| Failure::Unknown(error(e.into())))
    }

    fn sync(&self) -> Result<()> {
        // A commit that is on disk takes those before it along.
        let transaction = self.0.begin_write().map_err(|e| error(e.into()))?;
        transaction.commit().map_err(|e| error(e.into()))
    }
}

impl Redb {
    /// Refuses a file that has tables of another program.
    fn check_tables(&self) -> Result<()> {
        let transaction = self.0.begin_read().map_err(|e| error(e.into()))?;
        let mut tables = transaction.list_tables().map_err(|e| error(e.into()))?;
        let multimaps = transaction.list_multimap_tables();
        let multimaps = multimaps.map_err(|e| error(e.into()))?.count();
        match multimaps == 0 && tables.all(|table| table.name() == TABLE.name()) {
            true => Ok(()),
            false => Err(incompatible(
                "what is there is redb data of another program",
            )),
        }
    }
}

impl fmt::Debug for Redb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redb").finish_non_exhaustive()
    }
}

/// The table as of one transaction; none before the first.
struct RedbView(Option<ReadOnlyTable<&'static [u8], &'static [u8]>>);

impl View for RedbView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(table) = &self.0 else {
            return Ok(None);
        };
        let value = redb::ReadableTable::get(table, key).map_err(|e| error(e.into()))?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    fn range<'a>(&'a self, from: &[u8], to: &[u8], order: Order) -> Result<Entries<'a>> {
        let Some(table) = &self.0 else {
            return Ok(Box::new(std::iter::empty()));
        };
        let entries = table.range(from..to).map_err(|e| error(e.into()))?;
        let pair = |entry: Result<_, StorageError>| {
            let (key, value): (redb::AccessGuard<'_, &[u8]>, redb::AccessGuard<'_, &[u8]>) =
                entry.map_err(|e| error(e.into()))?;
            Ok((key.value().to_vec(), value.value().to_vec()))
        };
        Ok(match order {
            Order::Ascending => Box::new(entries.map(pair)),
            Order::Descending => Box::new(entries.rev().map(pair)),
        })
    }

    fn scan(&self, from: &[u8], to: &[u8], order: Order, each: &mut Each<'_>) -> Result<()> {
        let Some(table) = &self.0 else {
            return Ok(());
        };
        let mut entries = table.range(from..to).map_err(|e| error(e.into()))?;
        while let Some(entry) = match order {
            Order::Ascending => entries.next(),
            Order::Descending => entries.next_back(),
        } {
            let (key, value) = entry.map_err(|e| error(e.into()))?;
            if each(key.value(), value.value())?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Makes a file under another name and gives it its own once it is whole: cut off in the middle,
/// redb does not know its own file.
fn make(builder: &redb::Builder, path: &Path) -> Result<Redb> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let database = match builder.create(&new) {
        Err(DatabaseError::Storage(StorageError::Io(error)))
            if error.kind() == io::ErrorKind::InvalidData =>
        {
            // Left by somebody who was cut off; who is at it now has it locked.
            fs::remove_file(&new).map_err(io_error)?;
            builder.create(&new)
        }
        created => created,
    };
    let redb = Redb(database.map_err(open_error)?);
    redb.sync()?;
    fs::rename(&new, path).map_err(io_error)?;
    let folder = path.canonicalize().map_err(io_error)?;
    if let Some(folder) = folder.parent() {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(io_error)?;
    }
    Ok(redb)
}

fn io_error(error: io::Error) -> Error {
    backend(format!("redb: {error}"))
}

fn open_error(error: DatabaseError) -> Error {
    match error {
        DatabaseError::DatabaseAlreadyOpen => {
            unavailable("the file is in use by another process, or by another handle of this one")
        }
        DatabaseError::UpgradeRequired(version) => incompatible(format!(
            "redb's file format {version} is older than this redb reads"
        )),
        DatabaseError::Storage(StorageError::Io(error))
            if error.kind() == io::ErrorKind::InvalidData =>
        {
            incompatible("the file is not redb's")
        }
        error => backend(format!("redb: {error}")),
    }
}

fn error(error: redb::Error) -> Error {
    backend(format!("redb: {error}"))
}
