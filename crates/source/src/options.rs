//! A source's options, read with types; what nobody read is unknown, and refused.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::SourceError;
use crate::text::parse_bool;

/// The options of one source that were not read yet.
#[derive(Debug)]
pub(crate) struct Options {
    left: BTreeMap<String, String>,
    known: Vec<&'static str>,
}

impl Options {
    /// Begins to read options.
    pub(crate) fn new(options: BTreeMap<String, String>) -> Self {
        Self { left: options, known: Vec::new() }
    }

    /// Reads a text.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        self.left.remove(name)
    }

    /// Reads a number.
    ///
    /// # Errors
    /// When the value is none of that type.
    pub(crate) fn number<T: FromStr>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, SourceError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.trim().parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(wrong(name, format!("'{text}' is not a number it can have"), None)),
        }
    }

    /// Reads yes or no.
    ///
    /// # Errors
    /// When the value is neither.
    pub(crate) fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, SourceError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match parse_bool(&text) {
            Ok(value) => Ok(Some(value)),
            Err(_) => {
                let help = format!("write {name} = 'true' or {name} = 'false'");
                Err(wrong(name, format!("'{text}' is neither true nor false"), Some(help)))
            }
        }
    }

    /// Refuses what was not read.
    ///
    /// # Errors
    /// When an option is left.
    pub(crate) fn finish(self) -> Result<(), SourceError> {
        let Some((name, _)) = self.left.into_iter().next() else { return Ok(()) };
        let help = match most_similar(&name, self.known.iter().copied()) {
            Some(similar) => format!("did you mean {similar}?"),
            None => format!("this source has the options {}", self.known.join(", ")),
        };
        Err(wrong(&name, "this source has no such option".to_owned(), Some(help)))
    }
}

/// An option's value that is wrong.
pub(crate) fn wrong(option: &str, reason: String, help: Option<String>) -> SourceError {
    SourceError::Option { option: option.to_owned(), reason, help }
}

/// Returns the candidate that was probably meant, if any is similar.
pub(crate) fn most_similar<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let name = name.to_lowercase();
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&name, &candidate.to_lowercase()), candidate))
        .min_by_key(|&(distance, _)| distance)
        .filter(|&(distance, candidate)| distance <= candidate.len().max(name.len()) / 3)
        .map(|(_, candidate)| candidate)
}
