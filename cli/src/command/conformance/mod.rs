//! `conformance`: the suite, run on a store of the kind at the URL.

mod scratch;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use jobstore::sqlite::SqliteOptions;
use jobstore::{Error, JobStore, ManualClock, Opener, SqlitePlace, StoreUrl};
use jobstore_conformance::command::Args;
use jobstore_conformance::{Capabilities, Harness, Outcome, Surroundings, Verdict, Versions};
use tempfile::TempDir;

use self::scratch::Scratch;
use crate::Result;
use crate::output::Output;

/// Never touches the store at the URL: a file gets neighbors in a directory that is removed again, a
/// server schemas or databases of their own that are dropped again.
pub(crate) async fn run(url: &StoreUrl, args: Args, output: Output) -> Result {
    let place = match url {
        StoreUrl::Sqlite(SqlitePlace::File(path)) | StoreUrl::Sled(path) | StoreUrl::Redb(path) => {
            Place::Beside(url.clone(), scratch_beside(path)?)
        }
        StoreUrl::Postgres(server) | StoreUrl::MySql(server) => Place::On(Scratch::on(server)),
        _ => Place::InHandle(url.clone()),
    };
    let selection = args.selection("jobstore conformance");
    let report = tokio::select! {
        report = jobstore_conformance::run(&place, selection) => Some(report),
        _ = tokio::signal::ctrl_c() => None,
    };
    let cleaned = match &place {
        Place::On(scratch) => scratch.drop_all().await,
        Place::Beside(..) | Place::InHandle(_) => Ok(()),
    };
    let Some(report) = report else {
        cleaned?;
        return Err(anyhow!("interrupted").into());
    };
    let told = args.tell(&report);
    let told = told.context("the certificate was not written")?;
    if output.is_json() {
        for outcome in &report.outcomes {
            output.object(&object(outcome))?;
        }
    } else {
        output.line(&told)?;
    }
    cleaned?;
    match (report.is_success(), report.failures().count()) {
        (true, _) => Ok(()),
        (false, 0) => Err(anyhow!("no rule was checked").into()),
        (false, 1) => Err(anyhow!("one rule is not kept").into()),
        (false, failures) => Err(anyhow!("{failures} rules are not kept").into()),
    }
}

fn object(outcome: &Outcome) -> serde_json::Value {
    let (verdict, failure) = match &outcome.verdict {
        Verdict::Passed => ("passed", None),
        Verdict::Failed(failure) => ("failed", Some(failure.to_string())),
        Verdict::DoesNotApply => ("does_not_apply", None),
        Verdict::HookAbsent => ("hook_absent", None),
    };
    serde_json::json!({
        "id": outcome.rule.id,
        "name": outcome.rule.name,
        "level": outcome.rule.level.to_string(),
        "sentence": outcome.rule.sentence,
        "verdict": verdict,
        "failure": failure,
    })
}

/// On the same file system, which is part of what is tested.
fn scratch_beside(path: &Path) -> anyhow::Result<TempDir> {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let parent = parent.unwrap_or(Path::new("."));
    tempfile::Builder::new()
        .prefix(".jobstore-conformance-")
        .tempdir_in(parent)
        .with_context(|| format!("no directory can be made in {}", parent.display()))
}

/// Where fresh stores are made.
enum Place {
    /// In this directory, each of the kind at the URL.
    Beside(StoreUrl, TempDir),
    /// On a server.
    On(Scratch),
    /// Nowhere: the store at this URL lives in its handle.
    InHandle(StoreUrl),
}

#[async_trait]
impl Harness for Place {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: !matches!(self, Self::InHandle(_)),
            // These let one handle have the store.
            shared: !matches!(self, Self::Beside(StoreUrl::Sled(_) | StoreUrl::Redb(_), _)),
            arrivals: true,
        }
    }

    async fn fresh(&self, clock: ManualClock) -> jobstore::Result<Box<dyn Surroundings>> {
        match self {
            Self::Beside(url, scratch) => {
                let folder = TempDir::new_in(scratch).map_err(|error| Error::Unavailable {
                    reason: format!("no directory for a fresh store: {error}"),
                })?;
                let url = at(url, folder.path().join("jobs"));
                Ok(Box::new(InFile {
                    url,
                    clock,
                    _folder: folder,
                }))
            }
            Self::On(scratch) => Ok(Box::new(scratch.fresh(clock).await?)),
            Self::InHandle(url) => {
                let opener = Opener::from(url.clone()).with_clock(Arc::new(clock));
                Ok(Box::new(Held(opener.open().await?)))
            }
        }
    }

    fn name(&self) -> Option<&str> {
        Some(match self {
            Self::Beside(StoreUrl::Sled(_), _) => "sled",
            Self::Beside(StoreUrl::Redb(_), _) => "redb",
            Self::Beside(..) => "SQLite, in a file",
            Self::InHandle(StoreUrl::Sqlite(_)) => "SQLite, in memory",
            Self::InHandle(_) => "memory",
            Self::On(scratch) => scratch.server(),
        })
    }

    async fn versions(&self) -> jobstore::Result<Versions> {
        let engine = match self {
            Self::On(scratch) => {
                let engine = scratch.engine().await;
                engine.map_err(|error| Error::Unavailable {
                    reason: format!("{error:#}"),
                })?
            }
            Self::Beside(StoreUrl::Sqlite(_), _) | Self::InHandle(StoreUrl::Sqlite(_)) => {
                let about = SqliteOptions::in_memory().open().await?.about().await?;
                format!("{} {}", about.engine, about.version)
            }
            // Compiled in, or none.
            Self::Beside(..) | Self::InHandle(_) => String::new(),
        };
        Ok(Versions {
            backend: env!("CARGO_PKG_VERSION").to_owned(),
            engine,
        })
    }
}

/// A store that lives in its handle.
struct Held(Arc<dyn JobStore>);

#[async_trait]
impl Surroundings for Held {
    async fn open(&self) -> jobstore::Result<Arc<dyn JobStore>> {
        Ok(Arc::clone(&self.0))
    }
}

/// The URL of a store of the same kind elsewhere.
fn at(url: &StoreUrl, path: PathBuf) -> StoreUrl {
    match url {
        StoreUrl::Sled(_) => StoreUrl::Sled(path),
        StoreUrl::Redb(_) => StoreUrl::Redb(path),
        _ => StoreUrl::Sqlite(SqlitePlace::File(path)),
    }
}

/// A store in files, in a directory of its own.
struct InFile {
    url: StoreUrl,
    clock: ManualClock,
    _folder: TempDir,
}

#[async_trait]
impl Surroundings for InFile {
    async fn open(&self) -> jobstore::Result<Arc<dyn JobStore>> {
        let opener = Opener::from(self.url.clone());
        opener.with_clock(Arc::new(self.clock.clone())).open().await
    }
}
