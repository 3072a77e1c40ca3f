//! The documents: what they point to is there, and they make a site.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::common::directory::Directory;
use crate::deploy::support::{below, repository, said, text, yaml};

/// All that people read.
fn documents() -> Vec<String> {
    let mut documents = below("docs", "md");
    documents
        .extend(["ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"].map(str::to_owned));
    documents
}

/// Targets of all links but those to other hosts.
fn links(document: &str) -> Vec<String> {
    let text = text(document);
    // What looks like a link in a block of code is none.
    let prose = text.split("```").step_by(2);
    let targets =
        prose.flat_map(|part| part.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())));
    targets.filter(|target| !target.contains("://")).collect()
}

/// The anchors that a reader's program makes of headings, and those that are written.
fn anchors(document: &str) -> Vec<String> {
    let text = text(document);
    let headings = text.lines().filter_map(|line| Some(line.strip_prefix('#')?.trim_start_matches('#').trim()));
    let letters = |heading: &str| -> String {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|&c| c.is_alphanumeric() || c == '-' || c == '_').collect()
    };
    let written = text.split("<a id=\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()));
    headings.map(letters).chain(written).collect()
}

#[test]
fn links_lead_to_files_and_headings_that_are_there() {
    let mut followed = 0;
    for document in documents() {
        for link in links(&document) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let base = Path::new(&document).parent().unwrap();
            let target = if file.is_empty() { document.clone() } else { base.join(file).to_str().unwrap().to_owned() };
            assert!(repository(&target).exists(), "{document}: {link}");
            assert!(anchor.is_empty() || anchors(&target).contains(&anchor.to_owned()), "{document}: {link}");
            followed += 1;
        }
    }
    assert!(followed > 300, "{followed}");
}

#[test]
fn what_is_inside_a_list_is_indented_by_four_spaces() {
    // With three, GitHub shows it inside, and the site after the list.
    for page in below("docs", "md") {
        let text = text(&page);
        for outside in text.split("\n```").step_by(2) {
            for (before, line) in outside.lines().zip(outside.lines().skip(1)) {
                let three = line.strip_prefix("   ").filter(|rest| !rest.starts_with(' '));
                let begins = three.is_some_and(|rest| before.is_empty() || rest.starts_with("```"));
                assert!(!begins, "{page}: {line}");
            }
        }
    }
}

#[test]
fn each_recipe_has_a_mark_and_names_the_test_that_it_claims() {
    let recipes: Vec<String> =
        below("docs/recipes", "md").into_iter().filter(|page| !page.ends_with("/index.md")).collect();
    assert!(recipes.len() > 10, "{recipes:?}");
    let index = text("docs/recipes/index.md");
    for recipe in recipes {
        assert!(index.contains(recipe.rsplit('/').next().unwrap()), "{recipe} is not in the index");
        let page = text(&recipe);
        let mark = page.split("\n\n").nth(1).unwrap();
        let claims = mark.contains("**Tested in CI**");
        assert!(claims || mark.contains("**Reported"), "{recipe}: {mark}");
        let named = mark.split('`').filter(|word| word.starts_with("tests/")).map(|path| repository(path).exists());
        let named: Vec<bool> = named.collect();
        assert!(named.iter().all(|&exists| exists) && (!claims || !named.is_empty()), "{recipe}: {mark}");
    }
}

#[test]
fn the_readme_is_short() {
    assert!(text("README.md").lines().count() < 120);
}

#[test]
fn everything_in_deploy_is_explained_by_a_page() {
    let pages: String = below("docs", "md").iter().map(|page| text(page)).collect();
    for entry in std::fs::read_dir(repository("deploy")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // These are what packages and the image are made with.
        if !["debian", "image-root", "package", "rpm"].contains(&name.as_str()) {
            assert!(pages.contains(&format!("deploy/{name}")), "{name}");
        }
    }
}

/// A program of `target/python`, without a way to any network: its proxy does not answer.
fn judge(program: &str, arguments: &[&str]) {
    let program = repository("target/python/bin").join(program);
    let mut command = Command::new(&program);
    command.args(arguments).current_dir(repository(""));
    command.env("NO_MKDOCS_2_WARNING", "1").env("PYTHONDONTWRITEBYTECODE", "1");
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        command.env(proxy, "http://127.0.0.1:9");
    }
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("start {program:?} ({error}); `tests/run` installs what is missing"));
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
#[ignore = "needs MkDocs"]
fn the_site_is_made_without_a_warning_and_needs_no_other_host() {
    let directory = Directory::new();
    let site = directory.file("site");
    // With `--quiet` it would count no warning.
    judge("mkdocs", &["build", "--strict", "--site-dir", site.to_str().unwrap()]);
    let page = std::fs::read_to_string(site.join("troubleshoot/sending/index.html")).unwrap();
    assert!(page.contains("id=\"smtp-auth-disabled\""));
    // A browser loads scripts, styles and pictures from the site alone.
    for tag in page.split('<').filter(|tag| ["script", "link", "img"].iter().any(|name| tag.starts_with(name))) {
        assert!(!tag.split('>').next().unwrap().contains("//"), "{tag}");
    }
}

#[test]
fn workflows_may_only_read_unless_a_job_says_more_and_name_the_version_of_each_action() {
    for path in below(".github/workflows", "yml") {
        let workflow = yaml(&text(&path));
        assert_eq!(workflow["permissions"], json!({"contents": "read"}), "{path}");
        for (name, job) in workflow["jobs"].as_object().unwrap() {
            assert!(job["timeout-minutes"].is_u64(), "{path}: {name} has no end");
            for step in job["steps"].as_array().unwrap() {
                let Some(action) = step["uses"].as_str() else { continue };
                let version = action.split_once("@v").map(|(_, version)| version);
                assert!(version.is_some_and(|it| it.starts_with(|c: char| c.is_ascii_digit())), "{path}: {action}");
            }
        }
    }
}

#[test]
#[ignore = "needs check-jsonschema"]
fn the_workflows_are_what_their_schema_demands() {
    let workflows = below(".github/workflows", "yml");
    assert_eq!(workflows.len(), 2, "{workflows:?}");
    let mut arguments = vec!["--builtin-schema", "vendor.github-workflows"];
    arguments.extend(workflows.iter().map(String::as_str));
    judge("check-jsonschema", &arguments);
}
