//! How long the history of a table is kept, as it is written: `7 days`, or `forever`.

use std::time::Duration;

/// The name of the option.
pub const HISTORY: &str = "history";

/// How long the history of a table is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// As long as the log.
    Forever,
    /// So long; what is older is folded.
    For(Duration),
}

impl History {
    /// What is wrong with a text that is none.
    pub const FORM: &str = "a history is written like '7 days', '12 hours' or 'forever'";

    /// Reads a history; `None` when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("forever") {
            return Some(Self::Forever);
        }
        let (count, unit) = text.split_once(char::is_whitespace)?;
        let count: u64 = count.parse().ok()?;
        let unit = unit.trim().to_lowercase();
        let seconds = match unit.strip_suffix('s').unwrap_or(&unit) {
            "second" => 1,
            "minute" => 60,
            "hour" => 3_600,
            "day" => 86_400,
            "week" => 604_800,
            _ => return None,
        };
        count.checked_mul(seconds).map(|seconds| Self::For(Duration::from_secs(seconds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_a_number_of_a_unit_or_forever() {
        let days = |days: u64| Some(History::For(Duration::from_secs(days * 86_400)));
        assert_eq!(History::parse("7 days"), days(7));
        assert_eq!(History::parse(" 1 Day "), days(1));
        assert_eq!(History::parse("2 weeks"), days(14));
        assert_eq!(History::parse("0 seconds"), days(0));
        assert_eq!(History::parse("Forever"), Some(History::Forever));
        for text in
            ["", "7", "days", "7 moons", "-1 days", "1.5 days", "18446744073709551615 weeks"]
        {
            assert_eq!(History::parse(text), None, "{text}");
        }
    }
}
