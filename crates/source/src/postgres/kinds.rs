//! PostgreSQL's types and the columns that hold them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use change::{text_of_type, with_logical_type};

/// The digits of an unconstrained `numeric` that are kept: 58 before the point and 18 behind it.
const NUMERIC: DataType = DataType::Decimal256(76, 18);
/// The most digits of a `Decimal128`.
const DECIMAL128_DIGITS_MAX: i32 = 38;
/// What a type modifier counts besides its own bits.
const MODIFIER_HEADER: i32 = 4;
/// Types inside types, at most; the catalogue of a sane server never comes near it.
const DEPTH_MAX: u32 = 16;

/// A supported type, as its values are decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `boolean`.
    Bool,
    /// `smallint`.
    Int16,
    /// `integer`.
    Int32,
    /// `bigint`.
    Int64,
    /// `real`.
    Float32,
    /// `double precision`.
    Float64,
    /// `numeric(p,s)` of at most 38 digits.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits behind the point.
        scale: i8,
    },
    /// Any other `numeric`.
    Numeric,
    /// `text`, `varchar`, `name`, and with a logical type `enum` and `json`.
    Text(Option<&'static str>),
    /// `char(n)`; without a length, whatever it has.
    Char(Option<i32>),
    /// `jsonb`.
    Jsonb,
    /// `uuid`.
    Uuid,
    /// `bytea`.
    Bytes,
    /// `date`.
    Date,
    /// `time`.
    Time,
    /// `timestamp`.
    Timestamp,
    /// `timestamptz`.
    TimestampTz,
    /// `interval`.
    Interval,
    /// `oid`.
    Oid,
    /// `"char"`: one byte.
    Letter,
    /// A type that only PostgreSQL knows, by its name: its values are kept as their text.
    Other(Arc<str>),
    /// An array of one dimension.
    List(Box<Self>),
}

impl Kind {
    /// Whether the server must send its values as text.
    pub(crate) fn is_sent_as_text(&self) -> bool {
        match self {
            Self::Other(_) => true,
            Self::List(item) => item.is_sent_as_text(),
            Self::Bool
            | Self::Int16
            | Self::Int32
            | Self::Int64
            | Self::Float32
            | Self::Float64
            | Self::Decimal { .. }
            | Self::Numeric
            | Self::Text(_)
            | Self::Char(_)
            | Self::Jsonb
            | Self::Uuid
            | Self::Bytes
            | Self::Date
            | Self::Time
            | Self::Timestamp
            | Self::TimestampTz
            | Self::Interval
            | Self::Oid
            | Self::Letter => false,
        }
    }

    /// The Arrow type of its values.
    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 | Self::Oid => DataType::Int64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale),
            Self::Numeric => NUMERIC,
            Self::Text(_)
            | Self::Char(_)
            | Self::Jsonb
            | Self::Uuid
            | Self::Letter
            | Self::Other(_) => DataType::Utf8,
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Self::Bytes => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::List(item) => {
                DataType::List(Arc::new(Field::new("item", item.data_type(), true)))
            }
        }
    }

    /// What Arrow's type leaves out; of an array, with `[]` behind it.
    fn logical(&self) -> Option<String> {
        match self {
            Self::Text(logical) => logical.map(str::to_owned),
            Self::Jsonb => Some("jsonb".to_owned()),
            Self::Uuid => Some("uuid".to_owned()),
            Self::Numeric => Some("numeric".to_owned()),
            Self::Decimal { precision, scale } => Some(format!("numeric({precision},{scale})")),
            Self::Char(Some(length)) => Some(format!("bpchar({length})")),
            Self::Char(None) => Some("bpchar".to_owned()),
            Self::Other(name) => Some(text_of_type(name)),
            Self::List(item) => item.logical().map(|logical| format!("{logical}[]")),
            Self::Bool
            | Self::Int16
            | Self::Int32
            | Self::Int64
            | Self::Float32
            | Self::Float64
            | Self::Bytes
            | Self::Date
            | Self::Time
            | Self::Timestamp
            | Self::TimestampTz
            | Self::Interval
            | Self::Oid
            | Self::Letter => None,
        }
    }

    /// The column of that name.
    pub(crate) fn field(&self, name: &str) -> Field {
        let field = Field::new(name, self.data_type(), true);
        match self.logical() {
            Some(logical) => with_logical_type(field, &logical),
            None => field,
        }
    }
}

/// What the server's `pg_type` says of a type that is made of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Derived {
    /// An enum.
    Enum,
    /// An array of that type.
    Array(u32),
    /// A domain over that type, with its type modifier.
    Domain(u32, i32),
}

/// The server's types beside those that are built in, by object id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Types {
    derived: BTreeMap<u32, Derived>,
    /// The names of columns' types, by object id and type modifier.
    names: BTreeMap<(u32, i32), Arc<str>>,
}

impl Types {
    /// Notes a type.
    pub(crate) fn insert(&mut self, oid: u32, derived: Derived) {
        self.derived.insert(oid, derived);
    }

    /// Notes what the server calls a type that a column has, or a domain is made of.
    pub(crate) fn name(&mut self, oid: u32, modifier: i32, name: &str) {
        self.names.insert((oid, modifier), name.into());
    }

    /// Returns how values of a type are decoded; `None` when it is the type of no column that was looked at.
    pub(crate) fn resolve(&self, oid: u32, modifier: i32) -> Option<Kind> {
        let named = || self.names.get(&(oid, modifier)).map(|name| Kind::Other(Arc::clone(name)));
        self.resolve_at(oid, modifier, 0).or_else(named)
    }

    fn resolve_at(&self, oid: u32, modifier: i32, depth: u32) -> Option<Kind> {
        if let Some(kind) = built_in(oid, modifier) {
            return Some(kind);
        }
        if depth == DEPTH_MAX {
            return None;
        }
        let name = self.names.get(&(oid, modifier));
        match self.derived.get(&oid) {
            None => name.map(|name| Kind::Other(Arc::clone(name))),
            Some(Derived::Enum) => Some(Kind::Text(Some("enum"))),
            Some(&Derived::Domain(base, modifier)) => self.resolve_at(base, modifier, depth + 1),
            Some(&Derived::Array(item)) => {
                let item = self.resolve_at(item, modifier, depth + 1).or_else(|| {
                    let item = name?.strip_suffix("[]")?;
                    Some(Kind::Other(item.into()))
                })?;
                // An array of a domain over an array would be two lists in one, which nobody asked for yet.
                (!matches!(item, Kind::List(_))).then(|| Kind::List(Box::new(item)))
            }
        }
    }
}

/// The types whose object ids are the same in every server.
fn built_in(oid: u32, modifier: i32) -> Option<Kind> {
    Some(match oid {
        16 => Kind::Bool,
        17 => Kind::Bytes,
        18 => Kind::Letter,
        20 => Kind::Int64,
        21 => Kind::Int16,
        23 => Kind::Int32,
        19 | 25 | 1043 => Kind::Text(None),
        26 => Kind::Oid,
        114 => Kind::Text(Some("json")),
        700 => Kind::Float32,
        701 => Kind::Float64,
        1042 => Kind::Char(modifier.checked_sub(MODIFIER_HEADER).filter(|&length| length > 0)),
        1082 => Kind::Date,
        1083 => Kind::Time,
        1114 => Kind::Timestamp,
        1184 => Kind::TimestampTz,
        1186 => Kind::Interval,
        1700 => numeric(modifier),
        2950 => Kind::Uuid,
        3802 => Kind::Jsonb,
        _ => return None,
    })
}

/// `numeric` with its type modifier: precision in the upper 16 bits, scale (signed, 11 bits) in the lower.
fn numeric(modifier: i32) -> Kind {
    let Some(packed) = modifier.checked_sub(MODIFIER_HEADER).filter(|&packed| packed >= 0) else {
        return Kind::Numeric;
    };
    let scale = ((packed & 0x7ff) ^ 1024) - 1024;
    // A negative scale means zeros before the point; a scale above the precision, zeros behind it.
    let whole_digits = (packed >> 16 & 0xffff) - scale;
    let scale = scale.max(0);
    let precision = whole_digits.max(0) + scale;
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision), Ok(scale)) if i32::from(precision) <= DECIMAL128_DIGITS_MAX => {
            Kind::Decimal { precision: precision.max(1), scale }
        }
        _ => Kind::Numeric,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modifier(precision: i32, scale: i32) -> i32 {
        (precision << 16 | scale & 0x7ff) + 4
    }

    #[test]
    fn a_numeric_keeps_its_digits_whatever_its_modifier() {
        assert_eq!(numeric(-1), Kind::Numeric);
        assert_eq!(numeric(modifier(12, 2)), Kind::Decimal { precision: 12, scale: 2 });
        assert_eq!(numeric(modifier(38, 38)), Kind::Decimal { precision: 38, scale: 38 });
        assert_eq!(numeric(modifier(39, 2)), Kind::Numeric);
        assert_eq!(numeric(modifier(3, -2)), Kind::Decimal { precision: 5, scale: 0 });
        assert_eq!(numeric(modifier(2, 5)), Kind::Decimal { precision: 5, scale: 5 });
    }

    #[test]
    fn domains_and_arrays_resolve_to_what_they_are_made_of() {
        let mut types = Types::default();
        types.insert(90_001, Derived::Domain(1700, modifier(10, 2)));
        types.insert(90_002, Derived::Array(90_001));
        types.insert(90_003, Derived::Enum);
        types.insert(90_004, Derived::Domain(90_004, -1));
        let decimal = Kind::Decimal { precision: 10, scale: 2 };
        assert_eq!(types.resolve(90_001, -1), Some(decimal.clone()));
        assert_eq!(types.resolve(90_002, -1), Some(Kind::List(Box::new(decimal))));
        assert_eq!(types.resolve(90_003, -1), Some(Kind::Text(Some("enum"))));
        assert_eq!(types.resolve(90_004, -1), None, "a circle ends");
        assert_eq!(types.resolve(600, -1), None, "a point that nobody has named");
    }

    #[test]
    fn what_is_not_known_is_text_of_its_name() {
        let mut types = Types::default();
        types.insert(1041, Derived::Array(869));
        types.name(869, -1, "inet");
        types.name(1041, -1, "inet[]");
        types.name(1020, -1, "box[]");
        types.name(1560, 3, "bit(3)");
        let other = |name: &str| Kind::Other(name.into());
        assert_eq!(types.resolve(869, -1), Some(other("inet")));
        assert_eq!(types.resolve(1041, -1), Some(Kind::List(Box::new(other("inet")))));
        assert_eq!(
            types.resolve(1020, -1),
            Some(other("box[]")),
            "its items are cut by semicolons"
        );
        assert_eq!(types.resolve(1560, 3), Some(other("bit(3)")));
        assert_eq!(types.resolve(1560, 4), None, "a length that no column has");
        assert!(types.resolve(1041, -1).is_some_and(|kind| kind.is_sent_as_text()));
    }
}
