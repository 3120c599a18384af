//! A connection to the target, and the fence that keeps a second writer out.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::address::Address;
use super::tls;
use crate::SinkError;

/// How long a new session waits for an old one of ours to be noticed as gone.
const FENCE_WAIT: Duration = Duration::from_secs(5);

const FENCE_PAUSE: Duration = Duration::from_millis(50);

/// Connects. The connection ends when the client is dropped.
///
/// # Errors
/// When the server cannot be reached, or does not let us in.
pub(super) async fn connect(address: &Address) -> Result<Client, SinkError> {
    let tls = tls::connector(&address.trust)
        .map_err(|reason| SinkError::Login { target: address.shown.clone(), reason })?;
    let connected = address.config.connect(tls).await;
    let (client, connection) = connected.map_err(|error| refused_login(&address.shown, &error))?;
    let shown = address.shown.clone();
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(target_table = %shown, "connection ended: {}", reason(&error));
        }
    });
    // A commit that was answered stays, whatever the server's default; and nothing of ours is cut off in the middle.
    let settings = "select set_config('synchronous_commit', 'on', false)
                    where current_setting('synchronous_commit') = 'off';
                    set client_min_messages = warning; set lock_timeout = 0; \
                    set statement_timeout = 0; set idle_in_transaction_session_timeout = 0";
    client.batch_execute(settings).await.map_err(|error| failed(&address.shown, &error))?;
    Ok(client)
}

/// Takes the session's advisory lock on `what`, so that no other Evert writes there.
///
/// A session of ours that died is let go by the server within moments; so this waits a little.
///
/// # Errors
/// When another session keeps it, or the connection breaks.
pub(super) async fn fence(client: &Client, what: &str, shown: &str) -> Result<(), SinkError> {
    let deadline = Instant::now() + FENCE_WAIT;
    loop {
        let row = client
            .query_one("select pg_try_advisory_lock(hashtextextended($1, 0))", &[&what])
            .await
            .map_err(|error| failed(shown, &error))?;
        if row.get(0) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let holder = holder(client, what).await.map_err(|error| failed(shown, &error))?;
            return Err(SinkError::Busy { target: shown.to_owned(), holder });
        }
        sleep(FENCE_PAUSE).await;
    }
}

async fn holder(client: &Client, what: &str) -> Result<String, tokio_postgres::Error> {
    let sql = "with h(h) as (select hashtextextended($1, 0))
        select format('pid %s of the server, %s from %s', a.pid, a.application_name,
                      coalesce(host(a.client_addr), 'a local socket'))
        from h join pg_locks l on l.locktype = 'advisory' and l.objsubid = 1 and l.granted
            and l.classid = ((h >> 32) & 4294967295)::oid and l.objid = (h & 4294967295)::oid
        join pg_stat_activity a on a.pid = l.pid";
    let row = client.query_opt(sql, &[&what]).await?;
    Ok(row.map_or_else(|| "it has just ended".to_owned(), |row| row.get(0)))
}

/// Says why a connection was not made.
fn refused_login(shown: &str, error: &tokio_postgres::Error) -> SinkError {
    let target = shown.to_owned();
    let reason = reason(error);
    let passes = match error.code() {
        // Too many connections, starting up, shutting down.
        Some(code) => is_passing(code),
        None => is_network(error),
    };
    if passes {
        SinkError::Unreachable { target, reason }
    } else {
        SinkError::Login { target, reason }
    }
}

/// Says why a statement failed.
pub(super) fn failed(shown: &str, error: &tokio_postgres::Error) -> SinkError {
    let (target, reason) = (shown.to_owned(), reason(error));
    match error.code() {
        Some(code) => SinkError::Refused { target, reason, transient: is_passing(code) },
        None if error.is_closed() || is_network(error) => SinkError::Unreachable { target, reason },
        None => SinkError::Refused { target, reason, transient: false },
    }
}

/// Whether a statement may succeed later as it is: connection (08), rollback by the server (40), lack of resources
/// (53), intervention (57), a lock (55P03), a standby that is not yet a primary (25006).
fn is_passing(code: &SqlState) -> bool {
    ["08", "40", "53", "57"].iter().any(|class| code.code().starts_with(class))
        || matches!(code.code(), "55P03" | "25006")
}

fn is_network(error: &tokio_postgres::Error) -> bool {
    let mut cause = error.source();
    while let Some(source) = cause {
        if let Some(error) = source.downcast_ref::<io::Error>() {
            // A certificate that is not believed now is not believed later.
            let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            return !matches!(tls, Some(rustls::Error::InvalidCertificate(_)));
        }
        cause = source.source();
    }
    // A connect timeout has no source.
    error.is_closed() || error.to_string().contains("timed out")
}

/// The error with its causes, in one line.
pub(super) fn reason(error: &tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        let parts = [Some(error.message()), error.detail(), error.hint()];
        return parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = source.source();
    }
    text
}

/// Quotes a name for SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a text for SQL.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
