//! The unix socket, and the command line's client on it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use change::Time;
use serve::client::{Client, ClientError};
use serve::{Backend, Limits, ServeError, Serving, Site, serve_unix};
use tokio::sync::watch;
use view::Views;

use crate::rig::{Process, infos, orders};

struct Unix {
    process: Arc<Process>,
    serving: Serving,
    shutdown: watch::Sender<bool>,
}

async fn start(path: &Path) -> Result<Unix, ServeError> {
    let views = Views::new(infos());
    views.apply(Time(1), vec![(0, orders(&[(1, (1, "kite", 1_250))]))]).unwrap();
    let process = Arc::new(Process::default());
    let backend = Arc::clone(&process) as Arc<dyn Backend>;
    let site = Site { backend, views, limits: Limits::STANDARD };
    let shutdown = watch::Sender::new(false);
    let serving = serve_unix(path, site, shutdown.subscribe()).await?;
    Ok(Unix { process, serving, shutdown })
}

#[tokio::test]
async fn the_client_reads_what_the_server_writes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("evert.sock");
    let unix = start(&path).await.unwrap();
    let client = Client::new(&path);
    let status = client.status().await.unwrap();
    assert_eq!((status.time, status.views.len()), (Time(1), 2));
    let answer = client.query("select id, total from orders", Some(Time(1))).await.unwrap();
    assert_eq!((answer.time, answer.schema.fields().len()), (Time(1), 2));
    let rows: Vec<String> = answer
        .batches
        .iter()
        .flat_map(view::json::to_maps)
        .map(|row| serde_json::to_string(&row).unwrap())
        .collect();
    assert_eq!(rows, [r#"{"id":1,"total":12.50}"#]);
    let empty = client.query("select id from orders where id = 0", None).await.unwrap();
    assert_eq!((empty.schema.field(0).name().as_str(), empty.batches.len()), ("id", 0));
    assert!(client.stop().await.unwrap().stopping);
    assert!(unix.process.stopped.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_refusal_keeps_its_code_and_help() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("evert.sock");
    let _unix = start(&path).await.unwrap();
    let error = Client::new(&path).query("select * from ordres", None).await.unwrap_err();
    assert_eq!(error.code(), "VIEW001");
    assert!(error.help().unwrap().contains("orders"));
    let error = Client::new(&path).search("orders", "a & b?", 3).await.unwrap_err();
    assert_eq!(error.code(), "SRV016");
}

#[tokio::test]
async fn only_the_owner_may_open_the_socket_and_a_stale_one_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("evert.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a process that was killed leaves its socket");
    let error = Client::new(&path).status().await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error}");
    let unix = start(&path).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    Client::new(&path).status().await.unwrap();
    unix.shutdown.send(true).unwrap();
    unix.serving.ended().await;
    assert!(!path.exists(), "the socket goes with the server");
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("evert.sock");
    let _first = start(&path).await.unwrap();
    let error = start(&path).await.err().expect("one process for a socket");
    assert_eq!(error.code(), "SRV003");
    Client::new(&path).status().await.expect("the first still answers");
}

#[tokio::test]
async fn a_path_that_is_too_long_is_said_with_help() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x".repeat(200));
    let error = start(&path).await.err().expect("a socket's path is short");
    assert_eq!(error.code(), "SRV004");
    assert!(error.help().unwrap().contains("shorter"), "{error}");
}
