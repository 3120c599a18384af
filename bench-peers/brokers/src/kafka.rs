//! Kafka: a topic of one partition, which is one order, as the others' is. Its client always asks for all replicas.
//!
//! When files are synced, the server's settings say: it counts the messages that came since, each time it has appended
//! what a request holds. So it syncs once for each request, and how many messages are in one decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::DateTime;
use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::record::Record;
use tokio::sync::{mpsc, oneshot};

use crate::Maybe;
use crate::writers::{self, Load};

const TOPIC: &str = "bench";

/// How long the server may take to make the topic.
const CREATE_MS_MAX: i32 = 10_000;

/// The most messages of a request.
const BATCH_MAX: usize = 10_000;

/// Sends a request for each message.
pub(crate) async fn alone(port: u16, load: Load) -> Maybe<f64> {
    writers::run(load, Alone(partition(port).await?)).await
}

/// Sends all that waits in one request, as soon as the request before is answered.
pub(crate) async fn batched(port: u16, load: Load) -> Maybe<f64> {
    let (sender, mut waiting) = mpsc::channel::<Waiting>(BATCH_MAX);
    let partition = partition(port).await?;
    let batches = tokio::spawn(async move {
        let mut taken = Vec::new();
        while waiting.recv_many(&mut taken, BATCH_MAX).await > 0 {
            let (records, told): (Vec<_>, Vec<_>) = taken.drain(..).unzip();
            partition.produce(records, Compression::NoCompression).await?;
            for teller in told {
                // A writer waits until it is told.
                teller.send(()).unwrap_or_default();
            }
        }
        Maybe::Ok(())
    });
    let rate = writers::run(load, Batched(sender)).await;
    batches.await??;
    rate
}

/// A message, and who is told that it is acknowledged.
type Waiting = (Record, oneshot::Sender<()>);

struct Alone(Arc<PartitionClient>);

impl writers::Send for Alone {
    async fn send(&self, message: Bytes) -> Maybe<()> {
        self.0.produce(vec![record(&message)], Compression::NoCompression).await?;
        Ok(())
    }
}

struct Batched(mpsc::Sender<Waiting>);

impl writers::Send for Batched {
    async fn send(&self, message: Bytes) -> Maybe<()> {
        let (told, acknowledged) = oneshot::channel();
        self.0.send((record(&message), told)).await?;
        Ok(acknowledged.await?)
    }
}

fn record(message: &Bytes) -> Record {
    Record {
        key: None,
        value: Some(message.to_vec()),
        headers: BTreeMap::new(),
        timestamp: DateTime::UNIX_EPOCH,
    }
}

/// Connects, and makes the topic if it is not there.
async fn partition(port: u16) -> Maybe<Arc<PartitionClient>> {
    let client = ClientBuilder::new(vec![format!("127.0.0.1:{port}")]).build().await?;
    if client.list_topics().await?.iter().all(|topic| topic.name != TOPIC) {
        client.controller_client()?.create_topic(TOPIC, 1, 1, CREATE_MS_MAX).await?;
    }
    Ok(Arc::new(client.partition_client(TOPIC, 0, UnknownTopicHandling::Retry).await?))
}
