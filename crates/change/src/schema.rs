//! Tables: their names, columns, keys, and the form in which their changes arrive.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

/// A table's full name: the source that owns it, and its name there.
///
/// `shop.orders` is table `orders` of source `shop`. A PostgreSQL table outside the schema `public` keeps its schema
/// in the name: `shop.audit.entries`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// The source that owns the table; `evert` for the tables of Evert itself.
    pub source: Arc<str>,
    /// The table's name within its source.
    pub table: Arc<str>,
}

impl TableName {
    /// Names a table of a source.
    #[must_use]
    pub fn new(source: &str, table: &str) -> Self {
        Self { source: source.into(), table: table.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.source, self.table)
    }
}

/// The form in which a table's changes arrive from its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeForm {
    /// Every change carries its whole row; diffs add up. (Files, generators, PostgreSQL's REPLICA IDENTITY FULL.)
    Exact,
    /// +1 sets the row with that key, −1 removes the row with that key and carries only the key's columns, the others
    /// being NULL. The dataflow's table input knows the old row and makes the changes exact.
    Upsert,
}

/// What is known of a table.
///
/// Invariant: `key` holds ascending column positions; an `Upsert` table has a key. Every column is nullable in the
/// Arrow schema, because a removed row carries only its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSchema {
    name: TableName,
    columns: SchemaRef,
    key: Vec<usize>,
    form: ChangeForm,
}

impl TableSchema {
    /// Describes a table.
    ///
    /// # Panics
    /// When the key names a column that is not there, is not ascending, or is empty for an `Upsert` table, or when a
    /// column is not nullable.
    #[must_use]
    pub fn new(name: TableName, columns: SchemaRef, key: Vec<usize>, form: ChangeForm) -> Self {
        assert!(key.iter().all(|&column| column < columns.fields().len()), "key within columns");
        assert!(key.is_sorted_by(|a, b| a < b), "key columns ascend");
        assert!(form == ChangeForm::Exact || !key.is_empty(), "an upsert table has a key");
        assert!(columns.fields().iter().all(|field| field.is_nullable()), "columns are nullable");
        Self { name, columns, key, form }
    }

    /// The table's full name.
    #[must_use]
    pub fn name(&self) -> &TableName {
        &self.name
    }

    /// The columns.
    #[must_use]
    pub fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    /// The primary key's column positions, ascending; empty when there is none.
    #[must_use]
    pub fn key(&self) -> &[usize] {
        &self.key
    }

    /// The form of its changes.
    #[must_use]
    pub fn form(&self) -> ChangeForm {
        self.form
    }
}

/// The field metadata that keeps the PostgreSQL type where Arrow's type says less.
///
/// Known values: `uuid`, `json`, `jsonb`, `enum`, `numeric` (unconstrained, stored as `Decimal256(76, 18)`),
/// `numeric(p,s)`, `bpchar(n)` (or `bpchar`), and `text:TYPE` of a column that holds the text of a type which only
/// PostgreSQL knows: `text:inet`. Of a list, its items' with `[]` behind. Absent means that the Arrow type says it all.
pub const LOGICAL_TYPE: &str = "evert:type";

/// Returns the field's PostgreSQL type where Arrow's type says less.
#[must_use]
pub fn logical_type(field: &Field) -> Option<&str> {
    field.metadata().get(LOGICAL_TYPE).map(String::as_str)
}

/// The type of PostgreSQL whose text a column of that logical type holds.
#[must_use]
pub fn kept_as_text(logical: &str) -> Option<&str> {
    logical.strip_prefix(KEPT_AS_TEXT)
}

/// The logical type of a column that holds the text of a type of PostgreSQL.
#[must_use]
pub fn text_of_type(name: &str) -> String {
    format!("{KEPT_AS_TEXT}{name}")
}

const KEPT_AS_TEXT: &str = "text:";

/// Whether a logical type is `char(n)`, whose blanks at the end count for nothing.
#[must_use]
pub fn is_char(logical: &str) -> bool {
    logical == "bpchar" || logical.starts_with("bpchar(")
}

/// Whether a column that was logged with one logical type is still what it was under another: what older versions did
/// not note is no change.
#[must_use]
pub fn is_same_logical_type(logged: Option<&str>, now: Option<&str>) -> bool {
    match (logged, now) {
        (None, Some(now)) => now.starts_with("numeric("),
        (Some("bpchar"), Some(now)) => is_char(now),
        (logged, now) => logged == now,
    }
}

/// Returns the field with its PostgreSQL type noted.
#[must_use]
pub fn with_logical_type(field: Field, logical: &str) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.insert(LOGICAL_TYPE.to_owned(), logical.to_owned());
    field.with_metadata(metadata)
}

/// A table's schema as the catalogue keeps it.
#[derive(Serialize, Deserialize)]
struct StoredTable {
    name: TableName,
    form: ChangeForm,
    key: Vec<usize>,
    columns: Vec<StoredColumn>,
}

#[derive(Serialize, Deserialize)]
struct StoredColumn {
    name: String,
    /// Arrow's own text form of the type, which it also parses.
    #[serde(rename = "type")]
    data_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    logical: Option<String>,
}

/// A stored schema that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoredSchemaError {
    /// It is not the JSON that we write.
    #[error("the stored table schema is not readable")]
    Json(#[from] serde_json::Error),
    /// A column's type has a name that Arrow does not know.
    #[error("the stored type of column {column} is not readable")]
    Type {
        /// The column.
        column: String,
        /// What Arrow says.
        source: arrow::error::ArrowError,
    },
    /// The key names columns that are not there, not in order, or none where one is needed.
    #[error("the stored key does not fit the stored columns")]
    Key,
}

impl TableSchema {
    /// Writes the schema as the catalogue keeps it: JSON, readable by people.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "names and numbers always serialize")]
    pub fn to_json(&self) -> String {
        let column = |field: &Arc<Field>| StoredColumn {
            name: field.name().clone(),
            data_type: field.data_type().to_string(),
            logical: logical_type(field).map(str::to_owned),
        };
        let stored = StoredTable {
            name: self.name.clone(),
            form: self.form,
            key: self.key.clone(),
            columns: self.columns.fields().iter().map(column).collect(),
        };
        serde_json::to_string(&stored).expect("names and numbers always serialize")
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// When it is not that JSON, or names a type that this version does not know.
    pub fn from_json(text: &str) -> Result<Self, StoredSchemaError> {
        let stored: StoredTable = serde_json::from_str(text)?;
        let mut fields = Vec::with_capacity(stored.columns.len());
        for column in stored.columns {
            let data_type = column.data_type.parse().map_err(|source| StoredSchemaError::Type {
                column: column.name.clone(),
                source,
            })?;
            let field = Field::new(column.name, data_type, true);
            fields.push(match column.logical {
                Some(logical) => with_logical_type(field, &logical),
                None => field,
            });
        }
        let within = stored.key.iter().all(|&column| column < fields.len());
        if !within
            || !stored.key.is_sorted_by(|a, b| a < b)
            || (stored.form == ChangeForm::Upsert && stored.key.is_empty())
        {
            return Err(StoredSchemaError::Key);
        }
        Ok(Self::new(stored.name, Arc::new(Schema::new(fields)), stored.key, stored.form))
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, TimeUnit};

    use super::*;

    #[test]
    fn a_stored_key_that_does_not_fit_is_an_error() {
        for (key, form) in [("[1]", "exact"), ("[0,0]", "exact"), ("[]", "upsert")] {
            let text = format!(
                r#"{{"name":{{"source":"s","table":"t"}},"form":"{form}","key":{key},"columns":[{{"name":"a","type":"Int64"}}]}}"#
            );
            let read = TableSchema::from_json(&text);
            assert!(matches!(read, Err(StoredSchemaError::Key)), "{key} {form}: {read:?}");
        }
    }

    #[test]
    fn what_was_not_noted_before_is_no_change() {
        for (logged, now, same) in [
            (None, Some("numeric(12,2)"), true),
            (None, Some("numeric(12,2)[]"), true),
            (None, Some("uuid"), false),
            (Some("bpchar"), Some("bpchar(5)"), true),
            (Some("bpchar(4)"), Some("bpchar(5)"), false),
            (Some("text:inet"), Some("text:cidr"), false),
            (Some("json"), None, false),
        ] {
            assert_eq!(is_same_logical_type(logged, now), same, "{logged:?} {now:?}");
        }
        assert_eq!(kept_as_text(&text_of_type("bit(3)")), Some("bit(3)"));
        assert_eq!(kept_as_text("uuid"), None);
    }

    #[test]
    fn a_schema_survives_the_catalogue() {
        let list = DataType::List(Arc::new(Field::new("item", DataType::Int32, true)));
        let fields = vec![
            Field::new("id", DataType::Int64, true),
            with_logical_type(Field::new("token", DataType::Utf8, true), "uuid"),
            Field::new("price", DataType::Decimal128(12, 2), true),
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
            Field::new("tags", list, true),
        ];
        let schema = TableSchema::new(
            TableName::new("shop", "orders"),
            Arc::new(Schema::new(fields)),
            vec![0],
            ChangeForm::Upsert,
        );
        assert_eq!(TableSchema::from_json(&schema.to_json()).unwrap(), schema);
    }
}
