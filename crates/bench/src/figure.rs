//! A figure: what was measured, beside what.

use std::fs;

use serde_json::json;

/// One measured value.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// Its name, the same in every run.
    pub(crate) name: String,
    /// The value.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// What it is compared with, and that one's value in the same unit.
    pub(crate) against: Option<(&'static str, f64)>,
    /// Why there is no value.
    pub(crate) lacking: Option<String>,
}

impl Figure {
    /// A value that stands alone.
    pub(crate) fn alone(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, against: None, lacking: None }
    }

    /// A value that could not be measured, and why.
    pub(crate) fn lacking(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self { lacking: Some(why.into()), ..Self::alone(name, f64::NAN, "") }
    }

    /// A value beside another.
    pub(crate) fn beside(self, peer: &'static str, value: f64) -> Self {
        Self { against: Some((peer, value)), ..self }
    }

    /// The value by the peer's value.
    fn ratio(&self) -> Option<f64> {
        self.against.map(|(_, value)| self.value / value)
    }

    /// Columns for people.
    pub(crate) fn to_text(&self, machine: &str) -> String {
        if let Some(why) = &self.lacking {
            return format!("{:<28} {why}", self.name);
        }
        let against = match self.against {
            Some((peer, value)) => format!("against {peer}: {}", rounded(value)),
            None => String::new(),
        };
        let ratio = self.ratio().map(|ratio| format!("ratio {ratio:.3}")).unwrap_or_default();
        format!(
            "{:<28} {:>14} {:<10} {against:<52} {ratio:<12} {machine}",
            self.name,
            rounded(self.value),
            self.unit
        )
    }

    /// A JSON object.
    pub(crate) fn to_json(&self, machine: &str) -> String {
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "lacking": self.lacking,
            "against": self.against.map(|(peer, _)| peer),
            "against_value": self.against.map(|(_, value)| value),
            "ratio": self.ratio(),
            "machine": machine,
        })
        .to_string()
    }
}

fn rounded(value: f64) -> String {
    if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// The middle one of the values.
///
/// # Panics
/// When there is none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The machine in a few words: processor and cores.
pub(crate) fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} cores")
}
