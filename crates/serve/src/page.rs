//! The page at `/`: one file, embedded, that asks nobody else for anything.

use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};

const HTML: &str = include_str!("page/index.html");
const CSS: &str = include_str!("page/page.css");
const JS: &str = include_str!("page/page.js");

/// Answers with the page. Its own style and script, and nothing else, carry the nonce that its policy asks for.
pub(crate) async fn page() -> Response {
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let mut response = Html(joined(&nonce)).into_response();
    let policy =
        HeaderValue::from_str(&policy(&nonce)).expect("a nonce is made of letters and digits");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

fn joined(nonce: &str) -> String {
    HTML.replace("{{nonce}}", nonce).replace("{{css}}", CSS).replace("{{js}}", JS)
}

fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_asks_nobody_else() {
        let page = joined("n0nce");
        assert!(!page.contains("{{"), "every part is filled in");
        assert_eq!(page.matches("nonce=\"n0nce\"").count(), 2, "one style, one script");
        let foreign: Vec<&str> = page
            .match_indices("http")
            .map(|(at, _)| &page[at..page.len().min(at + 40)])
            .filter(|url| url.starts_with("http://") || url.starts_with("https://"))
            .filter(|url| !url.starts_with("http://www.w3.org/2000/svg"))
            .collect();
        assert!(foreign.is_empty(), "external addresses: {foreign:?}");
    }

    #[test]
    fn the_script_never_parses_data_as_html() {
        for forbidden in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("]
        {
            assert!(!JS.contains(forbidden), "{forbidden} would let data become a document");
        }
    }
}
