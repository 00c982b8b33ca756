//! Where a store works, and how it is ended there.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use jobstore_test_servers::Server;
use tempfile::TempDir;

use crate::disk::{Disk, folder};
use crate::server;
use crate::{By, Store};

/// A place for one store, with its server where it needs one.
#[derive(Debug)]
pub(crate) struct Site {
    // Killed before what it writes on is unmounted.
    server: Option<Server>,
    ground: Ground,
    url: String,
}

#[derive(Debug)]
enum Ground {
    /// Whose system goes on when a process is killed, and writes what it was handed.
    Folder(TempDir),
    /// Whose power can be cut.
    Disk(Disk),
}

impl Site {
    /// An empty one, with its server running.
    pub(crate) fn new(store: Store, by: By, relaxed: bool) -> Result<Self> {
        let ground = match by {
            By::Kill => Ground::Folder(folder()?),
            By::Power => Ground::Disk(Disk::new()?),
        };
        let path = ground.path();
        let Some(kind) = store.server() else {
            return Ok(Self {
                server: None,
                url: format!("{}://{}", store.scheme(), path.join("jobs").display()),
                ground,
            });
        };
        let server = server::start(kind, path.join("server"), relaxed)?;
        if let Ground::Disk(disk) = &ground {
            // What makes a server's files does not sync them; the server takes them for given.
            disk.sync()?;
        }
        Ok(Self {
            url: server.url(),
            server: Some(server),
            ground,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Kills every process of the server.
    pub(crate) fn kill_server(&mut self) -> Result<()> {
        self.server.as_mut().map_or(Ok(()), Server::kill)
    }

    /// Cuts the power where that is how stores end here, and gives it back. Everybody who works here
    /// was killed before, so that nobody sees a file system that fails.
    pub(crate) fn cut(&mut self) -> Result<()> {
        match &mut self.ground {
            Ground::Folder(_) => Ok(()),
            Ground::Disk(disk) => {
                disk.cut()?;
                disk.mount()
            }
        }
    }

    /// Starts the server again.
    pub(crate) fn revive(&mut self) -> Result<()> {
        self.server.as_mut().map_or(Ok(()), Server::restart)
    }

    /// Keeps what is here to be looked at, and tells where.
    pub(crate) fn keep(mut self, store: Store) -> Result<PathBuf> {
        self.kill_server()?;
        match self.ground {
            Ground::Folder(folder) => Ok(folder.keep()),
            Ground::Disk(mut disk) => disk.keep(store.scheme()),
        }
        .context("what is left cannot be kept")
    }
}

impl Ground {
    fn path(&self) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.path().to_owned(),
            Self::Disk(disk) => disk.path(),
        }
    }
}
