//! `evert backup`: copies the log to another place, beside a running process or at rest.
//!
//! The order makes the copy consistent. What is signed is read first, then it is asked up to where the log is durable:
//! so no checkpoint signs more than is copied. The views are of a Time that the copy holds. Nothing is written in the
//! data directory of a process that runs; at rest, what a crash left unfinished is cut off the log first, as a start does.
//!
//! The running process may fold history meanwhile. What is copied is open all the time, as it was at one moment
//! (`Log::files`). What was folded then is what was folded before the process was asked; so the transaction that says
//! it is copied as well. If that is not so, or what was folded is not signed yet, all begins again.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backup::{BackupError, BackupId, Item, Lock, Manifest, Place, Pruned, Signed, ViewDigests};
use change::Time;
use log::notary::proof_dir;
use log::{FoldedTable, Log, LogError, LogFile, LogFiles, LogOptions, RealDisk};
use proof::{Checkpoint, HASH_BYTES, Hash, Note, TileError, Tree, TreeError};
use rustix::process::{Resource, Rlimit};
use serde::Serialize;
use serve::client::{Client, ClientError};

use crate::cli::{BackupArgs, SummaryFormat};
use crate::commands::tiles::{LEAVES, Tiles};
use crate::directory::{self, Directory};
use crate::failure::Failure;
use crate::intent::wall_clock_us;
use crate::{digests, output, signing};

/// The name of the private key in a backup.
pub(crate) const KEY: &str = "key";

/// How long the views of a running process may stand still before nobody waits for them any more.
const STANDSTILL_MAX: Duration = Duration::from_secs(300);

/// How often it is asked how far they are.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How often a backup begins again because history is folded meanwhile, and how long it waits for the next try.
const ATTEMPTS: usize = 30;
/// See [`ATTEMPTS`].
const AGAIN_WAIT: Duration = Duration::from_secs(1);

/// What was backed up.
#[derive(Serialize)]
struct Report {
    backup: BackupId,
    place: String,
    log: String,
    since: u64,
    upper: u64,
    signed: u64,
    views_at: u64,
    views: usize,
    new_pieces: u64,
    new_bytes: u64,
    bytes: u64,
    with_key: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pruned_backups: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pruned_bytes: Option<u64>,
}

/// Backs the log up, or lists the backups of a place.
pub(crate) async fn backup(arguments: BackupArgs) -> Result<(), Failure> {
    if arguments.list {
        return list(&Place::open(&arguments.place)?, arguments.output).await;
    }
    let root = arguments.dir.path();
    directory::must_exist(&root)?;
    let place = Place::create(&arguments.place)?;
    let lock = place.lock().await?;
    let made = async {
        let mut report = whole((&place, &lock), &root, arguments.with_key).await?;
        if let Some(keep) = arguments.prune {
            let Pruned { backups, bytes, .. } = place.prune(keep.get(), &lock).await?;
            (report.pruned_backups, report.pruned_bytes) = (Some(backups), Some(bytes));
        }
        Ok::<_, Failure>(report)
    };
    let made = made.await;
    let released = lock.release().await;
    let report = made?;
    released?;
    match arguments.output {
        SummaryFormat::Json => output::print_json(&report),
        SummaryFormat::Table => output::print(drawn(&report).as_bytes()),
    }
}

fn drawn(report: &Report) -> String {
    let Report { upper, place, log, signed, views_at, .. } = report;
    let last = upper - 1;
    let pruned = match (report.pruned_backups, report.pruned_bytes) {
        (Some(backups), Some(bytes)) => {
            format!("removed: {} ({bytes} bytes)\n", output::counted(backups, "older backup"))
        }
        (Some(_) | None, _) => String::new(),
    };
    let key = if report.with_key { "; with its private key" } else { "" };
    let folded = match report.since {
        0 => String::new(),
        since => {
            format!("ok: its history up to Time {since} was folded; what it came to is there\n")
        }
    };
    format!(
        "ok: the log {log} up to Time {last} is in {place} (signed up to {signed}{key})\n{folded}\
         ok: {} at Time {views_at} noted, to be compared when it is restored\n\
         ok: {} written ({} bytes); the backup has {} bytes\n{pruned}backup {}\n",
        output::counted(report.views as u64, "view"),
        output::counted(report.new_pieces, "piece"),
        report.new_bytes,
        report.bytes,
        report.backup
    )
}

/// A log that can be copied up to some Time.
struct Source {
    log: Log,
    log_id: String,
    upper: Time,
    /// What was folded before it was asked how far the log is durable.
    folded: Vec<FoldedTable>,
    views: ViewDigests,
    /// Held as long as nobody else may write.
    _directory: Option<Directory>,
}

/// Backs the log up; begins again when history was folded meanwhile.
async fn whole(
    (place, lock): (&Place, &Lock),
    root: &Path,
    with_key: bool,
) -> Result<Report, Failure> {
    let files_max = rustix::process::getrlimit(Resource::Nofile);
    let more = Rlimit { current: files_max.maximum, ..files_max };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, more) {
        tracing::debug!(%error, "a log of very many segments cannot be backed up");
    }
    for _ in 0..ATTEMPTS {
        if let Some(report) = back_up((place, lock), root, with_key).await? {
            return Ok(report);
        }
        tracing::debug!("history was folded meanwhile, or is not signed yet; it begins again");
        tokio::time::sleep(AGAIN_WAIT).await;
    }
    Err(Failure::Usage {
        what: "the log's folded history is not signed, or more of it is folded all the time".into(),
        help: "`evert run` signs it, also with --once; then try again".to_owned(),
    })
}

/// Backs the log up once; `None` when what was found does not belong together.
async fn back_up(
    (place, lock): (&Place, &Lock),
    root: &Path,
    with_key: bool,
) -> Result<Option<Report>, Failure> {
    let dir = directory::log_dir(root);
    // First, so that it signs no more than what is copied.
    let signed = signed(&dir)?;
    let Some(source) = unless_folded(source(root).await)? else { return Ok(None) };
    let held = source.upper.0 - 1;
    let checkpoint = proof_dir(&dir).join("checkpoint");
    if let Some(signed) = signed.as_ref().map(|signed| signed.size).filter(|size| *size > held) {
        return Err(LogError::Behind { checkpoint, signed, held }.into());
    }
    let files = source.log.files(source.upper).map_err(Failure::from);
    let Some(files) = unless_folded(files)? else { return Ok(None) };
    let since = files.since.0;
    let said = unless_folded(source.log.folds_said_by(&files.folded).map_err(Failure::from))?;
    // What a base must hold is certain only when the transaction that says it is signed.
    let is_signed = signed.as_ref().is_none_or(|signed| {
        since <= signed.size && said.flatten().is_some_and(|said| said.0 <= signed.size)
    });
    if files.folded != source.folded || since > source.views.time || !is_signed {
        return Ok(None);
    }
    let before = newest(place).await?;
    if let Some(before) = &before {
        continues(place, &dir, &source, before, signed.as_ref())?;
    }
    let mut items = items(&dir, files, signed.as_ref());
    if with_key {
        items.push(key(root)?);
    }
    let uploaded = place.upload(&items, before.as_ref()).await?;
    let manifest = Manifest {
        format: backup::FORMAT,
        taken_at_us: wall_clock_us(),
        log_id: source.log_id,
        since,
        upper: source.upper.0,
        signed,
        views: source.views,
        files: uploaded.files,
    };
    let backup = place.publish(&manifest, lock).await?;
    Ok(Some(Report {
        backup,
        place: place.to_string(),
        bytes: manifest.bytes(),
        log: manifest.log_id,
        since: manifest.since,
        upper: manifest.upper,
        signed: manifest.signed.map_or(0, |signed| signed.size),
        views_at: manifest.views.time,
        views: manifest.views.views.len(),
        new_pieces: uploaded.pieces,
        new_bytes: uploaded.bytes,
        with_key,
        pruned_backups: None,
        pruned_bytes: None,
    }))
}

/// `None` when it could not be done because what it is about was folded meanwhile.
fn unless_folded<T>(done: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match done {
        Err(Failure::Log(LogError::Pruned { .. })) => Ok(None),
        // It was folded again and again while its files were opened.
        Err(Failure::Log(LogError::Io { source, .. }))
            if source.kind() == io::ErrorKind::ResourceBusy =>
        {
            Ok(None)
        }
        done => done.map(Some),
    }
}

/// What the log has signed.
fn signed(dir: &Path) -> Result<Option<Signed>, Failure> {
    let proofs = proof_dir(dir);
    let read = |name: &str| match fs::read_to_string(proofs.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::io(format!("cannot read {name} of the log's proofs"), error)),
    };
    let (Some(checkpoint), Some(verifier)) = (read("checkpoint")?, read("verifier")?) else {
        return Ok(None);
    };
    let Some(state) = parse(&checkpoint) else { return Ok(None) };
    let cosigned = read("cosigned")?;
    // The tree's edge: whether the tiles are those of what is signed.
    Tree::open(&Tiles::new(&proofs), state.size(), &state.root()).map_err(|error| {
        Failure::NotProven {
            what: format!("the tree's files in {} cannot be backed up: {error}", proofs.display()),
            help: "`evert verify` says what is wrong, and how it is put right".to_owned(),
        }
    })?;
    Ok(Some(Signed { size: state.size(), checkpoint, cosigned, verifier }))
}

/// Reads a checkpoint's text; whose signature it bears is not looked at.
pub(crate) fn parse(note: &str) -> Option<Checkpoint> {
    let note = Note::parse(note.as_bytes()).ok()?;
    Checkpoint::parse(note.text()).ok()
}

/// Asks the running process how far the log is durable and what the views hold; at rest, finds out.
async fn source(root: &Path) -> Result<Source, Failure> {
    let dir = directory::log_dir(root);
    let open = || Log::open_read_only(&dir, Arc::new(RealDisk));
    let client = Client::new(&directory::socket(root));
    match caught_up(&client).await {
        Ok(()) => {}
        Err(Failure::Client(ClientError::NotRunning { .. })) => {
            let directory = Directory::acquire(root)?;
            // What a crash left unfinished is cut, and what is left made durable, before it is copied.
            drop(Log::open(&dir, LogOptions::default(), Arc::new(RealDisk), wall_clock_us)?);
            let (log, recovery) = open()?;
            let (upper, log_id) = (log.upper(), uuid::Uuid::from_bytes(recovery.log_id));
            let views = digests::computed(&log, Time(upper.0 - 1))?;
            let (log_id, folded) = (log_id.to_string(), log.folded());
            let _directory = Some(directory);
            return Ok(Source { log, log_id, upper, folded, views, _directory });
        }
        Err(failure) => return Err(failure),
    }
    let (log, _) = open()?;
    let folded = log.folded();
    let told = client.digests().await?;
    log.refresh()?;
    let (log_id, upper) = (told.log.id.clone(), told.log.upper);
    let views = digests::told(told, &log)?;
    Ok(Source { log, log_id, upper, folded, views, _directory: None })
}

/// Waits until the views of the running process hold what its log holds now.
async fn caught_up(client: &Client) -> Result<(), Failure> {
    let first = client.status().await?;
    let goal = Time(first.log.upper.0.saturating_sub(1));
    let (mut at, mut moved) = (first.time, Instant::now());
    while at < goal {
        if moved.elapsed() > STANDSTILL_MAX {
            return Err(Failure::Usage {
                what: format!("the views stand still at Time {at}; the log holds Time {goal}"),
                help: "`evert status` shows what runs; look at the process's output".to_owned(),
            });
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
        let now = client.status().await?.time;
        if now > at {
            (at, moved) = (now, Instant::now());
        }
    }
    Ok(())
}

/// The newest backup that can be read.
async fn newest(place: &Place) -> Result<Option<Manifest>, Failure> {
    for id in place.backups().await?.iter().rev() {
        match place.manifest(id).await {
            Ok(mut manifest) => {
                // A key is replaced, not continued.
                manifest.files.retain(|file| file.name != KEY);
                return Ok(Some(manifest));
            }
            Err(error @ BackupError::Damaged { .. }) => {
                tracing::warn!(%error, "this backup is left alone; what it has is not relied on");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Fails unless the log goes on from what was backed up before.
fn continues(
    place: &Place,
    dir: &Path,
    source: &Source,
    before: &Manifest,
    signed: Option<&Signed>,
) -> Result<(), Failure> {
    let refused = |what: String| Failure::Usage {
        what,
        help: "back it up to another place; each log has its own".to_owned(),
    };
    if before.log_id != source.log_id {
        let (theirs, ours) = (&before.log_id, &source.log_id);
        return Err(refused(format!("{place} holds backups of the log {theirs}, not of {ours}")));
    }
    let history = || format!("{place} holds another history of this log");
    if before.upper > source.upper.0 {
        let (theirs, ours) = (before.upper - 1, source.upper.0 - 1);
        return Err(refused(format!(
            "{}: up to Time {theirs}, and this one ends at {ours}",
            history()
        )));
    }
    let earlier = before.signed.as_ref().and_then(|signed| parse(&signed.checkpoint));
    let within = earlier.filter(|state| signed.is_some_and(|now| now.size >= state.size()));
    let Some(state) = within else { return Ok(()) };
    match Tree::open(&Tiles::new(&proof_dir(dir)), state.size(), &state.root()) {
        Ok(_) => Ok(()),
        Err(TreeError::Root { .. }) => {
            let size = state.size();
            Err(refused(format!("{}: its first {size} transactions are others", history())))
        }
        Err(error @ (TreeError::Tile(_) | TreeError::Size(_))) => Err(Failure::NotProven {
            what: format!(
                "it cannot be seen whether the log goes on from its last backup: {error}"
            ),
            help: "`evert verify` says what is wrong, and how it is put right".to_owned(),
        }),
    }
}

/// What is copied: the files that the log lists, and the leaves of its tree.
fn items(dir: &Path, files: LogFiles, signed: Option<&Signed>) -> Vec<Item> {
    let item = |file: LogFile| {
        let (name, path, bytes) = (file.name.clone(), file.path.clone(), file.bytes);
        let path = Some(path).filter(|path| *path != name);
        Item { name, path, bytes, read: Arc::new(move |at, length| file.read(at, length)) }
    };
    let mut items: Vec<Item> = files.files.into_iter().map(item).collect();
    if let Some(signed) = signed {
        let (tiles, size) = (Tiles::new(&proof_dir(dir)), signed.size);
        let read = move |offset: u64, length: usize| leaves(&tiles, size, offset, length);
        let (name, bytes) = (LEAVES.to_owned(), size * HASH_BYTES as u64);
        items.push(Item { name, path: None, bytes, read: Arc::new(read) });
    }
    items
}

/// Some bytes of the hashes of all leaves, one behind the other. Pieces begin and end between two of them.
fn leaves(tiles: &Tiles, size: u64, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let width = HASH_BYTES as u64;
    let (first, end) = (offset / width, (offset + length as u64) / width);
    let missing = |error: TileError| io::Error::other(error);
    let mut content = Vec::with_capacity(length);
    let mut at = first;
    while at < end {
        let hashes: Vec<Hash> = tiles.leaves(at, size).map_err(missing)?;
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX);
        let taken = hashes.iter().take(wanted);
        at += taken.len() as u64;
        content.extend(taken.flat_map(|hash| hash.0));
    }
    Ok(content)
}

/// The private key.
fn key(root: &Path) -> Result<Item, Failure> {
    let path = signing::key_path(root);
    let length = fs::metadata(&path).map(|metadata| metadata.len());
    let failed = |error| Failure::io(format!("cannot read the key {}", path.display()), error);
    let bytes = length.map_err(failed)?;
    let read = move |offset: u64, length: usize| {
        let mut content = vec![0; length];
        fs::File::open(&path)?.read_exact_at(&mut content, offset)?;
        Ok(content)
    };
    Ok(Item { name: KEY.to_owned(), path: None, bytes, read: Arc::new(read) })
}

/// A backup, as it is listed.
#[derive(Serialize)]
struct Listed {
    backup: BackupId,
    /// What is wrong with it; nothing else is known then.
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
    since: u64,
    upper: u64,
    signed: u64,
    bytes: u64,
    taken_at_us: i64,
    views: usize,
    with_key: bool,
}

async fn list(place: &Place, format: SummaryFormat) -> Result<(), Failure> {
    let mut all = Vec::new();
    for backup in place.backups().await? {
        let upper = backup.upper();
        let manifest = place.manifest(&backup).await;
        let mut listed = Listed {
            backup,
            damage: None,
            since: 0,
            upper,
            signed: 0,
            bytes: 0,
            taken_at_us: 0,
            views: 0,
            with_key: false,
        };
        match manifest {
            Ok(manifest) => {
                listed.bytes = manifest.bytes();
                listed.with_key = manifest.file(KEY).is_some();
                listed.signed = manifest.signed.map_or(0, |signed| signed.size);
                (listed.since, listed.taken_at_us) = (manifest.since, manifest.taken_at_us);
                listed.views = manifest.views.views.len();
            }
            Err(error) => listed.damage = Some(error.to_string()),
        }
        all.push(listed);
    }
    if format == SummaryFormat::Json {
        return output::print_json(&all);
    }
    let mut table = output::table(&["backup", "taken", "Times", "signed", "bytes", "views", ""]);
    for listed in all {
        let times = format!("{} to {}", listed.since.max(1), listed.upper.saturating_sub(1));
        let key = if listed.with_key { "with key".to_owned() } else { String::new() };
        table.add_row([
            listed.backup.to_string(),
            shown(listed.taken_at_us),
            times,
            listed.signed.to_string(),
            listed.bytes.to_string(),
            listed.views.to_string(),
            listed.damage.map_or(key, |damage| format!("DAMAGED: {damage}")),
        ]);
    }
    output::print(output::drawn(&table).as_bytes())
}

/// A moment in UTC, for people: `2026-11-25 09:46:07`.
fn shown(taken_at_us: i64) -> String {
    let seconds = taken_at_us.div_euclid(1_000_000);
    let (year, month, day) = change::cell::civil(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02}", second % 60)
}
