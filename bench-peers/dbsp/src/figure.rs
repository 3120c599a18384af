//! A figure: what was measured. Its JSON has the fields of Evert's own figures.

use serde_json::json;

/// One measured value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    /// Its name, the same in every run.
    pub(crate) name: &'static str,
    /// The value.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: &'static str,
}

impl Figure {
    /// Columns for people.
    pub(crate) fn to_text(self) -> String {
        format!("{:<28} {:>14.3} {}", self.name, self.value, self.unit)
    }

    /// A JSON object.
    pub(crate) fn to_json(self) -> String {
        json!({ "name": self.name, "value": self.value, "unit": self.unit }).to_string()
    }
}
