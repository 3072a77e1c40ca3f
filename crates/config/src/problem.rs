//! The mistakes in a configuration: each has a place, a reason and a hint, and all are reported at
//! once.

use std::fmt;
use std::ops::Range;

/// The place where a part of the configuration was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the file.
    File {
        /// The line, from 1.
        line: usize,
        /// The column, from 1, in characters.
        column: usize,
        /// Start in the text, in octets; for the excerpt.
        start: usize,
        /// End in the text, in octets.
        end: usize,
    },
    /// In an environment variable; its name.
    Environment(String),
    /// In a `--set` on the command line; its key.
    Flag(String),
    /// No place: something is missing altogether.
    Nowhere,
}

impl Place {
    /// The octet range in the file.
    pub fn range(&self) -> Option<Range<usize>> {
        match self {
            Self::File { start, end, .. } => Some(*start..*end),
            _ => None,
        }
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Name of the file, when there is one.
    pub file: Option<String>,
    /// Its place.
    pub place: Place,
    /// Path of the key, such as `listeners.smtp.bind`; empty for the whole configuration.
    pub key: String,
    /// What is wrong, one sentence, never a secret.
    pub reason: String,
    /// What to do, one sentence.
    pub hint: String,
    /// The line of the mistake with a mark below it, secrets masked; lines end in LF.
    pub excerpt: Option<String>,
}

impl Problem {
    /// Returns all of it but the excerpt as one line.
    pub fn to_line(&self) -> String {
        format!("{}{}. Hint: {}", self.where_it_is(), self.reason, self.hint)
    }

    /// Returns the place and the key, with a colon behind each.
    fn where_it_is(&self) -> String {
        let file = self.file.as_deref().unwrap_or("configuration");
        let place = match &self.place {
            Place::File { line, column, .. } => format!("{file}:{line}:{column}"),
            Place::Environment(name) => format!("environment variable {name}"),
            Place::Flag(key) => format!("--set {key}"),
            Place::Nowhere => file.to_owned(),
        };
        if self.key.is_empty() { format!("{place}: ") } else { format!("{place}: {}: ", self.key) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}{}", self.where_it_is(), self.reason)?;
        f.write_str(self.excerpt.as_deref().unwrap_or_default())?;
        writeln!(f, "  hint: {}", self.hint)
    }
}

/// Every mistake of a configuration, in the order of the file; never empty.
#[derive(Clone, Debug)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Sorts the mistakes by place. `None` when there are none.
    pub fn new(mut list: Vec<Problem>) -> Option<Self> {
        list.sort_by(|a, b| a.place.cmp(&b.place).then_with(|| a.key.cmp(&b.key)));
        list.dedup();
        (!list.is_empty()).then_some(Self(list))
    }

    /// The mistakes in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        match self.0.len() {
            1 => write!(f, "1 mistake in the configuration"),
            n => write!(f, "{n} mistakes in the configuration"),
        }
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(place: Place, key: &str) -> Problem {
        Problem {
            file: Some("proxy.yaml".into()),
            place,
            key: key.into(),
            reason: "is wrong".into(),
            hint: "put it right".into(),
            excerpt: None,
        }
    }

    #[test]
    fn mistakes_come_in_the_order_of_the_file() {
        let at = |line| Place::File { line, column: 3, start: 0, end: 1 };
        let list = vec![problem(Place::Flag("x".into()), "x"), problem(at(9), "b"), problem(at(2), "a")];
        let problems = Problems::new(list).unwrap();
        assert_eq!(
            problems.to_string(),
            "proxy.yaml:2:3: a: is wrong\n  hint: put it right\n\n\
             proxy.yaml:9:3: b: is wrong\n  hint: put it right\n\n\
             --set x: x: is wrong\n  hint: put it right\n\n\
             3 mistakes in the configuration"
        );
        let lines: Vec<String> = problems.iter().map(Problem::to_line).collect();
        assert_eq!(lines[0], "proxy.yaml:2:3: a: is wrong. Hint: put it right");
        assert!(Problems::new(Vec::new()).is_none());
    }
}
