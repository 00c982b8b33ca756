//! What a store's URL says.

mod server;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jobstore_core::{Error, Result};

pub use self::server::{ServerKind, ServerUrl};

/// Where a store is: a URL that was read. It shows no password.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreUrl {
    /// `memory:`
    Memory,
    /// `sqlite://PATH` or `sqlite::memory:`
    Sqlite(SqlitePlace),
    /// `postgres://USER@HOST/DATABASE` or `postgresql://…`
    Postgres(ServerUrl),
    /// `mysql://USER@HOST/DATABASE` or `mariadb://…`
    MySql(ServerUrl),
    /// `sled://PATH`
    Sled(PathBuf),
    /// `redb://PATH`
    Redb(PathBuf),
}

/// Where a SQLite store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SqlitePlace {
    /// In memory, for as long as the store is open.
    Memory,
    /// In this file.
    File(PathBuf),
}

impl StoreUrl {
    /// Why this URL cannot be opened in a build without its feature.
    #[cfg(not(all(
        feature = "memory",
        feature = "mysql",
        feature = "postgres",
        feature = "redb",
        feature = "sled",
        feature = "sqlite"
    )))]
    pub(crate) fn feature_is_off(&self) -> Error {
        let feature = match self {
            Self::Memory => "memory",
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
            Self::MySql(_) => "mysql",
            Self::Sled(_) => "sled",
            Self::Redb(_) => "redb",
        };
        Error::invalid(
            "url",
            format!("the scheme `{feature}` needs the feature `{feature}` of the crate `jobstore`"),
        )
    }
}

impl FromStr for StoreUrl {
    type Err = Error;

    /// Reads a URL. `%41` stands for the byte it names, so that a path may hold any character.
    fn from_str(text: &str) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(wrong(
                "it has no scheme; write for example sqlite://jobs.db",
            ));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "memory" if rest.is_empty() => Ok(Self::Memory),
            "memory" => Err(wrong("nothing may follow `memory:`")),
            "sqlite" => sqlite_place(rest).map(Self::Sqlite),
            "postgres" | "postgresql" => {
                ServerUrl::parse(ServerKind::Postgres, rest).map(Self::Postgres)
            }
            "mysql" | "mariadb" => ServerUrl::parse(ServerKind::MySql, rest).map(Self::MySql),
            "sled" => path("sled", rest).map(Self::Sled),
            "redb" => path("redb", rest).map(Self::Redb),
            "" => Err(wrong("its scheme is empty")),
            scheme if is_scheme(scheme) => Err(wrong(format!(
                "unknown scheme `{scheme}`; known are `memory`, `sqlite`, `sled`, `redb`, `postgres` \
                 and `mysql`, each with the feature of its name"
            ))),
            _ => Err(wrong("what stands before the first colon is no scheme")),
        }
    }
}

impl fmt::Display for StoreUrl {
    /// As it can be read again, up to passwords and to paths that are not UTF-8.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Sqlite(SqlitePlace::Memory) => f.write_str("sqlite::memory:"),
            Self::Sqlite(SqlitePlace::File(path)) => write!(f, "sqlite://{}", encoded_path(path)),
            Self::Sled(path) => write!(f, "sled://{}", encoded_path(path)),
            Self::Redb(path) => write!(f, "redb://{}", encoded_path(path)),
            Self::Postgres(url) | Self::MySql(url) => url.fmt(f),
        }
    }
}

fn sqlite_place(rest: &str) -> Result<SqlitePlace> {
    if matches!(rest, ":memory:" | "//:memory:") {
        return Ok(SqlitePlace::Memory);
    }
    path("sqlite", rest).map(SqlitePlace::File)
}

/// The path that follows the scheme of a store in files.
fn path(scheme: &str, rest: &str) -> Result<PathBuf> {
    let Some(path) = rest.strip_prefix("//") else {
        let memory = if scheme == "sqlite" {
            " or sqlite::memory:"
        } else {
            ""
        };
        return Err(wrong(format!("write {scheme}://PATH{memory}")));
    };
    if path.is_empty() {
        return Err(wrong(format!(
            "it names no file; write for example {scheme}://jobs.db"
        )));
    }
    if path.contains(['?', '#']) {
        return Err(wrong(format!(
            "a {scheme} URL takes no options; a ? or # in the path is written %3F or %23"
        )));
    }
    // Nobody means a path, and opening one would put a password into a file name and into errors.
    let first = path.split('/').next().unwrap_or_default();
    if first.contains('@') {
        return Err(wrong(format!(
            "a {scheme} URL names a file, not a user at a host; an @ in the path is written %40"
        )));
    }
    decoded(path).map(PathBuf::from)
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.len() <= 32
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// The text with each `%41` made the byte that it stands for.
fn decoded(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let hex = rest.split_at_checked(2).and_then(|(hex, after)| {
            rest = after;
            let hex = std::str::from_utf8(hex).ok()?;
            // from_str_radix would take a sign.
            let digits = hex.bytes().all(|b| b.is_ascii_hexdigit());
            u8::from_str_radix(hex, 16).ok().filter(|_| digits)
        });
        match hex {
            Some(byte) => bytes.push(byte),
            None => return Err(wrong("a % in it is not followed by two hexadecimal digits")),
        }
    }
    if bytes.contains(&0) {
        return Err(wrong("it contains a NUL character"));
    }
    String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8"))
}

fn encoded_path(path: &Path) -> String {
    encoded(&path.to_string_lossy(), "%?#@")
}

/// The text with each of these characters encoded.
fn encoded(text: &str, reserved: &str) -> String {
    let mut encoded = String::new();
    for c in text.chars() {
        match reserved.contains(c) {
            true => encoded.push_str(&format!("%{:02X}", u32::from(c))),
            false => encoded.push(c),
        }
    }
    encoded
}

pub(crate) fn wrong(reason: impl Into<String>) -> Error {
    Error::invalid("url", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> StoreUrl {
        StoreUrl::Sqlite(SqlitePlace::File(path.into()))
    }

    #[test]
    fn every_form_is_read_and_shown_so_that_it_can_be_read_again() {
        let forms = [
            ("memory:", StoreUrl::Memory),
            ("sqlite::memory:", StoreUrl::Sqlite(SqlitePlace::Memory)),
            ("sqlite://:memory:", StoreUrl::Sqlite(SqlitePlace::Memory)),
            ("sqlite://jobs.db", file("jobs.db")),
            ("SQLite:///var/a%3Fb%25%40é.db", file("/var/a?b%@é.db")),
            ("sqlite://dir/a@b.db", file("dir/a@b.db")),
            ("sled://jobs%3F", StoreUrl::Sled("jobs?".into())),
            ("redb:///var/jobs", StoreUrl::Redb("/var/jobs".into())),
        ];
        for (text, url) in forms {
            assert_eq!(text.parse::<StoreUrl>().expect(text), url);
            assert_eq!(url.to_string().parse::<StoreUrl>().expect(text), url);
        }
    }

    #[test]
    fn a_wrong_url_is_refused_without_its_text() {
        let wrong = [
            "",
            "jobs.db",
            ":x",
            "memory:canary",
            "sqlite:canary",
            "sqlite://",
            "sqlite://a?canary=1",
            "sqlite://a%zz",
            "sqlite://a%+1",
            "sqlite://a%4",
            "sqlite://a%00",
            "sqlite://a%ff",
            "sqlite://user:canary@host/db",
            "can ary:x",
        ];
        for text in wrong {
            let error = text.parse::<StoreUrl>().expect_err(text).to_string();
            assert!(error.starts_with("invalid url: "), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
