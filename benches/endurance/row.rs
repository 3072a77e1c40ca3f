//! What came of a scenario, as a row of the table.

use std::fmt;
use std::time::Duration;

/// What came of a scenario.
pub(crate) struct Row {
    /// How many clients, for how long.
    pub(crate) amount: String,
    /// What was measured.
    pub(crate) figure: String,
    /// Sessions and logins that should have succeeded.
    pub(crate) lost: usize,
    /// Which parts of the rule are broken, apart from [`Row::lost`].
    pub(crate) broken: Vec<String>,
}

impl Row {
    /// Whether the rule holds.
    pub(crate) fn holds(&self) -> bool {
        self.lost == 0 && self.broken.is_empty()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { amount, figure, lost, .. } = self;
        write!(f, "{amount} | {figure} | {lost} | ")?;
        match self.holds() {
            true => f.write_str("holds"),
            false if self.broken.is_empty() => f.write_str("**missed**"),
            false => write!(f, "**missed**: {}", self.broken.join(", ")),
        }
    }
}

/// Prints the first of the failures of a kind, because a thousand look alike.
pub(crate) fn report<'a>(kind: &str, failures: impl IntoIterator<Item = &'a String>) {
    let mut failures = failures.into_iter();
    for failure in failures.by_ref().take(5) {
        eprintln!("  {kind}: {failure}");
    }
    match failures.count() {
        0 => {}
        more => eprintln!("  {kind}: {more} more"),
    }
}

/// With one decimal.
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
