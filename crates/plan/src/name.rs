//! Names: how they are written, and how they are derived from URLs.

use std::path::Path;

use change::catalog::{OWN_SOURCE, TABLES_SOURCE};
use datafusion::sql::sqlparser::keywords::{
    ALL_KEYWORDS, ALL_KEYWORDS_INDEX, RESERVED_FOR_COLUMN_ALIAS, RESERVED_FOR_IDENTIFIER,
    RESERVED_FOR_TABLE_ALIAS,
};

/// Words that would end a name or begin a clause where a name is wanted.
const RESERVED: [&str; 8] = ["and", "as", "create", "false", "into", "null", "or", "true"];

/// Writes a name so that it reads back as itself: quoted when it must be.
pub(crate) fn quoted(name: &str) -> String {
    if is_plain(name) { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Writes the name of an option, where every word is a name.
pub(crate) fn option(name: &str) -> String {
    if has_plain_letters(name) { name.to_owned() } else { quoted(name) }
}

/// Whether a source's name stands for tables of Evert itself.
pub(crate) fn is_own(source: &str) -> bool {
    [OWN_SOURCE, TABLES_SOURCE].contains(&source)
}

/// Writes text as a string literal.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn is_plain(name: &str) -> bool {
    has_plain_letters(name) && !is_reserved(name)
}

fn has_plain_letters(name: &str) -> bool {
    let starts = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
    let plain =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    starts && name.chars().all(plain)
}

fn is_reserved(name: &str) -> bool {
    let upper = name.to_uppercase();
    let keyword = ALL_KEYWORDS.binary_search(&upper.as_str()).map(|at| ALL_KEYWORDS_INDEX[at]);
    RESERVED.contains(&name)
        || keyword.is_ok_and(|keyword| {
            RESERVED_FOR_TABLE_ALIAS.contains(&keyword)
                || RESERVED_FOR_COLUMN_ALIAS.contains(&keyword)
                || RESERVED_FOR_IDENTIFIER.contains(&keyword)
        })
}

/// Makes a plain name out of any text.
pub(crate) fn plain(text: &str) -> String {
    let mut name = String::new();
    for letter in text.chars() {
        if letter.is_ascii_alphanumeric() {
            name.push(letter.to_ascii_lowercase());
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
    }
    let name = name.trim_end_matches('_').to_owned();
    match name.chars().next() {
        None => "unnamed".to_owned(),
        Some('0'..='9') => format!("_{name}"),
        Some(_) if is_reserved(&name) => format!("{name}_"),
        Some(_) => name,
    }
}

/// The parts of a URL that names are derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Url<'a> {
    /// `postgres` for `postgres://…` and `postgresql://…`; `None` for a path or a word.
    pub(crate) scheme: Option<&'a str>,
    /// The non-empty segments of the path, without query and fragment.
    path: &'a str,
}

impl<'a> Url<'a> {
    pub(crate) fn new(url: &'a str) -> Self {
        match url.split_once("://") {
            Some((scheme, rest)) => {
                let rest = rest.split(['?', '#']).next().unwrap_or_default();
                let local = scheme == "file";
                let path =
                    if local { rest } else { rest.split_once('/').map_or("", |(_, path)| path) };
                let scheme = if scheme == "postgresql" { "postgres" } else { scheme };
                Self { scheme: (!local).then_some(scheme), path }
            }
            None => Self { scheme: None, path: url },
        }
    }

    pub(crate) fn segments(&self) -> impl DoubleEndedIterator<Item = &'a str> + use<'a> {
        self.path.split('/').filter(|segment| !segment.is_empty())
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.scheme == Some("postgres")
    }

    /// What a source is called: its database, or its file.
    pub(crate) fn source_name(&self) -> String {
        let name = match self.scheme {
            Some(scheme) => plain(self.segments().next().unwrap_or(scheme)),
            None => plain(self.stem().unwrap_or("source")),
        };
        if is_own(&name) { format!("{name}_") } else { name }
    }

    /// What a sink holds: its table, index or file; `None` when it does not say.
    pub(crate) fn target_name(&self) -> Option<String> {
        match self.scheme {
            Some("postgres") => self.segments().nth(1).map(plain),
            Some(_) => self.segments().next_back().map(plain),
            None => self.stem().map(plain),
        }
    }

    /// The kind of system, as it appears in a sink's name.
    pub(crate) fn kind(&self) -> String {
        plain(self.scheme.unwrap_or("file"))
    }

    fn stem(&self) -> Option<&'a str> {
        let file = self.segments().next_back()?;
        let file = file.split_once(':').map_or(file, |(name, _)| name);
        Some(file.split('.').find(|part| !part.is_empty()).unwrap_or(file))
    }
}

/// Appends a table's name to the path of a URL.
pub(crate) fn with_table(url: &str, table: &str) -> String {
    let (path, rest) = match url.find(['?', '#']) {
        Some(at) => url.split_at(at),
        None => (url, ""),
    };
    format!("{}/{table}{rest}", path.trim_end_matches('/'))
}

/// A path as it is from everywhere, when it is taken from a directory now; any other URL as it is.
pub(crate) fn absolute(url: &str, base: &Path) -> String {
    let (scheme, path) = match url.strip_prefix("file://") {
        Some(path) => ("file://", path),
        None => ("", url),
    };
    // A word (`stdin`, `demo`) is no path, and what a variable will hold is not known.
    let is_path = path.contains(['.', '/']) && !path.contains("://") && !path.contains('$');
    if !is_path || path.starts_with('/') {
        return url.to_owned();
    }
    let path = path.trim_start_matches("./");
    format!("{scheme}{}/{path}", base.to_string_lossy().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_is_taken_from_a_directory() {
        let base = Path::new("/home/ada");
        assert_eq!(absolute("rows.ndjson", base), "/home/ada/rows.ndjson");
        assert_eq!(absolute("./rows.ndjson", base), "/home/ada/rows.ndjson");
        assert_eq!(absolute("../rows.ndjson", base), "/home/ada/../rows.ndjson");
        assert_eq!(absolute("file://rows.csv", base), "file:///home/ada/rows.csv");
        for url in ["/tmp/a.csv", "demo", "stdin", "search", "${DIR}/a.csv", "postgres://h/d/t"] {
            assert_eq!(absolute(url, base), url);
        }
    }

    #[test]
    fn names_follow_from_urls() {
        let source = |url| Url::new(url).source_name();
        assert_eq!(source("postgres://app@localhost:5432/shop?sslmode=disable"), "shop");
        assert_eq!(source("postgres://app@localhost"), "postgres");
        assert_eq!(source("data/2024 Orders.csv"), "_2024_orders");
        assert_eq!(source("./events.ndjson"), "events");
        assert_eq!(source("file:///tmp/order.csv"), "order_");
        assert_eq!(source("demo"), "demo");
        assert_eq!(source("postgres://h/evert"), "evert_");
        assert_eq!(source("Evert.csv"), "evert_");
        assert_eq!(source("postgres://h/public"), "public_");
        let target = |url| Url::new(url).target_name();
        assert_eq!(target("postgres://h/shop/revenue").as_deref(), Some("revenue"));
        assert_eq!(target("postgres://h/shop"), None);
        assert_eq!(target("elasticsearch://h:9200/Revenue").as_deref(), Some("revenue"));
        assert_eq!(target("out.ndjson").as_deref(), Some("out"));
    }

    #[test]
    fn a_name_is_quoted_only_when_it_must_be() {
        assert_eq!(quoted("orders"), "orders");
        assert_eq!(quoted("Orders"), "\"Orders\"");
        assert_eq!(quoted("order"), "\"order\"");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn a_table_is_appended_before_the_parameters() {
        assert_eq!(with_table("postgres://h/db?a=b", "t"), "postgres://h/db/t?a=b");
    }
}
