//! log ──► witnesses: asks for cosignatures of what was signed, while the process runs.
//!
//! `EVERT_WITNESSES` names them, each as `URL=KEY`, with blanks between. What a witness has cosigned last is remembered
//! beside the log's proofs; the witness itself says so when that is lost. A witness that cannot be reached holds up
//! nobody: the next checkpoint is offered to it again. The last state that any of them cosigned is `log/proof/cosigned`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use change::Time;
use log::notary::proof_dir;
use log::{Log, Published};
use proof::{AddCheckpoint, DirectoryTiles, Note, Prover, VerifierKey, source_hash};
use tokio::sync::watch;

use crate::commands::prove::read_note;
use crate::commands::witness::keep;
use crate::directory;
use crate::failure::Failure;

/// The witnesses that the log asks.
const WITNESSES_VARIABLE: &str = "EVERT_WITNESSES";

/// How long it waits for something new before it looks whether it is to stop.
const NEWS_WAIT: Duration = Duration::from_millis(500);

/// How long a witness that did not cosign is left alone.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// A witness, and what it has cosigned.
struct Asked {
    url: String,
    key: VerifierKey,
    /// Where the size is remembered.
    path: PathBuf,
    cosigned: u64,
}

/// Offers every new checkpoint to the witnesses, until told to stop.
pub(crate) async fn offer(log: Arc<Log>, root: PathBuf, stopped: watch::Receiver<bool>) {
    let dir = proof_dir(&directory::log_dir(&root));
    let witnesses = match std::env::var(WITNESSES_VARIABLE) {
        Ok(text) => witnesses(&text, &dir),
        Err(_none) => return,
    };
    match witnesses {
        Ok(mut witnesses) => offer_all(&log, &dir, &mut witnesses, stopped).await,
        Err(failure) => tracing::error!("{failure}; no witness is asked"),
    }
}

fn witnesses(text: &str, dir: &Path) -> Result<Vec<Asked>, Failure> {
    let parsed = text.split_whitespace().map(|witness| {
        let (url, key) = witness.split_once('=').ok_or_else(|| Failure::Usage {
            what: format!("{WITNESSES_VARIABLE}: {witness} is not URL=KEY"),
            help: "`evert witness` prints its URL and its key".to_owned(),
        })?;
        let key = crate::signing::verifier(key)?;
        let path = dir.join("witnesses").join(source_hash(&key.to_string()).to_string());
        let known = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        Ok(Asked { url: url.to_owned(), key, path, cosigned: known.unwrap_or(0) })
    });
    parsed.collect()
}

async fn offer_all(
    log: &Arc<Log>,
    dir: &Path,
    witnesses: &mut [Asked],
    mut stopped: watch::Receiver<bool>,
) {
    while !*stopped.borrow() {
        let seen = witnesses.iter().map(|asked| asked.cosigned).min().unwrap_or(u64::MAX);
        let waiting = Arc::clone(log);
        let waited = tokio::task::spawn_blocking(move || {
            waiting.wait_signed(Time(seen.saturating_add(1)), NEWS_WAIT)
        });
        let Ok(Ok(Some(published))) = waited.await else {
            if log.failure().is_some() {
                return;
            }
            continue;
        };
        if published.checkpoint.size() <= seen {
            continue;
        }
        let mut refused = false;
        for asked in &mut *witnesses {
            if asked.cosigned < published.checkpoint.size() {
                refused |= !asked.offer(dir, &published).await;
            }
        }
        if refused {
            let over = tokio::time::timeout(RETRY_INTERVAL, stopped.wait_for(|&stop| stop)).await;
            if over.is_ok() {
                return;
            }
        }
    }
}

impl Asked {
    /// Asks for a cosignature; returns whether it came.
    async fn offer(&mut self, dir: &Path, published: &Published) -> bool {
        // A second time, when the witness says that it has seen more or less than is known here.
        for _ in 0..2 {
            match self.ask(dir, published).await {
                Ok(Some(size)) if size != self.cosigned => self.cosigned = size,
                Ok(Some(_)) => break,
                Ok(None) => return true,
                Err(reason) => {
                    tracing::warn!(witness = self.key.name(), "no cosignature: {reason}");
                    return false;
                }
            }
        }
        tracing::warn!(witness = self.key.name(), "no cosignature: the witness names no size");
        false
    }

    /// Asks once; returns the size that the witness has seen, when it is another one than was thought.
    async fn ask(&mut self, dir: &Path, published: &Published) -> Result<Option<u64>, String> {
        let size = published.checkpoint.size();
        if self.cosigned > size {
            return Err(format!(
                "it has seen {} transactions of this log, which holds {size} signed ones",
                self.cosigned
            ));
        }
        let tiles = DirectoryTiles::new(dir.to_owned());
        let proof = Prover::new(&tiles, size).consistency(self.cosigned, size);
        let proof = proof.map_err(|error| error.to_string())?;
        let request = AddCheckpoint::new(self.cosigned, proof, published.note.clone());
        let request = request.map_err(|error| error.to_string())?.encode();
        let answer = serve::ask_witness(&self.url, request).await;
        let (status, body) = answer.map_err(|error| error.to_string())?;
        match status {
            200 => {
                let cosigned =
                    published.note.with_signatures(&body, std::slice::from_ref(&self.key));
                self.remember(dir, &cosigned.map_err(|error| error.to_string())?, size)?;
                Ok(None)
            }
            409 => match body.trim().parse() {
                Ok(seen) => Ok(Some(seen)),
                Err(_text) => Err(body.trim().to_owned()),
            },
            _ => Err(format!("{status}: {}", body.trim())),
        }
    }

    fn remember(&mut self, dir: &Path, note: &Note, size: u64) -> Result<(), String> {
        let path = dir.join("cosigned");
        // Another witness may have cosigned the same state: both belong under it.
        let note = match read_note(&path) {
            Some((before, _)) if before.text() == note.text() => {
                let lines: String = note.signatures().iter().map(|s| format!("{s}\n")).collect();
                before.with_signatures(&lines, std::slice::from_ref(&self.key)).unwrap_or(before)
            }
            Some(_) | None => note.clone(),
        };
        let kept = fs::create_dir_all(dir.join("witnesses"))
            .and_then(|()| keep(&path, &note.to_string()))
            .and_then(|()| keep(&self.path, &format!("{size}\n")));
        kept.map_err(|error| error.to_string())?;
        self.cosigned = size;
        Ok(())
    }
}
