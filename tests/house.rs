//! Checks the layout of the workspace: a crate uses only those below it, no files import each other
//! in a loop, and a file stays short enough to read. `cargo test --test house` lists what does not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crates, lowest first. Each may use those before it.
const LAYERS: [&str; 9] = [
    "gatepost-core",
    "gatepost-proto",
    "gatepost-sandbox",
    "gatepost-config",
    "gatepost-net",
    "gatepost-telemetry",
    "gatepost-store",
    "gatepost-oauth",
    "gatepost",
];

/// Longest file of product code, in lines.
const LONGEST: usize = 600;

#[test]
fn a_crate_uses_only_the_crates_below_it() {
    let uses = dependencies();
    assert_eq!(uses.keys().map(String::as_str).collect::<BTreeSet<_>>(), LAYERS.into_iter().collect());
    for (name, dependencies) in &uses {
        let layer = LAYERS.iter().position(|layer| layer == name).unwrap();
        for used in dependencies.iter().filter(|used| LAYERS.contains(&used.as_str())) {
            let below = LAYERS.iter().position(|layer| layer == used).unwrap();
            assert!(below < layer, "{name} uses {used}, which is not below it");
        }
    }
    // The sandbox judges the rest: it must not share code with it.
    let ours = |name: &str| uses[name].iter().filter(|used| used.starts_with("gatepost-")).cloned().collect::<Vec<_>>();
    assert_eq!(ours("gatepost-sandbox"), ["gatepost-core"]);
    assert_eq!(ours("gatepost-proto"), ["gatepost-core"]);
    // The protocol machines touch no socket and no clock.
    for outside in ["tokio", "hyper", "socket2", "rustls", "time", "rustix"] {
        assert!(!uses["gatepost-proto"].contains(outside), "gatepost-proto uses {outside}");
    }
}

#[test]
fn no_files_import_each_other_in_a_loop() {
    let mut found = 0;
    for folder in source_folders() {
        let files = Files::read(&folder);
        let imports = files.imports();
        found += imports.values().map(BTreeSet::len).sum::<usize>();
        let circle = circle(&imports);
        assert!(circle.is_empty(), "in {}: these files import each other in a loop: {circle:?}", folder.display());
    }
    // Fewer would mean that this test no longer understands what it reads.
    assert!(found > 500, "only {found} imports found");
}

#[test]
fn no_file_is_too_long() {
    let mut long = Vec::new();
    for folder in source_folders() {
        for (path, text) in Files::read(&folder).by_path {
            let lines = text.lines().count();
            if lines > LONGEST {
                long.push((path, lines));
            }
        }
    }
    assert!(long.is_empty(), "more than {LONGEST} lines: {long:?}");
}

/// How many files of these are in a loop.
fn loop_of(texts: &[(&str, &str)]) -> usize {
    let texts = texts.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned()));
    circle(&Files::new(texts.collect()).imports()).len()
}

#[test]
fn a_loop_is_found() {
    assert_eq!(loop_of(&[("a.rs", "use crate::b::B;"), ("b.rs", "use crate::c::C;"), ("c.rs", "")]), 0);
    assert_eq!(loop_of(&[("a.rs", "use crate::b::B;"), ("b.rs", "fn f() { super::a::g() }")]), 2);
    assert_eq!(loop_of(&[("a/mod.rs", "mod b;\nfn f() { b::g() }"), ("a/b.rs", "use super::f;")]), 2);
    assert_eq!(
        loop_of(&[("lib.rs", "use crate::a::A;\npub struct L;"), ("a.rs", "use crate::{b, L};"), ("b.rs", "")]),
        2
    );
    assert_eq!(
        loop_of(&[("a.rs", "fn f() {\n    use crate::b::{self, B};\n}"), ("b.rs", "use super::a::{x, y::Z};")]),
        2
    );
    assert_eq!(loop_of(&[("a.rs", "use crate::b::B;"), ("b.rs", "mod unix {\n    use super::super::a::A;\n}")]), 2);
    assert_eq!(
        loop_of(&[("a.rs", "use crate::b;"), ("b.rs", "use crate::c;"), ("c.rs", "use crate::a;"), ("d.rs", "")]),
        3
    );
    // What mod.rs only passes on does not come from mod.rs.
    assert_eq!(loop_of(&[("a/mod.rs", "pub use b::B;"), ("a/b.rs", ""), ("a/c.rs", "use super::B;")]), 0);
    assert_eq!(
        loop_of(&[("a/mod.rs", "pub use b::B;"), ("a/b.rs", "use super::c::C;"), ("a/c.rs", "use super::B;")]),
        2
    );
}

#[test]
fn what_is_no_import_of_the_product_makes_no_loop() {
    let a = ("a/mod.rs", "mod b;\n\nfn f() { b::g() }\n");
    for b in [
        "//! See [`f`](super::f).\n",
        "fn g() {} // as super::f\n",
        "#[cfg(test)]\nuse super::f;\n",
        "impl B {\n    #[cfg(test)]\n    #[allow(unused)]\n    fn g(\n        b: B,\n    ) {\n        super::f();\n    }\n}\n",
        "#[cfg(test)]\nmod tests {\n    use super::super::f;\n}\n",
        "mod unix {\n    use super::g;\n}\n",
        "use tokio::net::TcpStream;\n",
    ] {
        assert_eq!(loop_of(&[a, ("a/b.rs", b)]), 0, "{b}");
    }
    assert_eq!(loop_of(&[a, ("a/b.rs", "#[cfg(test)]\nmod tests;\n"), ("a/b/tests.rs", "use super::super::f;\n")]), 0);
    // What stands behind a test is the product again.
    assert_eq!(loop_of(&[a, ("a/b.rs", "#[cfg(test)]\nmod tests {\n    fn t() {}\n}\n\nuse super::f;\n")]), 2);
}

/// The packages of the workspace, each with what it uses outside its tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let shipped = dependencies.filter(|dependency| dependency["kind"] != "dev");
            (text(&package["name"]), shipped.map(|dependency| text(&dependency["name"])).collect())
        })
        .collect()
}

fn source_folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = fs::read_dir(root.join("crates")).unwrap().map(|entry| entry.unwrap().path().join("src"));
    let mut folders: Vec<_> = crates.chain([root.join("src")]).collect();
    folders.sort();
    folders
}

/// The product code of one crate: without files that only tests use, and without the tests in a
/// file.
struct Files {
    by_path: BTreeMap<PathBuf, String>,
}

impl Files {
    fn read(folder: &Path) -> Self {
        let mut by_path = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = fs::read_to_string(&path).unwrap();
                    by_path.insert(path.strip_prefix(folder).unwrap().to_owned(), text);
                }
            }
        }
        Self::new(by_path)
    }

    fn new(mut by_path: BTreeMap<PathBuf, String>) -> Self {
        let for_tests = test_modules(&by_path);
        by_path.retain(|path, _| !for_tests.contains(path));
        for text in by_path.values_mut() {
            *text = product(text);
        }
        Self { by_path }
    }

    /// Which files each file imports from.
    fn imports(&self) -> BTreeMap<&Path, BTreeSet<&Path>> {
        let modules: BTreeMap<_, _> = self.by_path.keys().map(|path| (module(path), path.as_path())).collect();
        let mut imports = BTreeMap::new();
        for (path, text) in &self.by_path {
            let here = module(path);
            let mut from = BTreeSet::new();
            for named in paths(text, &here, &modules) {
                if let Some(file) = self.origin(named, &modules)
                    && file != path
                {
                    from.insert(file);
                }
            }
            imports.insert(path.as_path(), from);
        }
        imports
    }

    /// The file in which what is named so stands: where a module only passes an item on, the one
    /// that it has it from.
    fn origin<'a>(&self, mut named: Vec<String>, modules: &BTreeMap<Vec<String>, &'a Path>) -> Option<&'a Path> {
        for _ in 0..8 {
            let known = (0..=named.len()).rev().find(|length| modules.contains_key(&named[..*length]))?;
            let file = modules[&named[..known]];
            let Some(item) = named.get(known) else { return Some(file) };
            let passed_on = reexports(&self.by_path[file]).into_iter().find(|path| path.last() == Some(item));
            let Some(path) = passed_on else { return Some(file) };
            let absolute = absolute(&path, &named[..known], modules)?;
            named = absolute;
        }
        None
    }
}

/// `a/mod.rs` and `a.rs` are both the module `a`.
fn module(path: &Path) -> Vec<String> {
    let mut parts: Vec<String> =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    // `main.rs` stays a module of its own: it is another crate, which uses the library by its name.
    if parts.last().is_some_and(|last| ["mod", "lib"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

/// Leaves out every item behind `#[cfg(test)]`, and empties comments. Relies on the way in which
/// rustfmt indents.
fn product(text: &str) -> String {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let depth = indent(line);
            let mut item = lines.by_ref().skip_while(|line| line.trim_start().starts_with(['#', '/']));
            let begun = item.next().unwrap_or_default();
            if !begun.ends_with([';', ',', '}']) {
                let ends = |line: &str| {
                    indent(line) == depth && line.trim_start().starts_with(['}', ')', ']']) && !line.ends_with('{')
                };
                item.find(|line| ends(line));
            }
            continue;
        }
        let code = if line.trim_start().starts_with("//") { "" } else { line.split(" // ").next().unwrap_or_default() };
        kept.push_str(code);
        kept.push('\n');
    }
    kept
}

/// Files of modules that stand behind `#[cfg(test)]`, and all below them.
fn test_modules(by_path: &BTreeMap<PathBuf, String>) -> BTreeSet<PathBuf> {
    let mut tests = Vec::new();
    for (path, text) in by_path {
        for behind in text.split("#[cfg(test)]\n").skip(1) {
            let line = behind.lines().next().unwrap_or_default();
            if let Some((_, name)) = line.split_once("mod ") {
                let mut below = module(path);
                below.push(name.trim_end_matches(';').to_owned());
                tests.push(below);
            }
        }
    }
    by_path.keys().filter(|path| tests.iter().any(|test| module(path).starts_with(test))).cloned().collect()
}

/// The text without the modules that have their body in it, and these: name and body.
fn inline_modules(text: &str) -> (String, Vec<(String, String)>) {
    let (mut outside, mut modules) = (String::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let begin = line.trim_start();
        let indent = &line[..line.len() - begin.len()];
        let name = begin.strip_suffix(" {").and_then(|begin| begin.rsplit_once("mod "));
        match name {
            Some((before, name)) if before.is_empty() || before.starts_with("pub") => {
                let body = lines.by_ref().take_while(|line| line.strip_prefix(indent) != Some("}"));
                modules.push((name.to_owned(), body.map(|line| format!("{line}\n")).collect()));
            }
            _ => {
                outside.push_str(line);
                outside.push('\n');
            }
        }
    }
    (outside, modules)
}

/// Every path that a file names, absolute within its crate.
fn paths(text: &str, here: &[String], modules: &BTreeMap<Vec<String>, &Path>) -> Vec<Vec<String>> {
    let (text, inside) = inline_modules(text);
    let text = text.as_str();
    let mut all = Vec::new();
    for (name, body) in inside {
        all.extend(paths(&body, &[here, &[name]].concat(), modules));
    }
    let mut found = Vec::new();
    let mut code = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("use ") {
        let begins = rest[..at].chars().last().is_none_or(|before| !(before.is_alphanumeric() || before == '_'));
        let line = rest[..at].rsplit('\n').next().unwrap_or_default();
        let end = rest[at..].find(';').map_or(rest.len(), |end| at + end);
        // What a module passes on stands elsewhere: `origin` follows it.
        if begins && (line.trim().is_empty() || line.trim_start().starts_with("pub")) {
            code.push_str(&rest[..at]);
            if line.trim().is_empty() {
                found.extend(tree(&rest[at + 4..end]));
            }
            rest = &rest[end..];
        } else {
            code.push_str(&rest[..at + 4]);
            rest = &rest[at + 4..];
        }
    }
    code.push_str(rest);
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    found.extend(code.split(|c| !word(c)).filter(|path| path.contains("::")).map(parts));
    all.extend(found.into_iter().filter_map(|path| absolute(&path, here, modules)));
    all
}

/// `None` for what another crate has.
fn absolute(path: &[String], here: &[String], modules: &BTreeMap<Vec<String>, &Path>) -> Option<Vec<String>> {
    let first = path.first()?.as_str();
    let joined = |base: &[String], rest: &[String]| [base, rest].concat();
    match first {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some(joined(here, &path[1..])),
        "super" => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            Some(joined(here.get(..here.len().checked_sub(ups)?)?, &path[ups..]))
        }
        _ => {
            let child = joined(here, &path[..1]);
            modules.contains_key(&child).then(|| joined(here, path))
        }
    }
}

/// The paths behind `pub use` and the like.
fn reexports(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for line in text.split(';') {
        let line = line.trim_start();
        let line = line.rsplit("]\n").next().unwrap_or(line).trim_start();
        if line.starts_with("pub")
            && let Some((before, list)) = line.split_once("use ")
            && !before.contains(['{', '='])
        {
            found.extend(tree(list));
        }
    }
    found
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`; names after `as` are left out.
fn tree(text: &str) -> Vec<Vec<String>> {
    let text = text.trim();
    let Some((before, inside)) = text.split_once('{') else {
        let path = text.split(" as ").next().unwrap_or_default();
        return vec![parts(path.trim().trim_end_matches("::self"))];
    };
    let inside = inside.trim_end().strip_suffix('}').unwrap_or(inside);
    let (mut depth, mut item, mut items) = (0, String::new(), Vec::new());
    for c in inside.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 {
            items.push(std::mem::take(&mut item));
        } else {
            item.push(c);
        }
    }
    items.push(item);
    let items = items.iter().map(|item| item.trim()).filter(|item| !item.is_empty());
    items
        .flat_map(|item| if item == "self" { vec![Vec::new()] } else { tree(item) })
        .map(|rest| [parts(before), rest].concat())
        .collect()
}

fn parts(path: &str) -> Vec<String> {
    path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The files that are left when all files which import nothing of the others are taken away, again
/// and again, and then those which nobody imports.
fn circle<'a>(imports: &BTreeMap<&'a Path, BTreeSet<&'a Path>>) -> BTreeSet<&'a Path> {
    let mut left: BTreeSet<_> = imports.keys().copied().collect();
    loop {
        let imported: BTreeSet<_> =
            left.iter().flat_map(|file| &imports[file]).filter(|file| left.contains(*file)).copied().collect();
        let stays = |file: &&'a Path| imported.contains(file) && imports[file].iter().any(|other| left.contains(other));
        let next: BTreeSet<_> = left.iter().filter(|file| stays(file)).copied().collect();
        if next.len() == left.len() {
            return left;
        }
        left = next;
    }
}
