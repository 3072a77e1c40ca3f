//! Shows the steps to people, a block of lines for each section.

use std::fmt::Write as _;

use super::step::{Event, Outcome, Section, Step, Summary};
use gatepost_telemetry::log::is_plain;

/// Width of the column of titles and outcomes.
const TITLE: usize = 16;
/// Longest column of subjects. Longer ones push their text to the right.
const SUBJECT: usize = 50;

/// The steps of a section.
#[derive(Debug)]
pub(crate) struct Block {
    section: Section,
    steps: Vec<Step>,
}

/// The first lines.
pub(crate) fn heading(begin: &Event) -> String {
    let Event::Begin { running, pid, user, file, .. } = begin else { return String::new() };
    let file = file.as_deref().unwrap_or("the configuration");
    let here = format!("Checking {file} in this process (pid {pid}, user {user})");
    let text = match running {
        Some(true) => format!("Checking {file} in the running service (pid {pid}, user {user})"),
        Some(false) => format!("No service is running here. {here}"),
        None => format!("Whether a service is running is not known, because it has no control socket. {here}"),
    };
    format!("{}\n\n", clean(&text))
}

/// Replaces what acts on a terminal, because texts hold words of other servers.
fn clean(text: &str) -> String {
    text.chars().map(|c| if is_plain(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// The last line.
pub(crate) fn closing(summary: &Summary) -> String {
    let counted = |number: usize, noun: &str| match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    };
    let mut parts = Vec::new();
    if summary.problems > 0 {
        parts.push(counted(summary.problems, "problem"));
    }
    if summary.warnings > 0 {
        parts.push(counted(summary.warnings, "warning"));
    }
    let skipped = match summary.skipped {
        0 => String::new(),
        number => format!(" ({} skipped)", counted(number, "step")),
    };
    match parts.as_slice() {
        [] => format!("\nNo problems found{skipped}.\n"),
        parts => format!("\n{}{skipped}.\n", parts.join(", ")),
    }
}

impl Block {
    /// Begins a block with its first step.
    pub(crate) fn new(step: Step) -> Self {
        Self { section: step.section, steps: vec![step] }
    }

    /// Adds a step. Returns it if it belongs to another section, whose block it begins.
    pub(crate) fn add(&mut self, step: Step) -> Option<Step> {
        if step.section != self.section {
            return Some(step);
        }
        self.steps.push(step);
        None
    }

    /// The lines, with colors for a terminal.
    pub(crate) fn lines(&self, colored: bool) -> String {
        let paint = Paint { colored };
        let mut text = String::new();
        let is_short = |step: &&Step| step.subject.is_empty() && step.outcome == Outcome::Ok;
        let short: Vec<&str> = self.steps.iter().filter(is_short).map(|step| &*step.text).collect();
        let of = |outcome| self.steps.iter().filter(|step| step.outcome == outcome).count();
        let word = match (of(Outcome::Failed), of(Outcome::Warning), of(Outcome::Ok)) {
            (0, 0, 0) => paint.outcome(Outcome::Skipped, "skipped"),
            (0, 0, _) => paint.outcome(Outcome::Ok, "OK     "),
            (0, 1, _) => paint.outcome(Outcome::Warning, "1 warning"),
            (0, warnings, _) => paint.outcome(Outcome::Warning, &format!("{warnings} warnings")),
            (1, ..) => paint.outcome(Outcome::Failed, "1 problem"),
            (problems, ..) => paint.outcome(Outcome::Failed, &format!("{problems} problems")),
        };
        let first = format!("{:TITLE$}{word}", self.section.title());
        let first = if short.is_empty() { first } else { format!("{first}{}{}", gap(&word), clean(&short.join(", "))) };
        let _ = writeln!(text, "{}", first.trim_end());
        let below: Vec<&Step> = self.steps.iter().filter(|step| !is_short(step)).collect();
        let width = below.iter().map(|step| step.subject.chars().count()).max().unwrap_or_default().min(SUBJECT);
        for step in below {
            let outcome = paint.outcome(step.outcome, word_of(step.outcome));
            let subject = match width {
                0 => String::new(),
                _ => format!("{:width$}   ", clean(&step.subject)),
            };
            let mut lines = step.text.lines().map(clean);
            let _ = writeln!(text, "  {outcome} {subject}{}", lines.next().unwrap_or_default());
            for line in lines {
                let _ = writeln!(text, "          {line}");
            }
            if let Some(remedy) = &step.remedy {
                let label = step.label.as_deref().map(|label| format!("{label}: ")).unwrap_or_default();
                let _ = writeln!(text, "          {label}{}", clean(remedy));
            }
        }
        text
    }
}

fn gap(word: &str) -> &'static str {
    if word.contains("OK     ") { "" } else { "  " }
}

/// The outcome in front of a step, all of one width.
fn word_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "OK     ",
        Outcome::Warning => "WARNING",
        Outcome::Failed => "FAILED ",
        Outcome::Skipped => "skipped",
    }
}

struct Paint {
    colored: bool,
}

impl Paint {
    fn outcome(&self, outcome: Outcome, text: &str) -> String {
        let color = match outcome {
            Outcome::Ok => 32,
            Outcome::Warning => 33,
            Outcome::Failed => 31,
            Outcome::Skipped => 2,
        };
        if self.colored { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_core::failure::Actor;

    fn block(steps: Vec<Step>) -> String {
        let mut steps = steps.into_iter();
        let mut block = Block::new(steps.next().unwrap());
        steps.for_each(|step| assert_eq!(block.add(step), None));
        block.lines(false)
    }

    #[test]
    fn a_healthy_section_is_one_line() {
        let host = |text: &str| Step::ok(Section::Host, "", text);
        let text = block(vec![host("clock agrees with Entra"), host("state writable")]);
        assert_eq!(text, "Host            OK     clock agrees with Entra, state writable\n");
    }

    #[test]
    fn a_problem_has_its_remedy_below() {
        let network = Section::Network;
        let remedy = (Actor::NetworkAdmin, "allow CONNECT to smtp.office365.com:587".to_owned());
        let text = block(vec![
            Step::ok(network, "outlook.office365.com:993", "direct, 28 ms"),
            Step::problem(network, "smtp.office365.com:587", "the proxy answered 403 Forbidden", remedy),
        ]);
        assert_eq!(
            text,
            "Network         1 problem\n  \
               OK      outlook.office365.com:993   direct, 28 ms\n  \
               FAILED  smtp.office365.com:587      the proxy answered 403 Forbidden\n          \
                       Network admin: allow CONNECT to smtp.office365.com:587\n"
        );
    }

    #[test]
    fn words_of_another_side_cannot_act_on_the_terminal() {
        let remedy = (Actor::NetworkAdmin, "ask \u{9b}31m\u{7}".to_owned());
        let step = Step::problem(Section::Network, "a\u{8}b", "answered \x1b[2J\r\nnext\u{202e}line", remedy);
        let text = block(vec![Step::ok(Section::Network, "", "\x1b]0;title"), step]);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}'), "{text:?}");
        assert!(text.contains("answered ") && text.contains("\n          next"), "{text:?}");
        let begin = Event::Begin {
            version: "1".into(),
            running: None,
            pid: 7,
            user: "a\x1b[0m".into(),
            file: Some("\x1b[0mfile".into()),
        };
        let first = heading(&begin);
        assert!(first.starts_with("Whether a service is running is not known") && !first.contains('\x1b'), "{first:?}");
    }

    #[test]
    fn colors_are_for_terminals() {
        let step = Step::skipped(Section::Mailboxes, "a@x", "IMAP (network)");
        assert_eq!(block(vec![step.clone()]), "Mailboxes       skipped\n  skipped a@x   IMAP (network)\n");
        assert!(Block::new(step).lines(true).contains("\x1b[2mskipped\x1b[0m"));
    }

    #[test]
    fn the_end_counts() {
        let summary = |problems, warnings, skipped| Summary { ok: 3, warnings, problems, skipped };
        assert_eq!(closing(&summary(0, 0, 0)), "\nNo problems found.\n");
        assert_eq!(closing(&summary(0, 0, 1)), "\nNo problems found (1 step skipped).\n");
        assert_eq!(closing(&summary(1, 2, 2)), "\n1 problem, 2 warnings (2 steps skipped).\n");
    }
}
