//! `docs/reference/log-causes.md`, from the catalogue of causes.

use std::fmt::Write as _;

use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Refusal};

use super::markdown::{cell, sentence};

const HEAD: &str = "# Causes in the log

Each failure has one `cause`: the same word in the log, in a metric's label, in the audit log and on the
status page. Search this page for it. The log line itself has the names that belong to it, the other
side's own words, and a remedy for that very case. What follows is what holds for every case.

This page is generated from the code
(`GATEPOST_WRITE_DOCUMENTS=1 cargo test --all-features --test config documents`).

A client hears the words in quotes, in the form of its protocol. Temporary refusals make it try again.
[Codes of Entra](aadsts.md) have a page of their own.
";

fn heard(group: &str, refusal: Option<Refusal>) -> String {
    match (group, refusal) {
        (_, None) => "–".to_owned(),
        ("Messages", Some(Refusal::Unavailable | Refusal::Limit | Refusal::ServerBug)) => {
            "temporary refusal (4xx)".into()
        }
        ("Messages", Some(_)) => "permanent refusal (5xx)".to_owned(),
        (_, Some(refusal)) => format!("\"{}\"", refusal.words()),
    }
}

fn who(actor: Actor, remedy: &str) -> &'static str {
    if remedy.is_empty() { "–" } else { actor.label() }
}

pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut groups: Vec<&str> = Cause::ALL.iter().map(|cause| cause.row().group).collect();
    groups.dedup();
    for group in groups {
        let _ = write!(
            page,
            "\n## {group}\n\n| cause | client hears | meaning | who acts | what to do |\n|---|---|---|---|---|\n"
        );
        for cause in Cause::ALL.iter().filter(|cause| cause.row().group == group) {
            let row = cause.row();
            let _ = writeln!(
                page,
                "| <a id=\"{cause}\"></a>`{cause}` | {} | {} | {} | {} |",
                heard(group, row.refusal),
                cell(row.meaning),
                who(row.actor, row.remedy),
                cell(&sentence(row.remedy)),
            );
        }
    }
    page
}
