//! Where stores and limits are put while they are measured, and data sets that are kept.

use std::fs;
use std::hash::Hasher as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use jobstore::JobStore;
use jobstore_test_servers::{Kind, Server, Setup};
use siphasher::sip::SipHasher13;
use sqlx::{
    AssertSqlSafe, Connection, Executor as _, MySqlConnection, PgConnection, SqliteConnection,
};
use tempfile::TempDir;

use crate::Engine;
use crate::side::Side;

/// A folder, and for servers a private one with its default settings, on the disk of the temporary
/// directory. Gone when it is dropped.
#[derive(Debug)]
pub struct Ground {
    engine: Engine,
    folder: TempDir,
    server: Option<Server>,
    places: AtomicUsize,
}

impl Ground {
    /// Starts what the engine needs.
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            folder: tempfile::tempdir().expect("makes a folder"),
            server: setup(engine).map(|setup| setup.start().expect("the server starts")),
            places: AtomicUsize::new(0),
        }
    }

    /// A new, empty place for a store or a limit, as a URL.
    pub async fn place(&self) -> String {
        let place = self.places.fetch_add(1, Ordering::Relaxed);
        match &self.server {
            Some(server) => database(self.engine, server, &format!("bench_{place}")).await,
            None => self.engine.url(&self.folder.path().join(place.to_string())),
        }
    }

    /// Has PostgreSQL take away the dead rows of all places, as it does by itself once a minute: what
    /// a statement costs would else depend on whether that happened just before, on one side or the
    /// other. What dead rows cost is measured by the program `postgres-dead-rows`.
    pub async fn settle(&self) {
        let Some(server) = &self.server else { return };
        for place in 0..self.places.load(Ordering::Relaxed) {
            settle(self.engine, &at(server, &format!("bench_{place}"))).await;
        }
    }

    /// The engine's version, as it says or as it is locked.
    pub async fn version(&self) -> String {
        let url = self.server.as_ref().map(Server::url).unwrap_or_default();
        let locked = |package: &str| {
            let lock = include_str!("../../Cargo.lock");
            let after = lock
                .split(&format!("name = \"{package}\"\nversion = \""))
                .nth(1);
            let version = after.and_then(|text| text.split('"').next());
            format!("{package} {}", version.unwrap_or_default())
        };
        let version: String = match self.engine {
            Engine::Memory => return String::new(),
            Engine::Sled => return locked("sled"),
            Engine::Redb => return locked("redb"),
            Engine::Sqlite => {
                let mut connection = connect::<SqliteConnection>("sqlite::memory:").await;
                let ask = sqlx::query_scalar("SELECT sqlite_version()");
                ask.fetch_one(&mut connection).await.expect("answers")
            }
            Engine::Postgres => {
                let mut connection = connect::<PgConnection>(&url).await;
                let ask = sqlx::query_scalar("SHOW server_version");
                ask.fetch_one(&mut connection).await.expect("answers")
            }
            Engine::MariaDb => {
                let mut connection = connect::<MySqlConnection>(&url).await;
                let ask = sqlx::query_scalar("SELECT version()");
                ask.fetch_one(&mut connection).await.expect("answers")
            }
        };
        format!("{} {version}", self.engine)
    }
}

/// Opens a store. Boxed, so that the code of all stores is compiled into this crate once and not into
/// each program.
pub fn open(url: &str) -> BoxFuture<'_, Arc<dyn JobStore>> {
    Box::pin(async move { jobstore::open(url).await.expect("opens") })
}

/// The file that stands beside a data set once it is whole.
const DONE: &str = "done";

/// A store with jobs that no claim wants, as [`fill_others`](crate::fill_others) makes them, made once
/// and kept until the engine's layout changes.
#[derive(Debug)]
pub struct DataSet {
    /// The store.
    pub store: Arc<dyn JobStore>,
    engine: Engine,
    rows: usize,
    folder: PathBuf,
    // Ended after the store.
    server: Option<Server>,
}

impl DataSet {
    /// Whether the data set of this many jobs is there, or cannot be kept.
    pub fn is_there(engine: Engine, rows: usize) -> bool {
        engine == Engine::Memory || Self::folder(engine, rows).join(DONE).exists()
    }

    fn folder(engine: Engine, rows: usize) -> PathBuf {
        let prefix = Self::prefix(engine, rows);
        kept().join(format!("{prefix}{:016x}", engine.layout()))
    }

    fn prefix(engine: Engine, rows: usize) -> String {
        format!("{}-{rows}-", engine.name())
    }

    /// Opens the data set of this many jobs, and makes it when it is not there.
    pub async fn open(engine: Engine, rows: usize) -> Self {
        let folder = Self::folder(engine, rows);
        let done = folder.join(DONE);
        let is_made = done.exists();
        if !is_made {
            remove(&kept(), &Self::prefix(engine, rows));
            fs::create_dir_all(&folder).expect("makes a folder");
        }
        let server = setup(engine).map(|setup| {
            let setup = setup.kept_in(folder.join("server"));
            setup.start().expect("the server starts")
        });
        let store = open(&place(engine, server.as_ref(), &folder)).await;
        if !is_made {
            Side::Store(Arc::clone(&store)).fill_others(rows).await;
            // Memory has to be made each time.
            if engine != Engine::Memory {
                fs::write(done, "").expect("writes");
            }
        }
        Self {
            store,
            engine,
            rows,
            folder,
            server,
        }
    }

    /// How many jobs it was made with.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The private server of an engine that needs one.
    pub fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    /// The store's URL.
    pub fn url(&self) -> String {
        place(self.engine, self.server.as_ref(), &self.folder)
    }

    /// As [`Ground::settle`].
    pub async fn settle(&self) {
        if let Some(server) = &self.server {
            settle(self.engine, &server.url()).await;
        }
    }

    /// How many bytes it takes on disk.
    pub fn disk(&self) -> u64 {
        bytes(&self.folder)
    }

    /// Lets go of it in good order.
    pub fn close(self) {
        drop(self.store);
        if let Some(mut server) = self.server {
            server.stop().expect("stops");
        }
    }
}

impl Engine {
    /// The URL of a store in this folder or file, for engines without a server.
    fn url(self, path: &Path) -> String {
        match self {
            Self::Memory => "memory:".to_owned(),
            _ => format!("{}://{}", self.name(), path.display()),
        }
    }

    /// A number that changes with how the engine keeps jobs.
    fn layout(self) -> u64 {
        let texts: &[&str] = match self {
            Self::Memory => &[],
            Self::Sqlite => &[include_str!("../../backend-sql/src/sqlite/0001_up.sql")],
            Self::Postgres => &[include_str!("../../backend-sql/src/postgres/0001_up.sql")],
            Self::MariaDb => &[include_str!("../../backend-sql/src/mysql/0001_up.sql")],
            Self::Sled | Self::Redb => &[
                include_str!("../../backend-kv/src/key.rs"),
                include_str!("../../backend-kv/src/value.rs"),
            ],
        };
        let mut hasher = SipHasher13::new();
        for text in texts.iter().chain(&[include_str!("data.rs")]) {
            hasher.write(text.as_bytes());
        }
        hasher.finish()
    }
}

/// Where the jobs of a data set are.
fn place(engine: Engine, server: Option<&Server>, folder: &Path) -> String {
    match server {
        None => engine.url(&folder.join("jobs")),
        Some(server) => server.url(),
    }
}

/// The private server of an engine that needs one, with the settings that it comes with.
fn setup(engine: Engine) -> Option<Setup> {
    match engine {
        Engine::Postgres => Some(Server::of(Kind::Postgres)),
        // Servers for tests get a small log; this is the default.
        Engine::MariaDb => Some(Server::of(Kind::MariaDb).with("innodb-log-file-size", "96M")),
        _ => None,
    }
}

async fn database(engine: Engine, server: &Server, name: &str) -> String {
    let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    let url = server.url();
    if engine == Engine::Postgres {
        let mut connection = connect::<PgConnection>(&url).await;
        connection.execute(create).await.expect("creates");
    } else {
        let mut connection = connect::<MySqlConnection>(&url).await;
        connection.execute(create).await.expect("creates");
    }
    at(server, name)
}

/// The URL of a database of this server.
fn at(server: &Server, name: &str) -> String {
    let url = server.url();
    let (server, _) = url.rsplit_once('/').expect("a database");
    format!("{server}/{name}")
}

async fn settle(engine: Engine, url: &str) {
    if engine == Engine::Postgres {
        let mut connection = connect::<PgConnection>(url).await;
        let vacuumed = connection.execute("VACUUM ANALYZE").await;
        vacuumed.expect("vacuums");
    }
}

async fn connect<C: Connection>(url: &str) -> C {
    C::connect(url).await.expect("connects")
}

/// Where data sets are kept: where `JOBSTORE_BENCH_DATA` says, or below `target`.
fn kept() -> PathBuf {
    let folder = std::env::var_os("JOBSTORE_BENCH_DATA").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        workspace
            .expect("it is in a workspace")
            .join("target/bench-data")
    });
    fs::create_dir_all(&folder).expect("makes a folder");
    folder
}

/// Removes what stands in `folder` and begins with `prefix`: what an older layout left.
fn remove(folder: &Path, prefix: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            fs::remove_dir_all(entry.path()).expect("removes");
        }
    }
}

fn bytes(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else {
        return fs::metadata(path).map_or(0, |file| file.len());
    };
    entries.flatten().map(|entry| bytes(&entry.path())).sum()
}
