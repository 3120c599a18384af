//! Listening: on TCP for browsers and programs, on a unix socket for the command line.
//!
//! Both listeners answer the same routes with the same limits. The socket, whose file only its owner may open, also
//! takes `POST /v1/stop`; TCP checks the names that it is asked under instead.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the system has many kinds of I/O errors; those that are not named here are treated alike"
)]

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::serve::{Listener, ListenerExt};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use view::Views;

use crate::backend::Backend;
use crate::deadline::WriteDeadline;
use crate::error::ServeError;
use crate::guard::Names;
use crate::limits::Limits;
use crate::routes::{Shared, router};

/// What is served.
#[derive(Clone)]
pub struct Site {
    /// The running process.
    pub backend: Arc<dyn Backend>,
    /// Its views.
    pub views: Arc<Views>,
    /// What is given to readers; [`Limits::STANDARD`] unless it is a test.
    pub limits: Limits,
}

/// A listener that answers.
#[derive(Debug)]
pub struct Serving {
    address: Option<SocketAddr>,
    task: JoinHandle<()>,
}

impl Serving {
    pub(crate) fn new(address: SocketAddr, task: JoinHandle<()>) -> Self {
        Self { address: Some(address), task }
    }

    /// The TCP address that is listened on; it has the port that the system chose for port 0.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Waits until the listener has been told to stop and its requests have ended.
    pub async fn ended(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the HTTP listener ended by itself");
        }
    }
}

/// Listens on a TCP address and answers until `shutdown` is true.
///
/// # Errors
/// When the address is in use or cannot be listened on.
pub async fn serve_tcp(
    address: SocketAddr,
    site: Site,
    shutdown: watch::Receiver<bool>,
) -> Result<Serving, ServeError> {
    let listening = TcpListener::bind(address).await.and_then(|listener| {
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    });
    let (listener, bound) = listening.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ServeError::AddressInUse { address },
        _ => ServeError::Address { address, source },
    })?;
    // An event is sent when it happens, not when a packet is full.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY is not set");
        }
    });
    let limits = site.limits;
    let names = Names::of(bound.ip(), site.backend.host_names());
    let routes = router(Shared::new(site, shutdown.clone()), names);
    let task = tokio::spawn(accept_all(listener, routes, limits, shutdown));
    Ok(Serving { address: Some(bound), task })
}

/// Listens on a unix socket that only its owner may open, and answers until `shutdown` is true.
///
/// A socket file that nobody answers on any more is replaced. The file is removed at the end.
///
/// # Errors
/// When a running process answers there, or the file cannot be made.
pub async fn serve_unix(
    path: &Path,
    site: Site,
    shutdown: watch::Receiver<bool>,
) -> Result<Serving, ServeError> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(ServeError::SocketInUse { path: path.to_owned() });
    }
    let listener = bind_private(path)
        .map_err(|source| ServeError::Socket { path: path.to_owned(), source })?;
    let limits = site.limits;
    let routes = router(Shared::new(site, shutdown.clone()), Names::Any);
    let path = path.to_owned();
    let task = tokio::spawn(async move {
        accept_all(listener, routes, limits, shutdown).await;
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::debug!(%error, path = %path.display(), "the socket file stays");
        }
    });
    Ok(Serving { address: None, task })
}

/// Makes the socket under another name and renames it, so that it is never open to others and a stale one is replaced.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let unfinished = path.with_extension("new");
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&unfinished)?;
    std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&unfinished, path)?;
    Ok(listener)
}

pub(crate) async fn accept_all<L: Listener>(
    mut listener: L,
    routes: Router,
    limits: Limits,
    mut shutdown: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore stays open");
            (slot, listener.accept().await.0)
        };
        let (slot, stream) = tokio::select! {
            accepted = accepted => accepted,
            () = told(&mut shutdown) => break,
        };
        while connections.try_join_next().is_some() {}
        let (routes, shutdown) = (routes.clone(), shutdown.clone());
        connections.spawn(async move {
            converse(WriteDeadline::new(stream, limits.write_wait), routes, limits, shutdown).await;
            drop(slot);
        });
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.drain_wait, drained).await.is_err() {
        tracing::debug!("requests were cut off at the end");
    }
}

/// Waits until the server is told to stop, or until nobody is left to tell it.
pub(crate) async fn told(shutdown: &mut watch::Receiver<bool>) {
    match shutdown.wait_for(|stop| *stop).await {
        Ok(_) | Err(_) => {}
    }
}

/// Answers the requests of one connection.
async fn converse<C>(
    connection: C,
    routes: Router,
    limits: Limits,
    mut shutdown: watch::Receiver<bool>,
) where
    C: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut conversation = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.request_wait)
            .serve_connection(TokioIo::new(connection), TowerToHyperService::new(routes))
    );
    let result = tokio::select! {
        result = conversation.as_mut() => result,
        () = told(&mut shutdown) => {
            conversation.as_mut().graceful_shutdown();
            conversation.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection broke");
    }
}
