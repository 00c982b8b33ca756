//! `migrate` and `info`.

use jobstore::sqlite::{self, SqliteOptions};
use jobstore::{JobFilter, JobStore as _, Opener, StoreUrl};
use serde_json::Map;

use crate::Result;
use crate::args::MigrateArgs;
use crate::output::Output;

pub(crate) async fn migrate(url: &StoreUrl, args: MigrateArgs, output: Output) -> Result {
    let place = match url {
        StoreUrl::Sqlite(place) => place,
        // Their format is made on opening, and has had one version so far.
        StoreUrl::Sled(_) | StoreUrl::Redb(_) if !args.print && !args.down => {
            Opener::new(url.to_string()).open().await?;
            return done("up to date", output);
        }
        _ => return Err(anyhow::anyhow!("{url} has no SQL schema").into()),
    };
    if args.print {
        output.line(sqlite::schema().trim_end())?;
        return Ok(());
    }
    let options = SqliteOptions::from(place);
    match args.down {
        true => {
            options.remove_schema().await?;
            done("removed", output)
        }
        false => {
            options.open().await?;
            done("up to date", output)
        }
    }
}

fn done(what: &str, output: Output) -> Result {
    match output.is_json() {
        true => output.object(&serde_json::json!({ "schema": what }))?,
        false => output.line(&format!("schema {what}"))?,
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
            let opener = Opener::new(url.to_string()).with_migrate(false);
            let store = opener.open().await?;
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
