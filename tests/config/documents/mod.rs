//! The documents that are generated from the code. With `GATEPOST_WRITE_DOCUMENTS=1` this test
//! writes them instead of comparing.

use std::collections::BTreeMap;
use std::path::Path;

mod aadsts;
mod causes;
mod commands;
mod completions;
mod configuration;
mod man;
mod markdown;
mod metrics;
pub(crate) mod schema;

/// A file, and what makes its text.
type Document = (&'static str, fn() -> String);

const DOCUMENTS: [Document; 6] = [
    ("docs/reference/log-causes.md", causes::page),
    ("docs/reference/configuration.md", configuration::page),
    ("docs/reference/commands.md", commands::page),
    ("docs/reference/metrics.md", metrics::page),
    ("docs/reference/aadsts.md", aadsts::page),
    ("proxy.schema.json", schema::document),
];

/// The directories that have nothing else in them.
const DIRECTORIES: [&str; 3] = ["docs/reference", "docs/man", "deploy/completions"];

/// All documents, as path and text.
fn documents() -> BTreeMap<String, String> {
    let single = DOCUMENTS.iter().map(|(path, made)| ((*path).to_owned(), made()));
    single.chain(man::pages()).chain(completions::scripts()).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn each_generated_document_is_as_the_code_has_it() {
    let mut stale = Vec::new();
    let documents = documents();
    for (name, text) in &documents {
        let path = root().join(name);
        if std::env::var_os("GATEPOST_WRITE_DOCUMENTS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
        } else if std::fs::read_to_string(&path).unwrap_or_default() != *text {
            stale.push(name.clone());
        }
    }
    for directory in DIRECTORIES {
        for entry in std::fs::read_dir(root().join(directory)).unwrap() {
            let name = format!("{directory}/{}", entry.unwrap().file_name().to_str().unwrap());
            if !documents.contains_key(&name) {
                stale.push(format!("{name} (delete it)"));
            }
        }
    }
    assert!(
        stale.is_empty(),
        "out of date: {stale:?}: GATEPOST_WRITE_DOCUMENTS=1 cargo test --all-features --test config documents"
    );
}

#[test]
fn each_command_has_a_manual_page() {
    fn count(command: &clap::Command) -> usize {
        1 + commands::below(command).map(count).sum::<usize>()
    }
    let pages = man::pages();
    assert_eq!(pages.len(), count(&commands::command_line()));
    for page in ["gatepost", "gatepost-check", "gatepost-password-add", "gatepost-state-rotate-key"] {
        assert!(pages.iter().any(|(path, _)| *path == format!("docs/man/{page}.1")), "{page}");
    }
}
