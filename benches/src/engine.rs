//! The engines that are measured.

use std::fmt;

/// An engine under a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the engine of that name")]
pub enum Engine {
    Memory,
    Sqlite,
    Sled,
    Redb,
    Postgres,
    MariaDb,
}

impl Engine {
    /// Every engine.
    pub const ALL: [Self; 6] = [
        Self::Memory,
        Self::Sqlite,
        Self::Sled,
        Self::Redb,
        Self::Postgres,
        Self::MariaDb,
    ];
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Sqlite => "SQLite",
            Self::Sled => "sled",
            Self::Redb => "redb",
            Self::Postgres => "PostgreSQL",
            Self::MariaDb => "MariaDB",
        })
    }
}
