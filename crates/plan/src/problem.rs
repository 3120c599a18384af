//! Problems: what is wrong, where, and what to do; many at once.

use std::fmt;
use std::ops::Range;

use crate::codes::Code;
use crate::limits::NAMES_LISTED_MAX;

/// Something wrong at a place of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The code, such as `SQL010`.
    pub code: &'static str,
    /// Where it is, in bytes of the text that the user wrote.
    pub span: Range<usize>,
    /// What is wrong, in one line.
    pub message: String,
    /// What to say at the place itself.
    pub label: String,
    /// What to do.
    pub help: Option<String>,
}

impl Problem {
    pub(crate) fn new(
        code: Code,
        span: Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Self {
        Self { code: code.code, span, message: message.into(), label: label.into(), help: None }
    }

    pub(crate) fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// All problems of a text, in the order of their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The text that the user wrote.
    pub text: String,
    /// The problems; at least one.
    pub problems: Vec<Problem>,
}

impl Problems {
    /// Returns the value unless there are problems, which it puts in the order of the text.
    pub(crate) fn unless<T>(text: &str, mut problems: Vec<Problem>, value: T) -> Result<T, Self> {
        if problems.is_empty() {
            return Ok(value);
        }
        problems.sort_by_key(|problem| (problem.span.start, problem.span.end));
        problems.dedup();
        Err(Self { text: text.to_owned(), problems })
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write_problem(f, &self.text, problem)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

fn write_problem(f: &mut fmt::Formatter<'_>, text: &str, problem: &Problem) -> fmt::Result {
    let start = floor_char_boundary(text, problem.span.start);
    let end = floor_char_boundary(text, problem.span.end.max(start));
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
    let line_number = text[..start].matches('\n').count() + 1;
    let column = text[line_start..start].chars().count();
    let width = text[start..end.min(line_end).max(start)].chars().count().max(1);
    writeln!(f, "{}: {}", problem.code, problem.message)?;
    let number = line_number.to_string();
    writeln!(f, "{number} | {}", &text[line_start..line_end])?;
    let margin = " ".repeat(number.len());
    writeln!(f, "{margin} | {}{} {}", " ".repeat(column), "^".repeat(width), problem.label)?;
    match &problem.help {
        Some(help) => writeln!(f, "{margin} = help: {help}"),
        None => Ok(()),
    }
}

fn floor_char_boundary(text: &str, offset: usize) -> usize {
    let offset = offset.min(text.len());
    (0..=offset).rev().find(|&offset| text.is_char_boundary(offset)).unwrap_or(0)
}

/// Says which of the known names may be meant: the nearest one, or what there is.
pub(crate) fn suggest<'a>(
    wanted: &str,
    known: impl IntoIterator<Item = &'a str>,
    there_is: &str,
) -> Option<String> {
    let mut known: Vec<_> = known.into_iter().collect();
    known.sort_unstable();
    known.dedup();
    if let Some(near) = nearest(wanted, &known) {
        return Some(format!("did you mean {near}?"));
    }
    if known.is_empty() {
        return None;
    }
    let listed = known.iter().take(NAMES_LISTED_MAX).copied().collect::<Vec<_>>().join(", ");
    let more = if known.len() > NAMES_LISTED_MAX { ", …" } else { "" };
    Some(format!("{there_is}: {listed}{more}"))
}

/// Returns the known name that a slip of the fingers may have turned into `wanted`.
pub(crate) fn nearest<'a>(wanted: &str, known: &[&'a str]) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    let slips_max = (wanted.chars().count() / 3).max(1);
    let distance = |name: &str| {
        let name = name.to_lowercase().replace('"', "");
        let last = name.rsplit('.').next().unwrap_or_default();
        strsim::osa_distance(&wanted, &name).min(strsim::osa_distance(&wanted, last))
    };
    let near = known.iter().map(|name| (distance(name), *name)).min()?;
    (near.0 <= slips_max).then_some(near.1)
}
