//! One at a time writes to a place.
//!
//! Who comes puts a lock of his own there, then looks whether there is another. So of two who come at the same moment at
//! least one sees the other, and perhaps both do: then both go away. Who is killed leaves his lock behind. On the same
//! machine it is seen that his process is gone; elsewhere, that he has not said for a while that he is alive. The
//! place's own clock tells, by comparing when both locks were written.
//!
//! Nothing breaks when two write all the same, for pieces are named by what they hold. Only removing must be alone: who
//! was taken for gone may have lost pieces that no manifest names yet. So before a manifest is written, and before
//! anything is removed, it is seen whether the lock is still there and was renewed lately.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt as _};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::error::BackupError;
use crate::limits::{LEASE, LEASE_TRUSTED, RENEWAL};
use crate::place::Place;

/// Where the locks are.
const LOCKS: &str = "locks";

/// The most bytes of a lock.
const LOCK_BYTES_MAX: u64 = 4096;

/// The right to write to a place; given back with [`release`](Self::release), or when nobody hears of its owner.
#[derive(Debug)]
pub struct Lock {
    place: Place,
    path: Path,
    renewed: Renewed,
    renewal: JoinHandle<()>,
}

/// When the last renewal that came about was begun.
type Renewed = Arc<Mutex<Instant>>;

/// Who holds a lock.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    /// The machine's name, for people.
    host: String,
    /// The process.
    process: u32,
    /// What tells machines, and what runs in them, apart.
    machine: String,
    /// When the process was started, in the machine's own measure: numbers of processes are used again.
    started: Option<u64>,
}

impl Place {
    /// Takes the place, when nobody has it.
    ///
    /// # Errors
    /// When somebody has it, or the place does not answer.
    pub async fn lock(&self) -> Result<Lock, BackupError> {
        let me = Holder::me();
        let path = Path::from_iter([LOCKS, &uuid::Uuid::new_v4().to_string()]);
        let text = serde_json::json!(me).to_string();
        let begun = Instant::now();
        self.put(&path, text.clone().into()).await?;
        match self.other_holder(&path, &me).await {
            Ok(None) => {}
            found => {
                self.delete(&path).await?;
                let place = self.to_string();
                return Err(match found {
                    Ok(holder) => BackupError::Busy { place, holder: holder.unwrap_or_default() },
                    Err(error) => error,
                });
            }
        }
        let renewed = Arc::new(Mutex::new(begun));
        let renewal = self.clone().renew(path.clone(), text, Arc::clone(&renewed));
        Ok(Lock { place: self.clone(), path, renewed, renewal: tokio::spawn(renewal) })
    }

    /// Says from time to time that the owner of a lock is alive; ends when the lock is gone.
    async fn renew(self, path: Path, text: String, renewed: Renewed) {
        loop {
            tokio::time::sleep(RENEWAL).await;
            let begun = Instant::now();
            // One that somebody removed does not come back: he is at work by now.
            let done = match self.is_there(&path).await {
                Ok(true) => self.put(&path, text.clone().into()).await,
                Ok(false) => return,
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => *renewed.lock().unwrap_or_else(PoisonError::into_inner) = begun,
                Err(error) => tracing::debug!(%error, "the lock could not be renewed"),
            }
        }
    }

    async fn is_there(&self, path: &Path) -> Result<bool, BackupError> {
        match self.store.head(path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed("look for a lock", error)),
        }
    }

    /// Somebody else who has the place. Locks of those who are gone are removed.
    async fn other_holder(&self, mine: &Path, me: &Holder) -> Result<Option<String>, BackupError> {
        let locks = self.list(LOCKS).await?;
        let now = locks.iter().find(|lock| lock.location == *mine).map(|lock| lock.last_modified);
        for lock in locks.iter().filter(|lock| lock.location != *mine) {
            let Some(holder) = self.holder(lock).await? else { continue };
            let age = now.map(|now| now.signed_duration_since(lock.last_modified));
            let age = age.and_then(|age| age.to_std().ok()).unwrap_or(Duration::ZERO);
            let gone = holder.as_ref().is_some_and(|holder| holder.is_gone(me));
            // Who can be seen to live may be slow.
            let lives = holder.as_ref().is_some_and(|holder| holder.lives(me));
            if gone || (age > LEASE && !lives) {
                self.delete(&lock.location).await?;
                continue;
            }
            return Ok(Some(holder.map_or_else(|| "somebody".to_owned(), |it| it.shown())));
        }
        Ok(None)
    }

    /// Who holds a lock, if it can be read; nothing when it is gone by now.
    async fn holder(&self, lock: &ObjectMeta) -> Result<Option<Option<Holder>>, BackupError> {
        match self.read(&lock.location, LOCK_BYTES_MAX).await {
            Ok(text) => Ok(Some(serde_json::from_slice(&text).ok())),
            Err(BackupError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Lock {
    /// Fails unless nobody else can have taken the place.
    ///
    /// # Errors
    /// When the lock is gone, or was not renewed for so long that it may be.
    pub(crate) async fn must_hold(&self) -> Result<(), BackupError> {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        if renewed.elapsed() < LEASE_TRUSTED && self.place.is_there(&self.path).await? {
            return Ok(());
        }
        Err(BackupError::Lost { place: self.place.to_string() })
    }

    /// Gives the place back.
    ///
    /// # Errors
    /// When the place does not answer. The lock is forgotten later then.
    pub async fn release(self) -> Result<(), BackupError> {
        self.renewal.abort();
        self.place.delete(&self.path).await
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

impl Holder {
    fn me() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let boot = read("/proc/sys/kernel/random/boot_id");
        let process = std::process::id();
        Self {
            host: read("/proc/sys/kernel/hostname"),
            process,
            machine: if boot.is_empty() {
                String::new()
            } else {
                format!("{boot}/{}", namespace.display())
            },
            started: started(process),
        }
    }

    /// Whether it can be seen from here that the holder's process has ended.
    fn is_gone(&self, me: &Self) -> bool {
        self.is_here(me) && started(self.process) != self.started
    }

    /// Whether it can be seen from here that the holder's process is there.
    fn lives(&self, me: &Self) -> bool {
        self.is_here(me) && started(self.process) == self.started
    }

    /// Whether the holder's process can be seen from here.
    fn is_here(&self, me: &Self) -> bool {
        let here = !self.machine.is_empty() && self.machine == me.machine;
        here && self.started.is_some()
    }

    fn shown(&self) -> String {
        format!("process {} on {}", self.process, self.host)
    }
}

/// When a process was started, in ticks since the machine was; `None` when there is none, or it has ended.
fn started(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ended = matches!(fields.first(), Some(&("Z" | "X")));
    fields.get(19).filter(|_| !ended)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MANIFEST_BYTES_MAX;
    use crate::manifest::{Manifest, ViewDigests};

    #[test]
    fn a_process_that_ended_is_gone_and_one_elsewhere_may_live() {
        let me = Holder::me();
        assert!(!me.is_gone(&me), "this process lives");
        assert!(me.started.is_some());
        let other = Holder { started: Some(1), ..Holder::me() };
        assert!(other.is_gone(&me), "the number was given to another process");
        let elsewhere = Holder { machine: "another".to_owned(), started: Some(1), ..Holder::me() };
        assert!(!elsewhere.is_gone(&me));
        assert!(me.lives(&me) && !other.lives(&me) && !elsewhere.lives(&me));
    }

    fn manifest() -> Manifest {
        Manifest {
            format: crate::FORMAT,
            taken_at_us: 1,
            log_id: "a log".to_owned(),
            since: 0,
            upper: 1,
            signed: None,
            views: ViewDigests::default(),
            files: Vec::new(),
        }
    }

    #[tokio::test]
    async fn who_lost_the_place_publishes_nothing_and_removes_nothing() {
        let place = Place::in_memory();
        let refused = async |lock: &Lock| {
            let error = place.publish(&manifest(), lock).await.unwrap_err();
            assert_eq!(error.code(), "BKP009");
            assert_eq!(place.prune(0, lock).await.unwrap_err().code(), "BKP009");
        };
        let lock = place.lock().await.unwrap();
        place.publish(&manifest(), &lock).await.unwrap();
        *lock.renewed.lock().unwrap() -= LEASE_TRUSTED;
        refused(&lock).await;
        lock.release().await.unwrap();
        let lock = place.lock().await.unwrap();
        place.delete(&lock.path).await.unwrap();
        refused(&lock).await;
        assert_eq!(place.backups().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_manifest_that_nobody_would_read_is_not_published() {
        let place = Place::in_memory();
        let lock = place.lock().await.unwrap();
        let log_id = "x".repeat(usize::try_from(MANIFEST_BYTES_MAX).unwrap());
        let manifest = Manifest { log_id, ..manifest() };
        let error = place.publish(&manifest, &lock).await.unwrap_err();
        assert_eq!(error.code(), "BKP010");
        assert_eq!(place.backups().await.unwrap(), []);
    }
}
