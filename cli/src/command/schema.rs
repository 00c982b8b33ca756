//! `migrate` and `info`.

use jobstore::mysql::{self, MySqlOptions};
use jobstore::postgres::{self, PostgresOptions};
use jobstore::sqlite::{self, About, SqliteOptions};
use jobstore::{JobFilter, JobStore as _, Opener, ServerUrl, StoreUrl};
use serde_json::Map;

use crate::args::MigrateArgs;
use crate::output::Output;
use crate::{Result, usage};

pub(crate) async fn migrate(url: &StoreUrl, args: MigrateArgs, output: Output) -> Result {
    let Some(sql) = script(url, args.down) else {
        let embedded = matches!(url, StoreUrl::Sled(_) | StoreUrl::Redb(_));
        if embedded && !args.print && !args.down {
            // Their format is made on opening, and has had one version so far.
            Opener::from(url.clone()).open().await?;
            return done("up to date", output);
        }
        return Err(anyhow::anyhow!("{url} has no SQL schema").into());
    };
    if args.print {
        output.line(sql.trim_end())?;
        return Ok(());
    }
    match args.down {
        true => {
            remove(url).await.map_err(usage)?;
            done("removed", output)
        }
        false => {
            Opener::from(url.clone()).open().await.map_err(usage)?;
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

/// The SQL that makes or removes the schema.
fn script(url: &StoreUrl, down: bool) -> Option<String> {
    Some(match (url, down) {
        (StoreUrl::Sqlite(_), false) => sqlite::schema(),
        (StoreUrl::Sqlite(_), true) => sqlite::schema_down(),
        (StoreUrl::MySql(_), false) => mysql::schema(),
        (StoreUrl::MySql(_), true) => mysql::schema_down(),
        (StoreUrl::Postgres(url), false) => {
            let make = |name| format!("CREATE SCHEMA IF NOT EXISTS {name};\n");
            in_one_transaction(
                &schema_of(url).map_or_else(String::new, make),
                url,
                &postgres::schema(),
            )
        }
        (StoreUrl::Postgres(url), true) => in_one_transaction("", url, &postgres::schema_down()),
        _ => return None,
    })
}

/// On PostgreSQL the schema changes wholly or not at all, and in the schema that the URL names.
fn in_one_transaction(prepare: &str, url: &ServerUrl, sql: &str) -> String {
    let set = |name| format!("SET LOCAL search_path = {name};\n");
    let set = schema_of(url).map_or_else(String::new, set);
    format!("BEGIN;\n{prepare}{set}{}\nCOMMIT;\n", sql.trim_end())
}

fn schema_of(url: &ServerUrl) -> Option<String> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    url.option("schema").map(quoted)
}

async fn remove(url: &StoreUrl) -> jobstore::Result<()> {
    match url {
        StoreUrl::Sqlite(place) => SqliteOptions::from(place).remove_schema().await,
        StoreUrl::Postgres(url) => PostgresOptions::try_from(url)?.remove_schema().await,
        StoreUrl::MySql(url) => MySqlOptions::try_from(url)?.remove_schema().await,
        _ => Ok(()),
    }
}

/// Names what is under a store.
fn under(about: About, mut fact: impl FnMut(&str, serde_json::Value)) {
    fact("engine", about.engine.into());
    fact("version", about.version.into());
    fact("schema", about.schema_version.into());
}

/// Looks without touching: a store that is not there is not made.
pub(crate) async fn info(url: &StoreUrl, output: Output) -> Result {
    let mut facts = Map::new();
    let mut fact = |name: &str, value: serde_json::Value| {
        facts.insert(name.to_owned(), value);
    };
    fact("store", url.to_string().into());
    let any = JobFilter::default();
    let counts = match url {
        StoreUrl::Sqlite(place) => {
            let options = SqliteOptions::from(place).with_migrate(false);
            let store = options.open().await?;
            under(store.about().await?, &mut fact);
            let settings = store.settings().await?;
            fact("journal_mode", settings.journal_mode.into());
            fact("synchronous", settings.synchronous.into());
            store.count_jobs(&any).await?
        }
        StoreUrl::Postgres(url) => {
            let options = PostgresOptions::try_from(url)
                .map_err(usage)?
                .with_migrate(false);
            let store = options.open().await?;
            under(store.about().await?, &mut fact);
            store.count_jobs(&any).await?
        }
        StoreUrl::MySql(url) => {
            let options = MySqlOptions::try_from(url)
                .map_err(usage)?
                .with_migrate(false);
            let store = options.open().await?;
            under(store.about().await?, &mut fact);
            store.count_jobs(&any).await?
        }
        _ => {
            let opener = Opener::from(url.clone()).with_migrate(false);
            let store = opener.open().await?;
            store.count_jobs(&any).await?
        }
    };
    fact("jobs", counts.total().into());
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
