//! Measures jobstore beside other job queues, in turns, and writes what it saw.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml -- --help`
#![forbid(unsafe_code)]

mod contender;
mod lineup;
mod report;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use anyhow::{Context as _, Result};
use clap::{Parser, builder::PossibleValuesParser, builder::TypedValueParser as _};
use jobstore_peers_harness::{About, Operation};
use jobstore_test_servers::Server;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use tempfile::TempDir;

use crate::contender::{Contender, Programs};
use crate::lineup::{Engine, Entry, WORKSPACES, jobs_before, only_reads};
use crate::report::{Comparison, Failure, Report, Side};

/// Measures jobstore beside other job queues.
///
/// What is measured replaces what the report has of it; the rest of the report stays.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only these engines
    #[arg(long, value_enum)]
    engine: Vec<Engine>,

    /// Only these operations
    #[arg(long, value_parser = operation())]
    operation: Vec<Operation>,

    /// Only these peers
    #[arg(long)]
    peer: Vec<String>,

    /// How many rounds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// The folder of the report
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/benchmarks"))]
    report: PathBuf,

    /// Take the binaries as they were built before
    #[arg(long)]
    no_build: bool,
}

fn operation() -> impl clap::builder::TypedValueParser<Value = Operation> {
    PossibleValuesParser::new(Operation::ALL.map(Operation::name)).map(|name| {
        let mut all = Operation::ALL.into_iter();
        all.find(|operation| operation.name() == name)
            .expect("one of the possible values")
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspaces: &[&str] = if arguments.no_build { &[] } else { &WORKSPACES };
    let programs = contender::prepare(folder, workspaces)?;
    let mut report = Report::read(&arguments.report)?;
    for engine in Engine::ALL {
        if !arguments.engine.is_empty() && !arguments.engine.contains(&engine) {
            continue;
        }
        let mut ground = Ground::make(engine).await?;
        let peers: Vec<&Entry> = engine
            .peers()
            .filter(|peer| {
                arguments.peer.is_empty() || arguments.peer.iter().any(|name| name == peer.name)
            })
            .collect();
        for operation in Operation::ALL {
            // SQLite has no dead rows: beside an old reader its log grows, and that is all.
            if operation.is_beside_open() && engine == Engine::Sqlite {
                continue;
            }
            if arguments.operation.is_empty() || arguments.operation.contains(&operation) {
                compare(
                    &programs,
                    &mut ground,
                    engine,
                    operation,
                    &peers,
                    arguments.rounds,
                    &mut report,
                )
                .await?;
                report.write(&arguments.report)?;
            }
        }
    }
    Ok(())
}

/// Measures an operation of the peers, and of ours in the same rounds.
async fn compare(
    programs: &Programs,
    ground: &mut Ground,
    engine: Engine,
    operation: Operation,
    peers: &[&'static Entry],
    rounds: u32,
    report: &mut Report,
) -> Result<()> {
    let mut runs = Vec::new();
    for peer in peers {
        report.forget_failures(peer.name, operation);
        match Run::begin(programs, ground, peer, operation).await {
            Ok(Some(run)) => runs.push(run),
            Ok(None) => {}
            Err(error) => report.fail(failure(peer, operation, &error)),
        }
    }
    let beside = |ours: &Entry| runs.iter().any(|run| run.entry.beside.contains(&ours.name));
    for ours in engine
        .ours()
        .filter(|ours| beside(ours))
        .collect::<Vec<_>>()
    {
        runs.extend(Run::begin(programs, ground, ours, operation).await?);
    }
    for round in 0..rounds {
        // Every other round goes the other way, so that nobody is always behind the same one.
        runs.reverse();
        for run in &mut runs {
            if run.failed.is_none()
                && let Err(error) = run.measure(programs, ground, operation).await
            {
                run.failed = Some(format!("{error:#}"));
            }
        }
        eprintln!(
            "{} {}: round {} of {rounds}",
            engine.title(),
            operation.name(),
            round + 1
        );
    }
    for run in &mut runs {
        run.end(ground).await?;
    }
    let runs: BTreeMap<&str, &Run> = runs.iter().map(|run| (run.entry.name, run)).collect();
    for peer in runs.values().filter(|run| !run.entry.beside.is_empty()) {
        if let Some(reason) = &peer.failed {
            report.fail(failure(
                peer.entry,
                operation,
                &anyhow::anyhow!(reason.clone()),
            ));
            continue;
        }
        for ours in peer.entry.beside {
            let Some(ours) = runs.get(ours) else {
                continue;
            };
            if let Some(reason) = &ours.failed {
                anyhow::bail!("{}: {reason}", ours.entry.name);
            }
            report.put(Comparison {
                engine: engine.title().to_owned(),
                operation,
                title: operation.title().to_owned(),
                unit: operation.unit().to_owned(),
                peer: peer.side(),
                ours: ours.side(),
            });
        }
    }
    Ok(())
}

fn failure(peer: &Entry, operation: Operation, error: &anyhow::Error) -> Failure {
    Failure {
        engine: peer.engine.title().to_owned(),
        peer: peer.name.to_owned(),
        operation,
        reason: format!("{error:#}"),
    }
}

/// A contender in one comparison.
#[derive(Debug)]
struct Run {
    entry: &'static Entry,
    about: About,
    /// Kept over the rounds of an operation that changes nothing.
    kept: Option<(Contender, Place)>,
    rounds: Vec<f64>,
    again: usize,
    failed: Option<String>,
}

impl Run {
    /// Nothing when it does not have the operation.
    async fn begin(
        programs: &Programs,
        ground: &mut Ground,
        entry: &'static Entry,
        operation: Operation,
    ) -> Result<Option<Self>> {
        let place = ground.place().await?;
        let mut contender = Contender::start(entry, programs, &place.address, operation)?;
        let about = contender.about()?;
        let has = about.operations.contains(&operation.needs());
        let mut run = Self {
            entry,
            about,
            kept: None,
            rounds: Vec::new(),
            again: 0,
            failed: None,
        };
        if has && only_reads(operation) {
            contender.fill(jobs_before(operation))?;
            ground.settle(&place).await?;
            run.kept = Some((contender, place));
        } else {
            drop(contender);
            ground.clear(place).await?;
        }
        Ok(has.then_some(run))
    }

    async fn measure(
        &mut self,
        programs: &Programs,
        ground: &mut Ground,
        operation: Operation,
    ) -> Result<()> {
        let figure = if let Some((contender, _)) = &mut self.kept {
            contender.measure(operation)?
        } else {
            let place = ground.place().await?;
            let mut contender = Contender::start(self.entry, programs, &place.address, operation)?;
            contender.about()?;
            contender.fill(jobs_before(operation))?;
            ground.settle(&place).await?;
            let open = match operation.is_beside_open() {
                true => Some(place.open().await?),
                false => None,
            };
            let figure = contender.measure(operation);
            drop((contender, open));
            ground.clear(place).await?;
            figure?
        };
        self.rounds.push(figure.value);
        self.again += figure.again;
        Ok(())
    }

    async fn end(&mut self, ground: &mut Ground) -> Result<()> {
        if let Some((contender, place)) = self.kept.take() {
            drop(contender);
            ground.clear(place).await?;
        }
        Ok(())
    }

    fn side(&self) -> Side {
        Side {
            name: self.about.name.clone(),
            version: self.about.version.clone(),
            settings: self.about.settings.clone(),
            durability: self.about.durability.clone(),
            rounds: self.rounds.clone(),
            handled_again: self.again,
        }
    }
}

/// Where a contender's database is.
#[derive(Debug)]
struct Place {
    address: String,
    what: What,
}

impl Place {
    /// A transaction that has looked at the database, and may want to see it as it was again.
    async fn open(&self) -> Result<PgConnection> {
        let mut connection = PgConnectOptions::from_str(&self.address)?.connect().await?;
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class";
        connection.execute(sqlx::raw_sql(begin)).await?;
        Ok(connection)
    }
}

#[derive(Debug)]
enum What {
    Database(String),
    Folder(TempDir),
}

/// Where databases are made.
#[derive(Debug)]
enum Ground {
    Postgres {
        server: Box<Server>,
        admin: PgConnection,
        made: u32,
    },
    Disk,
}

impl Ground {
    async fn make(engine: Engine) -> Result<Self> {
        match engine {
            Engine::Postgres => {
                let server = Box::new(Server::postgres().start()?);
                let admin = PgConnectOptions::from_str(&server.url())?.connect().await?;
                let made = 0;
                Ok(Self::Postgres {
                    server,
                    admin,
                    made,
                })
            }
            Engine::Sqlite => Ok(Self::Disk),
        }
    }

    async fn place(&mut self) -> Result<Place> {
        match self {
            Self::Postgres {
                server,
                admin,
                made,
            } => {
                *made += 1;
                let name = format!("peers_{made}");
                let create = format!("CREATE DATABASE {name}");
                admin.execute(AssertSqlSafe(create)).await?;
                let url = server.url();
                let (server, _) = url.rsplit_once('/').context("a URL with a database")?;
                Ok(Place {
                    address: format!("{server}/{name}"),
                    what: What::Database(name),
                })
            }
            Self::Disk => {
                let folder = tempfile::tempdir()?;
                let file = folder.path().join("jobs.db");
                Ok(Place {
                    address: file.to_str().context("a path that is UTF-8")?.to_owned(),
                    what: What::Folder(folder),
                })
            }
        }
    }

    /// Does now what the server would do at any time of what was written before.
    async fn settle(&mut self, place: &Place) -> Result<()> {
        if let Self::Postgres { admin, .. } = self {
            let connection = PgConnectOptions::from_str(&place.address)?
                .connect()
                .await?;
            let mut connection = connection;
            connection.execute("VACUUM ANALYZE").await?;
            connection.close().await?;
            admin.execute("CHECKPOINT").await?;
        }
        Ok(())
    }

    async fn clear(&mut self, place: Place) -> Result<()> {
        match (self, place.what) {
            (Self::Postgres { admin, .. }, What::Database(name)) => {
                let drop = format!("DROP DATABASE {name} WITH (FORCE)");
                admin.execute(AssertSqlSafe(drop)).await?;
            }
            (_, What::Folder(folder)) => folder.close()?,
            (Self::Disk, What::Database(name)) => anyhow::bail!("{name} is of another ground"),
        }
        Ok(())
    }
}
