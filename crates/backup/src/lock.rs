//! One at a time writes to a place.
//!
//! Who comes puts a lock of his own there, then looks whether there is another. So of two who come at the same moment at
//! least one sees the other, and perhaps both do: then both go away. Who is killed leaves his lock behind. On the same
//! machine it is seen that his process is gone; elsewhere, that he has not said for a while that he is alive. The
//! place's own clock tells, by comparing when both locks were written.
//!
//! Nothing breaks when two write all the same, for pieces are named by what they hold. Only removing must be alone.

use std::fs;
use std::time::Duration;

use object_store::ObjectMeta;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::error::BackupError;
use crate::limits::{LEASE, RENEWAL};
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
    renewal: JoinHandle<()>,
}

/// Who holds a lock.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
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
        let (place, renewed) = (self.clone(), path.clone());
        let renewal = tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEWAL).await;
                if let Err(error) = place.put(&renewed, text.clone().into()).await {
                    tracing::debug!(%error, "the lock could not be renewed");
                }
            }
        });
        Ok(Lock { place: self.clone(), path, renewal })
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
            if gone || age > LEASE {
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
        let here = !self.machine.is_empty() && self.machine == me.machine;
        here && self.started.is_some() && started(self.process) != self.started
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

    #[test]
    fn a_process_that_ended_is_gone_and_one_elsewhere_may_live() {
        let me = Holder::me();
        assert!(!me.is_gone(&me), "this process lives");
        assert!(me.started.is_some());
        let other = Holder { started: Some(1), ..Holder::me() };
        assert!(other.is_gone(&me), "the number was given to another process");
        let elsewhere = Holder { machine: "another".to_owned(), started: Some(1), ..Holder::me() };
        assert!(!elsewhere.is_gone(&me));
    }
}
