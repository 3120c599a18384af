//! Who may ask: the checks before, and the headers after, every request.
//!
//! A page of another site can make the browser send requests to 127.0.0.1. Two things stop it from reading or
//! costing anything: its own name in `Host` (DNS rebinding) is not ours, and its name in `Origin` is not our host.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::RequestError;

/// The names under which a listener answers.
#[derive(Clone, Debug)]
pub(crate) enum Names {
    /// Any: the file system already checked who connects.
    Any,
    /// These host names, lower case, without a port.
    Only(Arc<[String]>),
}

impl Names {
    /// The names of this machine, the address that is listened on, and those of the configuration.
    pub(crate) fn of(listen: IpAddr, configured: Vec<String>) -> Self {
        let own = ["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()];
        let listen = if listen.is_ipv6() { format!("[{listen}]") } else { listen.to_string() };
        let configured = configured.into_iter().map(|name| name.to_ascii_lowercase());
        Self::Only(own.into_iter().chain([listen]).chain(configured).collect())
    }

    fn contain(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(names) => {
                let name = without_port(host).trim_end_matches('.');
                names.iter().any(|known| known.eq_ignore_ascii_case(name))
            }
        }
    }
}

/// Refuses foreign hosts and origins; adds the headers that every answer has.
pub(crate) async fn guard(State(names): State<Names>, request: Request, next: Next) -> Response {
    let mut response = match check(&names, &request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    );
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    // Data is never a document that may load or run anything; the page brings its own policy.
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    response
}

fn check(names: &Names, request: &Request) -> Result<(), RequestError> {
    let host = text(request.headers(), &header::HOST);
    if !names.contain(host) || request.uri().host().is_some_and(|host| !names.contain(host)) {
        return Err(RequestError::Host { host: host.to_owned() });
    }
    let origin = text(request.headers(), &header::ORIGIN);
    let own = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    if !origin.is_empty() && own != Some(host) {
        return Err(RequestError::Origin { origin: origin.to_owned() });
    }
    Ok(())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_and_configured_names_are_answered() {
        let names = Names::of("127.0.0.1".parse().unwrap(), vec!["Evert.internal".to_owned()]);
        for good in [
            "localhost",
            "LOCALHOST:7480",
            "localhost.:80",
            "127.0.0.1:7480",
            "[::1]:7480",
            "[::1]",
            "evert.internal:80",
        ] {
            assert!(names.contain(good), "{good} is ours");
        }
        for bad in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:7480",
            "[::2]",
            "0.0.0.0",
            "localhost:evil",
        ] {
            assert!(!names.contain(bad), "{bad} is not ours");
        }
    }
}
