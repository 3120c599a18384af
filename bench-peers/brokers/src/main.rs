//! Many writers to a broker, each of which sends its next message when its last is acknowledged; one figure a line.
//!
//! Evert's own benchmark starts the servers and then this program, in turn with its own run. The clients are the cheapest
//! there are for the servers, which share the machine with them: all writers share one connection, where there is a
//! choice.
#![allow(clippy::disallowed_methods, reason = "it measures time")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

mod kafka;
mod nats;
mod writers;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use serde_json::json;

use crate::writers::Load;

/// What a broker may fail with.
pub(crate) type Maybe<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Measures a broker.
#[derive(Debug, Parser)]
struct Cli {
    /// Which broker, and how it is written to.
    #[arg(value_enum)]
    broker: Broker,
    /// The port of 127.0.0.1 on which it listens.
    #[arg(long)]
    port: u16,
    /// How many writers there are.
    #[arg(long, default_value_t = 1_000)]
    writers: usize,
    /// The bytes of a message.
    #[arg(long, default_value_t = 64)]
    bytes: usize,
    /// How long is measured, after a quarter of that which is not.
    #[arg(long, default_value_t = 4_000)]
    milliseconds: u64,
    /// The form of the figures.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// The brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Broker {
    /// NATS JetStream: a stream in files.
    Nats,
    /// Kafka: a topic of one partition, a request for each message.
    Kafka,
    /// The same with a client that sends what waits in one request.
    KafkaBatched,
}

/// The forms of the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Columns for people.
    Text,
    /// A JSON object a line.
    Json,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let load = Load { writers: cli.writers, bytes: cli.bytes, milliseconds: cli.milliseconds };
    let (name, rate) = match cli.broker {
        Broker::Nats => ("nats", nats::run(cli.port, load).await),
        Broker::Kafka => ("kafka", kafka::alone(cli.port, load).await),
        Broker::KafkaBatched => ("kafka-batched", kafka::batched(cli.port, load).await),
    };
    match (rate, cli.output) {
        (Ok(rate), Form::Text) => println!("{name:<28} {rate:>14.3} messages/s"),
        (Ok(rate), Form::Json) => {
            println!("{}", json!({ "name": name, "value": rate, "unit": "messages/s" }));
        }
        (Err(error), _) => {
            eprintln!("{name}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
