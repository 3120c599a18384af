//! What the server's refusals mean to the person who runs Evert.

use super::address::Address;
use super::session::{Refusal, SessionError};
use crate::SourceError;

/// The codes of what only this source refuses; `docs` list them.
pub(crate) mod code {
    /// TLS cannot be agreed upon.
    pub(crate) const TLS: &str = "SRC020";
    /// The server writes too little into its WAL.
    pub(crate) const WAL_LEVEL: &str = "SRC021";
    /// The user may not do what is needed.
    pub(crate) const PERMISSION: &str = "SRC022";
    /// A slot of that name exists already.
    pub(crate) const SLOT_EXISTS: &str = "SRC023";
    /// Somebody else uses the slot.
    pub(crate) const SLOT_ACTIVE: &str = "SRC024";
    /// The server gave up the WAL that the slot needs.
    pub(crate) const SLOT_LOST: &str = "SRC025";
    /// A publication is missing, or lacks tables.
    pub(crate) const PUBLICATION: &str = "SRC026";
    /// The server is too old.
    pub(crate) const VERSION: &str = "SRC027";
    /// There is nothing to follow.
    pub(crate) const NO_TABLES: &str = "SRC028";
    /// Anything else that the server refuses.
    pub(crate) const SERVER: &str = "SRC029";
}

/// Makes a refusal of ours.
pub(crate) fn refused(code: &'static str, what: String, help: String) -> SourceError {
    SourceError::Refused { code, what, help: Some(help) }
}

impl Address {
    /// Says what an error on a connection means.
    pub(crate) fn explain(&self, error: SessionError) -> SourceError {
        let system = self.shown();
        match error {
            SessionError::Io(_) | SessionError::Timeout(_) => {
                SourceError::Unreachable { system, reason: error.to_string() }
            }
            SessionError::Malformed(reason) => {
                SourceError::Malformed { place: system, reason: reason.to_owned() }
            }
            SessionError::Tls(what) => {
                let help = "choose sslmode=disable, prefer, require or verify-full in the URL";
                refused(code::TLS, format!("{system}: {what}"), help.to_owned())
            }
            SessionError::Login(reason) => SourceError::Authentication { system, reason },
            SessionError::Refused(refusal) => self.explain_refusal(refusal),
        }
    }

    fn explain_refusal(&self, refusal: Refusal) -> SourceError {
        let Refusal { state, message, hint } = refusal;
        let system = self.shown();
        let what = format!("{system} refuses: {message}");
        match state.as_str() {
            // Shutting down, starting up, full of connections, or in use by a session that is about to end.
            "57P01" | "57P02" | "57P03" | "53300" => {
                SourceError::Unreachable { system, reason: message }
            }
            state if state.starts_with("08") => {
                SourceError::Unreachable { system, reason: message }
            }
            state if state.starts_with("28") || state == "3D000" => {
                SourceError::Authentication { system, reason: message }
            }
            "42501" => refused(code::PERMISSION, what, self.grant(&message)),
            "53400" => {
                let help = "raise max_replication_slots and max_wal_senders in postgresql.conf";
                refused(code::SERVER, what, help.to_owned())
            }
            // WAL that was removed.
            "58P01" => refused(code::SLOT_LOST, what, RENEW.to_owned()),
            state => {
                let help = hint.unwrap_or_else(|| format!("look up SQLSTATE {state}"));
                refused(code::SERVER, what, help)
            }
        }
    }

    /// The command that allows what was refused.
    fn grant(&self, message: &str) -> String {
        let user = postgres_protocol::escape::escape_identifier(&self.user);
        let message = message.to_lowercase();
        if message.contains("walsender")
            || message.contains("wal sender")
            || message.contains("replication")
        {
            format!("as a superuser: ALTER ROLE {user} REPLICATION")
        } else if message.contains("for table") || message.contains("relation") {
            format!("as the owner: GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}")
        } else {
            let database = postgres_protocol::escape::escape_identifier(&self.database);
            format!(
                "the user must own the tables and may create publications: \
                 GRANT CREATE ON DATABASE {database} TO {user}; or create the publication as a \
                 superuser and name it with the option publication"
            )
        }
    }
}

/// What to do when the server no longer has what we need.
pub(crate) const RENEW: &str = "run `evert drop` for this source, or start again with a new data directory (--data DIR): \
     either copies everything anew";
