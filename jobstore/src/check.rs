//! Looking whether a store is in order.

use std::fmt;

use jobstore_core::{Error, Result};
#[cfg(feature = "sqlite")]
use jobstore_core::{JobFilter, JobStore as _, PageRequest};

use crate::url::StoreUrl;

/// Whether a check changes anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repair {
    /// It only tells.
    #[default]
    No,
    /// It rebuilds what is wrong in the indexes from the jobs, which stay as they are.
    Indexes,
}

/// Something that a check found to be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// What it is, for people: ids and indexes, never params or results.
    pub text: String,
    /// Whether [`Repair::Indexes`] does away with it.
    pub is_repairable: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a check saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// The jobs that were looked at.
    pub jobs: u64,
    /// What was found to be wrong.
    pub problems: u64,
    /// How much of it is right again.
    pub repaired: u64,
}

/// Checks that the indexes of the store at `url` say what its jobs say, and that every job can be
/// read; tells each problem as it is found. Makes no store where none is.
///
/// sled and redb: every job against every index, both ways; indexes can be repaired. SQLite: its own
/// integrity check, and every job read; nothing is repaired.
///
/// # Errors
///
/// [`Error::InvalidArgument`] naming `url` as [`Opener::open`](crate::Opener::open) does, and for
/// stores that cannot be checked; naming `repair` for those that cannot be repaired; and what opening
/// and reading bring about.
pub async fn check(
    url: &str,
    repair: Repair,
    each: impl FnMut(&Problem) + Send + 'static,
) -> Result<CheckReport> {
    match url.parse::<StoreUrl>()? {
        #[cfg(feature = "sled")]
        StoreUrl::Sled(path) => {
            let options = jobstore_sled::SledOptions::new(path).with_create(false);
            by_index(options.open().await?, repair, each).await
        }
        #[cfg(feature = "redb")]
        StoreUrl::Redb(path) => {
            let options = jobstore_redb::RedbOptions::new(path).with_create(false);
            by_index(options.open().await?, repair, each).await
        }
        #[cfg(feature = "sqlite")]
        StoreUrl::Sqlite(place) => {
            if repair != Repair::No {
                return Err(Error::invalid(
                    "repair",
                    "the indexes of SQLite are its own; `sqlite3 FILE REINDEX` rebuilds them",
                ));
            }
            sqlite(&place, each).await
        }
        url => {
            let _ = (repair, each);
            Err(Error::invalid("url", format!("{url} cannot be checked")))
        }
    }
}

/// On the engines whose indexes are ours.
#[cfg(any(feature = "redb", feature = "sled"))]
async fn by_index<E: jobstore_kv::Engine>(
    store: jobstore_kv::KvJobStore<E>,
    repair: Repair,
    mut each: impl FnMut(&Problem) + Send + 'static,
) -> Result<CheckReport> {
    let repair = match repair {
        Repair::No => jobstore_kv::Repair::No,
        Repair::Indexes => jobstore_kv::Repair::Indexes,
    };
    let each = move |difference: &jobstore_kv::Difference| {
        each(&Problem {
            text: difference.to_string(),
            is_repairable: difference.is_repairable(),
        });
    };
    let report = store.check(repair, each).await?;
    Ok(CheckReport {
        jobs: report.jobs,
        problems: report.differences,
        repaired: report.repaired,
    })
}

#[cfg(feature = "sqlite")]
async fn sqlite(
    place: &crate::SqlitePlace,
    mut each: impl FnMut(&Problem) + Send,
) -> Result<CheckReport> {
    let options = crate::sqlite::SqliteOptions::from(place).with_migrate(false);
    let store = options.open().await?;
    let mut report = CheckReport::default();
    let mut tell = |text: String| {
        report.problems += 1;
        each(&Problem {
            text,
            is_repairable: false,
        });
    };
    for problem in store.integrity_problems().await? {
        tell(problem);
    }
    let mut page = PageRequest::default().with_size(1000);
    loop {
        let jobs = store.list_jobs(&JobFilter::default(), &page).await?;
        report.jobs += jobs.len() as u64;
        for error in &jobs.unreadable {
            tell(error.to_string());
        }
        let Some(token) = jobs.token else {
            return Ok(report);
        };
        page = page.with_token(Some(token));
    }
}
