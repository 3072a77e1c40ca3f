//! `docs/reference/aadsts.md`, from the catalogue of Entra's codes.

use std::fmt::Write as _;

use gatepost_oauth::aadsts;

use super::markdown::{cell, sentence};

const HEAD: &str = "# Codes of Entra

Entra explains a refusal by a code such as `AADSTS50126`. Gatepost writes the code into the log, in the
field `code`. Search this page for it. For a code that is not listed here, the log has Microsoft's own
sentence.

This page is generated from the code
(`GATEPOST_WRITE_DOCUMENTS=1 cargo test --all-features --test config documents`).

| code | meaning | who acts | what to do |
|---|---|---|---|
";

pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    for entry in aadsts::CATALOGUE {
        let codes: Vec<String> =
            entry.codes.iter().map(|code| format!("<a id=\"AADSTS{code}\"></a>`AADSTS{code}`")).collect();
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
