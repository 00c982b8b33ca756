//! Jobs that other processes make, told of by the server's `NOTIFY`.
//!
//! A notice inside the transaction that writes would cost most of the server's speed: it commits such
//! transactions of all its databases one after the other. So a notice is sent once the jobs are there, in a
//! transaction of its own, and what is written while it is on its way shares the next.

use std::sync::{Arc, Mutex, Once, PoisonError, Weak};
use std::time::Duration;

use jobstore_core::{Arrivals, Bell, JobId, Result};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Executor as _, PgPool, Postgres};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::dialect::{Dialect as _, Driver as _};
use crate::error::{Failure, FailureExt as _};
use crate::session::Sessions;
use crate::store::Elsewhere;

const CHANNEL: &str = "jobstore";
/// The least time from one notice to the next.
const PAUSE: Duration = Duration::from_millis(25);
/// How long to wait before trying again what failed.
const RETRY: Duration = Duration::from_secs(1);
/// After how much silence to ask whether the server is still there.
const SILENCE: Duration = Duration::from_secs(60);

/// Hints for the stores of a schema, whatever process they are in.
pub(super) struct Notices {
    /// Rings for what other stores have written.
    others: Bell,
    /// The way to the server for who listens; None where nobody can, behind a pooler.
    way: Option<PgPool>,
    names: Names,
    began_to_listen: Once,
    /// Ended with the store.
    tasks: Mutex<JoinSet<()>>,
    runtime: Handle,
}

/// What all stores of one schema say, and what only this one says after it.
#[derive(Clone)]
struct Names {
    schema: Arc<str>,
    store: Arc<str>,
}

impl Notices {
    /// Has others told of what rings `near`.
    pub(super) fn send(
        near: Arrivals,
        sessions: &Arc<Sessions<Postgres>>,
        schema: String,
        way: Option<&PgConnectOptions>,
    ) -> Self {
        let names = Names {
            schema: schema.into(),
            store: JobId::generate().to_string().into(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(send(near, Arc::downgrade(sessions), names.clone()));
        let pool = |way: &PgConnectOptions| {
            // One connection, which is replaced when it is lost.
            PgPoolOptions::new()
                .max_connections(1)
                .idle_timeout(None)
                .max_lifetime(None)
                .connect_lazy_with(way.clone())
        };
        Self {
            others: Bell::default(),
            way: way.map(pool),
            names,
            began_to_listen: Once::new(),
            tasks: Mutex::new(tasks),
            runtime: Handle::current(),
        }
    }
}

impl Elsewhere for Notices {
    fn tell(&self, arrivals: &Arrivals) {
        let Some(way) = &self.way else { return };
        self.others.tell(arrivals);
        self.began_to_listen.call_once(|| {
            let listening = listen(way.clone(), self.names.clone(), self.others.clone());
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.spawn_on(listening, &self.runtime);
        });
    }
}

async fn send(mut near: Arrivals, sessions: Weak<Sessions<Postgres>>, names: Names) {
    let Names { schema, store } = names;
    // Neither has a quote in it.
    let notify = format!("SELECT pg_notify('{CHANNEL}', '{schema} {store}')");
    loop {
        near.next().await;
        let Some(sessions) = sessions.upgrade() else {
            return;
        };
        let sending = sessions.bounded(run(&sessions, notify.clone())).await;
        drop(sessions);
        match sending.flatten() {
            Ok(()) => sleep(PAUSE).await,
            Err(error) => {
                tracing::debug!(%error, "other stores were not told of new jobs");
                sleep(RETRY).await;
            }
        }
    }
}

/// Past what counts statements: this is nobody's call.
async fn run(sessions: &Sessions<Postgres>, sql: String) -> Result<()> {
    let mut session = sessions.acquire().await?;
    let done = Postgres::run(&mut session, sql).await;
    let done = done.map_err(Failure::of::<Postgres>);
    Ok(session.end(done).await?)
}

async fn listen(way: PgPool, names: Names, others: Bell) {
    loop {
        if let Err(error) = hear(&way, &names, &others).await {
            let error = Postgres::error(error);
            tracing::debug!(%error, "what other stores write is not heard of");
        }
        sleep(RETRY).await;
    }
}

/// Listens until the connection is lost.
async fn hear(way: &PgPool, names: &Names, others: &Bell) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(way).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    // For what was written before.
    others.ring();
    loop {
        let Ok(heard) = timeout(SILENCE, listener.try_recv()).await else {
            // A connection of which the other end is gone would be silent for ever.
            match timeout(SILENCE, listener.execute("SELECT 1")).await {
                Ok(alive) => alive?,
                Err(_) => return Ok(()),
            };
            continue;
        };
        let Some(notice) = heard? else { return Ok(()) };
        let said = notice.payload().split_once(' ');
        if said.is_some_and(|(schema, store)| *schema == *names.schema && *store != *names.store) {
            others.ring();
        }
    }
}
