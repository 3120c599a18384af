//! Backups of the log, made beside the process that writes it, and what comes back from them.
//!
//! The rules are those of the product (`crates/evert/src/commands/backup.rs`): what is copied is opened at one moment,
//! after the running process has said up to where the log is durable. The files are read one by one while everything goes
//! on, then pieces and manifest are written, to a place that may go away at any write. Whatever a place lists must be
//! whole, ever after: it is restored to another disk, and compared with what was appended.

use std::sync::Arc;

use backup::faults::FaultyStore;
use backup::{BackupError, BackupId, Item, Manifest, Place, ViewDigests};
use change::Time;
use log::{FoldedTable, Log, LogError, LogFile};
use tokio::runtime::{Builder, Runtime};

use super::{DIR, Process, World};
use crate::canary::Canary;
use crate::clock;
use crate::random::Random;
use crate::restored::Restored;
use crate::violation::{Violation, told, violation};

/// How often a backup is moved, in the end, before it is said that none comes about.
const PATIENCE: usize = 1_000;

/// A place for backups, which outlives all processes, and the backup that is under way.
pub(super) struct Backups {
    /// Chance of what is done about backups.
    pub(super) random: Random,
    /// How many were made.
    pub(super) made: u64,
    /// How often one was restored and compared.
    pub(super) restored: u64,
    store: FaultyStore,
    /// Runs what is written for a runtime; nothing waits in it.
    runtime: Runtime,
    under_way: Option<UnderWay>,
    /// Those that were said to be made, and were not removed since.
    known: Vec<BackupId>,
    /// Whether the disk had been harmed when something was copied.
    is_tainted: bool,
    /// Whether something that the place holds was changed.
    is_rotten: bool,
}

/// How far a backup is.
enum UnderWay {
    /// The log is open to be read. What was folded was asked, and how far the log reaches was not.
    Opened { log: Log, folded: Vec<FoldedTable> },
    /// Its files are open, and read one by one.
    Copying { since: Time, upper: Time, left: Vec<LogFile>, copied: Vec<Copied> },
}

/// A file and its bytes.
struct Copied {
    file: LogFile,
    bytes: Arc<[u8]>,
}

impl Backups {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed, 9),
            made: 0,
            restored: 0,
            store: FaultyStore::default(),
            runtime: Builder::new_current_thread().enable_time().build().expect("it needs nothing"),
            under_way: None,
            known: Vec::new(),
            is_tainted: false,
            is_rotten: false,
        }
    }

    /// What was under way is over: the machine stopped.
    pub(super) fn end(&mut self) {
        self.under_way = None;
    }
}

impl World {
    /// What makes a backup goes on, or begins; or one is restored.
    pub(super) fn back_up(&mut self, process: &Process) -> Result<(), Violation> {
        self.backups.is_tainted |= !self.disk.harm().is_empty();
        match self.backups.under_way.take() {
            None if self.backups.random.one_in(6) => self.restore_one(process),
            under_way => self.go_on(process, under_way, true),
        }
    }

    /// Makes the next step of a backup, or begins one.
    fn go_on(
        &mut self,
        process: &Process,
        under_way: Option<UnderWay>,
        may_fail: bool,
    ) -> Result<(), Violation> {
        match under_way {
            None => self.begin_backup(),
            Some(UnderWay::Opened { log, folded }) => self.list_files(process, &log, &folded),
            Some(UnderWay::Copying { since, upper, mut left, copied }) => match left.pop() {
                Some(file) => {
                    self.copy_file(file, UnderWay::Copying { since, upper, left, copied })
                }
                None => self.publish((since, upper), &copied, may_fail),
            },
        }
    }

    /// With the disk well and the place too, a backup comes about; it is restored.
    pub(super) fn finish_backup(&mut self, process: &Process) -> Result<(), Violation> {
        self.backups.is_tainted |= !self.disk.harm().is_empty();
        let made = self.backups.made;
        for _ in 0..PATIENCE {
            let under_way = self.backups.under_way.take();
            self.go_on(process, under_way, false)?;
            if self.backups.made > made || self.backups.is_rotten {
                return self.restore_one(process);
            }
            if self.backups.is_tainted {
                return Ok(());
            }
        }
        Err(violation("availability: no backup comes about"))
    }

    fn begin_backup(&mut self) -> Result<(), Violation> {
        let disk = Arc::new(self.disk.clone());
        match Log::open_read_only(std::path::Path::new(DIR), disk) {
            Ok((log, _)) => {
                let folded = log.folded();
                self.backups.under_way = Some(UnderWay::Opened { log, folded });
                Ok(())
            }
            Err(error) => self.not_backed_up(&error),
        }
    }

    /// The running process says how far the log is durable; then all files are opened.
    fn list_files(
        &mut self,
        process: &Process,
        log: &Log,
        folded: &[FoldedTable],
    ) -> Result<(), Violation> {
        let upper = process.log.upper();
        let listed = log.refresh().and_then(|reached| {
            if reached < upper {
                return Ok(Err(reached));
            }
            // A canary: the last transaction is not in what is copied.
            let short = self.setup.canary == Some(Canary::BackedUpShort) && upper > Time(2);
            log.files(if short { Time(upper.0 - 1) } else { upper }).map(Ok)
        });
        match listed {
            Ok(Ok(files)) if files.folded == folded => {
                self.disk.say(|| format!("backup: {files:?}"));
                let (since, left, copied) = (files.since, files.files, Vec::new());
                self.backups.under_way = Some(UnderWay::Copying { since, upper, left, copied });
                Ok(())
            }
            // Folded meanwhile: it begins again.
            Ok(Ok(_)) | Err(LogError::Pruned { .. }) => Ok(()),
            Ok(Err(_)) if self.is_faulty || self.backups.is_tainted => Ok(()),
            Ok(Err(reached)) => Err(violation(format!(
                "backup: the log is durable before {upper}, and another process finds {reached}"
            ))),
            Err(error) => self.not_backed_up(&error),
        }
    }

    fn copy_file(&mut self, file: LogFile, so_far: UnderWay) -> Result<(), Violation> {
        let length = usize::try_from(file.bytes).expect("a simulated file fits memory");
        match (file.read(0, length), so_far) {
            (Ok(bytes), UnderWay::Copying { since, upper, left, mut copied }) => {
                copied.push(Copied { file, bytes: bytes.into() });
                self.backups.under_way = Some(UnderWay::Copying { since, upper, left, copied });
                Ok(())
            }
            (Ok(_), UnderWay::Opened { .. }) => unreachable!("files are copied when they are open"),
            (Err(error), _) => {
                let error = LogError::Io {
                    action: "copy",
                    path: file.path.into(),
                    source: Arc::new(error),
                };
                self.not_backed_up(&error)
            }
        }
    }

    /// Judges that a backup did not come about because of the log.
    fn not_backed_up(&self, error: &LogError) -> Result<(), Violation> {
        self.disk.say(|| format!("not backed up: {}", told(error)));
        if self.unreadable_outside(error) {
            return Ok(());
        }
        Err(violation(format!("backup: the log cannot be copied: {}", told(error))))
    }

    /// Writes pieces and manifest.
    fn publish(
        &mut self,
        (since, upper): (Time, Time),
        copied: &[Copied],
        may_fail: bool,
    ) -> Result<(), Violation> {
        let is_rotting = may_fail && self.setup.mix.is_harmful();
        let Backups { random, store, runtime, is_rotten, .. } = &mut self.backups;
        let fails = may_fail && random.one_in(3);
        if fails {
            let writes = random.below(12);
            if random.one_in(2) {
                store.leave_before(writes);
            } else {
                store.leave_after(writes);
            }
        }
        let keep = random.one_in(4).then(|| 1 + random.index(3));
        let manifest = Manifest {
            format: backup::FORMAT,
            taken_at_us: clock::now_us(),
            log_id: "simulated".to_owned(),
            since: since.0,
            upper: upper.0,
            signed: None,
            views: ViewDigests::default(),
            files: Vec::new(),
        };
        let items: Vec<Item> = copied.iter().map(item).collect();
        let place = store.place();
        let published = runtime.block_on(published(&place, &items, manifest, keep));
        store.come_back();
        let there = runtime.block_on(async {
            store.unlock().await?;
            if is_rotting && random.one_in(8) {
                let rotten = store.rot(random.index(1_000), random.index(100_000)).await;
                *is_rotten |= rotten.is_ok_and(|rotten| rotten.is_some());
            }
            place.backups().await
        });
        let there = there.map_err(|error| violation(told(&error)))?;
        match published {
            Ok(id) => {
                self.disk.say(|| format!("backed up: {id}"));
                self.backups.made += 1;
                self.backups.known.push(id);
            }
            Err(error) => {
                self.disk.say(|| format!("not backed up: {}", told(&error)));
                let Backups { is_rotten, is_tainted, .. } = self.backups;
                if !fails && !is_rotten && !is_tainted {
                    return Err(violation(format!("backup: {}", told(&error))));
                }
            }
        }
        let known = std::mem::take(&mut self.backups.known);
        let (known, gone): (Vec<_>, Vec<_>) = known.into_iter().partition(|id| there.contains(id));
        if !gone.is_empty() && keep.is_none() {
            return Err(violation(format!("backup: {gone:?} are not there any more")));
        }
        self.backups.known = known;
        Ok(())
    }

    /// Restores one of the backups that the place lists, and compares.
    fn restore_one(&mut self, process: &Process) -> Result<(), Violation> {
        let Backups { random, store, runtime, is_rotten, is_tainted, .. } = &mut self.backups;
        let place = store.place();
        let ids = runtime.block_on(place.backups());
        let ids = ids.map_err(|error| violation(told(&error)))?;
        if ids.is_empty() {
            return Ok(());
        }
        let id = &ids[random.index(ids.len())];
        let restored = match runtime.block_on(fetched(&place, id)) {
            Ok((manifest, files)) => Restored::new(manifest, files, self.setup.canary),
            Err(error) if *is_rotten => {
                self.disk.say(|| format!("not restored: {}", told(&error)));
                return Ok(());
            }
            Err(error) => {
                return Err(violation(format!("backup: {id}: {}", told(&error))));
            }
        };
        if restored.upper().0 - 1 > self.acknowledged && !*is_tainted {
            let what = format!("backup: {id} holds more than the {} that are", self.acknowledged);
            return Err(violation(what));
        }
        restored.check((&self.entries, &process.log), *is_tainted, random)?;
        self.backups.restored += 1;
        Ok(())
    }
}

fn item(copied: &Copied) -> Item {
    let Copied { file, bytes } = copied;
    let content = Arc::clone(bytes);
    let read = move |offset: u64, length: usize| {
        let offset = usize::try_from(offset).expect("it was read into memory");
        Ok(content[offset..offset + length].to_vec())
    };
    let (name, path) = (file.name.clone(), Some(file.path.clone()));
    Item { name, path, bytes: file.bytes, read: Arc::new(read) }
}

/// What a backup does with a place.
async fn published(
    place: &Place,
    items: &[Item],
    manifest: Manifest,
    keep: Option<usize>,
) -> Result<BackupId, BackupError> {
    let lock = place.lock().await?;
    let made = async {
        let before = newest(place).await?;
        let uploaded = place.upload(items, before.as_ref()).await?;
        let manifest = Manifest { files: uploaded.files, ..manifest };
        let id = place.publish(&manifest, &lock).await?;
        if let Some(keep) = keep {
            place.prune(keep, &lock).await?;
        }
        Ok(id)
    };
    let made = made.await;
    let released = lock.release().await;
    made.and_then(|id| released.map(|()| id))
}

/// The newest backup that can be read.
async fn newest(place: &Place) -> Result<Option<Manifest>, BackupError> {
    for id in place.backups().await?.iter().rev() {
        match place.manifest(id).await {
            Err(BackupError::Damaged { .. }) => {}
            manifest => return manifest.map(Some),
        }
    }
    Ok(None)
}

/// A backup's files, each checked.
async fn fetched(
    place: &Place,
    id: &BackupId,
) -> Result<(Manifest, Vec<(String, Vec<u8>)>), BackupError> {
    let manifest = place.manifest(id).await?;
    let mut files = Vec::new();
    for file in &manifest.files {
        let mut content = Vec::new();
        let take = |bytes: &[u8]| {
            content.extend_from_slice(bytes);
            Ok(())
        };
        place.fetch(file, take).await?;
        files.push((file.path().to_owned(), content));
    }
    Ok((manifest, files))
}
