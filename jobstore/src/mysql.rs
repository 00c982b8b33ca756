//! Jobs in a MySQL or MariaDB database: `mysql://USER@HOST/DATABASE`.

use std::sync::Arc;

use jobstore_core::{Clock, Error, JobStore, Result};
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

pub use jobstore_sql::About;
pub use jobstore_sql::mysql::*;

use crate::url::{ServerKind, ServerUrl, wrong};

impl TryFrom<&ServerUrl> for MySqlConnectOptions {
    type Error = Error;

    /// The driver's options for what the URL says about the connection.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] naming `url` when it is another engine's, or an option's value is
    /// wrong.
    fn try_from(url: &ServerUrl) -> Result<Self> {
        if url.kind() != ServerKind::MySql {
            return Err(wrong("it is not that of a MySQL or MariaDB server"));
        }
        url.read::<MySqlSslMode>(
            "ssl-mode",
            "DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY",
        )?;
        url.check_files(&["ssl-ca", "ssl-cert", "ssl-key"])?;
        let connect: Self = url.for_driver()?;
        Ok(match url.password() {
            Some(password) => connect.password(password),
            None => connect,
        })
    }
}

impl TryFrom<&ServerUrl> for MySqlOptions {
    type Error = Error;

    /// How to open the store at this URL.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] naming `url` when it is another engine's, or an option's value is
    /// wrong.
    fn try_from(url: &ServerUrl) -> Result<Self> {
        let mut options = Self::new(MySqlConnectOptions::try_from(url)?);
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
    let options = MySqlOptions::try_from(url)?.with_migrate(migrate);
    let options = match clock {
        Some(clock) => options.with_clock(clock),
        None => options,
    };
    Ok(Arc::new(options.open().await?))
}
