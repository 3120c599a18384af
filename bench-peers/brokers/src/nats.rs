//! NATS JetStream: a stream in files, one replica. When its files are synced, the server's settings say.

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, StorageType};
use bytes::Bytes;

use crate::Maybe;
use crate::writers::{self, Load};

/// The stream's name, and the only subject of it.
const STREAM: &str = "bench";

/// Publishes to a new stream.
pub(crate) async fn run(port: u16, load: Load) -> Maybe<f64> {
    let client = async_nats::connect(format!("nats://127.0.0.1:{port}")).await?;
    let context = async_nats::jetstream::new(client);
    let config = Config {
        name: STREAM.to_owned(),
        subjects: vec![STREAM.to_owned()],
        storage: StorageType::File,
        num_replicas: 1,
        ..Config::default()
    };
    context.get_or_create_stream(config).await?;
    writers::run(load, Publisher(context)).await
}

struct Publisher(Context);

impl writers::Send for Publisher {
    async fn send(&self, message: Bytes) -> Maybe<()> {
        self.0.publish(STREAM, message).await?.await?;
        Ok(())
    }
}
