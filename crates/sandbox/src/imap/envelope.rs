//! ENVELOPE and the strings of responses (RFC 9051 §7.5.2).

use crate::{address, mime};

/// A string: quoted where possible, otherwise a literal.
pub(super) fn string(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() <= 1_024 && text.iter().all(|octet| (0x20..0x7f).contains(octet)) {
        out.push(b'"');
        for &octet in text {
            if octet == b'"' || octet == b'\\' {
                out.push(b'\\');
            }
            out.push(octet);
        }
        out.push(b'"');
    } else {
        out.extend(format!("{{{}}}\r\n", text.len()).into_bytes());
        out.extend_from_slice(text);
    }
}

/// A string, or NIL.
pub(super) fn nstring(out: &mut Vec<u8>, text: Option<&[u8]>) {
    match text {
        Some(text) => string(out, text),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// The envelope that a message's header describes.
pub(super) fn envelope(out: &mut Vec<u8>, header: &[u8]) {
    let field = |name| mime::field(header, name);
    out.push(b'(');
    nstring(out, field("date").as_deref());
    out.push(b' ');
    nstring(out, field("subject").as_deref());
    let from = field("from");
    for name in ["from", "sender", "reply-to", "to", "cc", "bcc"] {
        out.push(b' ');
        let mut value = field(name).filter(|value| !value.is_empty());
        if value.is_none() && matches!(name, "sender" | "reply-to") {
            value.clone_from(&from);
        }
        addresses(out, value.as_deref());
    }
    for name in ["in-reply-to", "message-id"] {
        out.push(b' ');
        nstring(out, field(name).as_deref());
    }
    out.push(b')');
}

fn addresses(out: &mut Vec<u8>, value: Option<&[u8]>) {
    let list = value.map(address::list).unwrap_or_default();
    if list.is_empty() {
        return out.extend_from_slice(b"NIL");
    }
    out.push(b'(');
    for address in list {
        out.push(b'(');
        nstring(out, address.name.as_deref());
        out.extend_from_slice(b" NIL ");
        nstring(out, address.mailbox.as_deref());
        out.push(b' ');
        nstring(out, address.host.as_deref());
        out.push(b')');
    }
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(header: &str) -> String {
        let mut out = Vec::new();
        envelope(&mut out, header.as_bytes());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_envelope_is_that_of_the_rfc() {
        let header = "Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\nFrom: Terry Gray <gray@cac.washington.edu>\r\n\
            Subject: IMAP4rev1 WG mtg summary and minutes\r\nTo: imap@cac.washington.edu\r\n\
            cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\nMessage-Id: <B27397-0100000@cac.washington.edu>\r\n";
        assert_eq!(
            written(header),
            "(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"IMAP4rev1 WG mtg summary and minutes\" \
             ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) \
             ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) ((NIL NIL \"imap\" \"cac.washington.edu\")) \
             ((NIL NIL \"minutes\" \"CNRI.Reston.VA.US\")(\"John Klensin\" NIL \"KLENSIN\" \"MIT.EDU\")) NIL NIL \
             \"<B27397-0100000@cac.washington.edu>\")"
        );
    }

    #[test]
    fn odd_addresses_are_taken_apart() {
        let header = "To: \"Doe, \\\"J\\\"\" <j@x>, A group: a@b, c@d;, (note (nested)) plain\r\n";
        assert!(
            written(header).contains(
                "((\"Doe, \\\"J\\\"\" NIL \"j\" \"x\")(NIL NIL \"A group\" NIL)(NIL NIL \"a\" \"b\")\
                 (NIL NIL \"c\" \"d\")(NIL NIL NIL NIL)(NIL NIL \"plain\" \"\"))"
            ),
            "{}",
            written(header)
        );
        assert_eq!(written(""), "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
    }

    #[test]
    fn what_cannot_be_quoted_is_a_literal() {
        let mut out = Vec::new();
        string(&mut out, "Grüße".as_bytes());
        assert_eq!(out, "{7}\r\nGrüße".as_bytes());
    }
}
