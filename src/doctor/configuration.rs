//! The configuration in use: how much there is, what is notable, and whether a change waits.

use super::facts::Facts;
use super::step::{Outcome, Section, Step};
use gatepost_config::{Finding, Severity};
use gatepost_core::failure::Actor;

const HERE: Section = Section::Configuration;

pub(super) fn steps(facts: &Facts) -> Vec<Step> {
    let (listeners, accounts) = (facts.config.listeners.len(), facts.config.accounts.entries().len());
    let counted = |number: usize, noun: &str| match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    };
    let mut steps =
        vec![Step::ok(HERE, "", format!("{}, {}", counted(listeners, "listener"), counted(accounts, "account")))];
    if let Some(why) = &facts.rejected {
        let text = format!("the changed configuration was rejected, the former one is in use: {}", why.trim_end());
        let remedy = "correct it, then run `gatepost reload`".to_owned();
        steps.push(Step::problem(HERE, "", text, (Actor::GatepostAdmin, remedy)));
    }
    let findings = facts.config.findings.iter().filter(|finding| !is_examined(&finding.problem.key));
    steps.extend(findings.map(|Finding { severity, problem }| {
        let subject = problem.key.as_str();
        let remedy = (Actor::GatepostAdmin, problem.hint.clone());
        match severity {
            Severity::Problem => Step::problem(HERE, subject, &*problem.reason, remedy),
            Severity::Warning => Step::warning(HERE, subject, &*problem.reason, remedy),
        }
    }));
    let notes = facts.config.notes.iter();
    steps.extend(notes.map(|note| Step::without_remedy(HERE, "", Outcome::Warning, note.as_str())));
    steps
}

/// Whether a later step examines what a finding of the start is about, as it is now.
fn is_examined(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or_default().split('[').next().unwrap_or_default();
    key.starts_with("state") || matches!(last, "bind" | "certificate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_at_later_is_not_told_twice() {
        for key in
            ["state", "state.directory", "listeners.imap.bind", "listeners.imap.bind[1]", "listeners.x.certificate"]
        {
            assert!(is_examined(key), "{key}");
        }
        for key in ["microsoft.client_id", "listeners.smtp.upstream_tls", "microsoft.client_certificate"] {
            assert!(!is_examined(key), "{key}");
        }
    }
}
