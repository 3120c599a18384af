//! Pipes: `SOURCE | stage | … | SINK`, sugar for a script of three statements.
//!
//! The ends are URLs, paths or words of their own, so they are cut off before anything is read as SQL. The names that
//! the script needs are derived from the ends, always the same way.

#![allow(clippy::wildcard_enum_match_arm, reason = "tokens are sqlparser's")]

use std::collections::BTreeMap;
use std::ops::Range;

use datafusion::sql::sqlparser::tokenizer::Token;

use crate::catalog::Catalog;
use crate::codes;
use crate::lex::{Lexeme, lex};
use crate::name::{Url, absolute, quoted};
use crate::problem::{Problem, nearest};
use crate::script::{
    Cursor, Mirror, Name, Statement, sink_spec, skip_blanks, source_spec, view_statement,
};

/// The words that begin a stage.
const STAGES: [&str; 16] = [
    "from",
    "where",
    "select",
    "extend",
    "set",
    "drop",
    "rename",
    "join",
    "inner",
    "left",
    "cross",
    "aggregate",
    "distinct",
    "order",
    "limit",
    "union",
];

/// Other words that begin a stage: `as` is too short to be guessed, the others are refused with advice.
const OTHER_STAGES: [&str; 21] = [
    "as",
    "with",
    "right",
    "full",
    "tablesample",
    "intersect",
    "except",
    "call",
    "pivot",
    "unpivot",
    "group",
    "having",
    "offset",
    "window",
    "filter",
    "sort",
    "take",
    "head",
    "map",
    "project",
    "values",
];

/// A system at an end of a pipe.
struct End {
    url: String,
    span: Range<usize>,
    options: BTreeMap<String, String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Sink,
}

/// Returns why a word cannot begin a stage behind a pipe sign.
pub(crate) fn refuse_stage(word: &Lexeme) -> Option<Problem> {
    let text = word.text.as_str();
    let help = match text {
        "from" => "only the first stage is `from`; write `join` to add a table".to_owned(),
        "with" => "name parts with `create view`".to_owned(),
        "right" | "full" => "`join` and `left join` are there; swap the sides".to_owned(),
        "group" => "write `aggregate count(*) group by …`".to_owned(),
        "having" | "filter" => "write `where …`".to_owned(),
        "sort" => "write `order by …`".to_owned(),
        "take" | "head" => "write `limit …`".to_owned(),
        "map" | "project" => "write `select …`".to_owned(),
        "offset" => "write `limit N offset M`".to_owned(),
        "intersect" | "except" | "values" | "window" | "tablesample" | "call" | "pivot"
        | "unpivot" => format!("the stages are: {}, as", STAGES.join(", ")),
        "as" => return None,
        _ if STAGES.contains(&text) => return None,
        _ => match nearest(text, &STAGES) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("the stages are: {}, as", STAGES.join(", ")),
        },
    };
    let message = format!("a pipe has no stage `{text}` here");
    Some(Problem::new(codes::STAGE, word.span.clone(), message, "not a stage").with_help(help))
}

/// Reads a pipe as the statements that it stands for.
pub(crate) fn statements(
    text: &str,
    catalog: &Catalog,
    problems: &mut Vec<Problem>,
) -> Vec<Statement> {
    let segments = segments(text);
    let is_stage: Vec<bool> =
        segments.iter().map(|segment| begins_stage(text, segment.clone())).collect();
    let (first, last) = (0, segments.len() - 1);
    let mut stages = Vec::new();
    let (mut source, mut sink) = (None, None);
    for (index, segment) in segments.iter().enumerate() {
        let is_end = !is_stage[index];
        if index == first && is_end {
            source = keep(end(text, segment.clone(), Side::Source), problems);
        } else if index == last && is_end {
            sink = keep(end(text, segment.clone(), Side::Sink), problems);
        } else {
            match lex(text, segment.clone()) {
                Ok(lexemes) => stages.push((segment.clone(), lexemes)),
                Err(problem) => problems.push(problem),
            }
        }
    }
    if !problems.is_empty() {
        return Vec::new();
    }
    if let Some(base) = &catalog.base {
        for end in [&mut source, &mut sink].into_iter().flatten() {
            end.url = absolute(&end.url, base);
        }
    }
    let end = text.trim_end().len();
    let stdout = End { url: "stdout".to_owned(), span: end..end, options: BTreeMap::new() };
    let names = Names::of(catalog);
    match build(source, stages, sink.unwrap_or(stdout), &names) {
        Ok(statements) => statements,
        Err(found) => {
            problems.extend(found);
            Vec::new()
        }
    }
}

fn keep<T>(result: Result<T, Problem>, problems: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

fn build(
    source: Option<End>,
    stages: Vec<(Range<usize>, Vec<Lexeme>)>,
    sink: End,
    names: &Names,
) -> Result<Vec<Statement>, Vec<Problem>> {
    let mut statements = Vec::new();
    let mut source_name = None;
    if let Some(source) = source {
        let name = if is_declared(&source.url) {
            Name { name: source.url, span: source.span.clone(), target_span: source.span }
        } else {
            let statement =
                |name: &str| source_spec(name, &source.url, source.options.clone()).statement;
            let name = Names::free(&names.sources, Url::new(&source.url).source_name(), statement);
            let spec = source_spec(&name, &source.url, source.options.clone());
            let name = Name { name, span: source.span.clone(), target_span: source.span };
            statements.push(Statement::Source(name.clone(), spec));
            name
        };
        source_name = Some(name);
    }
    let kind = match sink.url.as_str() {
        "stdout" | "search" => sink.url.clone(),
        url => Url::new(url).kind(),
    };
    if stages.is_empty() {
        let Some(source) = source_name else {
            return Err(vec![no_source(&sink)]);
        };
        let mut mirror = Mirror {
            name: Name { target_span: source.span, span: sink.span.clone(), name: String::new() },
            source: source.name,
            url: sink.url,
            url_span: sink.span,
            options: sink.options,
        };
        let wanted = format!("{}_to_{kind}", mirror.source);
        mirror.name.name = Names::free(&names.sinks, wanted, |name| {
            let name = Name { name: name.to_owned(), ..mirror.name.clone() };
            Mirror { name, ..mirror.clone() }.statement()
        });
        statements.push(Statement::Mirror(mirror));
        return Ok(statements);
    }
    let lexemes = joined(&stages, source_name.as_ref())?;
    let end = stages.last().map_or(0, |(segment, _)| segment.end);
    let wanted = match sink.url.as_str() {
        "stdout" | "search" => "result".to_owned(),
        url => Url::new(url).target_name().unwrap_or_else(|| "result".to_owned()),
    };
    let span = lexemes.first().map_or(0, |first| first.span.start)..end;
    let named = |name: String| Name { name, span: span.clone(), target_span: span.clone() };
    // Naming a view does not change its query, so the query is read once to find the free name.
    let view = view_statement(named(wanted.clone()), &lexemes, end)?;
    let statement = |name: &str| {
        let head = |name: &str| format!("create view {} as\n", quoted(name));
        view.statement.replacen(&head(&wanted), &head(name), 1)
    };
    let name = Names::free(&names.views, wanted.clone(), statement);
    let text = statement(&name);
    statements.push(Statement::View(crate::script::View {
        name: named(name.clone()),
        statement: text,
        ..view
    }));
    let sink_statement =
        |sink_name: &str| sink_spec(sink_name, &name, &sink.url, sink.options.clone()).statement;
    let sink_name = Names::free(&names.sinks, format!("{name}_to_{kind}"), sink_statement);
    let spec = sink_spec(&sink_name, &name, &sink.url, sink.options.clone());
    let place = Name { name: sink_name, span: sink.span.clone(), target_span: sink.span };
    statements.push(Statement::Sink(place, spec));
    Ok(statements)
}

fn no_source(sink: &End) -> Problem {
    let message = "the pipe has no source and no query";
    Problem::new(codes::END, sink.span.clone(), message, "nothing flows in here")
        .with_help("write SOURCE | stage | … | SINK, for example: demo | from orders | stdout")
}

/// Joins the stages to one query, which begins with the source's table when it does not say.
fn joined(
    stages: &[(Range<usize>, Vec<Lexeme>)],
    source: Option<&Name>,
) -> Result<Vec<Lexeme>, Vec<Problem>> {
    let mut query = Vec::new();
    let mut problems = Vec::new();
    for (index, (segment, lexemes)) in stages.iter().enumerate() {
        let Some(word) = lexemes.first() else {
            let message = "a stage of the pipe is empty";
            problems.push(Problem::new(codes::STAGE, segment.clone(), message, "nothing here"));
            continue;
        };
        let is_whole = word.is_word("from")
            || word.is_word("with")
            || (word.is_word("select") && reads(lexemes));
        if index > 0 || !is_whole {
            problems.extend(refuse_stage(word));
        }
        let at = word.span.start;
        if index == 0 && !is_whole {
            let Some(source) = source else {
                let message = "the pipe has no source to read";
                problems.push(
                    Problem::new(codes::SOURCE, word.span.clone(), message, "reads from where?")
                        .with_help("begin with a source, or with `from TABLE`"),
                );
                continue;
            };
            query.push(Lexeme::implied("from", at));
            query.push(Lexeme {
                span: source.span.clone(),
                ..Lexeme::implied(&quoted(&source.name), at)
            });
        }
        if index > 0 || !is_whole {
            let token = Token::VerticalBarRightAngleBracket;
            query.push(Lexeme { token, span: at..at, text: "|>".to_owned(), glued: false });
        }
        query.extend(lexemes.iter().cloned());
    }
    if problems.is_empty() { Ok(query) } else { Err(problems) }
}

/// Whether a select says itself what it reads.
fn reads(lexemes: &[Lexeme]) -> bool {
    let mut depth = 0;
    lexemes.iter().any(|lexeme| {
        depth += lexeme.nesting();
        depth == 0 && lexeme.is_word("from")
    })
}

/// Reads an end: a URL, a path or a word, quoted or not, and its options.
fn end(text: &str, segment: Range<usize>, side: Side) -> Result<End, Problem> {
    let start = skip_blanks(text, segment.start).min(segment.end);
    let rest = &text[start..segment.end];
    let (url, span, at) = if rest.starts_with(['\'', '"', '$']) {
        let lexemes = lex(text, start..segment.end)?;
        let quoted = lexemes.first().and_then(|first| {
            Some((first.string().map(str::to_owned).or_else(|| first.name())?, first.span.clone()))
        });
        let Some((url, span)) = quoted else {
            return Err(not_an_end(text, start..segment.end, side));
        };
        (url, span.clone(), span.end)
    } else {
        let length = run(rest);
        (rest[..length].to_owned(), start..start + length, start + length)
    };
    let lexemes = lex(text, at..segment.end)?;
    let url = match (url.as_str(), side) {
        ("-", Side::Source) => "stdin".to_owned(),
        ("-", Side::Sink) => "stdout".to_owned(),
        _ => url,
    };
    let has_options =
        lexemes.first().is_none_or(|first| first.token == Token::LParen || first.is_word("with"));
    if !has_options || !is_end(&url, side) {
        return Err(not_an_end(text, span, side));
    }
    let mut cursor = Cursor { lexemes: &lexemes, at: 0, end: segment.end };
    let options = cursor.options()?;
    cursor.finish("URL (option = 'value', …)")?;
    if is_declared(&url) && !options.is_empty() {
        let message =
            format!("the source {url} is declared elsewhere, so it takes no options here");
        return Err(Problem::new(codes::OPTION, at..segment.end, message, "cannot be set here"));
    }
    Ok(End { url, span, options })
}

fn is_end(url: &str, side: Side) -> bool {
    let word = url.split(':').next().unwrap_or_default();
    let is_address = url.contains("://") || url.contains('/') || url.contains('.');
    match side {
        Side::Source => {
            !matches!(url, "stdout" | "search")
                && (is_address || word == "demo" || is_declared(url) || url == "stdin")
        }
        Side::Sink => is_address || matches!(url, "stdout" | "search"),
    }
}

/// Whether a source end is the name of a source that exists already.
fn is_declared(url: &str) -> bool {
    let letters = |letter: char| letter.is_alphanumeric() || letter == '_';
    !matches!(url, "stdin" | "stdout" | "search" | "demo" | "")
        && url.chars().all(letters)
        && !url.starts_with(|first: char| first.is_ascii_digit())
}

fn not_an_end(text: &str, span: Range<usize>, side: Side) -> Problem {
    let word = &text[span.clone()];
    let words: &[&str] = match side {
        Side::Source => &["stdin", "demo"],
        Side::Sink => &["stdout", "search"],
    };
    let followed = text[span.end..].trim_start();
    let looks_like_stage = !followed.is_empty() && !followed.starts_with(['|', '(']);
    let near = nearest(word, words)
        .or_else(|| looks_like_stage.then(|| nearest(word, &STAGES)).flatten())
        .filter(|_| word.chars().all(char::is_alphabetic));
    let (what, list) = match side {
        Side::Source => ("source", "a URL such as postgres://…, a path, `stdin` or `demo`"),
        Side::Sink => ("sink", "a URL such as postgres://…/table, a path, `search` or `stdout`"),
    };
    let help = match near {
        Some(near) => format!("did you mean {near}?"),
        None => format!("a {what} is {list}"),
    };
    let message = match word.is_empty() {
        true => format!("the pipe has no {what} here"),
        false => format!("`{word}` is neither a stage nor a {what}"),
    };
    Problem::new(codes::END, span, message, format!("not a {what}")).with_help(help)
}

fn begins_stage(text: &str, segment: Range<usize>) -> bool {
    let start = skip_blanks(text, segment.start).min(segment.end);
    let rest = &text[start..segment.end];
    let letters = rest.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(rest.len());
    let word = rest[..letters].to_lowercase();
    let alone = !rest[letters..].starts_with(['_', '.', '/', ':', '-'])
        && !rest[letters..].starts_with(|next: char| next.is_alphanumeric());
    alone && (STAGES.contains(&&*word) || OTHER_STAGES.contains(&&*word))
}

/// The length of an unquoted URL, path or word.
fn run(rest: &str) -> usize {
    let ends = |letter: char| letter.is_whitespace() || matches!(letter, '|' | '(' | ';');
    rest.find(ends).unwrap_or(rest.len())
}

/// Cuts a pipe at its pipe signs; those inside of quotes, parentheses, comments and URLs do not count.
fn segments(text: &str) -> Vec<Range<usize>> {
    let mut segments = Vec::new();
    let mut start = 0;
    loop {
        let (end, next) = segment_end(text, start);
        segments.push(start..end);
        match next {
            Some(next) => start = next,
            None => return segments,
        }
    }
}

/// Returns where the segment ends, and where the next one starts.
fn segment_end(text: &str, start: usize) -> (usize, Option<usize>) {
    let mut at = skip_blanks(text, start);
    let quoted = text[at..].starts_with(['\'', '"', '$']);
    if !quoted && !begins_stage(text, at..text.len()) {
        at += run(&text[at..]);
    }
    let mut depth = 0_i32;
    while let Some(letter) = text[at..].chars().next() {
        let rest = &text[at..];
        match letter {
            '\'' => at += quote_length(rest, '\'', is_escape_string(text, at)),
            '"' => at += quote_length(rest, '"', false),
            '$' => at += dollar_length(rest),
            '-' | '/' => at = skip_blanks(text, at).max(at + 1),
            '(' | '[' => (depth, at) = (depth + 1, at + 1),
            ')' | ']' => (depth, at) = (depth - 1, at + 1),
            '|' if rest.starts_with("||") => at += 2,
            '|' if depth <= 0 => {
                return (at, Some(at + if rest.starts_with("|>") { 2 } else { 1 }));
            }
            _ => at += letter.len_utf8(),
        }
    }
    (text.len(), None)
}

fn is_escape_string(text: &str, at: usize) -> bool {
    let mut before = text[..at].chars().rev();
    matches!(before.next(), Some('e' | 'E'))
        && before.next().is_none_or(|letter| !letter.is_alphanumeric() && letter != '_')
}

/// The length of a quoted text with its quotes; a doubled quote is read as two texts.
fn quote_length(rest: &str, quote: char, escapes: bool) -> usize {
    let mut escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if escapes && letter == '\\' {
            escaped = true;
        } else if letter == quote {
            return at + 1;
        }
    }
    rest.len()
}

/// The length of a dollar-quoted text, or of the dollar sign alone.
fn dollar_length(rest: &str) -> usize {
    let Some(tag) = rest[1..].find('$').map(|end| &rest[..end + 2]) else {
        return 1;
    };
    if !tag[1..tag.len() - 1].chars().all(|letter| letter.is_alphanumeric() || letter == '_') {
        return 1;
    }
    rest[tag.len()..].find(tag).map_or(rest.len(), |end| end + 2 * tag.len())
}

/// The names that are taken, with the statements that took them.
struct Names {
    sources: BTreeMap<String, String>,
    views: BTreeMap<String, String>,
    sinks: BTreeMap<String, String>,
}

impl Names {
    fn of(catalog: &Catalog) -> Self {
        let named = |statements: &[String]| {
            statements.iter().filter_map(|text| Some((created_name(text)?, text.clone()))).collect()
        };
        Self {
            sources: named(&catalog.sources),
            views: named(&catalog.views),
            sinks: named(&catalog.sinks),
        }
    }

    /// Returns the wanted name, or with a number behind it when it is taken by another statement.
    fn free(
        taken: &BTreeMap<String, String>,
        wanted: String,
        statement: impl Fn(&str) -> String,
    ) -> String {
        let is_free = |name: &String| {
            taken.get(name).is_none_or(|existing| same_statement(existing, &statement(name)))
        };
        let numbered = (2_usize..).map(|number| format!("{wanted}_{number}"));
        std::iter::once(wanted.clone()).chain(numbered).find(is_free).unwrap_or(wanted)
    }
}

/// The name in `create KIND NAME …`.
pub(crate) fn created_name(statement: &str) -> Option<String> {
    lex(statement, 0..statement.len()).ok()?.get(2)?.name()
}

/// Whether two statements are the same but for blanks and a semicolon at the end.
pub(crate) fn same_statement(one: &str, other: &str) -> bool {
    let words = |text: &str| {
        let lexemes = lex(text, 0..text.len()).ok()?;
        let end = lexemes.iter().rposition(|lexeme| lexeme.token != Token::SemiColon)? + 1;
        Some(lexemes[..end].iter().map(|lexeme| lexeme.text.clone()).collect::<Vec<_>>())
    };
    one == other || words(one) == words(other)
}

/// How a statement relates to an earlier one of its name.
pub(crate) enum Clash {
    /// There is none.
    None,
    /// It is the same.
    Same,
    /// It is another one.
    Other,
}

/// Looks for an earlier statement of the same name, among names and statements.
pub(crate) fn clash<'a>(
    mut before: impl Iterator<Item = (&'a str, &'a str)>,
    name: &str,
    statement: &str,
) -> Clash {
    match before.find(|(earlier, _)| *earlier == name) {
        None => Clash::None,
        Some((_, earlier)) if same_statement(earlier, statement) => Clash::Same,
        Some(_) => Clash::Other,
    }
}
