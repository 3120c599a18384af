//! `evert verify`: whether a receipt, or a whole log, is what was signed. It works offline, on a copy.
//!
//! Nothing here makes proofs. Receipts are checked with `proof::verify`; a log is computed anew from its segments' bytes
//! (`log`'s audit) and compared with what its key signed, now and before.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use change::Time;
use log::notary::proof_dir;
use log::{Audit, Log, RealDisk};
use proof::{
    Checkpoint, Hash, LeafRecord, Note, Policy, Position, Receipt, Trusted, VerifierKey,
    request_hash, source_hash,
};
use serde::Serialize;

use crate::cli::{SummaryFormat, VerifyArgs};
use crate::failure::Failure;
use crate::signing::verifier;
use crate::{directory, output};

/// What is wrong, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) what: String,
    pub(crate) place: String,
    help: String,
}

/// What was verified, and how it came out.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    verified: bool,
    /// What is certain now, one sentence a line.
    pub(crate) facts: Vec<String>,
    /// What is not certain, or not looked at.
    pub(crate) notes: Vec<String>,
    pub(crate) findings: Vec<Finding>,
}

/// Verifies what the arguments name: a receipt, or the log of a directory.
pub(crate) fn verify(arguments: &VerifyArgs) -> Result<(), Failure> {
    let report = match &arguments.proof {
        Some(path) => verify_receipt(path, arguments)?,
        None => verify_log(arguments)?,
    };
    match arguments.output {
        SummaryFormat::Json => output::print_json(&report)?,
        SummaryFormat::Table => output::print(drawn(&report).as_bytes())?,
    }
    match report.findings.first() {
        None => Ok(()),
        Some(first) => Err(Failure::NotProven {
            what: format!("{}: {}", first.place, first.what),
            help: first.help.clone(),
        }),
    }
}

fn drawn(report: &Report) -> String {
    let mut text = String::new();
    for fact in &report.facts {
        writeln!(text, "ok: {fact}").expect("writing to a String");
    }
    for note in &report.notes {
        writeln!(text, "note: {note}").expect("writing to a String");
    }
    for Finding { what, place, help } in &report.findings {
        writeln!(text, "WRONG: {what}\n  at: {place}\n  do: {help}").expect("writing to a String");
    }
    text
}

/// The directory of the log: the one named, which may be a copy of it, or that of the data directory.
fn log_dir(arguments: &VerifyArgs) -> PathBuf {
    let Some(dir) = &arguments.log else { return directory::log_dir(&arguments.dir.path()) };
    // Whoever copied the data directory names that.
    if dir.join("log").is_dir() { dir.join("log") } else { dir.clone() }
}

/// Whom to believe, and what to say when it is the log's directory itself that says so.
fn policy(arguments: &VerifyArgs, dir: &Path) -> Result<(Policy, Option<String>), Failure> {
    let (key, caveat) = match &arguments.key {
        Some(key) => (verifier(key)?, None),
        None => own_key(dir)?,
    };
    let witnesses =
        arguments.witness.iter().map(|key| verifier(key)).collect::<Result<Vec<_>, _>>()?;
    let quorum = arguments.quorum.unwrap_or(witnesses.len());
    let origin = key.name().to_owned();
    let policy = Policy::new(&origin, vec![key], witnesses, quorum);
    let policy = policy.map_err(|error| Failure::Usage {
        what: error.to_string(),
        help: "name as many different witnesses as --quorum asks for".to_owned(),
    })?;
    Ok((policy, caveat))
}

fn own_key(dir: &Path) -> Result<(VerifierKey, Option<String>), Failure> {
    let path = proof_dir(dir).join("verifier");
    if !path.is_file() {
        return Err(Failure::Usage {
            what: "it is not known whose signature to believe".to_owned(),
            help: "name the log's public key with --key".to_owned(),
        });
    }
    let key = verifier(&path.display().to_string())?;
    let caveat = format!(
        "the key {key} is the directory's own word; who has it from elsewhere names it with --key"
    );
    Ok((key, Some(caveat)))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|error| Failure::io(format!("cannot read {}", path.display()), error))
}

fn verify_receipt(path: &Path, arguments: &VerifyArgs) -> Result<Report, Failure> {
    let dir = log_dir(arguments);
    let (policy, caveat) = policy(arguments, &dir)?;
    let place = path.display().to_string();
    let wrong = |what: String| Finding {
        what,
        place: place.clone(),
        help: "ask for the receipt again; if it stays so, the log's operator has to explain it"
            .into(),
    };
    let mut report = Report::default();
    let receipt = match Receipt::parse(&read(path)?) {
        Ok(receipt) => receipt,
        Err(error) => {
            report.findings.push(wrong(error.to_string()));
            return Ok(report);
        }
    };
    let Ok(record) = LeafRecord::decode(&receipt.extra) else {
        report.findings.push(wrong("the receipt does not hold the record of a transaction".into()));
        return Ok(report);
    };
    match receipt.verify(&record.leaf(), &policy) {
        Err(error) => report.findings.push(wrong(error.to_string())),
        Ok(_) if record.time != receipt.index + 1 => {
            report.findings.push(wrong("the record is another transaction's".to_owned()));
        }
        Ok(trusted) => {
            report.facts.push(described(&record, &trusted));
            report.facts.extend(told(&record));
        }
    }
    report.findings.extend(differences(&record, arguments)?.into_iter().map(wrong));
    report.verified = report.findings.is_empty();
    report.notes.extend(caveat);
    Ok(report)
}

fn described(record: &LeafRecord, trusted: &Trusted) -> String {
    let state = &trusted.checkpoint;
    let witnesses = match trusted.witnesses.len() {
        0 => String::new(),
        count => format!(", cosigned by {}", output::counted(count as u64, "witness")),
    };
    format!(
        "the transaction at Time {} is in the log {} as it was signed at {} transactions{witnesses}",
        record.time,
        state.origin(),
        state.size()
    )
}

/// What the record says of the transaction.
fn told(record: &LeafRecord) -> Vec<String> {
    let position = match record.position {
        Position::None => "no position".to_owned(),
        Position::Lsn(lsn) => format!("LSN {:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff),
        Position::Line { bytes, lines } => format!("line {lines} (byte {bytes})"),
        Position::Step(step) => format!("step {step}"),
        Position::Hashed(hash) => format!("a position with the hash {hash}"),
    };
    vec![format!("it has {position}, and its stored bytes the hash {}", record.stored)]
}

/// What the receipt's record and what the caller knows of the transaction do not agree on.
fn differences(record: &LeafRecord, arguments: &VerifyArgs) -> Result<Vec<String>, Failure> {
    let mut differences = Vec::new();
    if let Some(time) = arguments.time.filter(|time| *time != record.time) {
        differences.push(format!("it is a receipt of Time {}, not {time}", record.time));
    }
    let known = |name: &Option<String>, hash: fn(&[u8]) -> Hash, found: Option<Hash>| {
        name.as_ref().is_some_and(|name| Some(hash(name.as_bytes())) != found)
    };
    if known(&arguments.request, request_hash, record.request) {
        differences.push("it is not a receipt of that request".to_owned());
    }
    let source = |name: &[u8]| source_hash(&String::from_utf8_lossy(name));
    if known(&arguments.source, source, record.source) {
        differences.push("the transaction is not from that source".to_owned());
    }
    if arguments.log.is_some() {
        let (log, _) = Log::open_read_only(&log_dir(arguments), Arc::new(RealDisk))?;
        match log.leaf_record(Time(record.time))? {
            Some(found) if found == *record => {}
            Some(_) => differences.push("the log holds another transaction at that Time".into()),
            None => differences.push("the log has no transaction at that Time".to_owned()),
        }
    }
    Ok(differences)
}

/// Reads a whole log and compares it with what was signed.
pub(crate) fn verify_log(arguments: &VerifyArgs) -> Result<Report, Failure> {
    let dir = log_dir(arguments);
    let (policy, caveat) = policy(arguments, &dir)?;
    let mut report = Report::default();
    let checkpoint = proof_dir(&dir).join("checkpoint");
    let signed = open(&policy, &checkpoint, &mut report)?;
    let since = match &arguments.since {
        Some(path) => open(&policy, path, &mut report)?.map(|state| (path.clone(), state)),
        None => None,
    };
    let (log, recovery) = Log::open_read_only(&dir, Arc::new(RealDisk))?;
    let states: Vec<(PathBuf, Checkpoint)> =
        signed.map(|state| (checkpoint, state)).into_iter().chain(since).collect();
    let sizes: Vec<u64> = states.iter().map(|(_, state)| state.size()).collect();
    let published = sizes.first().copied().unwrap_or(0);
    let audit = log.audit(&sizes, published)?;
    let gone: u64 = audit.pruned.iter().map(|(first, last)| last.0 - first.0 + 1).sum();
    report.facts.push(format!(
        "all {} of the log {} are whole ({} bytes)",
        output::counted(audit.transactions - gone, "transaction"),
        uuid::Uuid::from_bytes(recovery.log_id),
        audit.bytes
    ));
    for (path, state) in &states {
        compare(path, state, &audit, &mut report);
    }
    tiles(&audit, &mut report);
    folded(&audit, gone, &mut report);
    let unsigned = audit.transactions.saturating_sub(published);
    if unsigned > 0 {
        report.notes.push(format!(
            "{} after the last checkpoint: not signed yet",
            output::counted(unsigned, "transaction")
        ));
    }
    report.verified = report.findings.is_empty();
    report.notes.extend(caveat);
    Ok(report)
}

/// Reads a checkpoint that must be there, and checks who signed it.
fn open(policy: &Policy, path: &Path, report: &mut Report) -> Result<Option<Checkpoint>, Failure> {
    let note = Note::parse(&read(path)?).map_err(|error| error.to_string());
    let trusted = note.and_then(|note| policy.open(&note).map_err(|error| error.to_string()));
    match trusted {
        Ok(Trusted { checkpoint, .. }) => Ok(Some(checkpoint)),
        Err(what) => {
            report.findings.push(Finding {
                what,
                place: path.display().to_string(),
                help: "compare --key with the key that you were given; a checkpoint that another \
                       key signed says nothing about this log"
                    .to_owned(),
            });
            Ok(None)
        }
    }
}

fn compare(path: &Path, state: &Checkpoint, audit: &Audit, report: &mut Report) {
    let size = state.size();
    let place = path.display().to_string();
    let finding = match audit.roots.get(&size) {
        Some(root) if *root == state.root() => {
            let signed = output::counted(size, "transaction");
            report.facts.push(format!("the first {signed} are those that {place} signs"));
            return;
        }
        Some(root) => Finding {
            what: format!(
                "the log's first {size} transactions have the root {root}, but {} was signed: the \
                 log was altered",
                state.root()
            ),
            place,
            help: "put the log back from a backup that verifies; the first tile that differs says \
                   where it was altered"
                .to_owned(),
        },
        None => Finding {
            what: format!(
                "{size} transactions were signed, but the log holds {}: some are lost",
                audit.transactions
            ),
            place,
            help: "put the missing segments back from a backup".to_owned(),
        },
    };
    report.findings.push(finding);
}

fn tiles(audit: &Audit, report: &mut Report) {
    let has_folded = audit.bases > 0 || !audit.pruned.is_empty();
    if audit.wrong_tiles.is_empty() {
        let tiles = output::counted(audit.tiles, "tile");
        report.facts.push(format!("the tree's files are what follows from the log ({tiles})"));
    }
    for tile in &audit.wrong_tiles {
        let (from, until) = tile.covers;
        let what = match tile.first {
            Some(first) => format!("the tile disagrees with the log, from Time {first} on"),
            None => format!("the tile of the Times {from} to {until} is missing or cut"),
        };
        report.findings.push(Finding {
            what,
            place: tile.path.display().to_string(),
            help: if has_folded {
                "put the file back from a copy, or have `evert log repair --from COPY` do it: the \
                 tree cannot be made anew where history was folded"
            } else {
                "if the log is what was signed, remove log/proof/settled and start `evert run`: \
                 tiles are made anew"
            }
            .to_owned(),
        });
    }
    for bundle in &audit.wrong_bundles {
        let (first, last) = bundle.covers;
        report.findings.push(Finding {
            what: format!(
                "a published record of the Times {first} to {last} is not that of its transaction, \
                 from Time {} on",
                bundle.first.unwrap_or(first)
            ),
            place: bundle.path.display().to_string(),
            help: if has_folded {
                "put the file back from a copy, or remove this one file: records that are missing \
                 are no fault, and where history was folded all of them cannot be written anew"
            } else {
                "if the log is what was signed, remove log/proof/settled and start `evert run`: \
                 records are written anew"
            }
            .to_owned(),
        });
    }
}

/// What is said of history that was folded: its hashes stay, and what it came to is what was logged of it.
fn folded(audit: &Audit, gone: u64, report: &mut Report) {
    if audit.bases > 0 && audit.wrong_bases.is_empty() && audit.unsigned_bases.is_empty() {
        let bases = output::counted(audit.bases, "table");
        report
            .facts
            .push(format!("the folded history of {bases} is what a transaction says of it"));
    }
    if let (Some((first, _)), Some((_, last))) = (audit.pruned.first(), audit.pruned.last()) {
        report.notes.push(format!(
            "{} between Time {first} and Time {last} are pruned: their history was folded, and \
             their hashes, taken from the tree's files, are all that is there of them",
            output::counted(gone, "transaction")
        ));
    }
    for base in &audit.wrong_bases {
        report.findings.push(Finding {
            what: format!(
                "the folded history of table {} up to Time {} is not what a transaction says",
                base.table, base.since
            ),
            place: base.path.display().to_string(),
            help: "put the file back from a backup that verifies".to_owned(),
        });
    }
    for base in &audit.unsigned_bases {
        report.findings.push(Finding {
            what: format!(
                "the folded history of table {} up to Time {} is what only a transaction says that is not signed",
                base.table, base.since
            ),
            place: base.path.display().to_string(),
            help: "`evert run` signs it within a second, then verify again; if nobody folded history just now, put \
                   the log back from a backup that verifies"
                .to_owned(),
        });
    }
}
