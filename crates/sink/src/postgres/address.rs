//! The URL of a PostgreSQL table: `postgres://user@host:5432/database/[schema.]table?sslmode=require`.

use std::time::Duration;

use tokio_postgres::config::SslMode;

use super::tls::Trust;
use crate::SinkError;
use crate::options::without_password;

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long sent bytes may stay unacknowledged before the connection counts as lost.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a table is.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// How to connect.
    pub(super) config: tokio_postgres::Config,
    /// Which certificates are believed.
    pub(super) trust: Trust,
    /// The schema, when the URL names one.
    pub(super) schema: Option<String>,
    /// The table.
    pub(super) table: String,
    /// The address for people: without password and parameters.
    pub(super) shown: String,
}

impl Address {
    /// Reads the URL.
    ///
    /// # Errors
    /// When it names no table, or a parameter is unknown.
    pub(super) fn parse(url: &str) -> Result<Self, SinkError> {
        let wrong = |problem: &str| SinkError::Address {
            url: without_password(url),
            problem: problem.to_owned(),
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("it is not a URL"))?;
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let parts: Vec<&str> = place.split('/').collect();
        let [authority, database, table] = parts[..] else {
            return Err(wrong("it needs a database and a table"));
        };
        if database.is_empty() || table.is_empty() {
            return Err(wrong("it needs a database and a table"));
        }
        let table = decoded(table).ok_or_else(|| wrong("the table's name is not UTF-8"))?;
        let (schema, table) = match table.split_once('.') {
            Some((schema, table)) => (Some(schema.to_owned()), table.to_owned()),
            None => (None, table),
        };
        let (parameters, ssl_mode, trust) = read_tls(parameters).map_err(|e| wrong(&e))?;
        let mut config: tokio_postgres::Config =
            format!("{scheme}://{authority}/{database}{parameters}")
                .parse()
                .map_err(|error| wrong(&super::reason(&error)))?;
        config.ssl_mode(ssl_mode).connect_timeout(CONNECT_TIMEOUT);
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
        if config.get_application_name().is_none() {
            config.application_name("evert");
        }
        if config.get_password().is_none()
            && let Ok(password) = std::env::var("PGPASSWORD")
        {
            config.password(password);
        }
        let shown = without_password(&format!("{scheme}://{place}"));
        Ok(Self { config, trust, schema, table, shown })
    }
}

/// Takes the parameters about TLS out, with libpq's meaning; the others stay in the URL.
fn read_tls(parameters: &str) -> Result<(String, SslMode, Trust), String> {
    let (mut others, mut mode, mut roots) = (Vec::new(), "prefer", None);
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("sslmode", value)) => mode = value,
            Some(("sslrootcert", value)) => roots = decoded(value),
            _ => others.push(parameter),
        }
    }
    let (ssl_mode, trust) = match mode {
        "disable" => (SslMode::Disable, Trust::Anyone),
        "allow" | "prefer" => (SslMode::Prefer, Trust::Anyone),
        // As in libpq: a named root certificate is checked also when it was not demanded.
        "require" if roots.is_none() => (SslMode::Require, Trust::Anyone),
        "require" | "verify-ca" | "verify-full" => (SslMode::Require, Trust::Roots(roots)),
        other => return Err(format!("sslmode {other} is not known")),
    };
    let others = others.join("&");
    Ok((if others.is_empty() { others } else { format!("?{others}") }, ssl_mode, trust))
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = if first == b'%' { after.get(..2) } else { None };
        let hex = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::Host;

    use super::*;

    #[test]
    fn the_table_stands_behind_the_database() {
        let of = |url| Address::parse(url).unwrap();
        let address = of("postgres://app:secret@db.example:5433/shop/audit.Big%20Table");
        assert_eq!(address.config.get_dbname(), Some("shop"));
        assert_eq!(address.config.get_ports(), [5433]);
        assert_eq!(address.schema.as_deref(), Some("audit"));
        assert_eq!(address.table, "Big Table");
        assert_eq!(address.shown, "postgres://app:***@db.example:5433/shop/audit.Big%20Table");
        assert_eq!(of("postgres://h/d/t").schema, None);
        assert_eq!(of("postgres://h/d/t?sslmode=disable").config.get_ssl_mode(), SslMode::Disable);
        let socket = of("postgres:///d/t?host=/run/postgresql");
        assert_eq!(socket.config.get_hosts(), [Host::Unix("/run/postgresql".into())]);
        let strict = of("postgres://h/d/t?sslmode=verify-full&application_name=x");
        assert_eq!(strict.trust, Trust::Roots(None));
        assert_eq!(strict.config.get_application_name(), Some("x"));
    }

    #[test]
    fn a_url_without_table_is_refused_with_help() {
        for url in ["postgres://h", "postgres://h/d", "postgres://h/d/", "postgres://h/d/t/u"] {
            let error = Address::parse(url).unwrap_err();
            assert_eq!(error.code(), "SINK002", "{url}");
            assert!(error.help().unwrap().contains("/database/table"));
        }
        let error = Address::parse("postgres://h/d/t?sslmode=maybe").unwrap_err();
        assert!(error.to_string().ends_with("sslmode maybe is not known"));
    }
}
