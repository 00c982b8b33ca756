//! The rules of the suite about power cuts, which need a disk whose power can be cut.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use jobstore::{Error, JobStore, ManualClock, Opener, StoreUrl};
use jobstore_conformance::{Capabilities, Crash, Harness, Surroundings};

use crate::disk::Disk;

/// Checks them on stores of this scheme.
pub(crate) async fn check(scheme: &str) -> Result<()> {
    let harness = OnDisk {
        scheme: scheme.to_owned(),
    };
    let report = jobstore_conformance::run(&harness, "POWER-").await;
    println!("{report}");
    ensure!(report.is_success(), "rules were broken");
    Ok(())
}

struct OnDisk {
    scheme: String,
}

#[async_trait]
impl Harness for OnDisk {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            shared: false,
        }
    }

    async fn fresh(&self, clock: ManualClock) -> jobstore::Result<Box<dyn Surroundings>> {
        let disk = Disk::new().map_err(unavailable)?;
        let url = format!("{}://{}", self.scheme, disk.path().join("jobs").display());
        Ok(Box::new(Place {
            url: url.parse()?,
            clock,
            disk: Mutex::new(disk),
        }))
    }

    fn name(&self) -> Option<&str> {
        Some(&self.scheme)
    }
}

struct Place {
    url: StoreUrl,
    clock: ManualClock,
    disk: Mutex<Disk>,
}

impl Place {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Surroundings for Place {
    async fn open(&self) -> jobstore::Result<Arc<dyn JobStore>> {
        // Only now has everybody let go of the disk whose power was cut.
        let mounted = self.disk().mount_again();
        mounted.map_err(unavailable)?;
        let opener = Opener::from(self.url.clone());
        opener.with_clock(Arc::new(self.clock.clone())).open().await
    }

    fn power_cut(&self) -> Option<&dyn Crash> {
        Some(self)
    }
}

#[async_trait]
impl Crash for Place {
    async fn crash(&self) -> jobstore::Result<()> {
        self.disk().shut_down().map_err(unavailable)
    }
}

fn unavailable(error: anyhow::Error) -> Error {
    Error::Unavailable {
        reason: format!("{error:#}"),
    }
}
