//! Answers to FETCH: one message's data items.

use super::attribute::{Attribute, BodyAttribute, Section};
use super::envelope::{envelope, string};
use super::structure::structure;
use crate::calendar;
use crate::mime::{self, Content, Part};
use crate::store::{Flags, Message};

/// Whether answering sets `\Seen`.
pub(super) fn sets_seen(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| matches!(attribute, Attribute::Body(body) if !body.peek))
}

/// Writes `* n FETCH (…)`.
pub(super) fn answer(out: &mut Vec<u8>, number: u32, uid: u32, message: &Message, attributes: &[Attribute]) {
    // The build is looked at only if an item needs it.
    let mut build = None;
    out.extend(format!("* {number} FETCH (").into_bytes());
    for (index, attribute) in attributes.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        let raw = &message.content;
        match attribute {
            Attribute::Uid => out.extend(format!("UID {uid}").into_bytes()),
            Attribute::Flags => flags(out, message.flags),
            Attribute::InternalDate => {
                out.extend(format!("INTERNALDATE \"{}\"", calendar::internal_date(message.received_at)).into_bytes());
            }
            Attribute::Size => out.extend(format!("RFC822.SIZE {}", raw.len()).into_bytes()),
            Attribute::Envelope => {
                out.extend_from_slice(b"ENVELOPE ");
                let part: &Part = build.get_or_insert_with(|| Part::parse(raw));
                envelope(out, &raw[part.header.clone()]);
            }
            Attribute::Structure { extended } => {
                out.extend_from_slice(if *extended { b"BODYSTRUCTURE " } else { b"BODY " });
                structure(out, raw, build.get_or_insert_with(|| Part::parse(raw)), *extended);
            }
            Attribute::Body(body) if body.part.is_empty() && body.section == Section::Whole => {
                contents(out, body, Some(raw))
            }
            Attribute::Body(body) => {
                let part = build.get_or_insert_with(|| Part::parse(raw));
                contents(out, body, octets(raw, part, body).as_deref());
            }
        }
    }
    out.extend_from_slice(b")\r\n");
}

/// Writes `FLAGS (…)`.
pub(super) fn flags(out: &mut Vec<u8>, flags: Flags) {
    out.extend(format!("FLAGS ({flags})").into_bytes());
}

fn contents(out: &mut Vec<u8>, body: &BodyAttribute, octets: Option<&[u8]>) {
    out.extend_from_slice(body.label.as_bytes());
    out.push(b' ');
    let Some(octets) = octets else { return out.extend_from_slice(b"NIL") };
    let (start, count) = body.partial.unwrap_or((0, usize::MAX));
    let start = start.min(octets.len());
    let octets = &octets[start..start.saturating_add(count).min(octets.len())];
    if octets.is_empty() {
        return string(out, b"");
    }
    out.extend(format!("{{{}}}\r\n", octets.len()).into_bytes());
    out.extend_from_slice(octets);
}

/// The octets of a section; `None` when the message has no such part.
fn octets<'a>(raw: &'a [u8], message: &Part, body: &BodyAttribute) -> Option<std::borrow::Cow<'a, [u8]>> {
    let part = message.find(&body.part)?;
    // HEADER and TEXT of a numbered part are those of the message enclosed in it.
    let enclosed = match (&part.content, body.part.is_empty()) {
        (_, true) => Some(part),
        (Content::Message(message), false) => Some(message.as_ref()),
        _ => None,
    };
    Some(match &body.section {
        Section::Whole => raw[part.body.clone()].into(),
        Section::Mime => raw[part.header.clone()].into(),
        Section::Header => raw[enclosed?.header.clone()].into(),
        Section::Text => raw[enclosed?.body.clone()].into(),
        Section::HeaderFields { names, but } => {
            let mut picked = Vec::new();
            for (name, field) in mime::fields(&raw[enclosed?.header.clone()]) {
                if names.contains(&name) != *but {
                    picked.extend_from_slice(field);
                }
            }
            picked.extend_from_slice(b"\r\n");
            picked.into()
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::imap::attribute::attributes;
    use crate::imap::lexer::Lexer;

    const RAW: &str = "From: a@b\r\nSubject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n\
        Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ndeep\r\n--b--\r\n";

    fn fetch(what: &str) -> String {
        let message = Message {
            content: Arc::from(RAW.as_bytes()),
            flags: Flags::SEEN.with(Flags::FLAGGED),
            received_at: 0,
            identity: 1,
        };
        let attributes = attributes(&mut Lexer::new(what.as_bytes())).unwrap();
        let mut out = Vec::new();
        answer(&mut out, 3, 17, &message, &attributes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn simple_items_are_answered_in_order() {
        assert_eq!(
            fetch("(UID FLAGS INTERNALDATE RFC822.SIZE)"),
            format!(
                "* 3 FETCH (UID 17 FLAGS (\\Seen \\Flagged) INTERNALDATE \" 1-Jan-1970 00:00:00 +0000\" RFC822.SIZE {})\r\n",
                RAW.len()
            )
        );
    }

    #[test]
    fn sections_are_cut_out() {
        for (what, answer) in [
            ("BODY[1]", "BODY[1] {5}\r\nhello"),
            ("BODY[1]<1.3>", "BODY[1]<1> {3}\r\nell"),
            ("BODY[1]<9.3>", "BODY[1]<9> \"\""),
            ("BODY[2.HEADER]", "BODY[2.HEADER] {18}\r\nSubject: inner\r\n\r\n"),
            ("BODY[2.TEXT]", "BODY[2.TEXT] {4}\r\ndeep"),
            ("BODY[2.1]", "BODY[2.1] {4}\r\ndeep"),
            ("BODY[2.MIME]", "BODY[2.MIME] {32}\r\nContent-Type: message/rfc822\r\n\r\n"),
            ("BODY[7]", "BODY[7] NIL"),
            ("BODY[1.HEADER]", "BODY[1.HEADER] NIL"),
            ("BODY[HEADER.FIELDS (Subject)]", "BODY[HEADER.FIELDS (Subject)] {14}\r\nSubject: x\r\n\r\n"),
            (
                "RFC822.HEADER",
                "RFC822.HEADER {68}\r\nFrom: a@b\r\nSubject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n",
            ),
        ] {
            assert_eq!(fetch(what), format!("* 3 FETCH ({answer})\r\n"), "{what}");
        }
        assert!(fetch("BODY[HEADER.FIELDS.NOT (Subject Content-Type)]").contains("{13}\r\nFrom: a@b\r\n\r\n"));
        assert!(fetch("BODY[]").contains(RAW));
    }

    proptest::proptest! {
        #[test]
        fn no_message_panics(raw in "(Content-Type: (multipart/mixed; boundary=b|message/rfc822|text)\r?\n|--b-{0,2}\r?\n|\r\n|To:[<>,:;(@\" a]{0,9}\n|[ -~]{0,5}){0,30}") {
            let message = Message { content: Arc::from(raw.as_bytes()), flags: Flags::default(), received_at: 0, identity: 1 };
            let what = b"(ENVELOPE BODYSTRUCTURE BODY[1.1.MIME] BODY[2.HEADER.FIELDS (To)] BODY[TEXT]<3.9>)";
            answer(&mut Vec::new(), 1, 1, &message, &attributes(&mut Lexer::new(what)).unwrap());
        }
    }
}
