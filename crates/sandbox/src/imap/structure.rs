//! BODY and BODYSTRUCTURE (RFC 9051 §7.5.2).

use super::envelope::{envelope, nstring, string};
use crate::mime::{self, Content, Part};

/// The structure of a part; `extended` adds what BODYSTRUCTURE has over BODY.
pub(super) fn structure(out: &mut Vec<u8>, raw: &[u8], part: &Part, extended: bool) {
    let header = &raw[part.header.clone()];
    out.push(b'(');
    if let Content::Multipart(parts) = &part.content {
        for part in parts {
            structure(out, raw, part, extended);
        }
        out.push(b' ');
        upper(out, &part.media.subtype);
        if extended {
            out.push(b' ');
            parameters(out, &part.media.parameters);
            tail(out, header);
        }
    } else {
        upper(out, &part.media.kind);
        out.push(b' ');
        upper(out, &part.media.subtype);
        out.push(b' ');
        parameters(out, &part.media.parameters);
        for name in ["content-id", "content-description"] {
            out.push(b' ');
            nstring(out, mime::field(header, name).as_deref());
        }
        out.push(b' ');
        match mime::field(header, "content-transfer-encoding") {
            Some(encoding) => string(out, &encoding.to_ascii_uppercase()),
            None => string(out, b"7BIT"),
        }
        let body = &raw[part.body.clone()];
        out.extend(format!(" {}", body.len()).into_bytes());
        if let Content::Message(message) = &part.content {
            out.push(b' ');
            envelope(out, &raw[message.header.clone()]);
            out.push(b' ');
            structure(out, raw, message, extended);
        }
        if part.media.kind == "text" || matches!(part.content, Content::Message(_)) {
            let lines = body.iter().filter(|&&octet| octet == b'\n').count();
            out.extend(format!(" {lines}").into_bytes());
        }
        if extended {
            out.push(b' ');
            nstring(out, mime::field(header, "content-md5").as_deref());
            tail(out, header);
        }
    }
    out.push(b')');
}

/// Writes the disposition, the language and the location of a part.
fn tail(out: &mut Vec<u8>, header: &[u8]) {
    out.push(b' ');
    match mime::field(header, "content-disposition") {
        Some(value) => {
            let (kind, found) = mime::parameterised(&value);
            out.push(b'(');
            upper(out, &kind);
            out.push(b' ');
            parameters(out, &found);
            out.push(b')');
        }
        None => out.extend_from_slice(b"NIL"),
    }
    for name in ["content-language", "content-location"] {
        out.push(b' ');
        nstring(out, mime::field(header, name).as_deref());
    }
}

fn parameters(out: &mut Vec<u8>, parameters: &[(String, String)]) {
    if parameters.is_empty() {
        return out.extend_from_slice(b"NIL");
    }
    for (index, (name, value)) in parameters.iter().enumerate() {
        out.push(if index == 0 { b'(' } else { b' ' });
        upper(out, name);
        out.push(b' ');
        string(out, value.as_bytes());
    }
    out.push(b')');
}

fn upper(out: &mut Vec<u8>, text: &str) {
    string(out, text.to_ascii_uppercase().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(raw: &str, extended: bool) -> String {
        let mut out = Vec::new();
        structure(&mut out, raw.as_bytes(), &Part::parse(raw.as_bytes()), extended);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_simple_message_is_one_text_part() {
        assert_eq!(
            written("Subject: x\r\n\r\none\r\ntwo\r\n", false),
            "(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 10 2)"
        );
    }

    #[test]
    fn a_multipart_lists_its_parts() {
        let raw = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhi\r\n--b\r\n\
            Content-Type: text/csv; name=\"a.csv\"\r\nContent-Disposition: attachment; filename=\"a.csv\"\r\n\
            Content-Transfer-Encoding: base64\r\n\r\nQQ==\r\n--b--\r\n";
        assert_eq!(
            written(raw, true),
            "((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 2 0 NIL NIL NIL NIL)\
             (\"TEXT\" \"CSV\" (\"NAME\" \"a.csv\") NIL NIL \"BASE64\" 4 0 NIL (\"ATTACHMENT\" (\"FILENAME\" \"a.csv\")) \
             NIL NIL) \"MIXED\" (\"BOUNDARY\" \"b\") NIL NIL NIL)"
        );
    }

    #[test]
    fn an_enclosed_message_shows_its_envelope() {
        let raw = "Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nhi\r\n";
        let text = written(raw, false);
        assert!(text.starts_with("(\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 22 (NIL \"inner\" NIL"), "{text}");
        assert!(text.ends_with("(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 4 1) 3)"), "{text}");
    }
}
