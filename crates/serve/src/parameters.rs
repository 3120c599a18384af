//! What stands behind the question mark of a URL, checked: an unknown or unreadable parameter is refused, not ignored.

use std::time::Duration;

use change::Time;

use crate::error::RequestError;

/// The parameters of a request, in order; one may occur several times.
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Takes the parameters of a route that knows `names`.
    ///
    /// # Errors
    /// When there is one that it does not know.
    pub(crate) fn new(
        pairs: Vec<(String, String)>,
        names: &'static [&'static str],
    ) -> Result<Self, RequestError> {
        match pairs.iter().find(|(name, _)| !names.contains(&name.as_str())) {
            None => Ok(Self(pairs)),
            Some((name, _)) => {
                let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                let reason = format!("there is no parameter {name:?} here; there is {known}");
                Err(RequestError::Parameter { name: "query", reason })
            }
        }
    }

    /// The parameter's first value.
    pub(crate) fn text(&self, name: &'static str) -> Option<&str> {
        self.all(name).next()
    }

    /// The parameter's values.
    pub(crate) fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The parameter as a count, at most `max`.
    ///
    /// # Errors
    /// When it is not one, or more.
    pub(crate) fn count(
        &self,
        name: &'static str,
        default: usize,
        max: usize,
    ) -> Result<usize, RequestError> {
        match self.number(name)? {
            None => Ok(default),
            Some(count) => {
                usize::try_from(count).ok().filter(|&count| count <= max).ok_or_else(|| {
                    RequestError::Parameter { name, reason: format!("{count} is more than {max}") }
                })
            }
        }
    }

    /// The parameter as a Time.
    ///
    /// # Errors
    /// When it is not one.
    pub(crate) fn time(&self, name: &'static str) -> Result<Option<Time>, RequestError> {
        Ok(self.number(name)?.map(Time))
    }

    /// The parameter as a number of milliseconds.
    ///
    /// # Errors
    /// When it is not one.
    pub(crate) fn milliseconds(
        &self,
        name: &'static str,
    ) -> Result<Option<Duration>, RequestError> {
        Ok(self.number(name)?.map(Duration::from_millis))
    }

    fn number(&self, name: &'static str) -> Result<Option<u64>, RequestError> {
        let unreadable = |value: &str| RequestError::Parameter {
            name,
            reason: format!("{value:?} is not a whole number of at least 0"),
        };
        self.text(name).map(|value| value.parse().map_err(|_not| unreadable(value))).transpose()
    }
}
