//! Messages out of the pieces that Graph (JSON) and EWS (XML) clients hand over.

use super::letter::{Attachment, Person};
use super::{calendar, random, text};

/// A message in pieces.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) from: Option<Person>,
    pub(super) to: Vec<Person>,
    pub(super) cc: Vec<Person>,
    pub(super) bcc: Vec<Person>,
    pub(super) reply_to: Vec<Person>,
    pub(super) subject: String,
    /// With its brackets; a new one if there is none.
    pub(super) message_id: Option<String>,
    pub(super) html: bool,
    pub(super) body: String,
    /// Further fields of the header.
    pub(super) fields: Vec<(String, String)>,
    pub(super) attachments: Vec<Attachment>,
}

impl Draft {
    /// The message (RFC 5322, RFC 2045); `now` in seconds since 1970.
    pub(super) fn compose(&self, now: i64) -> Vec<u8> {
        let mut out = String::new();
        let mut field = |name: &str, value: &str| {
            if !value.is_empty() {
                out.push_str(&format!("{name}: {value}\r\n"));
            }
        };
        field("From", &addresses(self.from.as_slice()));
        field("To", &addresses(&self.to));
        field("Cc", &addresses(&self.cc));
        field("Bcc", &addresses(&self.bcc));
        field("Reply-To", &addresses(&self.reply_to));
        field("Subject", &text::encoded(&self.subject));
        field("Date", &calendar::message_date(now));
        let id = || format!("<{}@sandbox.outlook.office365.com>", random::guid());
        field("Message-ID", &self.message_id.clone().unwrap_or_else(id));
        for (name, value) in &self.fields {
            field(name, &text::encoded(value));
        }
        field("MIME-Version", "1.0");
        let subtype = if self.html { "html" } else { "plain" };
        let body = format!(
            "Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{}",
            text::base64_lines(self.body.as_bytes())
        );
        if self.attachments.is_empty() {
            out.push_str(&body);
            return out.into_bytes();
        }
        let boundary = format!("_{}_", random::guid());
        out.push_str(&format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n--{boundary}\r\n{body}"));
        for Attachment { name, content_type, content_id, content } in &self.attachments {
            let name = text::encoded(&name.replace(['"', '\\'], "_"));
            let (disposition, id) = match content_id {
                Some(id) => ("inline", format!("Content-ID: <{id}>\r\n")),
                None => ("attachment", String::new()),
            };
            out.push_str(&format!(
                "--{boundary}\r\nContent-Type: {content_type}\r\nContent-Transfer-Encoding: base64\r\n{id}\
                 Content-Disposition: {disposition}; filename=\"{name}\"\r\n\r\n{}",
                text::base64_lines(content)
            ));
        }
        out.push_str(&format!("--{boundary}--\r\n"));
        out.into_bytes()
    }
}

fn addresses(people: &[Person]) -> String {
    let one = |Person { name, address }: &Person| {
        if name.is_empty() || name == address {
            format!("<{address}>")
        } else if name.is_ascii() {
            format!("\"{}\" <{address}>", name.replace('\\', "\\\\").replace('"', "\\\""))
        } else {
            format!("{} <{address}>", text::encoded(name))
        }
    };
    people.iter().map(one).collect::<Vec<_>>().join(",\r\n ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letter::Letter;

    #[test]
    fn what_was_put_together_is_read_as_the_same() {
        let person = |name: &str, address: &str| Person { name: name.into(), address: address.into() };
        let draft = Draft {
            from: Some(person("", "alice@contoso.example")),
            to: vec![person("Doe, \"J\"", "j@x"), person("Jürgen", "k@x")],
            bcc: vec![person("", "hidden@x")],
            subject: "Grüße".into(),
            body: "Hallo Köln".into(),
            fields: vec![("X-Device".into(), "7".into())],
            attachments: vec![Attachment {
                name: "ä.bin".into(),
                content_type: "application/pdf".into(),
                content_id: None,
                content: vec![0, 255],
            }],
            ..Draft::default()
        };
        let raw = draft.compose(0);
        let letter = Letter::read(&raw);
        assert_eq!(letter.recipients().unwrap(), ["j@x", "k@x", "hidden@x"]);
        assert_eq!(letter.people("to"), draft.to);
        assert_eq!((letter.subject(), letter.body()), ("Grüße".into(), (false, "Hallo Köln".into())));
        assert_eq!(letter.field("x-device").as_deref(), Some("7"));
        let attachments = letter.attachments();
        assert_eq!((attachments[0].name.as_str(), attachments[0].content.as_slice()), ("ä.bin", &[0, 255][..]));
    }
}
