//! The configuration as it was written: turns YAML text into values and their places. Pure,
//! bounded, safe to fuzz.
//!
//! Every leaf stays text (`0143` is not 143 and `no` is not false here), so that the file, the
//! environment and the command line are read by the same rules. [`super::check`] gives the text its
//! type. Reading stops only at a mistake of YAML itself, not at one of meaning, so that one report
//! can hold all mistakes.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use config::{Map, Value, ValueKind};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Location, Spanned};

use super::hidden_key;
use super::problem::Place;
use super::render;

/// Longest configuration text, in octets.
pub(super) const TEXT_BYTES: usize = 1024 * 1024;

/// The limit, for people.
pub(super) const TEXT_LIMIT: &str = "1 MiB, the most that Gatepost reads";

/// Deepest nesting; a valid configuration needs five.
const DEPTH: usize = 16;

/// Most keys, values, lists and tables in one text: each takes some 200 octets of memory.
const NODES: usize = 50_000;

/// The tags that say no more than the value itself does (YAML 1.2.2, chapter 10).
const TAGS_OF_YAML: [&str; 7] = ["!!str", "!!int", "!!float", "!!bool", "!!null", "!!seq", "!!map"];

/// A table of the configuration.
pub(super) type Table = Map<String, Value>;

/// The places of a key and its value.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) key: Place,
    pub(super) value: Place,
    /// Whether the value is a table. Other layers add to a table instead of replacing it.
    table: bool,
}

/// One source of configuration: its values, and the place of each (by key path).
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    pub(super) values: Table,
    pub(super) spots: BTreeMap<String, Span>,
    /// Keys that were written twice: path, place, and line of the first.
    pub(super) duplicates: Vec<(String, Place, usize)>,
    /// Values behind a tag of YAML.
    pub(super) tagged: Vec<(String, Place)>,
    /// Octets of the text that an excerpt must not show.
    pub(super) masked: Vec<Range<usize>>,
}

/// Why the text is not YAML.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) place: Place,
    pub(super) message: String,
    pub(super) hint: &'static str,
}

impl Layer {
    /// Reads the text of a file.
    pub(super) fn from_yaml(text: &str) -> Result<Self, SyntaxError> {
        let mut layer = Self::default();
        let root = parse(text)?;
        let root_place = place(&root.referenced, text);
        match root.value {
            Raw::Map(entries) => layer.values = layer.table(entries, "", text),
            Raw::Null => {}
            _ => {
                return Err(SyntaxError {
                    place: root_place,
                    message: "the file does not hold keys with values".to_owned(),
                    hint: "begin with `listeners:`; `proxy.example.yaml` shows every key",
                });
            }
        }
        Ok(layer)
    }

    /// Adds one value under a path of keys, as the environment and the command line give it. Text
    /// in brackets or braces is read as a YAML list or map if it is one. All other text is taken
    /// literally.
    pub(super) fn set(&mut self, keys: &[&str], text: &str, place: &Place) {
        let trimmed = text.trim();
        let collection = [('[', ']'), ('{', '}')].iter().any(|(a, b)| trimmed.starts_with(*a) && trimmed.ends_with(*b));
        let parsed = if collection { parse(trimmed).ok().map(|raw| without_places(raw, trimmed)) } else { None };
        let value = parsed.unwrap_or_else(|| Value::new(None, ValueKind::String(text.to_owned())));

        let mut path = String::new();
        for (depth, key) in keys.iter().enumerate() {
            path = join(&path, key);
            let table = depth + 1 < keys.len() || matches!(value.kind, ValueKind::Table(_));
            self.spots.insert(path.clone(), Span { key: place.clone(), value: place.clone(), table });
        }
        insert(&mut self.values, keys, value);
    }

    fn table(&mut self, entries: Vec<(Spanned<String>, Spanned<Raw>)>, path: &str, text: &str) -> Table {
        let mut table = Table::default();
        for (key, raw) in entries {
            let path = join(path, &key.value);
            if hidden_key::is_hidden(&path) {
                self.masked.push(with_tags(range(&key.referenced, text), text));
            }
            let mut spot =
                Span { key: place(&key.referenced, text), value: place(&raw.referenced, text), table: false };
            if let Some(first) = self.spots.get(&path) {
                let line = if let Place::File { line, .. } = first.key { line } else { 0 };
                self.duplicates.push((path.clone(), spot.key.clone(), line));
                // Read under another path, so that masks are complete. The value itself is ignored.
                let _ = self.value(raw, &format!("{path} (again)"), &key.value, text, &mut spot);
                continue;
            }
            let value = self.value(raw, &path, &key.value, text, &mut spot);
            self.spots.insert(path, spot);
            table.insert(key.value, value);
        }
        table
    }

    fn value(&mut self, raw: Spanned<Raw>, path: &str, key: &str, text: &str, spot: &mut Span) -> Value {
        let location = raw.referenced;
        let Range { start, end } = range(&location, text);
        let tags = match raw.value {
            // They may begin with the tag.
            Raw::Map(_) | Raw::List(_) | Raw::Null => with_tags(start..start, text),
            _ => with_tags(start..end, text).start..start,
        };
        if is_foreign(tags.clone(), text) {
            self.tagged.push((path.to_owned(), place(&location, text)));
        }
        if matches!(raw.value, Raw::Map(_) | Raw::List(_)) && !tags.is_empty() {
            self.masked.push(tags);
        }
        let kind = match raw.value {
            Raw::Null => {
                let range = with_tags(range(&location, text), text);
                if !render::is_public(path, key, text.get(range.clone()).unwrap_or_default()) {
                    self.masked.push(range);
                }
                ValueKind::Nil
            }
            Raw::Map(entries) => {
                // A block begins below its key, and people look for the key.
                spot.value = spot.key.clone();
                spot.table = true;
                ValueKind::Table(self.table(entries, path, text))
            }
            Raw::List(items) => {
                spot.value = spot.key.clone();
                let item = |(index, raw): (usize, Spanned<Raw>)| {
                    let path = format!("{path}[{index}]");
                    let here = place(&raw.referenced, text);
                    let mut spot = Span { key: here.clone(), value: here, table: false };
                    let value = self.value(raw, &path, key, text, &mut spot);
                    self.spots.insert(path, spot);
                    value
                };
                ValueKind::Array(items.into_iter().enumerate().map(item).collect())
            }
            leaf => {
                let words = match leaf {
                    Raw::Text(words) => words,
                    _ => source(&location, text),
                };
                if !render::is_public(path, key, &words) {
                    self.masked.push(with_tags(range(&location, text), text));
                }
                ValueKind::String(words)
            }
        };
        Value::new(None, kind)
    }
}

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    /// Everything below one key, because the merging library reads paths (`a.b`, `a[9]`) into the
    /// outermost keys.
    fn collect(&self) -> Result<Table, config::ConfigError> {
        Ok(Table::from_iter([(ROOT.to_owned(), Value::new(None, ValueKind::Table(self.values.clone())))]))
    }
}

const ROOT: &str = "configuration";

/// Merges the layers. Tables are merged, any other value replaces the earlier one.
pub(super) fn merge(layers: &[Layer]) -> Result<Layer, config::ConfigError> {
    let mut builder = config::Config::builder();
    for layer in layers {
        builder = builder.add_source(layer.clone());
    }
    let mut merged = Layer { values: builder.build()?.get_table(ROOT)?, ..Layer::default() };
    for layer in layers {
        for (path, spot) in &layer.spots {
            // A table of several layers keeps its place in the first one.
            if !spot.table || !merged.spots.contains_key(path) {
                merged.spots.insert(path.clone(), spot.clone());
            }
        }
        merged.duplicates.extend(layer.duplicates.iter().cloned());
        merged.tagged.extend(layer.tagged.iter().cloned());
        merged.masked.extend(layer.masked.iter().cloned());
    }
    Ok(merged)
}

fn insert(table: &mut Table, keys: &[&str], value: Value) {
    let Some((first, rest)) = keys.split_first() else { return };
    if rest.is_empty() {
        table.insert((*first).to_owned(), value);
        return;
    }
    let inner = table.entry((*first).to_owned()).or_default();
    if !matches!(inner.kind, ValueKind::Table(_)) {
        inner.kind = ValueKind::Table(Table::default());
    }
    if let ValueKind::Table(inner) = &mut inner.kind {
        insert(inner, rest, value);
    }
}

/// The path of a key below another one.
pub(super) fn join(path: &str, key: &str) -> String {
    let key = segment(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// A key as part of a path: quoted when it could be mistaken for several keys, cut when it is
/// absurdly long.
fn segment(key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if plain { key.to_owned() } else { format!("{key:?}") }
}

/// The value without its places, for text of the environment and the command line.
fn without_places(raw: Spanned<Raw>, text: &str) -> Value {
    let kind = match raw.value {
        Raw::Null => ValueKind::Nil,
        Raw::Text(words) => ValueKind::String(words),
        Raw::Plain => ValueKind::String(source(&raw.referenced, text)),
        Raw::List(items) => ValueKind::Array(items.into_iter().map(|item| without_places(item, text)).collect()),
        Raw::Map(entries) => {
            ValueKind::Table(entries.into_iter().map(|(key, value)| (key.value, without_places(value, text))).collect())
        }
    };
    Value::new(None, kind)
}

/// A YAML value, as serde gives it.
enum Raw {
    Null,
    Text(String),
    /// An unquoted number or truth value, whose text is taken from the source.
    Plain,
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a list, or keys with values")
    }

    fn visit_unit<E: Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

fn parse(text: &str) -> Result<Spanned<Raw>, SyntaxError> {
    let options = serde_saphyr::options! {
        // Anchors, aliases and merge keys can hide what is configured.
        budget: serde_saphyr::budget! {
            max_depth: DEPTH,
            flow_nesting_limit: DEPTH,
            max_aliases: 0,
            max_anchors: 0,
            max_documents: 1,
            max_nodes: NODES,
            max_events: 200_000,
            max_total_scalar_bytes: TEXT_BYTES,
        },
        merge_keys: MergeKeyPolicy::Error,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map_or(Place::Nowhere, |location| place(&location, text));
        let (message, hint) = told(error.without_snippet());
        SyntaxError { place, message, hint }
    })
}

fn told(error: &serde_saphyr::Error) -> (String, &'static str) {
    use serde_saphyr::Error;
    match error {
        Error::Budget { breach: BudgetBreach::Anchors { .. } | BudgetBreach::Aliases { .. }, .. }
        | Error::UnknownAnchor { .. }
        | Error::MergeKeyNotAllowed { .. } => (
            "anchors, aliases and merge keys are not read here".to_owned(),
            "write the value out. One that begins with `&` or `*` needs quotes",
        ),
        Error::Budget { breach: BudgetBreach::Documents { .. }, .. } | Error::MultipleDocuments { .. } => {
            ("the file holds more than one document".to_owned(), "remove what follows the second `---`")
        }
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => {
            (format!("the file is nested more than {DEPTH} levels deep"), "`proxy.example.yaml` shows what is needed")
        }
        Error::Budget { breach: BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. }, .. } => (
            format!("the file holds more than {},000 keys, values and lists", NODES / 1_000),
            "write one account with a wildcard, such as `login: \"*@contoso.com\"`, for those that are alike",
        ),
        Error::Budget { .. } => (format!("the file holds more text than {TEXT_LIMIT}"), "shorten it"),
        other => {
            // The place is reported separately; the rest of the first line says what the parser
            // expected.
            let words = other.to_string();
            let words = words.lines().next().unwrap_or_default();
            let words = words.rsplit_once(" at line ").map_or(words, |(words, _)| words);
            let words: String = words.chars().filter(|c| !c.is_control()).take(200).collect();
            (
                format!("this is not YAML that can be read: {words}"),
                "look at the indentation, quotes and brackets of this line and the one above",
            )
        }
    }
}

/// The text of an unquoted value.
fn source(location: &Location, text: &str) -> String {
    text.get(range(location, text)).unwrap_or_default().trim().to_owned()
}

fn range(location: &Location, text: &str) -> Range<usize> {
    let span = location.span();
    let offset = |n: Option<u64>| n.and_then(|n| usize::try_from(n).ok());
    let start = offset(span.byte_offset()).unwrap_or(0).min(text.len());
    let length = offset(span.byte_len()).unwrap_or(0);
    start..start.saturating_add(length).min(text.len())
}

/// The range of a value with the tags before it: a secret that begins with `!` needs quotes, and
/// without them its first word is one, and perhaps the only one.
fn with_tags(value: Range<usize>, text: &str) -> Range<usize> {
    let ends = |c: char| c.is_whitespace() || matches!(c, ',' | ']' | '}');
    let rest = text.get(value.start..).filter(|rest| value.is_empty() && rest.starts_with('!')).unwrap_or_default();
    let end = value.end + rest.find(ends).unwrap_or(rest.len());
    let mut start = value.start;
    while let Some(before) = text.get(..start).map(str::trim_end) {
        let word =
            before.rsplit(|c: char| c.is_whitespace() || matches!(c, '[' | '{' | ',')).next().unwrap_or_default();
        if !word.starts_with('!') {
            break;
        }
        start = before.len() - word.len();
    }
    start..end
}

/// Whether one of these tags is another one than those of YAML itself, and no comment.
fn is_foreign(tags: Range<usize>, text: &str) -> bool {
    let line = text.get(..tags.start).unwrap_or_default().rsplit('\n').next().unwrap_or_default();
    let is_comment = line.starts_with('#') || line.contains(" #");
    let mut words = text.get(tags).unwrap_or_default().split_whitespace();
    !is_comment && words.any(|word| word.starts_with('!') && !TAGS_OF_YAML.contains(&word))
}

fn place(location: &Location, text: &str) -> Place {
    let Range { start, end } = range(location, text);
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    if location.line() == 0 {
        return Place::Nowhere;
    }
    Place::File { line: number(location.line()), column: number(location.column()), start, end }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(layer: &Layer, key: &str) -> String {
        layer.values.get(key).unwrap().clone().into_string().unwrap()
    }

    #[test]
    fn leaves_stay_text() {
        let layer = Layer::from_yaml("a: 0143\nb: no\nc: 1e3\nd: .inf\ne: 0x1F\nf: TRUE\ng: '7'\nh: -0\n").unwrap();
        for (key, expected) in [
            ("a", "0143"),
            ("b", "no"),
            ("c", "1e3"),
            ("d", ".inf"),
            ("e", "0x1F"),
            ("f", "TRUE"),
            ("g", "7"),
            ("h", "-0"),
        ] {
            assert_eq!(text(&layer, key), expected);
        }
        assert_eq!(Layer::from_yaml("a:\nb: ~\n").unwrap().values.get("b").unwrap().kind, ValueKind::Nil);
    }

    #[test]
    fn places_count_characters_and_ranges_count_octets() {
        let yaml = "\u{feff}a: 1\n\"ä\": {b: [x, yy]}\n";
        let layer = Layer::from_yaml(yaml.trim_start_matches('\u{feff}')).unwrap();
        let Place::File { line, column, start, end } = layer.spots["\"ä\".b[1]"].value else { panic!("no place") };
        assert_eq!((line, column), (2, 14));
        assert_eq!(&yaml.trim_start_matches('\u{feff}')[start..end], "yy");
    }

    #[test]
    fn a_tag_before_a_secret_is_masked_with_it() {
        for text in ["token: !hunter 2", "token:\n  !hunter\n  2", "token: [!hunter 2]", "token: {x: !hunter '2'}"] {
            let layer = Layer::from_yaml(text).unwrap();
            let at = text.find("!hunter").unwrap();
            let is_masked = |range: &Range<usize>| range.contains(&at) && text[range.clone()].contains('2');
            assert!(layer.masked.iter().any(is_masked), "{text}");
        }
        for text in [
            "token: !hunter2",
            "token: {x: !hunter2, env: X}",
            "token: !hunter2 # c\na: 1",
            "token: [!hunter2]",
            "token: !hunter2 {x: 1}",
            "token: !hunter2 [1]",
            "token: !hunter2\n  x: 1",
            "token: [!hunter2 {x: 1}]",
        ] {
            let layer = Layer::from_yaml(text).unwrap();
            assert!(layer.masked.iter().any(|range| text[range.clone()].starts_with("!hunter2")), "{text}");
        }
        let plain = Layer::from_yaml("a: {x: 'b !', token: 2}").unwrap();
        assert!(plain.masked.contains(&(21..22)), "{:?}", plain.masked);
    }

    #[test]
    fn a_tag_is_told_from_text_and_from_comments() {
        let tagged = |text: &str| {
            let paths = Layer::from_yaml(text).unwrap().tagged.into_iter().map(|(path, _)| path);
            paths.collect::<Vec<_>>()
        };
        for text in
            ["a: !x", "a: !x 1", "a: !x 'b'", "a: !x [1]", "a: !x {b: 1}", "a: !x\n  b: 1", "a: !!secret", "a:\n  !x 1"]
        {
            assert_eq!(tagged(text), ["a"], "{text}");
        }
        assert_eq!(tagged("a: [b, !x, !y c]"), ["a[1]", "a[2]"]);
        for text in [
            "a: '!x'",
            "a: b !x",
            "a: |\n  !x\n",
            "a: >\n  !x\n",
            "a: # !x\n  1",
            "a:\n# see !x\n  1",
            "a: !!str 1",
            "a:\n- '!x'\n- y",
        ] {
            assert_eq!(tagged(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn odd_keys_address_nothing_else() {
        // The merging library would read these as paths, and the second as a list of a hundred
        // million entries.
        let layer = Layer::from_yaml("a.b: 1\n'c[99999999]': 2\n").unwrap();
        let merged = merge(&[layer]).unwrap();
        assert_eq!(merged.values.keys().collect::<Vec<_>>(), ["a.b", "c[99999999]"]);
    }

    #[test]
    fn later_layers_win_and_tables_are_merged() {
        let file = Layer::from_yaml("l:\n  smtp: {bind: x, allow: [a, b]}\n  imap: {bind: y}\n").unwrap();
        let mut flags = Layer::default();
        let place = Place::Flag("l.smtp.bind".into());
        flags.set(&["l", "smtp", "bind"], "z", &place);
        flags.set(&["l", "smtp", "allow"], "[c]", &place);
        let merged = merge(&[file, flags]).unwrap();
        let json = format!("{}", merged.values["l"].kind);
        assert_eq!(json, "{ smtp => { bind => z, allow => \"c, \",  }, imap => { bind => y,  },  }");
        assert_eq!(merged.spots["l.smtp.bind"].value, place);
        assert!(matches!(merged.spots["l.smtp"].key, Place::File { line: 2, .. }));
    }

    #[test]
    fn text_in_brackets_that_is_no_list_is_taken_literally() {
        let mut layer = Layer::default();
        layer.set(&["a"], "[not: yaml: }", &Place::Nowhere);
        layer.set(&["b"], "{also not}}", &Place::Nowhere);
        assert_eq!((text(&layer, "a"), text(&layer, "b")), ("[not: yaml: }".into(), "{also not}}".into()));
    }

    #[test]
    fn hostile_text_is_refused_quickly() {
        for text in [
            "[".repeat(100_000),
            "{a: ".repeat(100_000),
            "- ".repeat(100_000),
            "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]".to_owned(),
            "a: *a".to_owned(),
            "a: {<<: {b: 1}}".to_owned(),
            "a: 1\n---\nb: 2\n".to_owned(),
            "x".to_owned(),
            "- a".to_owned(),
            "a: !!binary %%%".to_owned(),
            "\0".to_owned(),
        ] {
            assert!(Layer::from_yaml(&text).is_err(), "{}", text.chars().take(30).collect::<String>());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-c:{}\\[\\]\"'\\-#&*!|>\n ,~é]{0,80}") {
            let _ = Layer::from_yaml(&text);
        }
    }
}
