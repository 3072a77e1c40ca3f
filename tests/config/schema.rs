//! The JSON Schema takes what the reader takes, and refuses what the reader refuses by its shape.

use std::path::Path;
use std::sync::LazyLock;

use gatepost_config::problem::Problems;
use jsonschema::Validator;
use serde_json::Value;

use crate::documents::schema::schema;
use crate::support::told;

/// What the reader says about mistakes of shape.
const OF_SHAPE: [&str; 14] = [
    "is not a known key;",
    "is not one of ",
    "is expected here, not ",
    "are expected here, not ",
    "is not a whole number;",
    "is not a time;",
    "is not a size;",
    "has no unit;",
    "has a unit that is not known;",
    "the value is empty;",
    "exactly one source of the ",
    "`bind` is missing;",
    "`protocol` is missing;",
    "`login` is missing;",
];

/// The keys at the top of a configuration may be in other layers.
static PARTS: LazyLock<Validator> = LazyLock::new(|| {
    let mut schema = schema();
    schema.as_object_mut().unwrap().remove("required");
    jsonschema::draft7::new(&schema).unwrap()
});

/// What the schema refuses.
fn refusals(value: &Value) -> Vec<String> {
    PARTS.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// Removes keys without a value. The reader takes them for absent, and editors warn of them.
fn remove_absent(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            entries.retain(|_, value| !value.is_null());
            entries.values_mut().for_each(remove_absent);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_absent),
        _ => {}
    }
}

/// Checks that the schema judges a configuration as the reader did.
pub(crate) fn compare(yaml: &str, problems: Option<&Problems>) {
    let options = serde_saphyr::options! { strict_booleans: true };
    let Ok(mut value) = serde_saphyr::from_str_with_options::<Value>(yaml, options) else { return };
    match problems {
        None => {
            remove_absent(&mut value);
            let refusals = refusals(&value);
            assert!(refusals.is_empty(), "the reader takes this, and the schema does not: {refusals:#?}\n{yaml}");
        }
        Some(problems) => {
            let told = told(problems);
            if let Some(of_shape) = told.iter().find(|told| OF_SHAPE.iter().any(|words| told.contains(words))) {
                assert!(!refusals(&value).is_empty(), "the schema takes this: {of_shape}\n{yaml}");
            }
        }
    }
}

#[test]
fn the_schema_is_one_of_draft_7() {
    assert!(jsonschema::meta::is_valid(&schema()));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The blocks of YAML in a document.
fn blocks(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "```yaml" {
            let indent = line.len() - line.trim_start().len();
            let block: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
            found.push(block.iter().map(|line| line.get(indent..).unwrap_or_default().to_owned() + "\n").collect());
        }
    }
    found
}

/// The files below a folder whose names end so.
fn files(folder: &Path, end: &str, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            files(&entry, end, found);
        } else if entry.to_str().unwrap().ends_with(end) {
            found.push(entry);
        }
    }
}

/// Every configuration in the repository, with its place.
fn configurations() -> Vec<(String, Value)> {
    let mut texts = Vec::new();
    for (folder, end) in [("docs", ".md"), ("deploy", ".yaml"), ("tests/program/cli/import", ".yaml")] {
        let mut paths = Vec::new();
        files(&root().join(folder), end, &mut paths);
        texts.extend(paths);
    }
    texts.extend(["README.md", "proxy.example.yaml", "tests/deploy/full-values.yaml"].map(|path| root().join(path)));
    let mut found = Vec::new();
    for path in texts {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        // A chart's template is no YAML yet.
        let documents = match name.ends_with(".md") {
            true => blocks(&text),
            false => vec![text],
        };
        for yaml in documents {
            let Ok(values) = serde_saphyr::from_multiple::<Value>(&yaml) else { continue };
            values.into_iter().for_each(|value| take(&name, value, &mut found));
        }
    }
    found
}

/// Takes a configuration, or those in a ConfigMap or in the values of the chart.
fn take(name: &str, value: Value, found: &mut Vec<(String, Value)>) {
    let keys = schema()["properties"].as_object().unwrap().clone();
    if let Some(text) = value.pointer("/data/proxy.yaml").and_then(Value::as_str) {
        found.push((format!("{name}: proxy.yaml"), serde_saphyr::from_str(text).unwrap()));
    } else if let Some(config) = value.get("config") {
        found.push((format!("{name}: config"), config.clone()));
    } else if value.as_object().is_some_and(|object| object.keys().any(|key| keys.contains_key(key))) {
        found.push((name.to_owned(), value));
    }
}

#[test]
fn every_configuration_in_the_repository_fits_the_schema() {
    let found = configurations();
    let of = |start: &str| found.iter().filter(|(name, _)| name.starts_with(start)).count();
    for (start, least) in
        [("proxy.example.yaml", 1), ("README.md", 1), ("docs/", 30), ("deploy/", 3), ("tests/program/cli/import/", 12)]
    {
        assert!(of(start) >= least, "{start}: {} of {:?}", of(start), found.iter().map(|f| &f.0).collect::<Vec<_>>());
    }
    let mut wrong = Vec::new();
    for (name, value) in &found {
        wrong.extend(refusals(value).into_iter().map(|refusal| format!("{name}: {refusal}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_example_names_the_schema_for_editors() {
    let example = std::fs::read_to_string(root().join("proxy.example.yaml")).unwrap();
    assert!(example.starts_with("# yaml-language-server: $schema=proxy.schema.json\n"));
    // Nothing is left out of it.
    assert!(jsonschema::draft7::new(&schema()).unwrap().is_valid(&serde_saphyr::from_str::<Value>(&example).unwrap()));
}
