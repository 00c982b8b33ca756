//! The URL of a database server.

use std::fmt;

use jobstore_core::Result;

use super::{decoded, encoded, wrong};

/// Which kind of server a URL names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerKind {
    /// `postgres://` or `postgresql://`
    Postgres,
    /// `mysql://` or `mariadb://`
    MySql,
}

impl ServerKind {
    fn scheme(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
        }
    }

    /// The options that may follow a `?`, each with the other names it goes by.
    fn options(self) -> &'static [(&'static str, &'static [&'static str])] {
        match self {
            Self::Postgres => &[
                ("application_name", &[]),
                ("call_timeout", &[]),
                ("claim_by", &[]),
                ("host", &[]),
                ("max_connections", &[]),
                ("notices", &[]),
                ("pooler", &[]),
                ("schema", &[]),
                ("sslcert", &["ssl-cert"]),
                ("sslkey", &["ssl-key"]),
                ("sslmode", &["ssl-mode"]),
                ("sslrootcert", &["ssl-root-cert", "ssl-ca"]),
            ],
            Self::MySql => &[
                ("call_timeout", &[]),
                ("claim_by", &[]),
                ("max_connections", &[]),
                ("socket", &[]),
                ("ssl-ca", &["sslca"]),
                ("ssl-cert", &["sslcert"]),
                ("ssl-key", &["sslkey"]),
                ("ssl-mode", &["sslmode"]),
            ],
        }
    }
}

/// The options that are the store's, not the driver's.
#[cfg(any(feature = "postgres", feature = "mysql"))]
const OURS: [&str; 6] = [
    "call_timeout",
    "claim_by",
    "max_connections",
    "notices",
    "pooler",
    "schema",
];

/// Where a server is, which database on it, and how to use it:
/// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE&…`, everything but the scheme optional.
///
/// What is not written follows the habits of the engine's own programs. The password is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl {
    kind: ServerKind,
    user: Option<String>,
    password: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    database: Option<String>,
    options: Vec<(&'static str, String)>,
}

impl ServerUrl {
    /// Reads what follows the scheme and its colon.
    pub(super) fn parse(kind: ServerKind, rest: &str) -> Result<Self> {
        let Some(rest) = rest.strip_prefix("//") else {
            let scheme = kind.scheme();
            return Err(wrong(format!("write {scheme}://USER@HOST/DATABASE")));
        };
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // What follows the place of the host is a password that was cut apart, or a mistake. It is
        // looked for first, so that no other message names a piece of it.
        let cut = authority.contains('#') || path.contains(['@', '/', '#', ':']);
        if cut || options.contains(['@', '#']) {
            return Err(wrong(
                "the characters @ : / ? # in a user, a password, a database or an option are \
                 written %40 %3A %2F %3F %23",
            ));
        }
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        let (user, password) = match user.map(|user| (user, user.split_once(':'))) {
            Some((_, Some((user, password)))) => (text(user)?, Some(decoded(password)?)),
            Some((user, None)) => (text(user)?, None),
            None => (None, None),
        };
        let (host, port) = match place.rsplit_once(':') {
            // A colon inside brackets belongs to an IPv6 address.
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (place, ""),
        };
        let in_brackets = host.starts_with('[') && host.ends_with(']');
        if host.contains([':', '[', ']']) && !in_brackets {
            return Err(wrong("an IPv6 address stands in brackets: [::1]"));
        }
        let port = match port {
            "" => None,
            port => Some(port.parse().map_err(|_| {
                wrong("its port is not a number from 0 to 65535; a / in a password is written %2F")
            })?),
        };
        let mut url = Self {
            kind,
            user,
            password,
            host: text(host)?,
            port,
            database: text(path)?,
            options: Vec::new(),
        };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            url.read_option(option)?;
        }
        Ok(url)
    }

    fn read_option(&mut self, option: &str) -> Result<()> {
        let known = self.kind.options();
        // Only what looks like a name is shown: the rest may be a value that lost its name.
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let shown = name.len() <= 32
            && name.contains(|c: char| c.is_ascii_alphabetic())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
            && option.contains('=');
        let found = known
            .iter()
            .find(|(known, others)| *known == name || others.contains(&name));
        let Some((name, _)) = found else {
            let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
            let which = if shown {
                format!(" `{name}`")
            } else {
                String::new()
            };
            return Err(wrong(format!(
                "unknown option{which}; a {} URL takes {}",
                self.kind.scheme(),
                names.join(", ")
            )));
        };
        let value = decoded(value)?;
        if value.is_empty() {
            return Err(wrong(format!("its option `{name}` has no value")));
        }
        // The driver would take it, but a URL is shown, and a key must not be.
        if value.contains("-----BEGIN") {
            return Err(wrong(format!("its option `{name}` is the path of a file")));
        }
        if self.option(name).is_some() {
            return Err(wrong(format!("its option `{name}` is given twice")));
        }
        self.options.push((name, value));
        Ok(())
    }

    /// Which kind of server it is.
    pub fn kind(&self) -> ServerKind {
        self.kind
    }

    /// The user's name.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The host's name or address, an IPv6 address in brackets; or the directory of a socket, which
    /// begins with a `/`.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The port.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The database's name.
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// Leads to another database of the same server.
    #[must_use]
    pub fn with_database(self, database: impl Into<String>) -> Self {
        Self {
            database: Some(database.into()),
            ..self
        }
    }

    /// The value of an option, by the first of its names.
    pub fn option(&self, name: &str) -> Option<&str> {
        let mut options = self.options.iter();
        options
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// What the stores need.
#[cfg(any(feature = "postgres", feature = "mysql"))]
impl ServerUrl {
    /// The value of an option as something that is read from it.
    pub(crate) fn read<T: std::str::FromStr>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>> {
        let read = |value: &str| {
            let not = |_| wrong(format!("its option `{name}` is not {expected}"));
            value.parse().map_err(not)
        };
        self.option(name).map(read).transpose()
    }

    /// How long a call may take.
    pub(crate) fn call_timeout(&self) -> Result<Option<std::time::Duration>> {
        let seconds: Option<u32> = self.read("call_timeout", "a number of seconds")?;
        Ok(seconds.map(|seconds| std::time::Duration::from_secs(seconds.into())))
    }

    /// Says which file of these options cannot be read. The driver would call it a failed connection.
    pub(crate) fn check_files(&self, options: &[&str]) -> Result<()> {
        for name in options {
            if let Some(path) = self.option(name)
                && let Err(error) = std::fs::File::open(path)
            {
                let why = error.kind();
                return Err(wrong(format!("its option `{name}` names a file: {why}")));
            }
        }
        Ok(())
    }

    /// Reads the URL as the driver does, which also looks where it has always looked for what is not
    /// written: in the environment, and for PostgreSQL in the file of passwords.
    pub(crate) fn for_driver<T: std::str::FromStr>(&self) -> Result<T> {
        let mut url = self.clone();
        url.options.retain(|(name, _)| !OURS.contains(name));
        // The driver's own message may hold what it could not read.
        let read = url.to_string().parse();
        read.map_err(|_| wrong("the driver cannot read it"))
    }

    pub(crate) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }
}

impl fmt::Display for ServerUrl {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.kind.scheme())?;
        if let Some(user) = &self.user {
            write!(f, "{}@", encoded(user, RESERVED))?;
        }
        if let Some(host) = &self.host {
            // An IPv6 address keeps its colons.
            let reserved = if host.starts_with('[') {
                "%/?#@"
            } else {
                RESERVED
            };
            f.write_str(&encoded(host, reserved))?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        if let Some(database) = &self.database {
            write!(f, "/{}", encoded(database, RESERVED))?;
        }
        for (index, (name, value)) in self.options.iter().enumerate() {
            // Without a database the slash must not be missing before a path is read as the host.
            let before = match (index, &self.database) {
                (0, Some(_)) => "?",
                (0, None) => "/?",
                _ => "&",
            };
            write!(f, "{before}{name}={}", encoded(value, "%?#@&+"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for ServerUrl {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerUrl({self})")
    }
}

/// What means something where it stands unencoded.
const RESERVED: &str = "%:/?#@[]";

fn text(encoded: &str) -> Result<Option<String>> {
    match encoded {
        "" => Ok(None),
        encoded => decoded(encoded).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreUrl;

    fn server(text: &str) -> ServerUrl {
        match text.parse().expect(text) {
            StoreUrl::Postgres(url) | StoreUrl::MySql(url) => url,
            other => panic!("{text} is {other:?}"),
        }
    }

    #[test]
    fn every_part_is_read_and_what_is_encoded_is_decoded() {
        let url = server(
            "PostgreSQL://a%40b:p%3A%2F%40%25:w@h.example:5433/d%C3%A9?sslmode=verify-full\
             &ssl-ca=/etc/ca+1.pem&schema=jobs",
        );
        assert_eq!(url.kind(), ServerKind::Postgres);
        assert_eq!(url.user(), Some("a@b"));
        assert_eq!(url.password.as_deref(), Some("p:/@%:w"));
        assert_eq!(url.host(), Some("h.example"));
        assert_eq!(url.port(), Some(5433));
        assert_eq!(url.database(), Some("dé"));
        assert_eq!(url.option("sslrootcert"), Some("/etc/ca+1.pem"));
        assert_eq!(url.option("schema"), Some("jobs"));
        let url = server("mariadb://[::1]:3307");
        assert_eq!((url.kind(), url.host()), (ServerKind::MySql, Some("[::1]")));
        assert_eq!((url.user(), url.database()), (None, None));
        assert_eq!(url.port(), Some(3307));
        let url = server("postgres://ada@%2Fvar%2Frun%2Fpostgresql/db");
        assert_eq!(url.host(), Some("/var/run/postgresql"));
        // As people paste it: the last @ is the one before the host.
        let url = server("mysql://ada:p@ss@host/db");
        assert_eq!(url.password.as_deref(), Some("p@ss"));
    }

    #[test]
    fn a_url_is_shown_without_its_password_and_can_be_read_again() {
        for (text, shown) in [
            ("postgres://", "postgres://"),
            (
                "postgresql://u:canary@h:1/d?pooler=transaction",
                "postgres://u@h:1/d?pooler=transaction",
            ),
            ("postgres://u:canary@[::1]:1", "postgres://u@[::1]:1"),
            ("postgres://:canary@%2Frun/d", "postgres://%2Frun/d"),
            (
                "postgres:///?host=/run&schema=a",
                "postgres:///?host=/run&schema=a",
            ),
            (
                "mysql://u%3A:canary@h/d%2F?ssl-ca=/a%26b",
                "mysql://u%3A@h/d%2F?ssl-ca=/a%26b",
            ),
        ] {
            let url = server(text);
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("canary"), "{url:?}");
            let again = server(shown);
            assert_eq!(
                again,
                ServerUrl {
                    password: None,
                    ..url
                }
            );
        }
    }

    #[test]
    fn a_wrong_url_is_refused_without_a_piece_of_a_password() {
        for text in [
            "postgres:canary",
            "postgres:/canary",
            "postgres://u:canary/x@h/db",
            "postgres://u:1/canary@h/db",
            "postgres://u:1/x@h:canary/db",
            "postgres://u:canary?x@h/db",
            "postgres://u:1?canary=x@h/db",
            "postgres://u:canary#x@h/db",
            "postgres://u:canary#x",
            "postgres://u:1?canary",
            "postgres://u:canary@h:x/db",
            "postgres://u:canary@h:99999/db",
            "postgres://u:%canary@h/db",
            "postgres://u:canary%00@h/db",
            "postgres://u:canary@::1/db",
            "postgres://u@h/db?sslmode=",
            "postgres://u@h/db?schema=canary&schema=canary",
            "postgres://u@h/db?sslkey=-----BEGIN%20canary",
            "postgres://u@h/db?password=canary",
            "mysql://u@h/db?schema=canary",
        ] {
            let error = text.parse::<StoreUrl>().expect_err(text).to_string();
            assert!(error.starts_with("invalid url: "), "{text}: {error}");
            assert!(!error.contains("canary"), "{text}: {error}");
        }
        let error = "mysql://h/db?schema=canary".parse::<StoreUrl>();
        let error = error.expect_err("is refused").to_string();
        assert!(error.contains("unknown option `schema`"), "{error}");
        assert!(error.contains("ssl-mode"), "{error}");
    }
}
