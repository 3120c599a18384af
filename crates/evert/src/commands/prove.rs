//! `evert prove`: a receipt that a transaction is in the log, for whoever needs not trust it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use change::{RequestId, Time};
use log::notary::proof_dir;
use log::{Log, RealDisk};
use proof::{Checkpoint, DirectoryTiles, Note, Prover, Receipt, verify_inclusion};

use crate::cli::ProveArgs;
use crate::commands::log::named;
use crate::commands::trace::times_of_row;
use crate::failure::Failure;
use crate::{directory, output};

/// How long a transaction that is not signed yet is waited for.
const SIGNED_WAIT: Duration = Duration::from_secs(5);

/// How often it is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Writes receipts of the transactions that are asked for.
pub(crate) async fn prove(arguments: ProveArgs) -> Result<(), Failure> {
    let root = arguments.dir.path();
    directory::must_exist(&root)?;
    let dir = directory::log_dir(&root);
    let (log, _) = Log::open_read_only(&dir, Arc::new(RealDisk))?;
    let time = wanted(&log, &arguments)?;
    let note = signed(&dir, time).await?;
    let receipt = receipt(&log, &dir, time, note)?.encode();
    let default = || PathBuf::from(format!("{time}.tlog-proof"));
    let path = arguments.output.unwrap_or_else(default);
    if path == Path::new("-") {
        return output::print(receipt.as_bytes());
    }
    let failed = |error| Failure::io(format!("cannot write {}", path.display()), error);
    std::fs::write(&path, receipt).map_err(failed)?;
    output::print(format!("{}\n", path.display()).as_bytes())
}

/// The Time of the transaction that is asked for.
fn wanted(log: &Log, arguments: &ProveArgs) -> Result<Time, Failure> {
    if let (Some(table), Some(key)) = (&arguments.table, &arguments.key) {
        let times = times_of_row(log, named(log, table)?, key)?;
        return times.last().copied().ok_or_else(|| Failure::Usage {
            what: format!("no transaction in the log changed a row {key} of {table}"),
            help: format!("`evert log cat --table {table}` shows which it changed"),
        });
    }
    let Some(request) = &arguments.request else {
        let time = Time(arguments.time.unwrap_or_default());
        return if time > Time::ZERO && time < log.upper() {
            Ok(time)
        } else {
            Err(none(log, time))
        };
    };
    let id = RequestId(request.as_bytes().into());
    log.find_request(&id)?.pop().ok_or_else(|| Failure::Usage {
        what: format!("no transaction in the log carries the request id {request}"),
        help: "`evert log cat` shows what is in the log".to_owned(),
    })
}

fn none(log: &Log, time: Time) -> Failure {
    let upper = log.upper();
    Failure::Usage {
        what: format!("there is no transaction at Time {time}"),
        help: match upper.0.saturating_sub(1) {
            0 => "the log is empty".to_owned(),
            last => format!("the log holds the Times 1 to {last}"),
        },
    }
}

/// The signed state that covers a Time; waits for it as long as a running process needs. One that witnesses cosigned
/// is taken when there is one.
async fn signed(dir: &Path, time: Time) -> Result<Note, Failure> {
    let until = Instant::now() + SIGNED_WAIT;
    loop {
        let notes = ["cosigned", "checkpoint"].into_iter();
        let covering = notes.filter_map(|name| read_note(&proof_dir(dir).join(name)));
        if let Some((note, _)) = { covering }.find(|(_, state)| state.size() >= time.0) {
            return Ok(note);
        }
        if Instant::now() > until {
            return Err(Failure::NotProven {
                what: format!("the transaction at Time {time} is in the log, but is not signed"),
                help: "a running process signs within a second; at rest, start `evert run` once"
                    .into(),
            });
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Reads a signed checkpoint; `None` when there is none that can be read.
pub(crate) fn read_note(path: &Path) -> Option<(Note, Checkpoint)> {
    let note = Note::parse(&std::fs::read(path).ok()?).ok()?;
    let checkpoint = Checkpoint::parse(note.text()).ok()?;
    Some((note, checkpoint))
}

/// Makes a receipt, and checks it as whoever gets it will.
fn receipt(log: &Log, dir: &Path, time: Time, note: Note) -> Result<Receipt, Failure> {
    let record = log.leaf_record(time)?.ok_or_else(|| none(log, time))?;
    let broken = |why: String| Failure::NotProven {
        what: format!("there is no proof of the transaction at Time {time}: {why}"),
        help: "`evert verify --log` finds what is wrong, and says how it is put right".to_owned(),
    };
    let state = Checkpoint::parse(note.text()).map_err(|error| broken(error.to_string()))?;
    let tiles = DirectoryTiles::new(proof_dir(dir));
    let index = time.0 - 1;
    let path = Prover::new(&tiles, state.size()).inclusion(index, state.size());
    let path = path.map_err(|error| broken(error.to_string()))?;
    verify_inclusion(&record.leaf(), index, &state.tree(), &path)
        .map_err(|error| broken(error.to_string()))?;
    Ok(Receipt { extra: record.encode().to_vec(), index, proof: path, checkpoint: note })
}
