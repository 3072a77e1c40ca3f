//! XML as SOAP needs it: a request as a tree of elements, and the few ways to write an answer.

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};

/// Levels of elements; a SOAP request needs a dozen.
const DEPTH: usize = 64;

/// An element. Names are without their prefix: what is asked for here has one meaning in all of
/// Exchange's namespaces.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) name: String,
    attributes: Vec<(String, String)>,
    pub(super) children: Vec<Element>,
    /// Its text, without that of its children.
    text: String,
}

impl Element {
    /// The root element; `None` for what is not well-formed, or has a document type.
    pub(super) fn parse(octets: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets)).ok()?;
        let mut reader = Reader::from_str(text);
        // The first one stands above the root.
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) if open.len() <= DEPTH => open.push(Self::begin(&start)?),
                Event::Empty(start) => open.last_mut()?.children.push(Self::begin(&start)?),
                Event::End(_) => {
                    let done = open.pop()?;
                    open.last_mut()?.children.push(done);
                }
                Event::Text(text) => open.last_mut()?.text.push_str(&text.xml10_content()),
                Event::CData(text) => open.last_mut()?.text.push_str(&text.xml10_content()),
                Event::GeneralRef(reference) => {
                    let resolved = match reference.resolve_char_ref().ok()? {
                        Some(c) => c,
                        None => match &*reference.xml10_content() {
                            "amp" => '&',
                            "lt" => '<',
                            "gt" => '>',
                            "quot" => '"',
                            "apos" => '\'',
                            _ => return None,
                        },
                    };
                    open.last_mut()?.text.push(resolved);
                }
                Event::Start(_) | Event::DocType(_) => return None,
                Event::Eof => break,
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            }
        }
        match (open.pop()?, open.is_empty()) {
            (mut above, true) if above.children.len() == 1 => above.children.pop(),
            _ => None,
        }
    }

    fn begin(start: &BytesStart<'_>) -> Option<Self> {
        let mut element = Self { name: local(start.name().as_ref()), ..Self::default() };
        for attribute in start.attributes() {
            let attribute = attribute.ok()?;
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?.into_owned();
            element.attributes.push((local(attribute.key.as_ref()), value));
        }
        Some(element)
    }

    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The children of a child; none when it is not there.
    pub(super) fn list(&self, name: &str) -> &[Self] {
        self.child(name).map_or(&[], |child| &child.children)
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn text(&self) -> &str {
        self.text.trim()
    }

    /// Its text, with the white space around it.
    pub(super) fn whole_text(&self) -> &str {
        &self.text
    }

    /// The text of a child; empty when it is not there.
    pub(super) fn text_of(&self, name: &str) -> &str {
        self.child(name).map_or("", Self::text)
    }
}

/// An XML Schema boolean, which may also be written as a number.
pub(super) fn truth(text: &str) -> bool {
    matches!(text, "true" | "1")
}

fn local(name: &str) -> String {
    name.rsplit(':').next().unwrap_or_default().to_owned()
}

/// Text for an element or attribute. Characters that XML 1.0 has no room for are replaced.
pub(super) fn escaped(text: &str) -> String {
    let possible =
        |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    let text: String = text.chars().map(|c| if possible(c) { c } else { '\u{fffd}' }).collect();
    quick_xml::escape::escape(text.as_str()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_whatever_its_prefixes() {
        let root = Element::parse(
            b"\xef\xbb\xbf<?xml version='1.0'?><!-- x --><s:E xmlns:s='n'><a:B Id=\"1&amp;2\"> x &lt;&#65;<![CDATA[<]]></a:B><C/></s:E>",
        )
        .unwrap();
        assert_eq!((root.name.as_str(), root.children.len()), ("E", 2));
        let b = root.child("B").unwrap();
        assert_eq!((b.attribute("Id"), b.text(), root.text_of("C")), (Some("1&2"), "x <A<", ""));
    }

    #[test]
    fn what_is_not_plain_xml_is_refused() {
        let deep = "<a>".repeat(1_000);
        for text in ["", "x", "<a>", "<a></b>", "<a/><b/>", "<!DOCTYPE a><a/>", "<a>&x;</a>", "<a b=\"&x;\"/>", &deep] {
            assert_eq!(Element::parse(text.as_bytes()), None, "{text:.20}");
        }
        assert_eq!(escaped("a<\"\u{1}"), "a&lt;&quot;\u{fffd}");
    }
}
