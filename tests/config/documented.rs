//! What the documents show can be used: command lines that parse, configurations that load. What
//! cannot be tried like this has a comment in front, which names the test that runs it or says why
//! none does.

use std::fs;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use gatepost::cli::Cli;

use crate::support::{HASH, Outside, complete, key_file, rsa_pair};

/// Languages of blocks that nobody runs here, because they need a tenant or another program.
/// `docs/operate/what-was-run.md` and each recipe say so.
const NOT_RUN: [&str; 10] = ["csharp", "hcl", "ini", "java", "js", "php", "powershell", "python", "sql", "text"];

/// The sections of a configuration.
const SECTIONS: [&str; 14] = [
    "accounts",
    "admin",
    "confinement",
    "forward_proxy",
    "limits",
    "listeners",
    "log",
    "microsoft",
    "providers",
    "queue",
    "sendmail",
    "server_name",
    "state",
    "trust",
];

/// A fenced block of a document.
struct Block {
    /// File and line.
    place: String,
    language: String,
    /// What the comment in the line before says.
    mark: Option<String>,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a directory with this extension.
fn below(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut folders = vec![root().join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|it| it == extension) {
                found.push(entry);
            }
        }
    }
    found
}

/// README and the pages below `docs/`, with their path from here. Of generated ones, a test of their
/// own compares all of it.
fn documents() -> Vec<(String, String)> {
    let mut paths = below("docs", "md");
    paths.push(root().join("README.md"));
    paths.sort();
    assert!(paths.len() > 50, "{paths:?}");
    let name = |path: &Path| path.strip_prefix(root()).unwrap().display().to_string();
    let texts = paths.iter().map(|path| (name(path), fs::read_to_string(path).unwrap()));
    texts.filter(|(_, text)| !text.contains("This page is generated from the code")).collect()
}

fn blocks() -> Vec<Block> {
    let mut found = Vec::new();
    for (path, text) in documents() {
        let mut before = "";
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            if let Some(language) = line.trim_start().strip_prefix("```") {
                let indent = line.len() - line.trim_start().len();
                let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim_start() != "```");
                let text: String = inside.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect();
                let mark = before.trim().strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
                found.push(Block {
                    place: format!("{path}:{}", number + 1),
                    language: language.to_owned(),
                    mark: mark.map(str::to_owned),
                    text,
                });
            }
            before = line;
        }
    }
    assert!(found.len() > 150, "{}", found.len());
    found
}

/// Whether the block is run by a test, or by none for a reason.
fn is_marked(block: &Block, tests: &str) -> bool {
    let Some(mark) = &block.mark else { return false };
    let place = &block.place;
    match mark.split_once(": ") {
        Some(("run by", name)) => assert!(tests.contains(&format!("fn {name}()")), "{place}: no test is `{name}`"),
        Some(("untested", reason)) => assert!(reason.len() > 5, "{place}: why?"),
        _ => panic!("{place}: `{mark}` is neither `run by: TEST` nor `untested: REASON`"),
    }
    true
}

fn tests() -> String {
    below("tests", "rs").iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// The words of a command line, as a shell divides them. A comment ends it.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote) = (None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    assert_eq!(quote, None, "{line}");
    words.extend(word);
    words
}

/// The arguments of `gatepost`, as which user ever; none if the line is another command.
fn arguments(words: &[String]) -> Option<&[String]> {
    let words = words.strip_prefix(&["sudo".into(), "-u".into(), "gatepost".into()]).unwrap_or(words);
    words.first().is_some_and(|program| program == "gatepost").then_some(words)
}

#[test]
fn each_command_is_one_that_gatepost_takes_or_has_a_mark() {
    let (tests, mut tried, mut wrong) = (tests(), 0, Vec::new());
    for block in blocks() {
        let place = &block.place;
        if block.language != "sh" {
            let known = block.language == "yaml" || NOT_RUN.contains(&block.language.as_str());
            assert!(known, "{place}: name the language of the block");
            continue;
        }
        let is_marked = is_marked(&block, &tests);
        for line in block.text.replace("\\\n", " ").lines() {
            let words = words(line);
            match arguments(&words) {
                Some(arguments) => {
                    tried += 1;
                    let told = match Cli::try_parse_from(arguments) {
                        Err(error) if error.kind() != ErrorKind::DisplayVersion => error.to_string(),
                        _ => continue,
                    };
                    wrong.push(format!("{place}: {line}: {told}"));
                }
                None if !is_marked && !words.is_empty() => wrong.push(format!("{place}: {line}: mark it")),
                None => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried > 80, "{tried}");
}

#[test]
fn each_command_in_a_sentence_exists_with_its_options() {
    let (mut tried, mut wrong) = (0, Vec::new());
    for (path, text) in documents() {
        let prose: String = text
            .split("```")
            .step_by(2)
            .flat_map(|part| part.lines().map(|line| format!("{} ", line.trim())).chain(["\n".to_owned()]))
            .collect();
        for code in prose.split('`').skip(1).step_by(2).filter(|code| code.starts_with("gatepost ")) {
            tried += 1;
            let mut command = Cli::command();
            for word in code.split_whitespace().skip(1) {
                let name = word.split('=').next().unwrap().trim_end_matches([',', '.']);
                if let Some(below) = command.find_subcommand(name) {
                    command = below.clone();
                } else if let Some(long) = name.strip_prefix("--") {
                    let has = command.get_arguments().any(|argument| argument.get_long() == Some(long));
                    if !has && long != "version" {
                        wrong.push(format!("{path}: `{code}`: no --{long}"));
                    }
                } else if command.get_name() == "gatepost" {
                    wrong.push(format!("{path}: `{code}`: no such command"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried > 60, "{tried}");
}

/// The files, variables and credentials that configurations of the documents name.
fn outside() -> Outside {
    let names = ["mail-gateway.corp.example", "gatepost.corp.example", "10.0.0.6", "192.168.7.1"];
    let made = rcgen::generate_simple_self_signed(names.map(str::to_owned)).unwrap();
    let (certificate, private_key, application) = (made.cert.pem(), made.signing_key.serialize_pem(), rsa_pair());
    let credentials = "/run/credentials/gatepost.service";
    let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n";
    let mut outside = Outside::with_files(&[
        ("certs/server.pem", &certificate),
        ("certs/server.key", &private_key),
        ("corp-root.pem", &certificate),
        ("inspection.pem", &certificate),
        ("app.pem", &application.0),
        ("app.key", &application.1),
        ("google-key.json", &key_file("gatepost@contoso.iam.gserviceaccount.com")),
        ("/run/secrets/proxy-password", "p"),
        ("/run/secrets/admin-token", "3xhEwCwvyTtjNnH0gXhTQd1p"),
        (&format!("{credentials}/client-secret"), "hunter2"),
        (&format!("{credentials}/new"), "hunter3"),
        (&format!("{credentials}/old"), "hunter2"),
        (&format!("{credentials}/gatepost.state.key"), key),
    ]);
    for name in ["GATEPOST_CLIENT_SECRET", "CONTOSO_SECRET", "FABRIKAM_SECRET"] {
        outside.variables.insert(name.into(), "s".into());
    }
    outside.variables.insert("CREDENTIALS_DIRECTORY".into(), credentials.into());
    outside
}

#[test]
fn each_configuration_is_one_that_gatepost_takes() {
    let (tests, outside, mut tried, mut wrong) = (tests(), outside(), 0, Vec::new());
    for block in blocks().into_iter().filter(|block| block.language == "yaml") {
        if is_marked(&block, &tests) {
            continue;
        }
        let keys = block.text.lines().filter(|line| !line.starts_with([' ', '#', '-']) && !line.is_empty());
        for key in keys.map(|line| line.split(':').next().unwrap()) {
            assert!(SECTIONS.contains(&key), "{}: `{key}` is no section: mark the block", block.place);
        }
        assert!(
            !block.text.contains("argon2id") || block.text.contains(HASH),
            "{}: use the hash of the tests",
            block.place
        );
        let found = outside.findings(&complete(&block.text));
        let others = found.into_iter().filter(|it| !it.contains("is the placeholder of the documentation"));
        wrong.extend(others.map(|it| format!("{}: {it}", block.place)));
        tried += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried > 40, "{tried}");
}
