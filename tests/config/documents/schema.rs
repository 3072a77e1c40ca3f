//! `proxy.schema.json`, from the reference of the configuration: a JSON Schema of draft 7, which all
//! editors with the YAML language server understand.

use std::time::Duration;

use gatepost_config::reference::{Block, Form, IfAbsent, Key, Kind, ROOT};
use gatepost_config::value::{show_duration, show_size};
use gatepost_core::protocol::Protocol;
use serde_json::{Map, Value, json};

const TIME: &str = "^[0-9]+\\s*(ms|s|m|h|d)$";
const SIZE: &str = "^[0-9]+\\s*(B|KiB|MiB|GiB)$";

/// The name of a section in `definitions`.
fn name(block: &Block) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { ' ' };
    block.path.chars().map(plain).collect::<String>().split_whitespace().collect::<Vec<_>>().join("-")
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/definitions/{name}") })
}

/// The sections so far.
struct Definitions(Map<String, Value>);

impl Definitions {
    fn kind(&mut self, kind: &'static Kind) -> Value {
        match kind {
            Kind::Text(form) => text(form),
            Kind::Word(words) => json!({ "enum": words }),
            // Either may be in quotes.
            Kind::Truth => json!({ "type": ["boolean", "string"], "pattern": "^(true|false)$" }),
            Kind::Count(least, most) => {
                json!({ "type": ["integer", "string"], "minimum": least, "maximum": most, "pattern": "^\\+?[0-9]+$" })
            }
            Kind::Time(Duration::ZERO, _) => {
                json!({ "type": ["string", "integer"], "maximum": 0, "pattern": format!("^0$|{TIME}") })
            }
            Kind::Time(..) => json!({ "type": "string", "pattern": TIME }),
            Kind::Size(..) => json!({ "type": "string", "pattern": SIZE }),
            Kind::List(item) => json!({ "type": "array", "items": self.kind(item) }),
            Kind::OneOrMore(item) => {
                let item = self.kind(item);
                json!({ "anyOf": [item, { "type": "array", "items": item }] })
            }
            Kind::Map(Kind::Block(block)) if block.path == "listeners.NAME" => self.listeners(block),
            Kind::Map(item) => json!({ "type": "object", "additionalProperties": self.kind(item) }),
            Kind::Block(block) => self.block(block),
            Kind::Either(kinds) => json!({ "anyOf": kinds.iter().map(|kind| self.kind(kind)).collect::<Vec<_>>() }),
        }
    }

    fn key(&mut self, key: &'static Key) -> Value {
        let mut schema = self.kind(&key.kind);
        let is_section = matches!(key.kind, Kind::Map(_) | Kind::List(_)) || key.kind.block().is_some();
        if is_section && !matches!(key.if_absent, IfAbsent::Required) {
            // Every key below may be a comment.
            schema = json!({ "anyOf": [schema, { "type": "null" }] });
        } else if schema.get("$ref").is_some() {
            schema = json!({ "allOf": [schema] });
        }
        let mut description = key.meaning.to_owned();
        match key.kind {
            Kind::Time(least, most) => {
                description += &format!(" From {} to {}.", show_duration(least), show_duration(most));
            }
            Kind::Size(least, most) => description += &format!(" From {} to {}.", show_size(least), show_size(most)),
            _ => {}
        }
        match key.if_absent {
            IfAbsent::Value(value) => schema["default"] = yaml(value),
            IfAbsent::Means(words) => description += &format!("\n\nDefault: {words}."),
            IfAbsent::Required | IfAbsent::Nothing => {}
        }
        schema["description"] = description.into();
        schema
    }

    fn block(&mut self, block: &'static Block) -> Value {
        let name = name(block);
        if !self.0.contains_key(&name) {
            self.0.insert(name.clone(), Value::Null);
            let schema = self.object(block);
            self.0.insert(name.clone(), schema);
        }
        reference(&name)
    }

    fn object(&mut self, block: &'static Block) -> Value {
        let properties: Map<String, Value> = block.keys().map(|key| (key.name.to_owned(), self.key(key))).collect();
        let required: Vec<&str> =
            block.keys().filter(|key| matches!(key.if_absent, IfAbsent::Required)).map(|key| key.name).collect();
        let mut schema = json!({
            "type": "object",
            "description": block.meaning,
            "properties": properties,
            "additionalProperties": false,
        });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        let needs: Map<String, Value> =
            block.keys().filter_map(|key| Some((key.name.to_owned(), json!([key.needs?])))).collect();
        if !needs.is_empty() {
            schema["dependencies"] = Value::Object(needs);
        }
        if !block.one_of.is_empty() {
            schema["oneOf"] = block.one_of.iter().map(|key| json!({ "required": [key] })).collect();
        }
        schema
    }

    /// Listeners, which have the keys of their protocol only: of `protocol`, or else of their name.
    fn listeners(&mut self, listener: &'static Block) -> Value {
        let any = self.block(listener);
        let mut named = Map::new();
        let mut cases = Vec::new();
        for protocol in Protocol::ALL {
            let others = listener.keys().filter(|key| !key.only.is_empty() && !key.only.contains(&protocol));
            let others: Vec<&str> = others.map(|key| key.name).collect();
            let own = format!("keys-of-{}", protocol.name());
            let mut schema = json!({ "properties": refused(&others) });
            if let Some((key, with, without)) = of_graph(protocol) {
                schema["if"] = json!({ "required": [key], "properties": { key: { "const": "graph" } } });
                schema["then"] = json!({ "properties": refused(with) });
                schema["else"] = json!({ "properties": refused(without) });
            }
            self.0.insert(own.clone(), schema);
            cases.push(json!({
                "if": { "required": ["protocol"], "properties": { "protocol": { "const": protocol.name() } } },
                "then": reference(&own),
            }));
            let by_name = json!({ "if": { "required": ["protocol"] }, "else": reference(&own) });
            named.insert(protocol.name().to_owned(), json!({ "allOf": [any, by_name] }));
        }
        self.0.insert("keys-of-protocol".to_owned(), json!({ "allOf": cases }));
        for schema in named.values_mut() {
            schema["allOf"].as_array_mut().unwrap().push(reference("keys-of-protocol"));
        }
        json!({
            "type": "object",
            "minProperties": 1,
            "propertyNames": { "pattern": "^[A-Za-z0-9_-]{1,64}$" },
            "properties": named,
            "additionalProperties": { "allOf": [any, { "required": ["protocol"] }, reference("keys-of-protocol")] },
        })
    }
}

fn refused(keys: &[&str]) -> Map<String, Value> {
    keys.iter().map(|key| ((*key).to_owned(), Value::Bool(false))).collect()
}

/// For listeners that may use Microsoft Graph: the key that says so with `graph`, the keys that are
/// unknown then, and those that are unknown otherwise.
fn of_graph(protocol: Protocol) -> Option<(&'static str, &'static [&'static str], &'static [&'static str])> {
    match protocol {
        Protocol::Pop3 => Some(("upstream", &["upstream_tls"], &["graph"])),
        Protocol::Smtp => Some(("deliver", &["upstream", "upstream_tls"], &[])),
        Protocol::Imap | Protocol::Ews | Protocol::Graph => None,
    }
}

/// Text of a form, and numbers where the form allows them: Gatepost reads `password: 12345` as text.
fn text(form: &Form) -> Value {
    let mut schema = json!({ "type": "string", "minLength": 1 });
    if !form.pattern.is_empty() {
        schema["pattern"] = form.pattern.into();
    }
    if jsonschema::draft7::is_valid(&schema, &json!("123")) {
        schema["type"] = json!(["string", "number", "boolean"]);
    }
    schema
}

/// A value in the form of YAML.
fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The schema.
pub(crate) fn schema() -> Value {
    let mut definitions = Definitions(Map::new());
    let mut schema = definitions.object(ROOT);
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "Gatepost".into();
    schema["definitions"] = Value::Object(definitions.0);
    schema
}

pub(super) fn document() -> String {
    let mut text = serde_json::to_string_pretty(&schema()).unwrap();
    text.push('\n');
    text
}
