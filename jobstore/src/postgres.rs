//! Jobs in a PostgreSQL database: `postgres://USER@HOST/DATABASE`.

use std::sync::Arc;

use jobstore_core::{Clock, Error, JobStore, Result};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

pub use jobstore_sql::postgres::*;
pub use jobstore_sql::{About, ClaimBy};

use crate::url::{ServerKind, ServerUrl, wrong};

impl TryFrom<&ServerUrl> for PgConnectOptions {
    type Error = Error;

    /// The driver's options for what the URL says about the connection.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] naming `url` when it is another engine's, or an option's value is
    /// wrong.
    fn try_from(url: &ServerUrl) -> Result<Self> {
        if url.kind() != ServerKind::Postgres {
            return Err(wrong("it is not that of a PostgreSQL server"));
        }
        url.read::<PgSslMode>(
            "sslmode",
            "disable, allow, prefer, require, verify-ca or verify-full",
        )?;
        url.check_files(&["sslrootcert", "sslcert", "sslkey"])?;
        let connect: Self = url.for_driver()?;
        Ok(match url.password() {
            Some(password) => connect.password(password),
            None => connect,
        })
    }
}

impl TryFrom<&ServerUrl> for PostgresOptions {
    type Error = Error;

    /// How to open the store at this URL.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] naming `url` when it is another engine's, or an option's value is
    /// wrong.
    fn try_from(url: &ServerUrl) -> Result<Self> {
        let mut options = Self::new(PgConnectOptions::try_from(url)?);
        if let Some(schema) = url.option("schema") {
            options = options.with_schema(schema);
        }
        match url.option("pooler") {
            None => {}
            Some("transaction") => options = options.with_transaction_pooler(true),
            Some(_) => return Err(wrong("its option `pooler` is not `transaction`")),
        }
        match url.option("notices") {
            None | Some("on") => {}
            Some("off") => options = options.with_notices(false),
            Some(_) => return Err(wrong("its option `notices` is not on or off")),
        }
        if let Some(connections) = url.read("max_connections", "a number")? {
            options = options.with_max_connections(connections);
        }
        if let Some(timeout) = url.call_timeout()? {
            options = options.with_call_timeout(timeout);
        }
        match url.option("claim_by") {
            None | Some("skip_locked") => Ok(options),
            Some("guard") => Ok(options.with_claim_by(ClaimBy::Guard)),
            Some(_) => Err(wrong("its option `claim_by` is not skip_locked or guard")),
        }
    }
}

pub(crate) async fn open(
    url: &ServerUrl,
    clock: Option<Arc<dyn Clock>>,
    migrate: bool,
) -> Result<Arc<dyn JobStore>> {
    let options = PostgresOptions::try_from(url)?.with_migrate(migrate);
    let options = match clock {
        Some(clock) => options.with_clock(clock),
        None => options,
    };
    Ok(Arc::new(options.open().await?))
}
