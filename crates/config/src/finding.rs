//! Findings of a check: what is well-formed, and yet will not work or may not.

use super::problem::Problem;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It may be meant so.
    Warning,
    /// It cannot work. The service starts all the same if it can, because other parts may work.
    Problem,
}

/// Something in a configuration that the service accepts, with its place and a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Place, key, reason and hint.
    pub problem: Problem,
}

impl Finding {
    /// Returns it as one line.
    pub fn to_line(&self) -> String {
        self.problem.to_line()
    }
}
