//! What FETCH asks for (RFC 9051 §6.4.5).

use super::lexer::{Lexer, Malformed, Parsed};

/// One data item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attribute {
    Uid,
    Flags,
    InternalDate,
    Size,
    Envelope,
    /// `BODY` without a section is not extensible.
    Structure {
        extended: bool,
    },
    Body(BodyAttribute),
}

/// A data item that asks for contents of a message, or of a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BodyAttribute {
    /// What stands before the octets in the response, such as `BODY[TEXT]<0>` or `RFC822`.
    pub(super) label: String,
    /// Part numbers; none for the message itself.
    pub(super) part: Vec<u32>,
    pub(super) section: Section,
    /// Where to start, and how many octets at most.
    pub(super) partial: Option<(usize, usize)>,
    /// Whether `\Seen` stays as it is; reading sets it otherwise.
    pub(super) peek: bool,
}

/// Which section of the part is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Whole,
    Header,
    /// Names in lower case; with `but`, all fields except those.
    HeaderFields {
        names: Vec<String>,
        but: bool,
    },
    Text,
    /// The MIME header of the part.
    Mime,
}

impl Attribute {
    fn whole(label: &str, section: Section, peek: bool) -> Self {
        Self::Body(BodyAttribute { label: label.to_owned(), part: Vec::new(), section, partial: None, peek })
    }
}

/// One item, a macro, or a list in parentheses.
pub(super) fn attributes(lexer: &mut Lexer<'_>) -> Parsed<Vec<Attribute>> {
    if lexer.peek() == Some(b'(') {
        return lexer.list(attribute);
    }
    let mut ahead = lexer.clone();
    let mut fast = vec![Attribute::Flags, Attribute::InternalDate, Attribute::Size];
    match ahead.word()?.to_ascii_uppercase().as_str() {
        "FAST" => {}
        "ALL" => fast.push(Attribute::Envelope),
        "FULL" => fast.extend([Attribute::Envelope, Attribute::Structure { extended: false }]),
        _ => return attribute(lexer).map(|one| vec![one]),
    }
    *lexer = ahead;
    Ok(fast)
}

fn attribute(lexer: &mut Lexer<'_>) -> Parsed<Attribute> {
    Ok(match lexer.word()?.to_ascii_uppercase().as_str() {
        "UID" => Attribute::Uid,
        "FLAGS" => Attribute::Flags,
        "INTERNALDATE" => Attribute::InternalDate,
        "RFC822.SIZE" => Attribute::Size,
        "ENVELOPE" => Attribute::Envelope,
        "BODYSTRUCTURE" => Attribute::Structure { extended: true },
        "RFC822" => Attribute::whole("RFC822", Section::Whole, false),
        "RFC822.HEADER" => Attribute::whole("RFC822.HEADER", Section::Header, true),
        "RFC822.TEXT" => Attribute::whole("RFC822.TEXT", Section::Text, false),
        "BODY" if lexer.peek() == Some(b'[') => Attribute::Body(body(lexer, false)?),
        "BODY" => Attribute::Structure { extended: false },
        "BODY.PEEK" => Attribute::Body(body(lexer, true)?),
        _ => return Err(Malformed),
    })
}

/// Reads a section such as `[1.2.HEADER.FIELDS (From To)]<0.100>`.
fn body(lexer: &mut Lexer<'_>, peek: bool) -> Parsed<BodyAttribute> {
    lexer.expect(b'[')?;
    let mut part = Vec::new();
    let mut label = String::from("BODY[");
    while lexer.peek().is_some_and(|octet| octet.is_ascii_digit()) {
        let number = lexer.number()?;
        if number == 0 {
            return Err(Malformed);
        }
        part.push(number);
        if part.len() > 1 {
            label.push('.');
        }
        label.push_str(&number.to_string());
        if !lexer.take(b'.') {
            break;
        }
        if lexer.peek() == Some(b']') {
            return Err(Malformed);
        }
    }
    let section = if lexer.peek() == Some(b']') { Section::Whole } else { section(lexer, &mut label, &part)? };
    lexer.expect(b']')?;
    label.push(']');
    let partial = if lexer.take(b'<') {
        let start = lexer.number()?;
        lexer.expect(b'.')?;
        let count = lexer.number()?;
        lexer.expect(b'>')?;
        label.push_str(&format!("<{start}>"));
        let size = |number| usize::try_from(number).map_err(|_| Malformed);
        Some((size(start)?, size(count)?))
    } else {
        None
    };
    Ok(BodyAttribute { label, part, section, partial, peek })
}

fn section(lexer: &mut Lexer<'_>, label: &mut String, part: &[u32]) -> Parsed<Section> {
    let name = lexer.word()?.to_ascii_uppercase();
    if !part.is_empty() {
        label.push('.');
    }
    label.push_str(&name);
    Ok(match name.as_str() {
        "HEADER" => Section::Header,
        "TEXT" => Section::Text,
        "MIME" if !part.is_empty() => Section::Mime,
        "HEADER.FIELDS" | "HEADER.FIELDS.NOT" => {
            lexer.space()?;
            let names = lexer.list(|lexer| String::from_utf8(lexer.astring()?).map_err(|_| Malformed))?;
            // The label is an echo, so only what can stand in one unquoted is taken.
            let plain =
                |name: &String| name.bytes().all(|octet| octet.is_ascii_graphic() && !b"()[]\"\\{".contains(&octet));
            if names.is_empty() || !names.iter().all(plain) {
                return Err(Malformed);
            }
            label.push_str(&format!(" ({})", names.join(" ")));
            let names = names.into_iter().map(|name| name.to_ascii_lowercase()).collect();
            Section::HeaderFields { names, but: name == "HEADER.FIELDS.NOT" }
        }
        _ => return Err(Malformed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Parsed<Vec<Attribute>> {
        let mut lexer = Lexer::new(text.as_bytes());
        let attributes = attributes(&mut lexer)?;
        lexer.end()?;
        Ok(attributes)
    }

    #[test]
    fn macros_and_lists_are_read() {
        assert_eq!(parse("ALL").unwrap().len(), 4);
        assert_eq!(parse("FULL").unwrap().len(), 5);
        assert_eq!(parse("uid").unwrap(), [Attribute::Uid]);
        assert_eq!(parse("(FLAGS BODY)").unwrap(), [Attribute::Flags, Attribute::Structure { extended: false }]);
        for bad in ["(ALL)", "FROB", "(FLAGS", "BODY[", "BODY[0]", "BODY[MIME]", "BODY[1.]", "BODY[]<1>"] {
            assert_eq!(parse(bad), Err(Malformed), "{bad}");
        }
    }

    #[test]
    fn sections_keep_their_label() {
        for (text, label, part) in [
            ("BODY.PEEK[1.2.MIME]", "BODY[1.2.MIME]", vec![1, 2]),
            ("BODY[]<5.10>", "BODY[]<5>", vec![]),
            ("body[header.fields (From \"To\")]", "BODY[HEADER.FIELDS (From To)]", vec![]),
            ("RFC822.TEXT", "RFC822.TEXT", vec![]),
            ("BODY[3]", "BODY[3]", vec![3]),
        ] {
            let attributes = parse(text).unwrap();
            let [Attribute::Body(body)] = attributes.as_slice() else { panic!("{text}") };
            assert_eq!((body.label.as_str(), &body.part), (label, &part), "{text}");
        }
    }
}
