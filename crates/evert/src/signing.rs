//! The log's key, and the notary that signs with it.
//!
//! The key is made when a log is written for the first time, in `log/key`, which only its owner may read. Whoever has it
//! can sign another history; to keep it elsewhere, move the file and name it in `EVERT_LOG_KEY`.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::notary::proof_dir;
use log::{Log, LogError, NotaryOptions};
use proof::{Cosigner, KEY_BYTES, Signer, VerifierKey};
use sha2::{Digest, Sha256};

use crate::commands::restore::BEFORE;
use crate::directory;
use crate::failure::Failure;

/// Where the log's private key is, when it is not in the log's directory.
const KEY_VARIABLE: &str = "EVERT_LOG_KEY";

/// How long a transaction waits at most to be signed.
const INTERVAL: Duration = Duration::from_secs(1);

/// Starts to sign what is in the log.
pub(crate) fn start(log: &Log, root: &Path, log_id: [u8; 16]) -> Result<(), Failure> {
    let signer = signer(root, log_id)?;
    Ok(log.start_notary(NotaryOptions { signer, interval: INTERVAL })?)
}

/// Where the log's private key is.
pub(crate) fn key_path(root: &Path) -> PathBuf {
    let elsewhere = std::env::var_os(KEY_VARIABLE).map(PathBuf::from);
    elsewhere.unwrap_or_else(|| directory::log_dir(root).join("key"))
}

/// The log's private key; it is made when the log has none yet.
fn signer(root: &Path, log_id: [u8; 16]) -> Result<Signer, Failure> {
    let path = key_path(root);
    let unusable = |reason: String| {
        let path = path.clone();
        Failure::from(LogError::Key { path, reason })
    };
    match fs::read_to_string(&path) {
        Ok(text) => {
            let key = Signer::parse(text.trim()).map_err(|error| unusable(error.to_string()))?;
            let other = is_of_another(root, log_id, key.verifier());
            other.map_or(Ok(key), |reason| Err(unusable(reason)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if proof_dir(&directory::log_dir(root)).join("verifier").exists() {
                let reason = format!(
                    "it is not there, but the log was signed before; {KEY_VARIABLE} names a key that is kept elsewhere"
                );
                return Err(unusable(reason));
            }
            let seed = seed();
            let log_id = uuid::Uuid::from_bytes(log_id);
            let fresh = Signer::from_seed("evert", &seed).map_err(|e| unusable(e.to_string()))?;
            // A log that gets another key gets another name: nobody takes one for the other.
            let name = format!("evert/{log_id}/{:08x}", fresh.verifier().id());
            let text = Signer::encode(&name, &seed).map_err(|e| unusable(e.to_string()))?;
            keep(&path, &text)?;
            Signer::parse(&text).map_err(|error| unusable(error.to_string()))
        }
        Err(error) => Err(Failure::io(format!("cannot read {}", path.display()), error)),
    }
}

/// Why a key must not sign this log: under the name that it has, another one is known. That one may have said something
/// else in the same places, and two histories under one name are a fork.
fn is_of_another(root: &Path, log_id: [u8; 16], key: &VerifierKey) -> Option<String> {
    let log_id = uuid::Uuid::from_bytes(log_id);
    let named = key.name().strip_prefix("evert/").and_then(|name| name.split('/').next());
    let named = named.and_then(|id| uuid::Uuid::parse_str(id).ok());
    if let Some(other) = named.filter(|named| *named != log_id) {
        return Some(format!("it is named for the log {other}, and this is the log {log_id}"));
    }
    let before = directory::log_dir(root).join(BEFORE).join("verifier");
    let signed_before = fs::read_to_string(before).ok()?;
    (signed_before.trim() == key.to_string())
        .then(|| "it is the original's, and this log was restored as another".to_owned())
}

/// A witness's private key; it is made when there is none.
pub(crate) fn cosigner(path: &Path, name: &str) -> Result<Cosigner, Failure> {
    let unusable = |error: proof::KeyError| {
        Failure::from(LogError::Key { path: path.to_owned(), reason: error.to_string() })
    };
    match fs::read_to_string(path) {
        Ok(text) => Cosigner::parse(text.trim()).map_err(unusable),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let text = Cosigner::encode(name, &seed()).map_err(unusable)?;
            keep(path, &text)?;
            Cosigner::parse(&text).map_err(unusable)
        }
        Err(error) => Err(Failure::io(format!("cannot read {}", path.display()), error)),
    }
}

/// Reads a public key: as text, or the file that holds it.
pub(crate) fn verifier(argument: &str) -> Result<VerifierKey, Failure> {
    let text = match fs::read_to_string(argument) {
        Ok(text) => text,
        Err(_no_file) => argument.to_owned(),
    };
    VerifierKey::parse(text.trim()).map_err(|error| Failure::Usage {
        what: format!("{argument} is neither a public key nor a file with one: {error}"),
        help: "a log's public key is in its directory, in log/proof/verifier".to_owned(),
    })
}

/// A new key's secret.
fn seed() -> [u8; KEY_BYTES] {
    // Two random numbers of 122 bits each, from the system; the hash spreads them over the seed.
    let mut state = Sha256::new();
    for _ in 0..2 {
        state.update(uuid::Uuid::new_v4().as_bytes());
    }
    state.finalize().into()
}

/// Writes a private key where only its owner reads it.
fn keep(path: &Path, text: &str) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let kept = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    });
    kept.map_err(|error| Failure::io(format!("cannot write the key {}", path.display()), error))
}
