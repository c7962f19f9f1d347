//! Figures beside the targets they are held to.

use std::fmt::Write as _;
use std::time::Duration;

/// How a figure compares.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// For orientation only.
    None,
}

/// The rows of a scenario.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: String,
}

impl Report {
    /// The table's head.
    pub(crate) const HEAD: &str = "| what | figure | target | |\n|---|---|---|---|\n";

    /// Adds a figure.
    pub(crate) fn add(&mut self, what: &str, figure: f64, unit: &str, target: Target) {
        let (text, good) = match target {
            Target::AtMost(limit) => (format!("≤ {limit} {unit}"), Some(figure <= limit)),
            Target::AtLeast(limit) => (format!("≥ {limit} {unit}"), Some(figure >= limit)),
            Target::None => (String::new(), None),
        };
        let verdict = match good {
            Some(true) => "pass",
            // A figure that is not a number was not measured, which passes nothing.
            Some(false) => "**miss**",
            None => "",
        };
        let digits = if figure.abs() >= 100.0 {
            0
        } else if figure.abs() >= 1.0 {
            2
        } else {
            4
        };
        let _ = writeln!(self.rows, "| {what} | {figure:.digits$} {unit} | {text} | {verdict} |");
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.rows)
    }
}

/// The value that a share `p` of all is not above; NaN if there are none.
pub(crate) fn percentile(values: &mut [f64], p: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = ((values.len() as f64 * p).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    values.get(index).copied().unwrap_or(f64::NAN)
}

/// Milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Microseconds.
pub(crate) fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
