//! The engines that are measured.

use std::fmt;
use std::str::FromStr;

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

    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::Sled => "sled",
            Self::Redb => "redb",
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadb",
        }
    }

    /// How many connections a store with its default settings has; engines without any have one writer.
    pub fn writers(self) -> usize {
        match self {
            Self::Postgres | Self::MariaDb => 8,
            _ => 1,
        }
    }
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let engine = Self::ALL.into_iter().find(|engine| engine.name() == name);
        engine.ok_or_else(|| format!("no engine is called {name}"))
    }
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
