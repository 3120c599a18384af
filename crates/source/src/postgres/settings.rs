//! The options of a PostgreSQL source.

use std::collections::BTreeMap;

use crate::SourceError;
use crate::options::{Options, wrong};

/// PostgreSQL's longest name, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// What the user said of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `tables`: those to follow; all, when absent.
    pub(crate) tables: Option<Vec<String>>,
    /// `exclude`: tables, and columns as `table.column`, to leave out.
    pub(crate) exclude: Vec<String>,
    /// `publication`: the user's own; ours, when absent.
    pub(crate) publication: Option<String>,
    /// `slot`.
    pub(crate) slot: String,
    /// What ours are called.
    pub(crate) own_name: String,
}

impl Settings {
    /// Reads the options.
    ///
    /// # Errors
    /// When one is unknown, or its value cannot be.
    pub(crate) fn read(name: &str, options: BTreeMap<String, String>) -> Result<Self, SourceError> {
        let mut options = Options::new(options);
        let own_name = own_name(name);
        let tables = options.text("tables").map(|tables| list(&tables));
        let settings = Self {
            tables: tables.filter(|tables| !tables.is_empty() && tables != &["*"]),
            exclude: options.text("exclude").map(|exclude| list(&exclude)).unwrap_or_default(),
            publication: options.text("publication"),
            slot: options.text("slot").unwrap_or_else(|| own_name.clone()),
            own_name,
        };
        options.finish()?;
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if settings.slot.len() > NAME_BYTES_MAX || !settings.slot.chars().all(is_plain) {
            let help = "a slot's name has lower-case letters, digits and _, 63 at most";
            let reason = format!("'{}' cannot be a slot's name", settings.slot);
            return Err(wrong("slot", reason, Some(help.to_owned())));
        }
        Ok(settings)
    }

    /// The publications to create or use: for tables with a key, and for those where only inserts can be seen.
    pub(crate) fn publications(&self) -> (String, String) {
        let name = self.publication.clone().unwrap_or_else(|| self.own_name.clone());
        (name, format!("{}_inserts", self.own_name))
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',')
        .map(|item| item.trim().replace('"', ""))
        .filter(|item| !item.is_empty())
        .collect()
}

/// `evert_shop` for the source `shop`.
fn own_name(source: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let name: String = "evert_".chars().chain(source.chars().map(plain)).collect();
    name.chars().take(NAME_BYTES_MAX - "_inserts".len()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[(&str, &str)]) -> Result<Settings, SourceError> {
        let pairs = options.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        Settings::read("My-Shop", pairs.collect())
    }

    #[test]
    fn names_come_from_the_source() {
        let settings = read(&[("tables", "orders, audit.entries ")]).unwrap();
        assert_eq!(settings.slot, "evert_my_shop");
        assert_eq!(settings.tables, Some(vec!["orders".to_owned(), "audit.entries".to_owned()]));
        let names = ("evert_my_shop".to_owned(), "evert_my_shop_inserts".to_owned());
        assert_eq!(settings.publications(), names);
    }

    #[test]
    fn an_unknown_option_is_refused_with_the_one_that_was_meant() {
        let error = read(&[("publicaton", "p")]).unwrap_err();
        assert_eq!(error.help().as_deref(), Some("did you mean publication?"));
        assert_eq!(read(&[("slot", "Bad Slot")]).unwrap_err().code(), "SRC012");
    }
}
