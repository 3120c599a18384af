//! What can go wrong with a backup, and what to do about it.

use std::error::Error;
use std::io;

use object_store::Error as StoreError;

use crate::limits::MANIFEST_BYTES_MAX;

/// Why a backup could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The place cannot be one.
    #[error("{place} is no place for backups: {reason}")]
    Place {
        /// What was named, without secrets.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The place does not do what it is asked.
    #[error("cannot {action} in {place}")]
    Store {
        /// What was tried, as a verb.
        action: &'static str,
        /// The place.
        place: String,
        /// What it says.
        source: Box<StoreError>,
    },
    /// A file here could not be read or written.
    #[error("cannot {action} {name}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// Another backup is being made there.
    #[error("{place} is in use by {holder}")]
    Busy {
        /// The place.
        place: String,
        /// Who is at work there.
        holder: String,
    },
    /// Another backup may have been made there meanwhile.
    #[error(
        "the lock on {place} was lost: it could not be renewed, or somebody else took the place"
    )]
    Lost {
        /// The place.
        place: String,
    },
    /// The backup consists of too many pieces.
    #[error(
        "what the backup consists of takes {bytes} bytes to say, and at most {MANIFEST_BYTES_MAX} are read"
    )]
    TooLarge {
        /// The place.
        place: String,
        /// How many bytes its manifest has.
        bytes: u64,
    },
    /// There is no such backup.
    #[error("{place} holds no {wanted}")]
    None {
        /// The place.
        place: String,
        /// What was looked for.
        wanted: String,
    },
    /// What the place holds is not what was put there.
    #[error("the backup in {place} is damaged: {object} {reason}")]
    Damaged {
        /// The place.
        place: String,
        /// The object.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer version of Evert made it.
    #[error("{object} in {place} has format {format}, which this version of Evert cannot read")]
    Format {
        /// The place.
        place: String,
        /// The manifest.
        object: String,
        /// Its format.
        format: u32,
    },
    /// A file is not the one that was backed up before, or not any more.
    #[error("{name} is not what was backed up before to {place}, from byte {offset} on")]
    Altered {
        /// The place.
        place: String,
        /// The file.
        name: String,
        /// The first piece that differs.
        offset: u64,
    },
}

impl BackupError {
    /// The error's code, for documentation and searching.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Place { .. } => "BKP001",
            Self::Store { .. } => "BKP002",
            Self::Io { .. } => "BKP003",
            Self::Busy { .. } => "BKP004",
            Self::None { .. } => "BKP005",
            Self::Damaged { .. } => "BKP006",
            Self::Format { .. } => "BKP007",
            Self::Altered { .. } => "BKP008",
            Self::Lost { .. } => "BKP009",
            Self::TooLarge { .. } => "BKP010",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Place { .. } => {
                "name a directory, or s3://BUCKET/PREFIX; credentials, region and endpoint of S3 \
                 come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, \
                 AWS_ENDPOINT_URL)"
                    .to_owned()
            }
            Self::Store { source, .. } => return advice(source),
            Self::Io { .. } => return None,
            Self::Busy { .. } => {
                "wait until that is done; who was killed elsewhere is forgotten after two minutes"
                    .to_owned()
            }
            Self::Lost { .. } => {
                "look at the connection to the place, then run it again: what was copied is not \
                 copied twice"
                    .to_owned()
            }
            Self::TooLarge { place, .. } => format!(
                "nothing was published in {place}; give the tables a history (`evert run --history`), so that the \
                 log becomes shorter"
            ),
            Self::None { place, .. } => {
                format!("`evert backup --list {place}` shows what there is")
            }
            Self::Damaged { .. } => {
                "this backup cannot be restored; name another with --backup ID (`evert backup \
                 --list` shows them). The next backup puts back what is missing, if the log still \
                 has it"
                    .to_owned()
            }
            Self::Format { .. } => "use the version of Evert that made it, or a newer one".into(),
            Self::Altered { .. } => {
                "`evert verify` says whether the log is damaged; if it is another history of the \
                 same log (a restored copy that went on), back it up to another place"
                    .to_owned()
            }
        })
    }

    /// Whether there is no room for what was to be written.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        let mut cause: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(error) = cause {
            let full = error.downcast_ref::<io::Error>().map(io::Error::kind);
            if matches!(full, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "stores fail in ways that need no advice")]
fn advice(error: &StoreError) -> Option<String> {
    let advice = match error {
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
            "check the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN) \
             and what they may do: read, list, write and delete"
        }
        StoreError::NotFound { .. } => "check the bucket's name, AWS_REGION and AWS_ENDPOINT_URL",
        StoreError::Generic { store: "S3", .. } => {
            "check AWS_ENDPOINT_URL, AWS_REGION, the credentials and the network, then run it \
             again: what was copied is not copied twice"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}
