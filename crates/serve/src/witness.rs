//! A witness over HTTP (C2SP tlog-witness): the one route that it answers, and the call that a log makes.
//!
//! What is decided is not decided here: the route hands the body of a request over and sends what comes back.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes as Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::HOST;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::error::ServeError;
use crate::limits::Limits;
use crate::server::{Serving, accept_all};

/// The most bytes of a request to a witness, and of its answer.
const MESSAGE_BYTES_MAX: usize = 2 << 20;

/// How long a witness may take.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// An answer: status, body, content type.
pub type Answer = (u16, String, &'static str);

/// Decides about the body of a request. It may block.
pub type Judge = Arc<dyn Fn(&[u8]) -> Answer + Send + Sync>;

/// Listens on a TCP address and answers `POST /add-checkpoint` until `shutdown` is true.
///
/// # Errors
/// When the address is in use or cannot be listened on.
pub async fn serve_witness(
    address: SocketAddr,
    judge: Judge,
    shutdown: watch::Receiver<bool>,
) -> Result<Serving, ServeError> {
    let listening = TcpListener::bind(address).await;
    let listening = listening.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (bound, listener) = listening.map_err(|source| {
        if source.kind() == io::ErrorKind::AddrInUse {
            ServeError::AddressInUse { address }
        } else {
            ServeError::Address { address, source }
        }
    })?;
    let routes = Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .layer(DefaultBodyLimit::max(MESSAGE_BYTES_MAX))
        .with_state(judge);
    let task = tokio::spawn(accept_all(listener, routes, Limits::STANDARD, shutdown));
    Ok(Serving::new(bound, task))
}

async fn add_checkpoint(State(judge): State<Judge>, body: Body) -> Response {
    let judged = tokio::task::spawn_blocking(move || judge(&body)).await;
    let (status, body, content_type) = judged.unwrap_or_else(|error| {
        tracing::error!(%error, "a request to the witness was not answered");
        (500, "the witness failed\n".to_owned(), "text/plain; charset=utf-8")
    });
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, content_type)], body).into_response()
}

/// Sends a request to a witness below `url` (`http://host:port/…`); returns status and body.
///
/// # Errors
/// When it cannot be reached, or does not answer in time and as HTTP asks for.
pub async fn ask_witness(url: &str, request: String) -> io::Result<(u16, String)> {
    let asked = tokio::time::timeout(ANSWER_WAIT, ask(url, request)).await;
    asked.unwrap_or_else(|_late| Err(io::ErrorKind::TimedOut.into()))
}

async fn ask(url: &str, request: String) -> io::Result<(u16, String)> {
    let (host, prefix) = host_of(url).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "the URL of a witness is http://host:port")
    })?;
    let stream = TcpStream::connect(&host).await?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{prefix}/add-checkpoint"))
        .header(HOST, &host)
        .body(Full::new(Bytes::from(request)))
        .map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MESSAGE_BYTES_MAX).collect().await;
    let body = body.map_err(io::Error::other)?.to_bytes();
    connection.abort();
    let body = String::from_utf8(body.to_vec()).map_err(io::Error::other)?;
    Ok((status, body))
}

/// Host with port, and the path before the route.
fn host_of(url: &str) -> Option<(String, &str)> {
    let rest = url.strip_prefix("http://")?;
    let (host, prefix) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    (!host.starts_with(':')).then_some((host, prefix.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_is_found_by_its_url() {
        assert_eq!(host_of("http://w.example/"), Some(("w.example:80".to_owned(), "")));
        assert_eq!(host_of("http://w:1/a/b/"), Some(("w:1".to_owned(), "/a/b")));
        assert_eq!(host_of("https://w:1"), None);
        assert_eq!(host_of("http://:1"), None);
    }

    #[tokio::test]
    async fn what_the_judge_says_is_what_the_log_hears() {
        let judge: Judge = Arc::new(|body| (409, format!("{} bytes\n", body.len()), "text/plain"));
        let (stop, stopped) = watch::channel(false);
        let address = "127.0.0.1:0".parse().unwrap();
        let serving = serve_witness(address, judge, stopped).await.unwrap();
        let url = format!("http://{}", serving.address().unwrap());
        let answer = ask_witness(&url, "hello".to_owned()).await.unwrap();
        assert_eq!(answer, (409, "5 bytes\n".to_owned()));
        stop.send_replace(true);
        serving.ended().await;
        assert!(ask_witness(&url, String::new()).await.is_err());
    }
}
