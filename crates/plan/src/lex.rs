//! Text cut into words and signs that know their place.
//!
//! Invariant: a [`Lexeme`]'s span is in bytes of the whole text that the user wrote. Tokens handed to sqlparser carry
//! that span as "line 1, column byte + 1", so that every place which sqlparser or DataFusion names maps back exactly.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "tokens are sqlparser's; what is not named is no word"
)]

use std::ops::Range;

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{
    Location, Span, Token, TokenWithSpan, Tokenizer, TokenizerError, Word,
};

use crate::codes;
use crate::dialect::EvertDialect;
use crate::problem::{Problem, nearest};

/// PostgreSQL's dialect, with pipes.
pub(crate) const DIALECT: EvertDialect = EvertDialect;

/// A word or sign, and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Lexeme {
    pub(crate) token: Token,
    pub(crate) span: Range<usize>,
    /// As it is written, unquoted words in lower case.
    pub(crate) text: String,
    /// Whether nothing is between it and the lexeme before it.
    pub(crate) glued: bool,
}

impl Lexeme {
    /// A word that the user left out, at the place where it is missed.
    pub(crate) fn implied(word: &str, at: usize) -> Self {
        let token = Token::make_word(word.trim_matches('"'), word.starts_with('"').then_some('"'));
        Self { token, span: at..at, text: word.to_owned(), glued: false }
    }

    pub(crate) fn is_word(&self, word: &str) -> bool {
        match &self.token {
            Token::Word(found) => found.quote_style.is_none() && self.text == word,
            _ => false,
        }
    }

    pub(crate) fn keyword(&self) -> Option<Keyword> {
        match &self.token {
            Token::Word(Word { keyword, quote_style: None, .. }) => Some(*keyword),
            _ => None,
        }
    }

    /// The name that the word stands for: unquoted words in lower case.
    pub(crate) fn name(&self) -> Option<String> {
        match &self.token {
            Token::Word(Word { value, quote_style: None, .. }) => Some(value.to_lowercase()),
            Token::Word(Word { value, .. }) => Some(value.clone()),
            _ => None,
        }
    }

    /// The text of a string literal.
    pub(crate) fn string(&self) -> Option<&str> {
        match &self.token {
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => Some(text),
            Token::DollarQuotedString(quoted) => Some(&quoted.value),
            _ => None,
        }
    }

    /// How the lexeme changes the depth of brackets.
    pub(crate) fn nesting(&self) -> i32 {
        match self.token {
            Token::LParen | Token::LBracket | Token::LBrace => 1,
            Token::RParen | Token::RBracket | Token::RBrace => -1,
            _ => 0,
        }
    }
}

/// Cuts a range of the text into lexemes; comments and blanks are left out.
pub(crate) fn lex(text: &str, range: Range<usize>) -> Result<Vec<Lexeme>, Problem> {
    let part = &text[range.clone()];
    let mut places = Places::new(part, range.start);
    let tokens = Tokenizer::new(&DIALECT, part).tokenize_with_location().map_err(|error| {
        let at = places.byte(error.location);
        let message = lower_first(&error.message);
        Problem::new(codes::LEXICAL, at..range.end, message, "from here on")
            .with_help("close the quote or comment; write '' for a quote inside of a string")
    })?;
    let mut lexemes: Vec<Lexeme> = Vec::new();
    for token in tokens {
        if matches!(token.token, Token::Whitespace(_) | Token::EOF) {
            continue;
        }
        let span = places.byte(token.span.start)..places.byte(token.span.end);
        let written = &text[span.clone()];
        let unquoted = matches!(&token.token, Token::Word(word) if word.quote_style.is_none());
        let shown = if unquoted { written.to_lowercase() } else { written.to_owned() };
        let glued = lexemes.last().is_some_and(|last| last.span.end == span.start);
        let lexeme = Lexeme { token: token.token, span, text: shown, glued };
        match lexemes.last_mut().filter(|_| glued).and_then(|last| question(last, &lexeme)) {
            Some(()) => {}
            None => lexemes.push(lexeme),
        }
    }
    for lexeme in &mut lexemes {
        if lexeme.token == Token::Placeholder("?".to_owned()) {
            lexeme.token = Token::Question;
        }
    }
    Ok(lexemes)
}

/// Makes `?|` and `?&` of two signs: the dialect in which they are one reads `|>` otherwise.
fn question(last: &mut Lexeme, next: &Lexeme) -> Option<()> {
    if last.token != Token::Placeholder("?".to_owned()) {
        return None;
    }
    last.token = match next.token {
        Token::Pipe => Token::QuestionPipe,
        Token::Ampersand => Token::QuestionAnd,
        _ => return None,
    };
    last.text.push_str(&next.text);
    last.span.end = next.span.end;
    Some(())
}

/// Cuts a text into the tokens of one statement to read, with their lines and columns. What begins with `from` is a pipe,
/// whose stages `|` and `|>` part alike.
pub(crate) fn statement_tokens(text: &str) -> Result<Vec<TokenWithSpan>, TokenizerError> {
    let mut tokens: Vec<TokenWithSpan> = Vec::new();
    for next in Tokenizer::new(&DIALECT, text).tokenize_with_location()? {
        let last = tokens.last_mut().filter(|last| {
            last.token == Token::Placeholder("?".to_owned()) && last.span.end == next.span.start
        });
        match (last, &next.token) {
            (Some(last), Token::Pipe) => last.token = Token::QuestionPipe,
            (Some(last), Token::Ampersand) => last.token = Token::QuestionAnd,
            _ => tokens.push(next),
        }
    }
    for token in &mut tokens {
        if token.token == Token::Placeholder("?".to_owned()) {
            token.token = Token::Question;
        }
    }
    let first = tokens.iter().find(|token| !matches!(token.token, Token::Whitespace(_)));
    let is_from =
        |token: &Token| matches!(token, Token::Word(word) if word.keyword == Keyword::FROM);
    if let Some(span) = first.filter(|first| is_from(&first.token)).map(|first| first.span) {
        let mut depth = 0;
        for token in &mut tokens {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                // An or of bits needs parentheses.
                Token::Pipe if depth == 0 => token.token = Token::VerticalBarRightAngleBracket,
                _ => {}
            }
        }
        let words = [Token::make_keyword("select"), Token::Mul];
        tokens.splice(0..0, words.map(|token| TokenWithSpan { token, span }));
    }
    Ok(tokens)
}

/// Turns sqlparser's lines and columns, both from 1 and in characters, into bytes of the whole text.
///
/// Places are asked for in ascending order, mostly, so the walk goes on from the place before.
struct Places<'a> {
    part: &'a str,
    offset: usize,
    /// Line, column and byte of the place before.
    last: (u64, u64, usize),
}

impl<'a> Places<'a> {
    fn new(part: &'a str, offset: usize) -> Self {
        Self { part, offset, last: (1, 1, 0) }
    }

    fn byte(&mut self, location: Location) -> usize {
        if (location.line, location.column) < (self.last.0, self.last.1) {
            self.last = (1, 1, 0);
        }
        let (mut line, mut column, mut byte) = self.last;
        for letter in self.part[byte..].chars() {
            if (line, column) >= (location.line, location.column) {
                break;
            }
            byte += letter.len_utf8();
            (line, column) = if letter == '\n' { (line + 1, 1) } else { (line, column + 1) };
        }
        self.last = (line, column, byte);
        self.offset + byte
    }
}

/// A parser over lexemes; every place that it names is a byte of the user's text.
pub(crate) fn parser(lexemes: &[Lexeme], end: usize) -> Parser<'static> {
    let location = |byte: usize| Location { line: 1, column: byte as u64 + 1 };
    let place = |span: &Range<usize>| Span { start: location(span.start), end: location(span.end) };
    let mut tokens: Vec<_> = lexemes
        .iter()
        .map(|lexeme| TokenWithSpan { token: lexeme.token.clone(), span: place(&lexeme.span) })
        .collect();
    tokens.push(TokenWithSpan { token: Token::EOF, span: place(&(end..end)) });
    Parser::new(&DIALECT).with_tokens_with_locations(tokens)
}

/// The bytes of the user's text that a span of the syntax tree covers; `None` for a span of something implied.
pub(crate) fn bytes_of(span: Span) -> Option<Range<usize>> {
    let byte = |location: Location| usize::try_from(location.column.checked_sub(1)?).ok();
    (span.start.line == 1).then_some(byte(span.start)?..byte(span.end)?)
}

/// Turns sqlparser's error into a problem at the place that it names.
pub(crate) fn syntax_problem(error: ParserError, lexemes: &[Lexeme], end: usize) -> Problem {
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
        ParserError::RecursionLimitExceeded => {
            let span = lexemes.first().map_or(end, |first| first.span.start)..end;
            return Problem::new(
                codes::TOO_LARGE,
                span,
                "the query is nested too deeply",
                "in here",
            )
            .with_help("name parts of it with `create view` or `with`");
        }
    };
    let (message, at) = match message.rsplit_once(" at Line: 1, Column: ") {
        Some((message, column)) => {
            (message, column.trim().parse::<usize>().map_or(end, |column| column.saturating_sub(1)))
        }
        None => (message.as_str(), end),
    };
    let found = lexemes.iter().find(|lexeme| lexeme.span.start == at && !lexeme.span.is_empty());
    let span = found.map_or(at..at, |lexeme| lexeme.span.clone());
    let (expected, _) = message.split_once(", found").unwrap_or((message, ""));
    let expected = lower_first(expected).replace("expected: ", "expected ");
    let found = found.map_or("the end".to_owned(), |lexeme| format!("`{}`", lexeme.text));
    let message = format!("{expected}, found {found}");
    let at = lexemes.iter().position(|lexeme| lexeme.span.start == at);
    let help = at.and_then(|at| misspelt(&lexemes[at.saturating_sub(1)..=at]));
    Problem { help, ..Problem::new(codes::SYNTAX, span, message, expected) }
}

/// The keyword that one of the words may have been meant as; a misspelt one was read as a name.
fn misspelt(words: &[Lexeme]) -> Option<String> {
    const CLAUSES: [&str; 8] =
        ["select", "from", "where", "group", "having", "order", "limit", "join"];
    let near = |word: &Lexeme| {
        let near = nearest(&word.name()?, &CLAUSES)?;
        (near != word.text).then(|| format!("did you mean {near} instead of {}?", word.text))
    };
    words.iter().find_map(near)
}

/// The span of several lexemes together.
pub(crate) fn span_of(lexemes: &[Lexeme]) -> Option<Range<usize>> {
    Some(lexemes.first()?.span.start..lexemes.last()?.span.end)
}

pub(crate) fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_lowercase().to_string());
    first.unwrap_or_default() + characters.as_str()
}
