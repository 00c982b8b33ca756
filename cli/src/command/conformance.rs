//! `conformance`: the suite, run on a store of the kind at the URL.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use jobstore::{Error, JobStore, ManualClock, Opener, SqlitePlace, StoreUrl};
use jobstore_conformance::{Capabilities, Harness, Outcome, Surroundings, Verdict};
use tempfile::TempDir;

use crate::Result;
use crate::args::ConformanceArgs;
use crate::output::Output;

/// Never touches the store at the URL: a file gets neighbors in a directory that is removed again.
pub(crate) async fn run(url: &StoreUrl, args: ConformanceArgs, output: Output) -> Result {
    let scratch = match url {
        StoreUrl::Sqlite(SqlitePlace::File(path)) | StoreUrl::Sled(path) | StoreUrl::Redb(path) => {
            Some(scratch_beside(path)?)
        }
        _ => None,
    };
    let kind = Kind {
        url: url.clone(),
        scratch: scratch.as_ref().map(|scratch| scratch.path().to_owned()),
    };
    let report = jobstore_conformance::run(&kind, &args.filter).await;
    if output.is_json() {
        for outcome in &report.outcomes {
            output.object(&object(outcome))?;
        }
    } else {
        output.line(&report.to_string())?;
    }
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

/// Stores of the kind at a URL.
struct Kind {
    url: StoreUrl,
    /// Where to make files, for stores in files.
    scratch: Option<PathBuf>,
}

#[async_trait]
impl Harness for Kind {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: self.scratch.is_some(),
            // These let one handle have the store.
            shared: !matches!(self.url, StoreUrl::Sled(_) | StoreUrl::Redb(_)),
        }
    }

    async fn fresh(&self, clock: ManualClock) -> jobstore::Result<Box<dyn Surroundings>> {
        let Some(scratch) = &self.scratch else {
            let opener = Opener::new(self.url.to_string());
            let store = opener.with_clock(Arc::new(clock)).open().await?;
            return Ok(Box::new(Held(store)));
        };
        let folder = TempDir::new_in(scratch).map_err(|error| Error::Unavailable {
            reason: format!("no directory for a fresh store: {error}"),
        })?;
        let url = at(&self.url, folder.path().join("jobs"));
        Ok(Box::new(InFile {
            url,
            clock,
            _folder: folder,
        }))
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
        let opener = Opener::new(self.url.to_string());
        opener.with_clock(Arc::new(self.clock.clone())).open().await
    }
}
