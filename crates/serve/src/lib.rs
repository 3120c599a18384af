//! HTTP: views as JSON, changes as server-sent events, search, the page.
