//! The documents that are generated from the code. With `GATEPOST_WRITE_DOCUMENTS=1` this test
//! writes them instead of comparing.

use std::fmt::Write as _;
use std::path::Path;

use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Refusal};
use gatepost_oauth::aadsts;

const PAGE: &str = "docs/reference/log-causes.md";

const HEAD: &str = "# Causes in the log

Each failure has one `cause`: the same word in the log, in a metric's label, in the audit log and on the
status page. Search this page for it. The log line itself has the names that belong to it, the other
side's own words, and a remedy for that very case. What follows is what holds for every case.

This page is generated from the code (`GATEPOST_WRITE_DOCUMENTS=1 cargo test --test config documents`).

A client hears the words in quotes, in the form of its protocol. Temporary refusals make it try again.
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

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        // A command or key keeps its spelling.
        Some(first) => first.to_uppercase().chain(letters).collect::<String>() + ".",
        None => "–".to_owned(),
    }
}

/// The text of a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn page() -> String {
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
    page.push_str(
        "\n## Codes of Entra\n\nEntra explains a refusal by a code such as `AADSTS50126`. For a code that is not listed here, the log \
         has\nMicrosoft's own sentence.\n\n| code | meaning | who acts | what to do |\n|---|---|---|---|\n",
    );
    for entry in aadsts::CATALOGUE {
        let codes: Vec<String> = entry.codes.iter().map(|code| format!("`AADSTS{code}`")).collect();
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} |",
            codes.join(", "),
            cell(&sentence(entry.meaning)),
            entry.actor.label(),
            cell(&sentence(entry.remedy)),
        );
    }
    page
}

#[test]
fn the_page_of_causes_is_as_the_code_has_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = page();
    if std::env::var_os("GATEPOST_WRITE_DOCUMENTS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, page).unwrap();
        return;
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "{PAGE} is out of date: GATEPOST_WRITE_DOCUMENTS=1 cargo test --test config documents");
}
