//! `evert witness`: watches logs for everybody. It cosigns a log's checkpoint when that extends the last one that it
//! cosigned, and refuses a fork (C2SP tlog-witness).
//!
//! All that a witness must not lose is the last state of each log. It is made durable before the cosignature leaves; a
//! state that cannot be read stops the answers for that log, for a witness that forgets cosigns a fork.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use proof::{AddCheckpoint, Refusal, Seen, Witness, source_hash};
use serve::{Answer, Judge, serve_witness};
use tokio::sync::watch;

use crate::cli::WitnessArgs;
use crate::directory::Directory;
use crate::failure::Failure;
use crate::signals::Interrupts;
use crate::{output, signing};

/// Answers logs until interrupted.
pub(crate) async fn witness(arguments: WitnessArgs) -> Result<(), Failure> {
    let mut interrupts = Interrupts::new()?;
    // Two processes with one key could each extend the same tree.
    let directory = Directory::acquire(&arguments.state)?;
    let cosigner = signing::cosigner(&arguments.state.join("key"), &arguments.name)?;
    let mut witness = Witness::new(cosigner);
    for log in &arguments.logs {
        let key = signing::verifier(log)?;
        let origin = key.name().to_owned();
        witness.watch(&origin, vec![key]);
    }
    let key = witness.verifier().to_string();
    let desk = Mutex::new(Desk { witness, state: arguments.state.clone() });
    let judge: Judge = Arc::new(move |body: &[u8]| {
        desk.lock().unwrap_or_else(PoisonError::into_inner).answer(body, now_s())
    });
    let (stop, stopped) = watch::channel(false);
    let serving = serve_witness(arguments.listen, judge, stopped).await?;
    let address = serving.address().map(|address| address.to_string()).unwrap_or_default();
    output::print(format!("http://{address}\n{key}\n").as_bytes())?;
    interrupts.next().await;
    stop.send_replace(true);
    serving.ended().await;
    drop(directory);
    Ok(())
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A witness and what it remembers. One request at a time: two at once could extend the same tree.
struct Desk {
    witness: Witness,
    state: PathBuf,
}

impl Desk {
    fn answer(&self, body: &[u8], time_s: u64) -> Answer {
        match self.consider(body, time_s) {
            Ok(Ok(cosignature)) => (200, cosignature, "text/plain; charset=utf-8"),
            Ok(Err(refusal)) => {
                if matches!(refusal, Refusal::Fork { .. } | Refusal::Proof(_)) {
                    tracing::error!("{refusal}");
                } else {
                    tracing::info!("{refusal}");
                }
                let (text, content_type) = refusal.body();
                (refusal.status(), text, content_type)
            }
            Err(error) => {
                tracing::error!(%error, "the witness's state cannot be read or written");
                (
                    500,
                    "the witness's state cannot be used\n".to_owned(),
                    "text/plain; charset=utf-8",
                )
            }
        }
    }

    fn consider(&self, body: &[u8], time_s: u64) -> io::Result<Result<String, Refusal>> {
        let request = match AddCheckpoint::parse(body) {
            Ok(request) => request,
            Err(error) => return Ok(Err(error.into())),
        };
        let path = self.path(request.checkpoint().origin());
        let seen = match fs::read_to_string(&path) {
            Ok(text) => Some(Seen::decode(&text).map_err(io::Error::other)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        match self.witness.consider(seen.as_ref(), &request, time_s) {
            Ok(pending) => {
                keep(&path, &pending.seen().encode())?;
                Ok(Ok(pending.release()))
            }
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// The file of a log's state. An origin can hold what a name of a file cannot.
    fn path(&self, origin: &str) -> PathBuf {
        self.state.join(format!("{}.seen", source_hash(origin)))
    }
}

/// Writes a file durably, whole or not at all.
pub(crate) fn keep(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file = File::create(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use proof::{Checkpoint, Cosigner, Note, Signer, leaf_hash, root_of};

    use super::*;

    fn leaves(size: u64) -> impl Iterator<Item = proof::Hash> {
        (0..size).map(|leaf| leaf_hash(&leaf.to_le_bytes()))
    }

    fn request(old: u64, size: u64, root: proof::Hash, proof: Vec<proof::Hash>) -> String {
        let log = Signer::from_seed("log.example", &[1; 32]).unwrap();
        let state = Checkpoint::new("log.example", size, root).unwrap();
        let note = Note::new(state.text(), vec![log.sign_checkpoint(&state)]).unwrap();
        AddCheckpoint::new(old, proof, note).unwrap().encode()
    }

    #[test]
    fn a_witness_cosigns_growth_and_refuses_a_fork_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let desk = || {
            let cosigner = Cosigner::from_seed("witness.example", &[2; 32]).unwrap();
            let mut witness = Witness::new(cosigner);
            let log = Signer::from_seed("log.example", &[1; 32]).unwrap();
            witness.watch("log.example", vec![log.verifier().clone()]);
            Desk { witness, state: dir.path().to_owned() }
        };
        let first = request(0, 1, root_of(leaves(1)), vec![]);
        let (status, cosignature, _) = desk().answer(first.as_bytes(), 1_700_000_000);
        assert_eq!(status, 200);
        assert!(cosignature.starts_with("\u{2014} witness.example "));
        let path = vec![leaf_hash(&1_u64.to_le_bytes())];
        let second = request(1, 2, root_of(leaves(2)), path);
        assert_eq!(desk().answer(second.as_bytes(), 1_700_000_001).0, 200);
        let fork = request(2, 2, root_of(leaves(2).map(|_| leaf_hash(b"other"))), vec![]);
        let (status, text, _) = desk().answer(fork.as_bytes(), 1_700_000_002);
        assert_eq!(status, 409);
        assert!(text.contains("fork"), "{text}");
        let late = desk().answer(first.as_bytes(), 1_700_000_003);
        assert_eq!(late, (409, "2\n".to_owned(), "text/x.tlog.size"));
        assert_eq!(desk().answer(b"no request", 1).0, 400);
        // What it cannot read is not "nothing seen".
        fs::write(desk().path("log.example"), "damaged").unwrap();
        assert_eq!(desk().answer(first.as_bytes(), 1_700_000_004).0, 500);
    }
}
