//! Regular expressions and `similar to`.
//!
//! The expressions are those of the crate regex, which are PostgreSQL's but for a few: there are no lookaround and no
//! back references in a pattern, and those that use them are refused. As there, a point stands for a line's end too.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::logical_expr::ScalarUDF;
use regex::{Captures, Regex, RegexBuilder};

use super::define::{Arguments, Gives, fails, of_any, takes_no};

/// The functions.
pub(super) fn all() -> Vec<ScalarUDF> {
    let text = || Gives::Always(DataType::Utf8);
    let number = || Gives::Always(DataType::Int32);
    let truth = || Gives::Always(DataType::Boolean);
    let list = || Gives::Always(DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))));
    vec![
        of_any("regexp_like", (2, 3), truth(), like),
        of_any("similar_to", (2, 3), truth(), similar),
        of_any("regexp_replace", (3, 4), text(), replace),
        of_any("regexp_match", (2, 3), list(), first_match),
        of_any("regexp_count", (2, 4), number(), count),
        of_any("regexp_instr", (2, 7), number(), instr),
        of_any("regexp_substr", (2, 6), text(), substr),
        of_any("regexp_split_to_array", (2, 3), list(), split),
        of_any("substring", (2, 3), text(), substring).with_aliases(["substr"]),
    ]
}

/// An expression that was compiled already, for rows that have the same.
#[derive(Default)]
struct Compiled(Option<(String, String, Regex)>);

impl Compiled {
    fn of(&mut self, pattern: &str, flags: &str) -> PlanResult<&Regex> {
        let same = |(known, with, _): &(String, String, Regex)| known == pattern && with == flags;
        if !self.0.as_ref().is_some_and(same) {
            self.0 = Some((pattern.to_owned(), flags.to_owned(), compile(pattern, flags)?));
        }
        match &self.0 {
            Some((.., regex)) => Ok(regex),
            None => fails("an expression was compiled"),
        }
    }
}

fn compile(pattern: &str, flags: &str) -> PlanResult<Regex> {
    let mut builder = RegexBuilder::new(pattern);
    builder.dot_matches_new_line(true);
    for flag in flags.chars() {
        match flag {
            'g' | 'c' | 's' => {}
            'i' => drop(builder.case_insensitive(true)),
            // Lines: `^` and `$` are their ends, and a point stops there.
            'n' | 'm' => drop(builder.multi_line(true).dot_matches_new_line(false)),
            'w' => drop(builder.multi_line(true)),
            'p' => drop(builder.dot_matches_new_line(false)),
            'x' => drop(builder.ignore_whitespace(true)),
            other => {
                return fails(format!(
                    "the option \"{other}\" of a regular expression is not supported"
                ));
            }
        }
    }
    builder.build().map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
        DataFusionError::Execution(format!("invalid regular expression: {reason}"))
    })
}

/// The texts, patterns and flags of a call, whose flags are the argument at a place.
struct Call {
    texts: StringArray,
    patterns: StringArray,
    flags: Option<StringArray>,
}

impl Call {
    fn new(arguments: &Arguments, flags: usize) -> PlanResult<Self> {
        for at in 0..2 {
            if !arguments.is_text(at) {
                let from = arguments.array(at).data_type();
                return takes_no(arguments.gives_field().name(), from);
            }
        }
        let flags = (flags < arguments.count()).then(|| arguments.texts(flags)).transpose()?;
        Ok(Self { texts: arguments.texts(0)?, patterns: arguments.texts(1)?, flags })
    }

    fn flags(&self, row: usize) -> &str {
        self.flags.as_ref().map_or("", |flags| flags.value(row))
    }
}

fn like(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (call, mut compiled) = (Call::new(arguments, 2)?, Compiled::default());
    arguments.truth_of_each(|row| {
        let regex = compiled.of(call.patterns.value(row), call.flags(row))?;
        Ok(Some(regex.is_match(call.texts.value(row))))
    })
}

/// `similar to`: the whole text, `%` and `_`, and the operators of regular expressions but for a few.
fn similar(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (call, mut compiled) = (Call::new(arguments, 2)?, Compiled::default());
    arguments.truth_of_each(|row| {
        let escape = call.flags.as_ref().map_or("\\", |escapes| escapes.value(row));
        let pattern = similar_pattern(call.patterns.value(row), escape)?;
        Ok(Some(compiled.of(&pattern, "")?.is_match(call.texts.value(row))))
    })
}

fn similar_pattern(pattern: &str, escape: &str) -> PlanResult<String> {
    let mut escapes = escape.chars();
    let (escape, more) = (escapes.next(), escapes.next());
    if more.is_some() {
        return fails("an escape is one letter, or none");
    }
    let mut out = String::from("^(?:");
    let mut letters = pattern.chars();
    let mut in_class = false;
    while let Some(letter) = letters.next() {
        if Some(letter) == escape {
            let Some(escaped) = letters.next() else {
                return fails("the pattern of similar to ends with its escape");
            };
            out.push_str(&regex::escape(escaped.encode_utf8(&mut [0; 4])));
            continue;
        }
        match letter {
            _ if in_class => {
                in_class = letter != ']';
                out.push(letter);
            }
            '[' => {
                in_class = true;
                out.push('[');
            }
            '%' => out.push_str(".*"),
            '_' => out.push('.'),
            '(' => out.push_str("(?:"),
            '.' | '^' | '$' | '\\' => out.extend(['\\', letter]),
            letter => out.push(letter),
        }
    }
    out.push_str(")$");
    Ok(out)
}

/// `regexp_replace(text, pattern, replacement [, flags])`: the first match, or with `g` every one.
fn replace(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (call, mut compiled) = (Call::new(arguments, 3)?, Compiled::default());
    let replacements = arguments.texts(2)?;
    arguments.text_of_each(|row| {
        let flags = call.flags(row);
        let regex = compiled.of(call.patterns.value(row), flags)?;
        let replacement = replacements.value(row);
        let limit = usize::from(!flags.contains('g'));
        let put = |found: &Captures<'_>| replaced(found, replacement);
        Ok(Some(match regex.replacen(call.texts.value(row), limit, put) {
            Cow::Borrowed(text) => text.to_owned(),
            Cow::Owned(text) => text,
        }))
    })
}

/// A replacement: `\1` is a group, `\&` the match, `\\` a backslash.
fn replaced(found: &Captures<'_>, replacement: &str) -> String {
    let mut out = String::new();
    let mut letters = replacement.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        match letters.peek().copied() {
            Some('&') => out.push_str(&found[0]),
            Some('\\') => out.push('\\'),
            Some(digit @ '1'..='9') => {
                let group = digit.to_digit(10).and_then(|group| usize::try_from(group).ok());
                let group = group.and_then(|group| found.get(group));
                out.push_str(group.map_or("", |group| group.as_str()));
            }
            _ => {
                out.push('\\');
                continue;
            }
        }
        letters.next();
    }
    out
}

/// Builds lists of texts for rows.
fn lists(
    arguments: &Arguments,
    mut of: impl FnMut(usize) -> PlanResult<Option<Vec<Option<String>>>>,
) -> PlanResult<ArrayRef> {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..arguments.rows() {
        let items = if arguments.any_null(row) { None } else { of(row)? };
        match items {
            Some(items) => lists.append_value(items),
            None => lists.append_null(),
        }
    }
    Ok(Arc::new(lists.finish()))
}

/// `regexp_match`: the groups of the first match, or all of it.
fn first_match(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (call, mut compiled) = (Call::new(arguments, 2)?, Compiled::default());
    lists(arguments, |row| {
        let flags = call.flags(row);
        if flags.contains('g') {
            return fails("regexp_match() does not support the \"global\" option");
        }
        let regex = compiled.of(call.patterns.value(row), flags)?;
        let found = regex.captures(call.texts.value(row));
        Ok(found.map(|found| {
            let first = usize::from(found.len() > 1);
            let groups = found.iter().skip(first);
            groups.map(|group| group.map(|group| group.as_str().to_owned())).collect()
        }))
    })
}

/// The text from a letter on, counted from 1, and how many letters are before it.
fn from_letter(text: &str, start: i64) -> PlanResult<(&str, usize)> {
    let Ok(skipped) = usize::try_from(start - 1) else {
        return fails("the start of a search is above zero");
    };
    let at = text.char_indices().nth(skipped).map_or(text.len(), |(at, _)| at);
    Ok((&text[at..], skipped))
}

fn count(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (call, mut compiled) = (Call::new(arguments, 3)?, Compiled::default());
    let starts = arguments.integers_or(2, 1)?;
    arguments.integer_of_each(|row| {
        let regex = compiled.of(call.patterns.value(row), call.flags(row))?;
        let (text, _) = from_letter(call.texts.value(row), starts.value(row))?;
        Ok(i64::try_from(regex.find_iter(text).count()).ok())
    })
}

/// `regexp_instr(text, pattern, start, n, end, flags, group)`.
fn instr(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (call, mut compiled) = (Call::new(arguments, 5)?, Compiled::default());
    let (starts, nths) = (arguments.integers_or(2, 1)?, arguments.integers_or(3, 1)?);
    let (ends, groups) = (arguments.integers_or(4, 0)?, arguments.integers_or(6, 0)?);
    arguments.integer_of_each(|row| {
        let regex = compiled.of(call.patterns.value(row), call.flags(row))?;
        let (text, skipped) = from_letter(call.texts.value(row), starts.value(row))?;
        let nth = usize::try_from(nths.value(row) - 1).unwrap_or(0);
        let group = usize::try_from(groups.value(row)).unwrap_or(0);
        let found = regex.captures_iter(text).nth(nth).and_then(|found| found.get(group));
        let place = found.map(|found| {
            let at = if ends.value(row) == 1 { found.end() } else { found.start() };
            text[..at].chars().count() + skipped + 1
        });
        Ok(i64::try_from(place.unwrap_or(0)).ok())
    })
}

/// `regexp_substr(text, pattern, start, n, flags, group)`.
fn substr(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (call, mut compiled) = (Call::new(arguments, 4)?, Compiled::default());
    let (starts, nths) = (arguments.integers_or(2, 1)?, arguments.integers_or(3, 1)?);
    let groups = arguments.integers_or(5, 0)?;
    arguments.text_of_each(|row| {
        let regex = compiled.of(call.patterns.value(row), call.flags(row))?;
        let (text, _) = from_letter(call.texts.value(row), starts.value(row))?;
        let nth = usize::try_from(nths.value(row) - 1).unwrap_or(0);
        let group = usize::try_from(groups.value(row)).unwrap_or(0);
        let found = regex.captures_iter(text).nth(nth).and_then(|found| found.get(group));
        Ok(found.map(|found| found.as_str().to_owned()))
    })
}

fn split(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let (call, mut compiled) = (Call::new(arguments, 2)?, Compiled::default());
    lists(arguments, |row| {
        let regex = compiled.of(call.patterns.value(row), call.flags(row))?;
        Ok(Some(
            parts(regex, call.texts.value(row))
                .into_iter()
                .map(|part| Some(part.to_owned()))
                .collect(),
        ))
    })
}

/// The text between matches; a match of nothing at the ends or right behind a match does not count.
fn parts<'t>(regex: &Regex, text: &'t str) -> Vec<&'t str> {
    let (mut parts, mut from) = (Vec::new(), 0);
    for found in regex.find_iter(text) {
        let empty = found.is_empty();
        if empty && (found.start() == from || found.start() == text.len()) {
            continue;
        }
        parts.push(&text[from..found.start()]);
        from = found.end();
    }
    parts.push(&text[from..]);
    parts
}

/// `substring`: by places, or what a regular expression finds.
fn substring(arguments: &Arguments) -> PlanResult<ArrayRef> {
    let is_text =
        |at: usize| matches!(arguments.array(at).data_type(), DataType::Utf8 | DataType::LargeUtf8);
    if is_text(1) {
        if arguments.count() == 3 {
            return fails("substring with an escape is not supported: write regexp_substr");
        }
        let (call, mut compiled) = (Call::new(arguments, 2)?, Compiled::default());
        return arguments.text_of_each(|row| {
            let regex = compiled.of(call.patterns.value(row), "")?;
            let found = regex.captures(call.texts.value(row));
            let found = found.and_then(|found| found.get(usize::from(found.len() > 1)));
            Ok(found.map(|found| found.as_str().to_owned()))
        });
    }
    if !arguments.is_text(0) {
        return takes_no("substring", arguments.array(0).data_type());
    }
    let (texts, starts) = (arguments.texts(0)?, arguments.integers(1)?);
    let lengths = arguments.integers_or(2, i64::MAX)?;
    arguments.text_of_each(|row| {
        let (start, length) = (starts.value(row), lengths.value(row));
        if length < 0 {
            return fails("negative substring length not allowed");
        }
        let end = start.saturating_add(length);
        let skipped = usize::try_from(start.max(1) - 1).unwrap_or(usize::MAX);
        let count = usize::try_from(end.saturating_sub(start.max(1)).max(0)).unwrap_or(usize::MAX);
        Ok(Some(texts.value(row).chars().skip(skipped).take(count).collect()))
    })
}
