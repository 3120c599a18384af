//! What a fuzzer does with arbitrary bytes: read them as values and as what the catalogue says of a table. The fuzz
//! targets call these functions, and so does a plain test. They panic when a promise is broken; on no bytes may they.

use crate::TableSchema;
use crate::read::{
    parse_array, parse_bool, parse_bytea, parse_clock, parse_date, parse_decimal128,
    parse_decimal256, parse_instant, parse_interval, parse_rounded128, parse_rounded256,
    parse_time, parse_timestamp, parse_timestamptz, parse_uuid,
};

/// Reads a text as a value of each type.
pub fn text(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    drop((parse_bool(text), parse_date(text), parse_time(text), parse_clock(text)));
    drop((parse_timestamp(text), parse_timestamptz(text), parse_instant(text)));
    drop((parse_interval(text), parse_bytea(text)));
    for (precision, scale) in [(38, 0), (12, 2), (38, 38), (5, -3)] {
        // What has no more digits than there is room for needs no rounding.
        if let Ok(exact) = parse_decimal128(text, precision, scale) {
            assert_eq!(parse_rounded128(text, precision, scale).ok(), Some(exact));
        }
        if let Ok(exact) = parse_decimal256(text, precision, scale) {
            assert_eq!(parse_rounded256(text, precision, scale).ok(), Some(exact));
        }
    }
    if let Ok(uuid) = parse_uuid(text) {
        assert_eq!(parse_uuid(&uuid).ok(), Some(uuid));
    }
    if let Ok(items) = parse_array(text) {
        assert!(items.len() <= text.len());
    }
}

/// Reads what the catalogue says of a table.
pub fn schema(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(schema) = TableSchema::from_json(text) {
        let again = TableSchema::from_json(&schema.to_json());
        assert_eq!(again.ok(), Some(schema));
    }
}
