//! A PostgreSQL sink whose connection breaks: whatever breaks when, each step happens once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use change::Time;
use sink::{Sink, SinkConfig, SinkError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{Rows, Seeded, config, server, stored, table_url, write};

/// Writes a step as the pipeline does: after a fault that passes, open again and look what is held.
async fn deliver(
    sink: &mut Option<Box<dyn Sink>>,
    config: &SinkConfig,
    upto: u64,
    before: &Rows,
    after: &Rows,
) -> usize {
    let mut faults = 0;
    loop {
        let open = match sink.take() {
            Some(sink) => Ok(sink),
            None => sink::open(config.clone()).await,
        };
        let written = match open {
            Ok(open) if open.held() == Time(upto) => {
                *sink = Some(open);
                return faults;
            }
            Ok(mut open) => {
                let written = write(&mut *open, upto, before, after).await;
                *sink = Some(open);
                written
            }
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => return faults,
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                faults += 1;
                *sink = None;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_killed_at_random_leave_the_table_exact() {
    let server = Arc::new(server());
    let config = config(table_url(&server, "things"), server.socket_directory());
    let done = Arc::new(AtomicBool::new(false));
    let killer = std::thread::spawn({
        let (server, done) = (Arc::clone(&server), Arc::clone(&done));
        move || {
            let mut random = Seeded(99);
            while !done.load(Ordering::Relaxed) {
                let kill = "select pg_terminate_backend(pid) from pg_stat_activity \
                            where application_name = 'evert'";
                server.psql(kill).unwrap();
                std::thread::sleep(Duration::from_millis(random.below(60)));
            }
        }
    });
    let (mut random, mut rows, mut faults) = (Seeded(5), Rows::new(), 0);
    let mut sink = None;
    for time in 1..=150 {
        let before = rows.clone();
        let changes = [2, 30, 1_500][random.below(3) as usize];
        random.mutate(&mut rows, 2_000, changes);
        faults += deliver(&mut sink, &config, time, &before, &rows).await;
        if time % 10 == 0 {
            assert_eq!(stored(&server, "things"), (time, rows.clone()));
        }
    }
    done.store(true, Ordering::Relaxed);
    killer.join().unwrap();
    assert!(faults > 5, "only {faults} faults happened");
}

/// Passes bytes between client and server until the server answers a COMMIT; that answer is lost.
async fn lossy_proxy(server: u16) -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let armed = Arc::new(AtomicBool::new(false));
    let armed_here = Arc::clone(&armed);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let armed = Arc::clone(&armed_here);
            tokio::spawn(async move {
                let upstream = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = upstream.into_split();
                let forth = tokio::spawn(async move {
                    tokio::io::copy(&mut from_client, &mut to_server).await.ok();
                });
                let mut buffer = vec![0; 64 << 10];
                while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                    let answer = &buffer[..read];
                    let commits = answer.windows(7).any(|window| window == b"COMMIT\0");
                    if commits && armed.swap(false, Ordering::Relaxed) {
                        break;
                    }
                    if to_client.write_all(answer).await.is_err() {
                        break;
                    }
                }
                forth.abort();
            });
        }
    });
    (port, armed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_counts_once() {
    let server = server();
    let (port, armed) = lossy_proxy(server.port()).await;
    // Unencrypted, so that the proxy can read it.
    let url = format!("{}?sslmode=disable", table_url(&server, "things"))
        .replace(&server.port().to_string(), &port.to_string());
    let config = config(url, server.socket_directory());
    let mut sink = Some(sink::open(config.clone()).await.unwrap());
    let mut rows = Rows::new();
    for time in 1..=10 {
        let before = rows.clone();
        rows.insert(time as i64, format!("at {time}"));
        armed.store(time % 2 == 0, Ordering::Relaxed);
        let faults = deliver(&mut sink, &config, time, &before, &rows).await;
        assert_eq!(faults, usize::from(time % 2 == 0), "at {time}");
        assert_eq!(stored(&server, "things"), (time, rows.clone()));
    }
}

#[tokio::test]
async fn a_progress_that_somebody_else_moved_stops_the_sink() {
    let server = server();
    let config = config(table_url(&server, "things"), server.socket_directory());
    let mut sink = sink::open(config).await.unwrap();
    let rows: Rows = [(1, "a".to_owned())].into();
    write(&mut *sink, 1, &Rows::new(), &rows).await.unwrap();
    server.psql("delete from evert_progress").unwrap();
    let error = write(&mut *sink, 2, &rows, &Rows::new()).await.unwrap_err();
    assert_eq!(error.code(), "SINK013");
    assert_eq!(stored(&server, "things"), (0, rows.clone()), "the step is undone");
    let again = write(&mut *sink, 2, &rows, &Rows::new()).await;
    assert!(matches!(again, Err(SinkError::Unreachable { .. })), "a broken sink stays broken");
}
