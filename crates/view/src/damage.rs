//! `evert.damage`: what of the log is not as it was written.
//!
//! It is no function of the log's prefix, but says how its bytes are: so it has no Time of its own, and its rows are
//! replaced as a whole when the process that scrubs the log knows more. Like `evert.errors`, nobody names it in a script;
//! it stands behind all views and is not listed among them.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use change::{ChangeBatch, Time};

use crate::error::ViewError;
use crate::page::Collection;
use crate::store::ViewInfo;

/// The name by which damage of the log is read.
pub const DAMAGE: &str = "evert.damage";

/// The columns of [`DAMAGE`], of which the first three are its key.
static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let zone = Some("UTC".into());
    let columns = [
        ("file", DataType::Utf8),
        ("offset", DataType::UInt64),
        ("problem", DataType::Utf8),
        ("bytes", DataType::UInt64),
        ("first_time", DataType::Int64),
        ("last_time", DataType::Int64),
        ("tables", DataType::Utf8),
        ("since", DataType::Timestamp(TimeUnit::Microsecond, zone)),
        ("repair", DataType::Utf8),
    ];
    let fields = columns.map(|(name, kind)| Field::new(name, kind, true));
    Arc::new(Schema::new(fields.to_vec()))
});

/// Bytes of the log that are not as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamageRow {
    /// The file, below the log's directory.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The first and the last transaction that it is about, when that is known.
    pub times: Option<(Time, Time)>,
    /// The tables that the bytes belong to, as far as is known.
    pub tables: Vec<String>,
    /// What is wrong.
    pub problem: String,
    /// When it was found, in microseconds since 1970 UTC.
    pub since_us: i64,
    /// What repairs it.
    pub repair: String,
}

/// What is known of [`DAMAGE`].
#[must_use]
pub fn damage_info() -> ViewInfo {
    let (name, schema) = (DAMAGE.to_owned(), Arc::clone(&SCHEMA));
    ViewInfo { name, schema, key: vec![0, 1, 2], order: Vec::new() }
}

/// The rows of [`DAMAGE`].
///
/// # Errors
/// When Arrow cannot hold them.
pub fn damage_rows(rows: &[DamageRow]) -> Result<RecordBatch, ArrowError> {
    let text = |of: fn(&DamageRow) -> String| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(of(row))).collect::<StringArray>())
    };
    let number = |of: fn(&DamageRow) -> u64| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(of(row))).collect::<UInt64Array>())
    };
    let time = |of: fn((Time, Time)) -> Time| -> ArrayRef {
        let time = |row: &DamageRow| i64::try_from(of(row.times?).0).ok();
        Arc::new(rows.iter().map(time).collect::<Int64Array>())
    };
    let since: TimestampMicrosecondArray = rows.iter().map(|row| Some(row.since_us)).collect();
    let columns = vec![
        text(|row| row.file.clone()),
        number(|row| row.offset),
        text(|row| row.problem.clone()),
        number(|row| row.bytes),
        time(|(first, _)| first),
        time(|(_, last)| last),
        text(|row| row.tables.join(", ")),
        Arc::new(since.with_timezone("UTC")) as ArrayRef,
        text(|row| row.repair.clone()),
    ];
    RecordBatch::try_new(Arc::clone(&SCHEMA), columns)
}

/// The rows as a collection that views hold.
pub(crate) fn collection(rows: &[DamageRow]) -> Result<Collection, ViewError> {
    let mut all = Collection::new(Arc::clone(&SCHEMA));
    all.apply(&ChangeBatch::inserts(damage_rows(rows)?))?;
    Ok(all)
}
