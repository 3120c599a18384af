//! A thousand writers at once, each of which writes its next row when its last is durable: beside NATS and Kafka.
//!
//! Whatever they write to may make many of them durable with one sync; nobody is told before that. A row's values have as
//! many bytes as a broker's message. The log is in this process, as it is for every source of Evert's; the brokers are
//! processes that their clients talk to, as their users have it. Each server is started for its turn only. It is measured
//! for seconds, because NATS acknowledges in lumps: all that came in while it was busy.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ::log::{Log, LogError};
use change::{Time, TransactionGroup};
use servers::{Kafka, KafkaOptions, Nats, NatsOptions};

use super::input::{Groups, ROW_BYTES};
use super::open;
use super::provable::notary;
use crate::figure::{Figure, median};
use crate::peer::Peer;
use crate::{Maybe, Outcome, Size};

const NAME: &str = "log-writers";
const WRITERS: usize = 1_000;

/// How many different rows there are.
const ROWS: usize = 1_024;

/// Writes to a broker for some time; returns how many messages a second were acknowledged.
type Measure = fn(&Peer, Duration) -> Maybe<f64>;

/// The brokers: what a figure says of them, and how they are measured.
const BROKERS: [(&str, Measure); 3] = [
    ("NATS JetStream, sync always", nats),
    ("Kafka, flush each, alone", |peer, time| kafka(peer, "kafka", time)),
    ("Kafka, flush each, batched", |peer, time| kafka(peer, "kafka-batched", time)),
];

/// Measures the log with and without proofs, and the brokers.
pub(crate) fn run(size: Size) -> Outcome {
    let time = Duration::from_secs(size.of(8, 3));
    let peer = Peer::brokers().map_err(|error| error.to_string());
    let (mut ours, mut provable) = (Vec::new(), Vec::new());
    let mut theirs: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut failed: BTreeMap<&str, String> = BTreeMap::new();
    for round in 0..size.of(3, 1) {
        for with_proofs in [round % 2 == 0, round % 2 != 0] {
            let rate = write(time, with_proofs)?;
            if with_proofs { provable.push(rate) } else { ours.push(rate) }
        }
        for (broker, measure) in BROKERS {
            if failed.contains_key(broker) {
                continue;
            }
            let peer = peer.as_ref().map_err(|why| why.clone().into());
            match peer.and_then(|peer| measure(peer, time)) {
                Ok(rate) => theirs.entry(broker).or_default().push(rate),
                Err(why) => drop(failed.insert(broker, why.to_string())),
            }
        }
    }
    let ours = median(ours);
    let figure = |name, value| Figure::alone(name, value, "tx/s");
    let mut figures = vec![
        figure("log-writers-proofs", median(provable)).beside("the same without proofs", ours),
    ];
    for (broker, _) in BROKERS {
        figures.push(match (theirs.remove(broker), failed.remove(broker)) {
            (Some(rates), None) => figure(NAME, ours).beside(broker, median(rates)),
            (_, why) => Figure::lacking(NAME, format!("{broker}: {}", why.unwrap_or_default())),
        });
    }
    Ok(figures)
}

/// Lets the writers write to a new log; returns how many transactions a second became durable.
fn write(time: Duration, with_proofs: bool) -> Maybe<f64> {
    let directory = tempfile::tempdir()?;
    let log = open(&directory.path().join("log"))?;
    if with_proofs {
        log.start_notary(notary()?)?;
    }
    let groups = Groups::new(6).take(ROWS, ROW_BYTES);
    let threads = std::thread::available_parallelism()?.get();
    let begin = Instant::now() + time / 4;
    let measured = begin..begin + time;
    let counts = std::thread::scope(|scope| {
        let start = |number| {
            let (log, groups, measured) = (&log, &groups[..], measured.clone());
            let writers = number * WRITERS / threads..(number + 1) * WRITERS / threads;
            scope.spawn(move || write_for(writers, log, groups, &measured))
        };
        let threads: Vec<_> = (0..threads).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    });
    let counts: Result<Vec<u64>, LogError> = counts;
    Ok(counts?.into_iter().sum::<u64>() as f64 / time.as_secs_f64())
}

/// Writes for some of the writers; returns how many of their transactions became durable while it is measured.
fn write_for(
    writers: Range<usize>,
    log: &Log,
    groups: &[TransactionGroup],
    measured: &Range<Instant>,
) -> Result<u64, LogError> {
    let (sender, durable) = mpsc::channel::<Result<Time, LogError>>();
    let append = |row: usize| {
        let sender = sender.clone();
        let done = move |outcome| sender.send(outcome).unwrap_or_default();
        log.append(&groups[row % groups.len()], Box::new(done))
    };
    let (mut next, mut waiting, mut count) = (writers.end, writers.len(), 0);
    for row in writers {
        append(row)?;
    }
    while waiting > 0 {
        durable.recv().expect("this thread has a sender as well")?;
        let now = Instant::now();
        if now >= measured.end {
            waiting -= 1;
            continue;
        }
        count += u64::from(now >= measured.start);
        append(next)?;
        next += 1;
    }
    Ok(count)
}

fn nats(peer: &Peer, time: Duration) -> Maybe<f64> {
    let server = Nats::start(NatsOptions::durable())?;
    ask(peer, "nats", server.port(), time)
}

fn kafka(peer: &Peer, name: &str, time: Duration) -> Maybe<f64> {
    let server = Kafka::start(KafkaOptions::durable())?;
    ask(peer, name, server.port(), time)
}

/// Lets the peer's writers write; returns how many messages a second were acknowledged.
fn ask(peer: &Peer, name: &str, port: u16, time: Duration) -> Maybe<f64> {
    let (port, writers, bytes) = (port.to_string(), WRITERS.to_string(), ROW_BYTES.to_string());
    let milliseconds = time.as_millis().to_string();
    let arguments = ["--port", &port, "--writers", &writers, "--bytes", &bytes];
    let arguments = [&[name], &arguments[..], &["--milliseconds", &milliseconds]].concat();
    let figures = peer.figures(&arguments)?;
    let rate = figures.get(name).copied().filter(|rate| *rate > 0.0);
    rate.ok_or_else(|| "nothing was acknowledged while it was measured".into())
}
