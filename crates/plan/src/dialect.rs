//! PostgreSQL's words, signs and bindings, and pipes.
//!
//! sqlparser's own dialect of PostgreSQL has no pipes, and its dialect that has everything binds operators otherwise:
//! `a ^ b` is an exclusive or there. Operators of several signs are those that sqlparser knows; `a<-1` stays two.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator};
use datafusion::sql::sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// The dialect of all texts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EvertDialect;

const POSTGRES: PostgreSqlDialect = PostgreSqlDialect {};

impl Dialect for EvertDialect {
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    fn is_delimited_identifier_start(&self, letter: char) -> bool {
        POSTGRES.is_delimited_identifier_start(letter)
    }

    fn is_identifier_start(&self, letter: char) -> bool {
        POSTGRES.is_identifier_start(letter)
    }

    fn is_identifier_part(&self, letter: char) -> bool {
        POSTGRES.is_identifier_part(letter)
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        POSTGRES.is_reserved_for_identifier(keyword)
    }

    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        POSTGRES.get_next_precedence(parser)
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        POSTGRES.prec_value(precedence)
    }

    /// A sign binds tighter than `^`: `-2 ^ 2` is 4.
    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        if !parser.consume_token(&Token::Minus) {
            return None;
        }
        let inner = parser.parse_subexpr(self.prec_value(Precedence::Caret));
        let negative = |inner| Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(inner) };
        Some(inner.map(negative))
    }

    /// `is distinct from` and `between symmetric`, which sqlparser reads wrongly or not at all.
    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        left: &Expr,
        _precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        let distinct = [Keyword::IS, Keyword::DISTINCT, Keyword::FROM];
        let not_distinct = [Keyword::IS, Keyword::NOT, Keyword::DISTINCT, Keyword::FROM];
        let is = self.prec_value(Precedence::Is);
        if parser.parse_keywords(&distinct) {
            let right = parser.parse_subexpr(is);
            let left = Box::new(left.clone());
            return Some(right.map(|right| Expr::IsDistinctFrom(left, Box::new(right))));
        }
        if parser.parse_keywords(&not_distinct) {
            let right = parser.parse_subexpr(is);
            let left = Box::new(left.clone());
            return Some(right.map(|right| Expr::IsNotDistinctFrom(left, Box::new(right))));
        }
        if parser.parse_keywords(&[Keyword::BETWEEN, Keyword::SYMMETRIC]) {
            return Some(self.symmetric(parser, left));
        }
        None
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_string_escape_constant(&self) -> bool {
        true
    }

    fn supports_numeric_literal_underscores(&self) -> bool {
        true
    }

    fn supports_nested_comments(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_group_by_with_modifier(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn allow_extract_single_quotes(&self) -> bool {
        true
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }

    fn supports_interval_options(&self) -> bool {
        true
    }

    fn supports_empty_projections(&self) -> bool {
        true
    }

    fn supports_from_first_select(&self) -> bool {
        true
    }

    fn supports_pipe_operator(&self) -> bool {
        true
    }

    fn supports_left_associative_joins_without_parens(&self) -> bool {
        true
    }

    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }

    fn supports_select_wildcard_except(&self) -> bool {
        true
    }

    fn supports_select_wildcard_exclude(&self) -> bool {
        true
    }

    fn supports_select_wildcard_replace(&self) -> bool {
        true
    }

    fn supports_select_wildcard_rename(&self) -> bool {
        true
    }

    fn supports_select_wildcard_ilike(&self) -> bool {
        true
    }

    fn supports_limit_comma(&self) -> bool {
        true
    }

    fn supports_explain_with_utility_options(&self) -> bool {
        true
    }

    fn supports_insert_table_alias(&self) -> bool {
        true
    }

    fn supports_asc_desc_in_column_definition(&self) -> bool {
        true
    }
}

impl EvertDialect {
    /// `between symmetric a and b`: between the lesser and the greater.
    fn symmetric(self, parser: &mut Parser<'_>, left: &Expr) -> Result<Expr, ParserError> {
        let between = self.prec_value(Precedence::Between);
        let low = parser.parse_subexpr(between)?;
        parser.expect_keyword_is(Keyword::AND)?;
        let high = parser.parse_subexpr(between)?;
        let one = |low: &Expr, high: &Expr| Expr::Between {
            expr: Box::new(left.clone()),
            negated: false,
            low: Box::new(low.clone()),
            high: Box::new(high.clone()),
        };
        let (as_written, turned) = (Box::new(one(&low, &high)), Box::new(one(&high, &low)));
        let either = Expr::BinaryOp { left: as_written, op: BinaryOperator::Or, right: turned };
        Ok(Expr::Nested(Box::new(either)))
    }
}
