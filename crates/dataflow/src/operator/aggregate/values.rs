//! The values of each group, in order, with their counts.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::extremes::Extremes;
use crate::arrangement::{Codec, Floats, Ordered, StateSize};

/// A multiset of values for each group.
///
/// A value is kept behind its group's number, so a group's values lie together. −0.0 and 0.0 are one value, and so are
/// all NaNs, which are greater than any number.
pub(super) enum Values {
    /// Values that are one word.
    Words(Extremes),
    /// All others.
    Bytes(Box<Encodings>),
}

/// Values as bytes that sort as they do.
pub(super) struct Encodings {
    codec: Codec,
    rows: Ordered,
    row: Vec<u8>,
}

const GROUP_BYTES: usize = 4;

impl Values {
    /// Keeps values of a type; `only_grows` when none ever goes and no one asks when one appears.
    pub(super) fn new(data_type: &DataType, only_grows: bool) -> Result<Self, ArrowError> {
        if let Some(extremes) = Extremes::new(data_type, only_grows) {
            return Ok(Self::Words(extremes));
        }
        let codec = Codec::new([data_type], Floats::Folded)?;
        Ok(Self::Bytes(Box::new(Encodings { codec, rows: Ordered::default(), row: Vec::new() })))
    }

    /// Adds each row's value as often as its weight says. If wanted, returns for each row 1 when its value appeared in
    /// its group by that, −1 when it went, else 0.
    pub(super) fn add(
        &mut self,
        groups: &[u32],
        column: &ArrayRef,
        (weights, tells): (&[i64], bool),
    ) -> Result<Vec<i64>, ArrowError> {
        match self {
            Self::Words(extremes) if tells => Ok(extremes.add_and_tell(groups, column, weights)),
            Self::Words(extremes) => {
                extremes.add(groups, column, weights);
                Ok(Vec::new())
            }
            Self::Bytes(encodings) => encodings.add(groups, column, weights),
        }
    }

    /// The least value of each group; NULL when it has none.
    pub(super) fn least(&self, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Words(extremes) => extremes.least(groups),
            Self::Bytes(encodings) => encodings.least(groups),
        }
    }

    /// The greatest value of each group; NULL when it has none.
    pub(super) fn greatest(&self, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Words(extremes) => extremes.greatest(groups),
            Self::Bytes(encodings) => encodings.greatest(groups),
        }
    }

    /// Forgets a group whose rows are gone.
    pub(super) fn forget(&mut self, group: u32) {
        if let Self::Words(extremes) = self {
            extremes.forget(group);
        }
    }

    pub(super) fn size(&self) -> StateSize {
        match self {
            Self::Words(extremes) => extremes.size(),
            Self::Bytes(encodings) => encodings.rows.size(),
        }
    }
}

impl Encodings {
    fn add(
        &mut self,
        groups: &[u32],
        column: &ArrayRef,
        weights: &[i64],
    ) -> Result<Vec<i64>, ArrowError> {
        let encoded = self.codec.encode(std::slice::from_ref(column))?;
        let mut appeared = vec![0; weights.len()];
        for (row, (&group, &weight)) in groups.iter().zip(weights).enumerate() {
            if weight == 0 {
                continue;
            }
            self.row.clear();
            self.row.extend_from_slice(&group.to_be_bytes());
            self.row.extend_from_slice(encoded.row(row));
            let before = self.rows.add(&self.row, weight);
            appeared[row] = i64::from(before + weight > 0) - i64::from(before > 0);
        }
        Ok(appeared)
    }

    fn least(&self, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        self.decode(groups.iter().map(|group| self.rows.first(&group.to_be_bytes())))
    }

    fn greatest(&self, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        self.decode(groups.iter().map(|group| self.rows.last(&group.to_be_bytes())))
    }

    fn decode<'a>(
        &self,
        rows: impl Iterator<Item = Option<&'a [u8]>>,
    ) -> Result<ArrayRef, ArrowError> {
        let null = self.null()?;
        let bytes = rows.map(|row| row.map_or(null.row(0), |row| &row[GROUP_BYTES..]));
        let columns = self.codec.decode(bytes)?;
        Ok(columns.into_iter().next().expect("a value is one column"))
    }

    /// NULL as a value.
    fn null(&self) -> Result<crate::arrangement::Encoded, ArrowError> {
        self.codec.encode(&[arrow::array::new_null_array(self.codec.data_type(0), 1)])
    }
}
