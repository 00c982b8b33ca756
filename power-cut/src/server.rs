//! Servers whose power is cut.

use std::path::PathBuf;

use anyhow::Result;
use jobstore_test_servers::{Kind, Server};

/// What a server must be set to, so that what it acknowledged is on disk. The last of each are there
/// for this program.
const POSTGRES: [(&str, &str); 5] = [
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    // The disk is small.
    ("max_wal_size", "128MB"),
    // In files of the server's own: shared memory would be left behind by each cut, since the server
    // finds it again by a file that is lost.
    ("dynamic_shared_memory_type", "mmap"),
];
const MARIADB: [(&str, &str); 2] = [
    ("innodb-flush-log-at-trx-commit", "1"),
    ("innodb-doublewrite", "ON"),
];

/// What makes a server promise more than it keeps. `synchronous_commit` alone would not do: the store
/// sets it on its own connections.
const POSTGRES_RELAXED: [(&str, &str); 2] = [("fsync", "off"), ("synchronous_commit", "off")];
const MARIADB_RELAXED: [(&str, &str); 1] = [("innodb-flush-log-at-trx-commit", "0")];

/// Starts a server with its data in this folder, which it makes.
pub(crate) fn start(kind: Kind, folder: PathBuf, relaxed: bool) -> Result<Server> {
    let (durable, less): (&[_], &[_]) = match kind {
        Kind::Postgres => (&POSTGRES, &POSTGRES_RELAXED),
        Kind::MariaDb => (&MARIADB, &MARIADB_RELAXED),
    };
    let less = if relaxed { less } else { &[] };
    // What is set again later counts.
    let settings = durable.iter().chain(less);
    let setup = Server::of(kind).kept_in(folder);
    settings
        .fold(setup, |setup, (name, value)| setup.with(name, value))
        .start()
}
