//! Kinds of columns that random SQL text tells apart.

use arrow::datatypes::DataType;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Small,
    Int,
    Float,
    Decimal,
    Text,
    Bool,
    Date,
    Local,
    Zoned,
    /// It is shown, and nothing else: mostly a number whose last bits are not certain.
    Shown,
}

impl Kind {
    pub(crate) const USED: [Self; 9] = [
        Self::Small,
        Self::Int,
        Self::Float,
        Self::Decimal,
        Self::Text,
        Self::Bool,
        Self::Date,
        Self::Local,
        Self::Zoned,
    ];

    pub(crate) fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Int32 => Self::Small,
            DataType::Int64 => Self::Int,
            DataType::Float64 => Self::Float,
            DataType::Decimal128(..) => Self::Decimal,
            DataType::Utf8 => Self::Text,
            DataType::Boolean => Self::Bool,
            DataType::Date32 => Self::Date,
            DataType::Timestamp(_, None) => Self::Local,
            DataType::Timestamp(_, Some(_)) => Self::Zoned,
            other => panic!("no kind for {other}"),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Small => "int",
            Self::Int => "bigint",
            Self::Float | Self::Shown => "double precision",
            Self::Decimal => "numeric(20, 2)",
            Self::Text => "text",
            Self::Bool => "boolean",
            Self::Date => "date",
            Self::Local => "timestamp",
            Self::Zoned => "timestamptz",
        }
    }

    pub(crate) fn is_number(self) -> bool {
        matches!(self, Self::Small | Self::Int | Self::Float | Self::Decimal)
    }
}
