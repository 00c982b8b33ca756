//! `migrate` and `info`.

use jobstore::sqlite::{self, SqliteOptions};
use jobstore::{JobFilter, JobStore as _, Opener, StoreUrl};
use serde_json::Map;

use crate::Result;
use crate::args::MigrateArgs;
use crate::output::Output;

pub(crate) async fn migrate(url: &StoreUrl, args: MigrateArgs, output: Output) -> Result {
    let StoreUrl::Sqlite(place) = url else {
        return Err(anyhow::anyhow!("{url} has no schema").into());
    };
    if args.print {
        output.line(sqlite::schema().trim_end())?;
        return Ok(());
    }
    let options = SqliteOptions::from(place);
    let done = match args.down {
        true => {
            options.remove_schema().await?;
            "removed"
        }
        false => {
            options.open().await?;
            "up to date"
        }
    };
    match output.is_json() {
        true => output.object(&serde_json::json!({ "schema": done }))?,
        false => output.line(&format!("schema {done}"))?,
    }
    Ok(())
}

/// Looks without touching: a store that is not there is not made.
pub(crate) async fn info(url: &StoreUrl, output: Output) -> Result {
    let mut facts = Map::new();
    facts.insert("store".to_owned(), url.to_string().into());
    let counts = match url {
        StoreUrl::Sqlite(place) => {
            let store = SqliteOptions::from(place)
                .with_migrate(false)
                .open()
                .await?;
            let settings = store.settings().await?;
            facts.insert("schema".to_owned(), "up to date".into());
            facts.insert("journal_mode".to_owned(), settings.journal_mode.into());
            facts.insert("synchronous".to_owned(), settings.synchronous.into());
            store.count_jobs(&JobFilter::default()).await?
        }
        _ => {
            let store = Opener::new(url.to_string()).open().await?;
            store.count_jobs(&JobFilter::default()).await?
        }
    };
    facts.insert("jobs".to_owned(), counts.total().into());
    if output.is_json() {
        output.object(&facts)?;
        return Ok(());
    }
    output.fields(facts.iter().map(|(name, value)| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        (name.as_str(), text)
    }))?;
    Ok(())
}
