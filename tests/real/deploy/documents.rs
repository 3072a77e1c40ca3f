//! The documents: what they point to is there.

use std::path::Path;

use crate::deploy::support::{repository, text};

const DOCUMENTS: [&str; 9] = [
    "README.md",
    "docs/messages.md",
    "docs/migrate.md",
    "docs/operations.md",
    "docs/reference/commands.md",
    "docs/reference/configuration.md",
    "docs/reference/log-causes.md",
    "docs/reference/metrics.md",
    "docs/scale.md",
];

/// Targets of all links but those to other hosts.
fn links(document: &str) -> Vec<String> {
    let text = text(document);
    let targets = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
    targets.filter(|target| !target.contains("://")).collect()
}

/// The anchors that a reader's program makes of headings.
fn anchors(document: &str) -> Vec<String> {
    let text = text(document);
    let headings = text.lines().filter_map(|line| Some(line.strip_prefix('#')?.trim_start_matches('#').trim()));
    let letters = |heading: &str| {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|&c| c.is_alphanumeric() || c == '-' || c == '_').collect()
    };
    headings.map(letters).collect()
}

#[test]
fn links_lead_to_files_and_headings_that_are_there() {
    for document in DOCUMENTS {
        let links = links(document);
        assert!(!links.is_empty(), "{document}");
        for link in links {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let base = Path::new(document).parent().unwrap();
            let target =
                if file.is_empty() { document.to_owned() } else { base.join(file).to_str().unwrap().to_owned() };
            assert!(repository(&target).exists(), "{document}: {link}");
            assert!(anchor.is_empty() || anchors(&target).contains(&anchor.to_owned()), "{document}: {link}");
        }
    }
}

#[test]
fn everything_in_deploy_is_explained_by_the_operations_page() {
    let page = text("docs/operations.md");
    for entry in std::fs::read_dir(repository("deploy")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // These are what packages and the image are made with.
        if !["debian", "image-root", "package", "rpm"].contains(&name.as_str()) {
            assert!(page.contains(&format!("deploy/{name}")), "{name}");
        }
    }
}
