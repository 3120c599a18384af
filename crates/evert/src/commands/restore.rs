//! `evert restore`: a backup becomes a data directory, when everything about it was found to be as it was.
//!
//! All happens in a directory beside the one that is wanted, which gets its name at the very end:
//!
//! 1. Every piece is fetched and compared with its hash.
//! 2. The log is read from its first byte and compared with what was signed, as `evert verify` does.
//! 3. The views are computed from it up to the Time of the backup, and compared with what they held.
//! 4. When an earlier Time is wanted, the log is ended there. It is another log then: what it is going to say is not what
//!    the original said behind that Time.
//!
//! Of a log whose history was folded, the tree cannot be made again from the segments. So its tiles, which come from the
//! leaves in the backup and were compared with what was signed, stay: a log with another key goes on with the same tree.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backup::{BackupError, BackupId, Manifest, Place, Signed, StoredFile, ViewDigests};
use change::Time;
use log::notary::proof_dir;
use log::{Log, RealDisk};
use proof::{Checkpoint, Hash, Signer};
use serde::Serialize;

use crate::catalogue::Catalogue;
use crate::cli::{DataDir, RestoreArgs, SummaryFormat, VerifyArgs};
use crate::commands::backup::{KEY, parse};
use crate::commands::tiles::{LEAVES, TileWriter, Tiles};
use crate::commands::verify::verify_log;
use crate::directory::{self, Directory};
use crate::failure::Failure;
use crate::{digests, output, restored, signing};

/// Where a log keeps what another one signed, whose beginning it has.
pub(crate) const BEFORE: &str = "before";

/// What was restored.
#[derive(Debug, Serialize)]
struct Report {
    done: bool,
    directory: PathBuf,
    backup: BackupId,
    log: String,
    last: u64,
    pieces: u64,
    bytes: u64,
    transactions: u64,
    views_at: u64,
    views: usize,
    /// What was verified, one sentence a line.
    facts: Vec<String>,
    /// What the operator should know.
    notes: Vec<String>,
}

/// What is wanted of a place.
struct Chosen {
    id: BackupId,
    manifest: Manifest,
    /// The last transaction that is wanted.
    last: Time,
    /// Up to where the original is known to have gone on.
    known: u64,
    /// What the operator should know of the choice.
    notes: Vec<String>,
}

/// Restores a backup.
pub(crate) async fn restore(arguments: RestoreArgs) -> Result<(), Failure> {
    let target = &arguments.to;
    must_be_free(target)?;
    let place = Place::open(&arguments.from)?;
    let chosen = choose(&place, &arguments).await?;
    let work = beside(target)?;
    let directory = Directory::acquire(&work)?;
    clear(&work)?;
    let restored = Box::pin(make(&place, chosen, &work, &arguments)).await;
    let finished = restored.and_then(|report| {
        must_be_free(target)?;
        finish(&work, target)?;
        Ok(Report { done: true, ..report })
    });
    if finished.is_err() {
        // What was fetched is of no use; what cannot be removed is removed by the next try.
        fs::remove_dir_all(&work).unwrap_or_default();
    }
    drop(directory);
    let report = finished?;
    match arguments.output {
        SummaryFormat::Json => output::print_json(&report),
        SummaryFormat::Table => output::print(drawn(&report).as_bytes()),
    }
}

fn drawn(report: &Report) -> String {
    let line = |mark: &str, text: &String| format!("{mark}: {text}\n");
    let facts = report.facts.iter().map(|fact| line("ok", fact));
    let notes = report.notes.iter().map(|note| line("note", note));
    let lines: String = facts.chain(notes).collect();
    let directory = report.directory.display();
    format!("{lines}done: {directory} holds the log up to Time {}\n", report.last)
}

/// Fails unless nothing is there that would be lost.
fn must_be_free(target: &Path) -> Result<(), Failure> {
    let there = match fs::read_dir(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        there => there.map(|mut entries| entries.next().is_some()),
    };
    match there {
        Ok(false) => must_be_replaceable(target),
        Ok(true) => Err(Failure::Usage {
            what: format!("{} is not empty", target.display()),
            help: "name a directory that is not there yet, with --to DIR".to_owned(),
        }),
        Err(error) => Err(Failure::io(format!("cannot use {}", target.display()), error)),
    }
}

/// Fails unless another directory can take the place of an empty one, which is seen at the end only otherwise.
fn must_be_replaceable(target: &Path) -> Result<(), Failure> {
    let above = target.parent().filter(|above| !above.as_os_str().is_empty());
    let device =
        |path: &Path| fs::symlink_metadata(path).map(|found| (found.dev(), found.is_dir()));
    let found = device(target).and_then(|of| {
        // The name above may be a link.
        Ok((of, fs::metadata(above.unwrap_or(Path::new(".")))?.dev()))
    });
    match found {
        Ok(((device, true), above)) if device == above => Ok(()),
        Ok(_) => Err(Failure::Usage {
            what: format!(
                "{} is a link or a place where a disk is mounted: no other directory can take its place",
                target.display()
            ),
            help: "name a directory below it that is not there yet, with --to DIR".to_owned(),
        }),
        Err(error) => Err(Failure::io(format!("cannot use {}", target.display()), error)),
    }
}

/// Where the restored directory is until it is whole: on the same disk.
fn beside(target: &Path) -> Result<PathBuf, Failure> {
    let name = target.file_name().ok_or_else(|| Failure::Usage {
        what: format!("{} names no directory", target.display()),
        help: "name a directory that is not there yet, with --to DIR".to_owned(),
    })?;
    let name = format!("{}.restoring", name.to_string_lossy());
    Ok(target.with_file_name(name))
}

/// Removes what a restore left behind that did not come to its end.
fn clear(work: &Path) -> Result<(), Failure> {
    let dir = directory::log_dir(work);
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::io(format!("cannot remove {}", dir.display()), error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes all of it durable, then gives it its name.
fn finish(work: &Path, target: &Path) -> Result<(), Failure> {
    let synced = |dir: &Path| Ok::<_, io::Error>(rustix::fs::syncfs(fs::File::open(dir)?)?);
    let moved = synced(work).and_then(|()| fs::rename(work, target));
    let above = target.parent().filter(|above| !above.as_os_str().is_empty());
    moved
        .and_then(|()| fs::File::open(above.unwrap_or(Path::new(".")))?.sync_all())
        .map_err(|error| Failure::io(format!("cannot give {} its name", target.display()), error))
}

/// Finds the backup that is wanted: the one that was named, or the first that reaches the Time, or the last.
async fn choose(place: &Place, arguments: &RestoreArgs) -> Result<Chosen, Failure> {
    let ids = place.backups().await?;
    let Some(newest) = ids.last() else { return Err(none(place, "backup".to_owned())) };
    let known = last_of(newest);
    let id = match (&arguments.backup, arguments.time) {
        (Some(named), _) => named_by(place, &ids, named)?,
        (None, Some(time)) => return reaching(place, &ids, time).await,
        (None, None) => newest.clone(),
    };
    let manifest = place.manifest(&id).await?;
    Ok(Chosen { last: Time(last_of(&id)), id, manifest, known, notes: Vec::new() })
}

fn none(place: &Place, wanted: String) -> Failure {
    BackupError::None { place: place.to_string(), wanted }.into()
}

/// The only backup whose name begins or ends like this.
fn named_by(place: &Place, ids: &[BackupId], named: &str) -> Result<BackupId, Failure> {
    let is_named = |id: &&BackupId| {
        let id = id.as_str();
        id.starts_with(named) || id.ends_with(named)
    };
    let found: Vec<&BackupId> = ids.iter().filter(is_named).collect();
    match found.as_slice() {
        [] => Err(none(place, format!("backup {named}"))),
        [only] => Ok((*only).clone()),
        several => Err(Failure::Usage {
            what: format!("{named} names {} backups", several.len()),
            help: format!("name one of them in full; `evert backup --list {place}` shows them"),
        }),
    }
}

/// The first backup that holds a Time and has it signed; else the first that holds it.
async fn reaching(place: &Place, ids: &[BackupId], time: u64) -> Result<Chosen, Failure> {
    let known = ids.last().map_or(0, last_of);
    let mut chosen: Option<Chosen> = None;
    let (mut folded, mut damaged, mut notes) = (None, None, Vec::new());
    for id in ids.iter().filter(|id| id.upper() > time) {
        let manifest = match place.manifest(id).await {
            Err(error @ BackupError::Damaged { .. }) => {
                notes.push(format!("backup {id} was passed over: {error}"));
                damaged.get_or_insert(error);
                continue;
            }
            manifest => manifest?,
        };
        if manifest.since > time {
            // Later backups hold no more of the history.
            folded = Some(manifest.since);
            break;
        }
        let is_signed = manifest.signed.as_ref().is_some_and(|signed| signed.size >= time);
        if chosen.is_none() || is_signed {
            let (id, notes) = (id.clone(), Vec::new());
            chosen = Some(Chosen { id, manifest, last: Time(time), known, notes });
        }
        if is_signed {
            // What is kept can be compared with what was signed.
            break;
        }
    }
    match (chosen, folded) {
        (Some(chosen), _) => Ok(Chosen { notes, ..chosen }),
        (None, Some(since)) => Err(Failure::Usage {
            what: format!(
                "the log cannot be restored as it was at Time {time}: in each backup that holds it, its history up \
                 to Time {since} or later was folded"
            ),
            help: format!(
                "name a Time from {since} on; `evert backup --list {place}` shows what each backup holds"
            ),
        }),
        (None, None) => Err(damaged.map_or_else(
            || none(place, format!("backup of Time {time}: the last one ends at Time {known}")),
            Failure::from,
        )),
    }
}

/// The last Time that a backup holds.
fn last_of(id: &BackupId) -> u64 {
    id.upper().saturating_sub(1)
}

async fn make(
    place: &Place,
    chosen: Chosen,
    work: &Path,
    arguments: &RestoreArgs,
) -> Result<Report, Failure> {
    let Chosen { id, manifest, last, known, notes } = chosen;
    if last == Time::ZERO {
        return Err(Failure::Usage {
            what: format!("backup {id} holds no transaction"),
            help: "a log without any is made by `evert run`".to_owned(),
        });
    }
    let dir = directory::log_dir(work);
    let mut report = Report {
        done: false,
        directory: arguments.to.clone(),
        backup: id,
        log: manifest.log_id.clone(),
        last: last.0,
        pieces: 0,
        bytes: 0,
        transactions: 0,
        views_at: manifest.views.time,
        views: manifest.views.views.len(),
        facts: Vec::new(),
        notes,
    };
    fetch(place, &manifest, &dir, &mut report).await?;
    let (verified, key) = (manifest.clone(), arguments.key.clone());
    let superseded = last.0 < known.max(manifest.upper - 1);
    // It reads all of the log and computes: not among those who wait for the network.
    let done = tokio::task::spawn_blocking(move || {
        verify(&dir, &verified, key, &mut report)?;
        if superseded {
            another_log(&dir, &verified, last, &mut report)?;
        } else {
            same_log(&dir, &verified, &mut report)?;
        }
        note_sources(&dir)?;
        Ok(report)
    });
    done.await.unwrap_or(Err(Failure::Ended("the restore")))
}

/// Fetches all files; every piece is compared with its hash.
async fn fetch(
    place: &Place,
    manifest: &Manifest,
    dir: &Path,
    report: &mut Report,
) -> Result<(), Failure> {
    let failed = |error| Failure::io(format!("cannot write to {}", dir.display()), error);
    fs::create_dir_all(dir).map_err(failed)?;
    for file in &manifest.files {
        let fetched = if file.name == LEAVES {
            let proofs = proof_dir(dir);
            let mut writer = TileWriter::new(&proofs);
            let fetched = place.fetch(file, |bytes| writer.take(bytes)).await?;
            let tree = writer.finish().map_err(failed)?;
            let signed = manifest.signed.as_ref().and_then(|signed| parse(&signed.checkpoint));
            if signed.is_none_or(|state| (state.size(), state.root()) != (tree.size(), tree.root()))
            {
                return Err(Failure::NotProven {
                    what: "the leaves in the backup are not those of the checkpoint in it"
                        .to_owned(),
                    help: "the backup was made of a damaged tree; name another with --backup ID"
                        .into(),
                });
            }
            fetched
        } else {
            let mut writer = new_file(dir, file).map_err(failed)?;
            place.fetch(file, |bytes| writer.write_all(bytes)).await?
        };
        report.pieces += fetched.pieces;
        report.bytes += fetched.bytes;
    }
    let (pieces, bytes) = (output::counted(report.pieces, "piece"), report.bytes);
    report.facts.push(format!("{pieces} ({bytes} bytes) came back as they were put there"));
    put_signed(dir, manifest).map_err(failed)
}

fn new_file(dir: &Path, file: &StoredFile) -> io::Result<fs::File> {
    let path = dir.join(file.path());
    fs::create_dir_all(path.parent().unwrap_or(dir))?;
    let mode = if file.name == KEY { 0o600 } else { 0o644 };
    fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

/// Writes what was signed.
fn put_signed(dir: &Path, manifest: &Manifest) -> io::Result<()> {
    let Some(signed) = &manifest.signed else { return Ok(()) };
    let proofs = proof_dir(dir);
    fs::create_dir_all(&proofs)?;
    fs::write(proofs.join("verifier"), &signed.verifier)?;
    if let Some(cosigned) = &signed.cosigned {
        fs::write(proofs.join("cosigned"), cosigned)?;
    }
    if let Some(state) = parse(&signed.checkpoint) {
        // All tiles are there, so the tree goes on from here.
        fs::write(proofs.join("settled"), state.text())?;
    }
    fs::write(proofs.join("checkpoint"), &signed.checkpoint)
}

/// Compares the log with what was signed, and the views with what they were.
fn verify(
    dir: &Path,
    manifest: &Manifest,
    key: Option<String>,
    report: &mut Report,
) -> Result<(), Failure> {
    let (log, recovery) = Log::open_read_only(dir, Arc::new(RealDisk))?;
    let log_id = uuid::Uuid::from_bytes(recovery.log_id).to_string();
    if (&log_id, log.upper().0) != (&manifest.log_id, manifest.upper) {
        let (upper, wanted) = (log.upper(), manifest.upper);
        return Err(not_proven(format!(
            "the backup is of the log {}, before Time {wanted}; its files are of the log {log_id}, before {upper}",
            manifest.log_id
        )));
    }
    if log.stat().since.0 != manifest.since {
        let (is, wanted) = (log.stat().since, manifest.since);
        return Err(not_proven(format!(
            "the history in the backup was folded up to Time {wanted}; that in its files, up to Time {is}"
        )));
    }
    audit(dir, &log, manifest, key, report)?;
    let is = digests::computed(&log, Time(manifest.views.time))?;
    compared(&manifest.views, &is)?;
    let (views, time) = (output::counted(report.views as u64, "view"), manifest.views.time);
    report.facts.push(format!("{views} computed from the log hold at Time {time} what they held"));
    Ok(())
}

fn audit(
    dir: &Path,
    log: &Log,
    manifest: &Manifest,
    key: Option<String>,
    report: &mut Report,
) -> Result<(), Failure> {
    if manifest.signed.is_none() {
        if key.is_some() {
            return Err(Failure::NotProven {
                what: "the backup holds nothing signed, which --key could be compared with"
                    .to_owned(),
                help: "name another backup with --backup ID; only without --key is a log restored \
                       that was never signed"
                    .to_owned(),
            });
        }
        let audit = log.audit(&[], 0)?;
        if let Some(wrong) = audit.wrong_bases.first() {
            return Err(not_proven(format!(
                "the folded history of table {} is not what a transaction says",
                wrong.table
            )));
        }
        report.transactions = audit.transactions;
        let transactions = output::counted(audit.transactions, "transaction");
        report.facts.push(format!("all {transactions} are whole"));
        report.notes.push("nothing was signed when the backup was made".to_owned());
        return Ok(());
    }
    let arguments = VerifyArgs {
        dir: DataDir { data: None },
        proof: None,
        log: Some(dir.to_owned()),
        since: None,
        key,
        witness: Vec::new(),
        quorum: None,
        time: None,
        request: None,
        source: None,
        output: SummaryFormat::Table,
    };
    let verified = verify_log(&arguments)?;
    if let Some(finding) = verified.findings.first() {
        return Err(Failure::NotProven {
            what: format!("{}: {}", finding.place, finding.what),
            help: "this backup is not what was signed; name another with --backup ID".to_owned(),
        });
    }
    report.transactions = log.upper().0 - 1;
    let shown = |text: &String| text.replace(&*dir.to_string_lossy(), "log");
    report.facts.extend(verified.facts.iter().map(shown));
    report.notes.extend(verified.notes);
    Ok(())
}

fn compared(was: &ViewDigests, is: &ViewDigests) -> Result<(), Failure> {
    match digests::differences(was, is).first() {
        None => Ok(()),
        Some(first) => {
            Err(not_proven(format!("{first}, computed from the log at Time {}", was.time)))
        }
    }
}

fn not_proven(what: String) -> Failure {
    let help = "name another backup with --backup ID; if the log verifies and the views do not, this \
                is a defect of Evert: please report it";
    Failure::NotProven { what, help: help.to_owned() }
}

/// The log goes on as the one that it was, if its key is here.
fn same_log(dir: &Path, manifest: &Manifest, report: &mut Report) -> Result<(), Failure> {
    let Some(signed) = &manifest.signed else { return Ok(()) };
    let beside = dir.join(KEY);
    let path = if beside.exists() { beside } else { signing::key_path(&directory_above(dir)) };
    let key = fs::read_to_string(&path).ok().and_then(|text| Signer::parse(text.trim()).ok());
    let same = |key: &Signer| key.verifier().to_string() == signed.verifier.trim();
    if key.as_ref().is_some_and(same) {
        report.notes.push(
            "it goes on as the same log, with its key: see to it that the original never runs again"
                .to_owned(),
        );
        return Ok(());
    }
    set_aside(dir)?;
    if manifest.since == 0 {
        // The tree is made again, from the segments: whoever signs it has computed it.
        remove_from(dir, "settled")?;
    }
    report.notes.push(
        "the log's private key is not here, so the log gets another key and another name when it \
         runs; to go on under the old one, restore with EVERT_LOG_KEY naming that key"
            .to_owned(),
    );
    Ok(())
}

/// Has each source look, the first time that it is followed, whether it missed something.
fn note_sources(dir: &Path) -> Result<(), Failure> {
    let (log, _) = Log::open_read_only(dir, Arc::new(RealDisk))?;
    let sources = Catalogue::read(&log)?.sources()?;
    let root = directory_above(dir);
    restored::note(&root, sources.iter().map(|source| source.name.as_str()))
        .map_err(|error| Failure::io(format!("cannot write to {}", root.display()), error))
}

/// The data directory of a log's directory.
fn directory_above(dir: &Path) -> PathBuf {
    dir.parent().unwrap_or(dir).to_owned()
}

/// Ends the log at the Time that is wanted, and makes it another one.
fn another_log(
    dir: &Path,
    manifest: &Manifest,
    last: Time,
    report: &mut Report,
) -> Result<(), Failure> {
    let disk: Arc<dyn log::Disk> = Arc::new(RealDisk);
    let (log, _) = Log::open_read_only(dir, Arc::clone(&disk))?;
    let signed = manifest.signed.as_ref().map_or(0, |signed| signed.size);
    // Where all that stays is what was signed, byte for byte, so is what follows from it.
    let is_same = last.0 <= signed && log.kept_by_cut(last)? == last;
    let was = if is_same { None } else { Some(digests::computed(&log, last)?) };
    drop(log);
    let log_id = uuid::Uuid::new_v4();
    let cut = log::cut(dir, last, log_id.into_bytes(), &disk)?;
    let size = cut.kept.0.min(signed);
    let tree = Kept::first(dir, size, signed)?;
    let (log, _) = Log::open_read_only(dir, disk)?;
    let audit = log.audit(&[size], signed)?;
    if audit.roots.get(&size) != Some(&tree.root) || !audit.wrong_bases.is_empty() {
        return Err(not_proven(format!(
            "the first {size} transactions are not those that were signed"
        )));
    }
    if let Some(was) = was {
        compared(&was, &digests::computed(&log, last)?)?;
    }
    let (kept, all) = (output::counted(size, "transaction"), last.0);
    report.facts.push(format!(
        "it ends with Time {last}: {kept} of {all} have the leaves that were signed, the views hold \
         what they held at that Time"
    ));
    report.transactions = all;
    set_aside(dir)?;
    remove_from(dir, KEY)?;
    match &manifest.signed {
        Some(signed) if manifest.since > 0 => tree.keep(dir, signed)?,
        Some(_) | None => tree.remove(dir)?,
    }
    if cut.folds_said_again {
        report.notes.push(format!(
            "one more transaction, of Evert's own, follows Time {last}: it says what was folded, as one did that came later"
        ));
    }
    let (old, new) = (manifest.log_id.clone(), log_id.to_string());
    report.notes.push(format!(
        "the original went on behind Time {last}, so this is another log: {new} instead of {old}, with \
         another key when it runs. Sinks that the original filled refuse it: empty their targets and \
         progress, or name others"
    ));
    report.log = new;
    Ok(())
}

/// The tree over the first leaves of what was signed, in tiles beside those that are there.
struct Kept {
    size: u64,
    root: Hash,
    tiles: PathBuf,
}

impl Kept {
    fn first(dir: &Path, size: u64, signed: u64) -> Result<Self, Failure> {
        let (proofs, kept) = (proof_dir(dir), dir.join("kept"));
        let (tiles, mut writer) = (Tiles::new(&proofs), TileWriter::new(&kept));
        let failed = |error| Failure::io(format!("cannot write to {}", kept.display()), error);
        let mut at = 0;
        while at < size {
            let mut leaves =
                tiles.leaves(at, signed).map_err(|error| not_proven(error.to_string()))?;
            leaves.truncate(usize::try_from(size - at).unwrap_or(usize::MAX));
            at += leaves.len() as u64;
            let bytes: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.0).collect();
            writer.take(&bytes).map_err(failed)?;
        }
        let root = writer.finish().map_err(failed)?.root();
        Ok(Self { size, root, tiles: kept })
    }

    /// Takes the place of the tree that is there: the log goes on from it, under whatever name.
    fn keep(self, dir: &Path, signed: &Signed) -> Result<(), Failure> {
        self.put(dir, parse(&signed.checkpoint).as_ref())
            .map_err(|error| Failure::io("cannot keep the log's tree".to_owned(), error))
    }

    fn put(self, dir: &Path, signed: Option<&Checkpoint>) -> io::Result<()> {
        let proofs = proof_dir(dir);
        remove_all(&proofs.join("tile"))?;
        if self.tiles.exists() {
            fs::rename(self.tiles.join("tile"), proofs.join("tile"))?;
            fs::remove_dir(&self.tiles)?;
        }
        let named = |state: &Checkpoint| Checkpoint::new(state.origin(), self.size, self.root).ok();
        let state = signed.and_then(named);
        match state {
            Some(state) => fs::write(proofs.join("settled"), state.text()),
            None => remove(&proofs.join("settled")),
        }
    }

    /// Leaves no tree: it is made again from the segments.
    fn remove(self, dir: &Path) -> Result<(), Failure> {
        let removed =
            remove_all(&self.tiles).and_then(|()| remove_all(&proof_dir(dir).join("tile")));
        removed.map_err(|error| Failure::io("cannot remove the log's tree".to_owned(), error))?;
        remove_from(dir, "settled")
    }
}

fn remove_all(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes the key, or a file of the proofs.
fn remove_from(dir: &Path, name: &str) -> Result<(), Failure> {
    let path = if name == KEY { dir.join(name) } else { proof_dir(dir).join(name) };
    remove(&path).map_err(|e| Failure::io(format!("cannot remove {}", path.display()), e))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Keeps what the original signed, but not as what this log signs.
fn set_aside(dir: &Path) -> Result<(), Failure> {
    let (proofs, before) = (proof_dir(dir), dir.join(BEFORE));
    let moved = || {
        fs::create_dir_all(&before)?;
        for name in ["checkpoint", "cosigned", "verifier"] {
            match fs::rename(proofs.join(name), before.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    };
    moved().map_err(|error| Failure::io(format!("cannot write to {}", before.display()), error))
}
