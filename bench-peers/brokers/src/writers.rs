//! The writers: each sends its next message when its last is acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::Maybe;

/// How many different messages there are.
const MESSAGES: usize = 1_024;

/// What is written, by how many, for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) writers: usize,
    pub(crate) bytes: usize,
    pub(crate) milliseconds: u64,
}

/// Somebody who sends a message and waits until it is acknowledged.
pub(crate) trait Send: std::marker::Send + Sync + 'static {
    /// Sends it.
    fn send(&self, message: Bytes) -> impl Future<Output = Maybe<()>> + std::marker::Send;
}

/// Lets the writers write; returns how many messages a second were acknowledged.
pub(crate) async fn run(load: Load, sender: impl Send) -> Maybe<f64> {
    let sender = Arc::new(sender);
    let messages: Arc<[Bytes]> = messages(load.bytes).into();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut writers = JoinSet::new();
    for writer in 0..load.writers {
        let (sender, messages) = (Arc::clone(&sender), Arc::clone(&messages));
        let acknowledged = Arc::clone(&acknowledged);
        writers.spawn(async move {
            for message in messages.iter().cycle().skip(writer % MESSAGES) {
                sender.send(message.clone()).await?;
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Maybe::Ok(())
        });
    }
    let measured = Duration::from_millis(load.milliseconds);
    during(measured / 4, &mut writers).await?;
    let (before, since) = (acknowledged.load(Ordering::Relaxed), Instant::now());
    during(measured, &mut writers).await?;
    let count = acknowledged.load(Ordering::Relaxed) - before;
    Ok(count as f64 / since.elapsed().as_secs_f64())
}

/// Waits while the writers write, which do not end by themselves.
async fn during(time: Duration, writers: &mut JoinSet<Maybe<()>>) -> Maybe<()> {
    tokio::select! {
        ended = writers.join_next() => match ended {
            Some(writer) => writer?,
            None => Ok(()),
        },
        () = tokio::time::sleep(time) => Ok(()),
    }
}

/// Messages of pseudo-random bytes, which do not compress.
fn messages(bytes: usize) -> Vec<Bytes> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..MESSAGES).map(|_| (0..bytes).map(|_| byte()).collect()).collect()
}
