//! A port that nobody else takes.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context as _, Result, bail};

/// A port of 127.0.0.1, kept while its server is down as well.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    /// Locked, so that no other process of these tests takes the port; the lock ends with the process.
    _lock: File,
}

impl Port {
    /// Reserves a port below those that the system gives to clients. A client that connects to one of
    /// those again and again while no server listens is at last given that very port for its own end,
    /// and is connected to itself.
    pub(crate) fn reserve() -> Result<Self> {
        let user = rustix::process::geteuid().as_raw();
        let locks = std::env::temp_dir().join(format!("jobstore-test-ports-{user}"));
        fs::create_dir_all(&locks)
            .with_context(|| format!("{} cannot be made", locks.display()))?;
        let ports = 10_000..clients_begin();
        // Tests in other processes begin elsewhere.
        let start = std::process::id() as usize * 37 % ports.len();
        for number in ports.clone().cycle().skip(start).take(ports.len()) {
            let lock = File::create(locks.join(number.to_string()))?;
            if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self {
                    number,
                    _lock: lock,
                });
            }
        }
        bail!("no port is free")
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

/// The first port that the system gives to clients.
fn clients_begin() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = range
        .split_whitespace()
        .next()
        .and_then(|port| port.parse().ok());
    first.filter(|first| *first > 11_000).unwrap_or(30_000)
}
