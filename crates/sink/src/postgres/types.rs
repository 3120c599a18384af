//! Which PostgreSQL type a view's column has, and which columns of a table it can be stored in without loss.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "Arrow has many types of which PostgreSQL has a counterpart for some"
)]

use arrow::datatypes::{DataType, Field, IntervalUnit, SchemaRef};
use change::{is_char, kept_as_text, logical_type};
use tokio_postgres::types::Type;

use crate::SinkError;

/// A PostgreSQL type that we write in its binary form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// With or without a declared precision; without, zeros at the end are not significant.
    Numeric {
        /// The scale that is kept, zeros included; `None` writes the shortest form.
        scale: Option<i8>,
    },
    Text,
    Bytea,
    Uuid,
    Json,
    Jsonb,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
}

/// A view's column as PostgreSQL sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PgColumn {
    /// Its name.
    pub(super) name: String,
    /// Its type, or its elements' type.
    pub(super) scalar: Scalar,
    /// Whether it is a one-dimensional array.
    pub(super) array: bool,
    /// The type as `create table` says it.
    pub(super) declared: String,
    /// Whether the type is one that we know by name only, so that the target may lack it.
    pub(super) by_name: bool,
}

impl PgColumn {
    /// Returns the columns of a view.
    ///
    /// # Errors
    /// When a column's type has no counterpart.
    pub(super) fn of_schema(schema: &SchemaRef) -> Result<Vec<Self>, SinkError> {
        schema.fields().iter().map(|field| Self::of(field)).collect()
    }

    fn of(field: &Field) -> Result<Self, SinkError> {
        let unsupported = || SinkError::UnsupportedType {
            column: field.name().clone(),
            data_type: field.data_type().to_string(),
        };
        let named = |logical: Option<&str>| logical.is_some_and(|one| kept_as_text(one).is_some());
        let by_name = named(logical_type(field));
        let (scalar, declared, array) = match field.data_type() {
            DataType::List(item) | DataType::LargeList(item) => {
                let logical = logical_type(item).or_else(|| logical_type(field));
                let logical = logical.map(|logical| logical.trim_end_matches("[]"));
                let (scalar, declared) =
                    scalar_of(item.data_type(), logical).ok_or_else(unsupported)?;
                (scalar, format!("{declared}[]"), true)
            }
            data_type => {
                let (scalar, declared) =
                    scalar_of(data_type, logical_type(field)).ok_or_else(unsupported)?;
                (scalar, declared, false)
            }
        };
        Ok(Self { name: field.name().clone(), scalar, array, declared, by_name })
    }

    /// The type whose binary form we send.
    pub(super) fn wire(&self) -> Type {
        if self.array { self.scalar.array_wire() } else { self.scalar.wire() }
    }
}

fn scalar_of(data_type: &DataType, logical: Option<&str>) -> Option<(Scalar, String)> {
    let scalar = match data_type {
        DataType::Dictionary(_, value) => return scalar_of(value, logical),
        DataType::Boolean => Scalar::Bool,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => Scalar::Int2,
        DataType::UInt16 | DataType::Int32 => Scalar::Int4,
        DataType::UInt32 | DataType::Int64 => Scalar::Int8,
        DataType::UInt64 => return Some((Scalar::Numeric { scale: Some(0) }, "numeric".into())),
        DataType::Float16 | DataType::Float32 => Scalar::Float4,
        DataType::Float64 => Scalar::Float8,
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => return Some(decimal(data_type, *scale, logical)),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => match logical
        {
            Some("uuid") => Scalar::Uuid,
            Some("json") => Scalar::Json,
            Some("jsonb") => Scalar::Jsonb,
            Some(logical) => return Some((Scalar::Text, text_type(logical))),
            None => Scalar::Text,
        },
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => Scalar::Bytea,
        DataType::Date32 | DataType::Date64 => Scalar::Date,
        DataType::Time32(_) | DataType::Time64(_) => Scalar::Time,
        DataType::Timestamp(_, None) => Scalar::Timestamp,
        DataType::Timestamp(_, Some(_)) => Scalar::Timestamptz,
        DataType::Interval(IntervalUnit::MonthDayNano) => Scalar::Interval,
        _ => return None,
    };
    Some((scalar, scalar.wire().name().to_owned()))
}

/// The type of a column that is text to us.
fn text_type(logical: &str) -> String {
    match kept_as_text(logical) {
        Some(name) => name.to_owned(),
        // `bpchar(5)` is no way to write it.
        None if is_char(logical) => logical.replacen("bpchar(", "character(", 1),
        None => "text".to_owned(),
    }
}

fn decimal(data_type: &DataType, scale: i8, logical: Option<&str>) -> (Scalar, String) {
    // The type in which sources keep numerics without a declared scale, and what is computed from them.
    let unconstrained = logical == Some("numeric")
        || (logical.is_none() && matches!(data_type, DataType::Decimal256(76, 18)));
    let scale = if unconstrained { None } else { Some(scale) };
    (Scalar::Numeric { scale }, logical.unwrap_or("numeric").to_owned())
}

impl Scalar {
    /// The type itself.
    pub(super) fn wire(self) -> Type {
        match self {
            Self::Bool => Type::BOOL,
            Self::Int2 => Type::INT2,
            Self::Int4 => Type::INT4,
            Self::Int8 => Type::INT8,
            Self::Float4 => Type::FLOAT4,
            Self::Float8 => Type::FLOAT8,
            Self::Numeric { .. } => Type::NUMERIC,
            Self::Text => Type::TEXT,
            Self::Bytea => Type::BYTEA,
            Self::Uuid => Type::UUID,
            Self::Json => Type::JSON,
            Self::Jsonb => Type::JSONB,
            Self::Date => Type::DATE,
            Self::Time => Type::TIME,
            Self::Timestamp => Type::TIMESTAMP,
            Self::Timestamptz => Type::TIMESTAMPTZ,
            Self::Interval => Type::INTERVAL,
        }
    }

    /// The type of its arrays.
    fn array_wire(self) -> Type {
        match self {
            Self::Bool => Type::BOOL_ARRAY,
            Self::Int2 => Type::INT2_ARRAY,
            Self::Int4 => Type::INT4_ARRAY,
            Self::Int8 => Type::INT8_ARRAY,
            Self::Float4 => Type::FLOAT4_ARRAY,
            Self::Float8 => Type::FLOAT8_ARRAY,
            Self::Numeric { .. } => Type::NUMERIC_ARRAY,
            Self::Text => Type::TEXT_ARRAY,
            Self::Bytea => Type::BYTEA_ARRAY,
            Self::Uuid => Type::UUID_ARRAY,
            Self::Json => Type::JSON_ARRAY,
            Self::Jsonb => Type::JSONB_ARRAY,
            Self::Date => Type::DATE_ARRAY,
            Self::Time => Type::TIME_ARRAY,
            Self::Timestamp => Type::TIMESTAMP_ARRAY,
            Self::Timestamptz => Type::TIMESTAMPTZ_ARRAY,
            Self::Interval => Type::INTERVAL_ARRAY,
        }
    }
}

/// A column of an existing table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TargetType {
    /// The type's name without length or precision, as SQL writes it.
    pub(super) name: String,
    /// The type as its table declares it.
    pub(super) declared: String,
    /// `pg_attribute.atttypmod`: −1 when nothing was declared.
    pub(super) modifier: i32,
}

/// Whether every value of `column` is stored in `target` as it is, or refused by PostgreSQL; never changed silently.
pub(super) fn is_assignable(column: &PgColumn, target: &TargetType) -> bool {
    let name = target.name.as_str();
    if column.array {
        return match column.scalar {
            // PostgreSQL reads the items, or says that it cannot.
            Scalar::Text => name.ends_with("[]"),
            scalar => {
                let keeps = |places| scale_of(target.modifier) >= i32::from(places);
                let fits = match scalar {
                    Scalar::Numeric { scale: Some(scale) } => keeps(scale),
                    _ => false,
                };
                name == format!("{}[]", sql_name(scalar)) && (target.modifier == -1 || fits)
            }
        };
    }
    match column.scalar {
        // PostgreSQL reads text into any type, or says that it cannot.
        Scalar::Text => true,
        Scalar::Int2 => matches!(name, "smallint" | "integer" | "bigint" | "numeric" | "text"),
        // A narrower integer refuses what it cannot hold.
        Scalar::Int4 | Scalar::Int8 => {
            matches!(name, "smallint" | "integer" | "bigint" | "text")
                || (name == "numeric" && (target.modifier == -1 || scale_of(target.modifier) >= 0))
        }
        Scalar::Float4 => matches!(name, "real" | "double precision" | "text"),
        Scalar::Numeric { scale } => match (name, scale) {
            ("text", _) => true,
            ("numeric", _) if target.modifier == -1 => true,
            ("numeric", Some(scale)) => scale_of(target.modifier) >= i32::from(scale),
            _ => false,
        },
        Scalar::Time | Scalar::Timestamp | Scalar::Timestamptz => {
            name == "text" || (name == sql_name(column.scalar) && matches!(target.modifier, -1 | 6))
        }
        Scalar::Json | Scalar::Jsonb => matches!(name, "json" | "jsonb" | "text"),
        Scalar::Bool
        | Scalar::Float8
        | Scalar::Bytea
        | Scalar::Uuid
        | Scalar::Date
        | Scalar::Interval => name == sql_name(column.scalar) || name == "text",
    }
}

/// The type's name as `format_type` writes it.
pub(super) fn sql_name(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Bool => "boolean",
        Scalar::Int2 => "smallint",
        Scalar::Int4 => "integer",
        Scalar::Int8 => "bigint",
        Scalar::Float4 => "real",
        Scalar::Float8 => "double precision",
        Scalar::Numeric { .. } => "numeric",
        Scalar::Text => "text",
        Scalar::Bytea => "bytea",
        Scalar::Uuid => "uuid",
        Scalar::Json => "json",
        Scalar::Jsonb => "jsonb",
        Scalar::Date => "date",
        Scalar::Time => "time without time zone",
        Scalar::Timestamp => "timestamp without time zone",
        Scalar::Timestamptz => "timestamp with time zone",
        Scalar::Interval => "interval",
    }
}

/// The scale in a numeric's `atttypmod`: its low eleven bits, signed.
fn scale_of(modifier: i32) -> i32 {
    ((((modifier - 4) & 0x7ff) ^ 1_024) - 1_024).clamp(-1_000, 1_000)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::TimeUnit;
    use change::with_logical_type;

    use super::*;

    fn declared(field: Field) -> String {
        PgColumn::of(&field).unwrap().declared
    }

    #[test]
    fn a_created_column_has_the_type_that_the_source_had() {
        let text = |logical| with_logical_type(Field::new("c", DataType::Utf8, true), logical);
        assert_eq!(declared(text("uuid")), "uuid");
        assert_eq!(declared(text("jsonb")), "jsonb");
        assert_eq!(declared(text("enum")), "text");
        assert_eq!(declared(text("text:bit(3)")), "bit(3)");
        assert_eq!(declared(text("bpchar(5)")), "character(5)");
        assert_eq!(declared(text("bpchar")), "bpchar");
        let of = |data_type| declared(Field::new("c", data_type, true));
        assert_eq!(
            of(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
            "timestamptz"
        );
        assert_eq!(of(DataType::Decimal128(30, 2)), "numeric");
        let list = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
        let list = with_logical_type(Field::new("c", list, true), "text:inet[]");
        assert_eq!(declared(list), "inet[]");
        let item = Arc::new(text("uuid"));
        assert_eq!(of(DataType::List(item)), "uuid[]");
        let price = Field::new("c", DataType::Decimal128(12, 2), true);
        assert_eq!(declared(with_logical_type(price, "numeric(12,2)")), "numeric(12,2)");
    }

    #[test]
    fn a_column_that_would_lose_digits_is_not_assignable() {
        let column = |data_type| PgColumn::of(&Field::new("c", data_type, true)).unwrap();
        let target = |name: &str, modifier| TargetType {
            name: name.to_owned(),
            declared: name.to_owned(),
            modifier,
        };
        // numeric(12,2) has the modifier ((12 << 16) | 2) + 4.
        let cents = target("numeric", ((12 << 16) | 2) + 4);
        assert!(is_assignable(&column(DataType::Decimal128(10, 2)), &cents));
        assert!(!is_assignable(&column(DataType::Decimal128(10, 3)), &cents));
        assert!(!is_assignable(&column(DataType::Float64), &target("real", -1)));
        assert!(is_assignable(&column(DataType::Int64), &target("integer", -1)));
        let at = column(DataType::Timestamp(TimeUnit::Microsecond, None));
        assert!(!is_assignable(&at, &target("timestamp without time zone", 0)));
        assert!(!is_assignable(&at, &target("timestamp with time zone", -1)));
        assert!(is_assignable(&column(DataType::Utf8), &target("mood", -1)));
    }
}
