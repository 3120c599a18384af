//! What a backup consists of.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::limits::PIECE_BYTES_MAX;

/// The format that this code writes, and the newest that it reads. The first one knew no files with a path of their own.
pub const FORMAT: u32 = 2;

/// How many digits of a manifest's hash are in its name.
const NAMED_DIGITS: usize = 16;

/// A backup: what it is of, and where its bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format of this text.
    pub format: u32,
    /// When it was taken, in microseconds since 1970 UTC.
    pub taken_at_us: i64,
    /// The log that it is of.
    pub log_id: String,
    /// The Time before the first transaction in it.
    pub since: u64,
    /// The first Time that is not in it.
    pub upper: u64,
    /// What was signed; `None` when nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
    /// What the views held.
    pub views: ViewDigests,
    /// The files, in order.
    pub files: Vec<StoredFile>,
}

/// What a log had signed when it was backed up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// How many transactions.
    pub size: u64,
    /// The checkpoint.
    pub checkpoint: String,
    /// The last one that witnesses cosigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosigned: Option<String>,
    /// The public key.
    pub verifier: String,
}

/// What all views held at one Time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewDigests {
    /// The Time.
    pub time: u64,
    /// The views.
    pub views: Vec<ViewDigest>,
}

/// What a view held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewDigest {
    /// Its name.
    pub name: String,
    /// How many rows it had.
    pub rows: u64,
    /// How many rows it lacked.
    pub lacking_rows: u64,
    /// A hash of its rows that does not depend on their order.
    pub digest: String,
}

/// A file, as pieces.
///
/// Invariant, checked when it is read: the path stays below the directory, and the pieces have the file's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// What backups know it by: under one name a file only grows.
    pub name: String,
    /// Where it belongs, below the directory that was backed up; `None` when its name says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How many bytes it has.
    pub bytes: u64,
    /// What they are, one behind the other.
    pub pieces: Vec<Piece>,
}

/// Some bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Their SHA-256, in hexadecimal digits.
    pub sha256: String,
    /// How many there are.
    pub bytes: u64,
}

/// The name of a backup: up to where it reaches, when it was taken, and a hash of its manifest.
///
/// Names of one place ascend as the backups' Times do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct BackupId(String);

impl BackupId {
    /// Reads a name; `None` for what is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (upper, taken, hash) = (parts.next()?, parts.next()?, parts.next()?);
        let digits = |text: &str, count: usize| {
            text.len() == count && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let whole = digits(upper, 20) && digits(taken, 16) && digits(hash, NAMED_DIGITS);
        upper.parse::<u64>().ok()?;
        (whole && parts.next().is_none()).then(|| Self(text.to_owned()))
    }

    /// The first Time that the backup does not hold.
    #[must_use]
    pub fn upper(&self) -> u64 {
        self.0.get(..20).and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Names a manifest by its text.
    pub(crate) fn of(manifest: &Manifest, text: &[u8]) -> Self {
        let taken = u64::try_from(manifest.taken_at_us).unwrap_or(0);
        let hash: String = sha256(text).chars().take(NAMED_DIGITS).collect();
        Self(format!("{:020}-{taken:016x}-{hash}", manifest.upper))
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Manifest {
    /// The manifest's text, and its name.
    pub(crate) fn encode(&self) -> (BackupId, Vec<u8>) {
        let text = serde_json::to_vec_pretty(self).expect("it has text keys and plain values");
        (BackupId::of(self, &text), text)
    }

    /// Reads a manifest that must have this name; says what is wrong with it otherwise.
    pub(crate) fn decode(id: &BackupId, text: &[u8]) -> Result<Self, Wrong> {
        let hash: String = sha256(text).chars().take(NAMED_DIGITS).collect();
        if !id.as_str().ends_with(&hash) {
            return Err(Wrong::Damaged("is not the text that its name says".to_owned()));
        }
        /// What every format has.
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let unreadable =
            |error: serde_json::Error| Wrong::Damaged(format!("is unreadable: {error}"));
        let head: Head = serde_json::from_slice(text).map_err(unreadable)?;
        if !(1..=FORMAT).contains(&head.format) {
            return Err(Wrong::Format(head.format));
        }
        let manifest: Self = serde_json::from_slice(text).map_err(unreadable)?;
        if BackupId::of(&manifest, text) != *id {
            return Err(Wrong::Damaged("has a name that is not its own".to_owned()));
        }
        let Self { since, upper, views, .. } = &manifest;
        if since >= upper || views.time >= *upper {
            return Err(Wrong::Damaged("contradicts itself about Times".to_owned()));
        }
        match manifest.files.iter().find(|file| !file.is_sound()) {
            Some(file) => Err(Wrong::Damaged(format!("lists {} as it cannot be", file.name))),
            None => Ok(manifest),
        }
    }

    /// A file by its name.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&StoredFile> {
        self.files.iter().find(|file| file.name == name)
    }

    /// How many bytes its files have.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// Why a manifest is not believed.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// Some bytes of it changed.
    Damaged(String),
    /// It is of another format.
    Format(u32),
}

impl StoredFile {
    /// Where it belongs, below the directory that was backed up.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.as_deref().unwrap_or(&self.name)
    }

    fn is_sound(&self) -> bool {
        let path = self.path();
        let below =
            !path.contains('\\') && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        let hash = |text: &str| {
            text.len() == 64
                && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let pieces = self.pieces.iter();
        let sound = |piece: &Piece| hash(&piece.sha256) && piece.bytes <= PIECE_BYTES_MAX;
        let total = self.pieces.iter().try_fold(0_u64, |sum, piece| sum.checked_add(piece.bytes));
        below && pieces.into_iter().all(sound) && total == Some(self.bytes)
    }
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let piece = |bytes| Piece { sha256: sha256(b"x"), bytes };
        Manifest {
            format: FORMAT,
            taken_at_us: 1_700_000_000_000_000,
            log_id: "7".to_owned(),
            since: 0,
            upper: 42,
            signed: None,
            views: ViewDigests::default(),
            files: vec![StoredFile {
                name: "proof/leaves".into(),
                path: None,
                bytes: 3,
                pieces: vec![piece(1), piece(2)],
            }],
        }
    }

    #[test]
    fn a_manifest_is_believed_only_as_its_name_says() {
        let (id, text) = manifest().encode();
        assert_eq!(BackupId::parse(id.as_str()), Some(id.clone()));
        assert_eq!(id.upper(), 42);
        assert_eq!(Manifest::decode(&id, &text).unwrap(), manifest());
        for at in 0..text.len() {
            let mut flipped = text.clone();
            flipped[at] ^= 1;
            assert!(Manifest::decode(&id, &flipped).is_err(), "byte {at}");
        }
        let renamed = BackupId::parse(&id.as_str().replacen('4', "5", 1)).unwrap();
        assert!(matches!(Manifest::decode(&renamed, &text), Err(Wrong::Damaged(_))));
    }

    #[test]
    fn a_later_format_and_unsound_files_are_refused() {
        for format in [0, FORMAT + 1] {
            let (id, text) = Manifest { format, ..manifest() }.encode();
            assert!(matches!(Manifest::decode(&id, &text), Err(Wrong::Format(_))));
        }
        let (id, text) = Manifest { format: 1, ..manifest() }.encode();
        assert_eq!(Manifest::decode(&id, &text).unwrap().files, manifest().files);
        for name in ["", "/etc/passwd", "../key", "a/../b", "a//b", "a\\b", "."] {
            let mut wrong = manifest();
            wrong.files[0].name = name.to_owned();
            let (id, text) = wrong.encode();
            assert!(matches!(Manifest::decode(&id, &text), Err(Wrong::Damaged(_))), "{name}");
            wrong = manifest();
            wrong.files[0].path = Some(name.to_owned());
            let (id, text) = wrong.encode();
            assert!(matches!(Manifest::decode(&id, &text), Err(Wrong::Damaged(_))), "{name}");
        }
        for wrong in [Manifest { upper: 0, ..manifest() }, Manifest { since: 42, ..manifest() }] {
            let (id, text) = wrong.encode();
            assert!(matches!(Manifest::decode(&id, &text), Err(Wrong::Damaged(_))));
        }
        let mut wrong = manifest();
        wrong.files[0].bytes = 4;
        let (id, text) = wrong.encode();
        assert!(matches!(Manifest::decode(&id, &text), Err(Wrong::Damaged(_))));
    }
}
