//! Opening a store by its URL.

use std::fmt;
use std::sync::Arc;

use jobstore_core::{Clock, JobStore, Result};

use crate::url::StoreUrl;

/// Opens the store at `url`, creating it or bringing its schema up to date where needed.
///
/// # Errors
///
/// As [`Opener::open`].
pub async fn open(url: &str) -> Result<Arc<dyn JobStore>> {
    Opener::new(url).open().await
}

/// Opens a store with options.
///
/// ```
/// # async fn example() -> jobstore::Result<()> {
/// use jobstore::Opener;
///
/// let store = Opener::new("sqlite://jobs.db").with_migrate(false).open().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Opener {
    url: Result<StoreUrl>,
    clock: Option<Arc<dyn Clock>>,
    migrate: bool,
}

impl Opener {
    /// Will open the store at `url`; nothing is looked at before [`Opener::open`].
    pub fn new(url: impl AsRef<str>) -> Self {
        Self::read(url.as_ref().parse())
    }

    fn read(url: Result<StoreUrl>) -> Self {
        Self {
            url,
            clock: None,
            migrate: true,
        }
    }

    /// Sets the clock that the store decides by; without one it follows the machine's.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock: Some(clock),
            ..self
        }
    }

    /// Sets whether opening may create the schema or bring it up to date, which is the default.
    /// Without, a store whose schema is not this version's is refused. Memory has no schema.
    #[must_use]
    pub fn with_migrate(self, migrate: bool) -> Self {
        Self { migrate, ..self }
    }

    /// Opens the store.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) naming `url` when the URL is
    /// wrong, its scheme unknown, or the scheme's cargo feature not enabled; the message never
    /// holds a password. What the engine refuses is
    /// [`Error::Incompatible`](crate::Error::Incompatible),
    /// [`Error::Unavailable`](crate::Error::Unavailable) or
    /// [`Error::Backend`](crate::Error::Backend).
    pub async fn open(self) -> Result<Arc<dyn JobStore>> {
        match self.url? {
            #[cfg(feature = "memory")]
            StoreUrl::Memory => Ok(crate::memory::open(self.clock)),
            #[cfg(feature = "sqlite")]
            StoreUrl::Sqlite(place) => crate::sqlite::open(&place, self.clock, self.migrate).await,
            #[cfg(feature = "postgres")]
            StoreUrl::Postgres(url) => crate::postgres::open(&url, self.clock, self.migrate).await,
            #[cfg(feature = "mysql")]
            StoreUrl::MySql(url) => crate::mysql::open(&url, self.clock, self.migrate).await,
            #[cfg(feature = "sled")]
            StoreUrl::Sled(path) => crate::sled::open(&path, self.clock, self.migrate).await,
            #[cfg(feature = "redb")]
            StoreUrl::Redb(path) => crate::redb::open(&path, self.clock, self.migrate).await,
            #[cfg(not(all(
                feature = "memory",
                feature = "mysql",
                feature = "postgres",
                feature = "redb",
                feature = "sled",
                feature = "sqlite"
            )))]
            url => Err(url.feature_is_off()),
        }
    }
}

impl From<StoreUrl> for Opener {
    fn from(url: StoreUrl) -> Self {
        Self::read(Ok(url))
    }
}

impl fmt::Debug for Opener {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("url", &self.url.as_ref().ok())
            .field("clock", &self.clock)
            .field("migrate", &self.migrate)
            .finish()
    }
}
