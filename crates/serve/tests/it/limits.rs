//! What one reader cannot take from the others.

use std::time::{Duration, Instant};

use change::Time;
use serve::{Backend, Limits, ServeError, Site, serve_tcp};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use view::Views;

use crate::rig::{DEADLINE, Process, Rig, sums};

#[tokio::test]
async fn a_quiet_stream_says_that_it_lives() {
    let limits = Limits { keepalive_interval: Duration::from_millis(20), ..Limits::STANDARD };
    let rig = Rig::start_with(Process::default(), limits).await;
    let mut follower = rig.follow("/v1/views/orders/changes", None).await;
    follower.next().await.unwrap();
    for _ in 0..3 {
        assert!(follower.block().await.unwrap().starts_with(':'), "a comment");
    }
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_off_and_harms_nobody() {
    let limits = Limits {
        write_wait: Duration::from_millis(200),
        event_interval: Duration::from_millis(1),
        ..Limits::STANDARD
    };
    let rig = Rig::start_with(Process::default(), limits).await;
    let mut stuck = TcpStream::connect(rig.address).await.unwrap();
    let request = b"GET /v1/views/sums/changes HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stuck.write_all(request).await.unwrap();
    let mut lively = rig.follow("/v1/views/sums/changes", None).await;
    let began = Instant::now();
    let mut time = 2;
    // More than the system's buffers take, while the stuck reader reads nothing.
    let mut seen = 0;
    while began.elapsed() < Duration::from_secs(4) && time < 120 {
        time += 1;
        let first = i64::try_from(time).unwrap() * 1_000_000;
        let rows: Vec<(i64, i64)> = (0..20_000).map(|n| (1, first + n)).collect();
        rig.views.apply(Time(time), vec![(1, sums(&rows))]).unwrap();
        while seen < time {
            seen = lively.next().await.expect("the lively reader goes on").id;
        }
    }
    // The stuck reader finds what was on its way, and then the end.
    let mut rest = Vec::new();
    let end = tokio::time::timeout(DEADLINE, stuck.read_to_end(&mut rest)).await;
    end.expect("the connection was closed").ok();
    let last = format!("id: {time}\n");
    assert!(!String::from_utf8_lossy(&rest).contains(&last), "it was cut off before the end");
}

#[tokio::test]
async fn requests_beyond_the_limit_are_told_to_come_back() {
    let limits = Limits { streams_max: 1, reads_max: 0, ..Limits::STANDARD };
    let rig = Rig::start_with(Process::default(), limits).await;
    let first = rig.follow("/v1/changes", None).await;
    let refused = rig.get("/v1/changes").await;
    assert_eq!(refused.headers["retry-after"], "1");
    let (status, code, _) = refused.problem();
    assert_eq!((status, code.as_str()), (503, "SRV014"));
    let (status, code, _) = rig.get("/v1/views/sums").await.problem();
    assert_eq!((status, code.as_str()), (503, "SRV014"));
    // The slot is free again when the reader has gone.
    drop(first);
    let began = Instant::now();
    while rig.open(hyper::Method::GET, "/v1/changes", &[], "").await.status() != 200 {
        assert!(began.elapsed() < DEADLINE, "the slot is given back");
    }
}

#[tokio::test]
async fn a_request_that_never_ends_is_closed() {
    let limits = Limits { request_wait: Duration::from_millis(100), ..Limits::STANDARD };
    let rig = Rig::start_with(Process::default(), limits).await;
    for beginning in [
        "GET /health HTTP/1.1\r\nhost: local",
        "POST /v1/query HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nsel",
    ] {
        let mut slow = TcpStream::connect(rig.address).await.unwrap();
        slow.write_all(beginning.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let end = tokio::time::timeout(DEADLINE, slow.read_to_string(&mut answer)).await;
        end.expect("the connection is closed").ok();
        assert!(answer.is_empty() || answer.contains("408"), "{answer}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_said_with_help() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let site = Site {
        backend: Arc::new(Process::default()) as Arc<dyn Backend>,
        views: Views::new(vec![]),
        limits: Limits::STANDARD,
    };
    let stop = watch::Sender::new(false);
    let error = serve_tcp(address, site, stop.subscribe()).await.unwrap_err();
    assert!(matches!(error, ServeError::AddressInUse { .. }));
    assert_eq!(error.code(), "SRV001");
    assert!(error.help().unwrap().contains(&address.port().to_string()));
}
