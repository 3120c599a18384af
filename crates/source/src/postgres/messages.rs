//! The decoder of pgoutput alone, for measuring it: messages in, groups out, without a server and a log.

use std::sync::Arc;

use arrow::datatypes::DataType;
use change::{TableSchema, TransactionGroup};

use super::decode::{Decoder, Target};
use super::kinds::{Kind, Types};
use crate::SourceError;

/// Decodes messages about tables of integers and texts in the schema `public`.
#[derive(Debug)]
pub struct MessageDecoder(Decoder);

impl MessageDecoder {
    /// Begins before the first message.
    ///
    /// # Panics
    /// When a column is neither `Int64` nor `Utf8`.
    #[must_use]
    pub fn new(source: &str, tables: &[Arc<TableSchema>]) -> Self {
        let targets = tables.iter().map(target).collect();
        Self(Decoder::new(Arc::from(source), targets, Types::default(), 0))
    }

    /// Takes in one message.
    ///
    /// # Errors
    /// When it is not pgoutput's, or does not fit the tables.
    pub fn feed(&mut self, message: &[u8]) -> Result<(), SourceError> {
        self.0.feed(message).map(drop)
    }

    /// Returns the transactions that have gathered.
    pub fn cut(&mut self) -> Vec<TransactionGroup> {
        self.0.gather().cut()
    }
}

fn target(table: &Arc<TableSchema>) -> Target {
    let kind = |data_type: &DataType| {
        let kinds = [Kind::Int64, Kind::Text(None)];
        let found = kinds.into_iter().find(|kind| kind.data_type() == *data_type);
        found.expect("columns are integers or texts")
    };
    let fields = table.columns().fields().iter();
    Target {
        schema: Arc::clone(table),
        kinds: fields.map(|field| kind(field.data_type())).collect(),
        namespace: "public".to_owned(),
        name: table.name().table.to_string(),
    }
}
