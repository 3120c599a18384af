//! Where a PostgreSQL server is and how to log in: the URL and its `sslmode`, without which the rest is the driver's.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::{Config, Host, SslMode};

use crate::SourceError;
use crate::options::wrong;

const PORT: u16 = 5432;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How much TLS there must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tls {
    /// None.
    Disable,
    /// Encryption, if the server has it.
    Prefer,
    /// Encryption.
    Require,
    /// Encryption, with a server whose certificate proves its name.
    Verify,
}

/// A server, a database in it, and a user.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// Host names or socket directories, each with its port, tried in order.
    pub(crate) hosts: Vec<(Host, u16)>,
    /// The user.
    pub(crate) user: String,
    /// The password, if any.
    pub(crate) password: Option<Vec<u8>>,
    /// The database.
    pub(crate) database: String,
    /// How much TLS there must be.
    pub(crate) tls: Tls,
    /// Whose signatures count, instead of the system's.
    pub(crate) root_certificates: Option<PathBuf>,
    /// How long a connection may take.
    pub(crate) connect_timeout: Duration,
}

impl Address {
    /// Reads a URL. What it leaves out comes from PGUSER, PGPASSWORD and PGDATABASE, as with other clients.
    pub(crate) fn parse(url: &str) -> Result<Self, SourceError> {
        let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (plain, mode, root_certificates) = without_tls(url);
        let tls = match mode.as_deref() {
            None | Some("prefer" | "allow") => Tls::Prefer,
            Some("disable") => Tls::Disable,
            Some("require") if root_certificates.is_none() => Tls::Require,
            Some("require" | "verify-ca" | "verify-full") => Tls::Verify,
            Some(other) => {
                let help = "sslmode is disable, prefer, require, verify-ca or verify-full";
                let reason = format!("sslmode={other} is unknown");
                return Err(wrong("url", reason, Some(help.to_owned())));
            }
        };
        let config: Config = plain.parse().map_err(|error| {
            let help = "a URL looks like postgres://user:password@host:5432/database".to_owned();
            let error: tokio_postgres::Error = error;
            let reason = std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), ToString::to_string);
            wrong("url", reason, Some(help))
        })?;
        let user = config.get_user().map(str::to_owned).or_else(|| environment("PGUSER"));
        let user = user.or_else(|| environment("USER")).unwrap_or_else(|| "postgres".to_owned());
        let database = config.get_dbname().map(str::to_owned).or_else(|| environment("PGDATABASE"));
        let mut hosts: Vec<Host> = config.get_hosts().to_vec();
        if hosts.is_empty() {
            hosts.push(Host::Tcp("localhost".to_owned()));
        }
        let ports = config.get_ports();
        let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(PORT);
        Ok(Self {
            hosts: hosts.into_iter().enumerate().map(|(at, host)| (host, port(at))).collect(),
            database: database.unwrap_or_else(|| user.clone()),
            user,
            password: config
                .get_password()
                .map(<[u8]>::to_vec)
                .or_else(|| environment("PGPASSWORD").map(String::into_bytes)),
            tls: if config.get_ssl_mode() == SslMode::Disable { Tls::Disable } else { tls },
            root_certificates,
            connect_timeout: config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT),
        })
    }

    /// The server and database as messages name them, without the password.
    pub(crate) fn shown(&self) -> String {
        let host = match self.hosts.first() {
            Some((Host::Tcp(host), port)) => format!("{host}:{port}"),
            Some((Host::Unix(path), port)) => format!("{}:{port}", path.display()),
            None => String::new(),
        };
        format!("postgres://{}@{host}/{}", self.user, self.database)
    }
}

/// Takes `sslmode` and `sslrootcert` out of a URL: the driver knows fewer modes than people use.
fn without_tls(url: &str) -> (String, Option<String>, Option<PathBuf>) {
    let Some((base, query)) = url.split_once('?') else { return (url.to_owned(), None, None) };
    let (mut mode, mut root, mut rest) = (None, None, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value.to_owned()),
            Some(("sslrootcert", value)) => root = Some(PathBuf::from(value)),
            _ => rest.push(pair),
        }
    }
    let rest = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    (rest, mode, root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_how() {
        let url =
            "postgres://app:p%40ss@db.example:6432/shop?sslmode=verify-full&sslrootcert=/ca.pem";
        let address = Address::parse(url).unwrap();
        assert_eq!(address.hosts, [(Host::Tcp("db.example".into()), 6432)]);
        assert_eq!(address.password.as_deref(), Some(&b"p@ss"[..]));
        assert_eq!(address.tls, Tls::Verify);
        assert_eq!(address.shown(), "postgres://app@db.example:6432/shop");
    }

    #[test]
    fn a_wrong_url_says_what_is_wrong_with_it() {
        let error = Address::parse("postgres://h/db?sslmode=maybe").unwrap_err();
        assert_eq!(error.to_string(), "option url: sslmode=maybe is unknown");
        assert!(Address::parse("postgres://h:port/db").is_err());
    }
}
