//! The documents that are generated from the code. With `GATEPOST_WRITE_DOCUMENTS=1` this test
//! writes them instead of comparing.

use std::path::Path;

mod aadsts;
mod causes;
mod commands;
mod configuration;
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

#[test]
fn each_generated_document_is_as_the_code_has_it() {
    let mut stale = Vec::new();
    for (name, made) in DOCUMENTS {
        let (path, text) = (Path::new(env!("CARGO_MANIFEST_DIR")).join(name), made());
        if std::env::var_os("GATEPOST_WRITE_DOCUMENTS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
        } else if std::fs::read_to_string(&path).unwrap_or_default() != text {
            stale.push(name);
        }
    }
    assert!(
        stale.is_empty(),
        "out of date: {stale:?}: GATEPOST_WRITE_DOCUMENTS=1 cargo test --all-features --test config documents"
    );
}
