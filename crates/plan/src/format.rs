//! The canonical form of a query: one clause or stage a line, keywords in lower case, comments left out.
//!
//! Invariant: the canonical form has the same tokens as the query, so it means the same, and its own canonical form is
//! itself.

#![allow(clippy::wildcard_enum_match_arm, reason = "keywords are sqlparser's")]

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::lex::Lexeme;

/// Writes a query's lexemes, the lines behind the first indented.
pub(crate) fn query(lexemes: &[Lexeme]) -> String {
    let mut text = String::new();
    let mut depth = 0;
    let mut in_stage = false;
    for (index, lexeme) in lexemes.iter().enumerate() {
        depth += lexeme.nesting();
        let is_pipe = lexeme.token == Token::VerticalBarRightAngleBracket;
        let before = index.checked_sub(1).map(|before| &lexemes[before]);
        let breaks = depth == 0
            && (is_pipe || (!in_stage && begins_clause(lexeme, before, lexemes.get(index + 1))));
        if breaks && !text.is_empty() {
            text.push_str("\n  ");
        } else if index > 0 && !lexeme.glued {
            text.push(' ');
        }
        in_stage |= is_pipe && depth == 0;
        text.push_str(&lexeme.text);
    }
    text
}

fn begins_clause(lexeme: &Lexeme, before: Option<&Lexeme>, after: Option<&Lexeme>) -> bool {
    let after_join_kind = before.is_some_and(|before| {
        ["left", "inner", "cross", "outer", "right", "full"].iter().any(|kind| before.is_word(kind))
    });
    match lexeme.keyword() {
        Some(Keyword::JOIN | Keyword::OUTER) => !after_join_kind && lexeme.is_word("join"),
        Some(Keyword::FROM) => !before.is_some_and(|before| before.is_word("distinct")),
        Some(Keyword::SELECT) => true,
        Some(Keyword::LEFT | Keyword::INNER | Keyword::CROSS | Keyword::RIGHT | Keyword::FULL) => {
            // Otherwise it is a function: `left(name, 3)`.
            after.is_some_and(|after| after.is_word("join") || after.is_word("outer"))
        }
        Some(
            Keyword::WHERE
            | Keyword::GROUP
            | Keyword::HAVING
            | Keyword::ORDER
            | Keyword::LIMIT
            | Keyword::OFFSET
            | Keyword::UNION,
        ) => true,
        _ => false,
    }
}
