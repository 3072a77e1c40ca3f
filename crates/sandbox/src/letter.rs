//! A message as Graph and EWS show it: not octets, but sender, recipients, subject, text and
//! attachments.

use super::address::{self, Address};
use super::mime::{self, Content, Part};
use super::{calendar, text};

/// Somebody with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) name: String,
    pub(super) address: String,
}

/// An attached file.
pub(super) struct Attachment {
    pub(super) name: String,
    pub(super) content_type: String,
    /// With it, the text shows the file; without brackets.
    pub(super) content_id: Option<String>,
    pub(super) content: Vec<u8>,
}

/// A message, read.
pub(super) struct Letter<'a> {
    raw: &'a [u8],
    header: &'a [u8],
    build: Part,
}

impl<'a> Letter<'a> {
    pub(super) fn read(raw: &'a [u8]) -> Self {
        Self { raw, header: mime::split(raw).0, build: Part::parse(raw) }
    }

    /// The first field of that name (lower case), as it stands there, unfolded.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        mime::field(self.header, name).map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    /// All fields: name and value, unfolded.
    pub(super) fn fields(&self) -> Vec<(String, String)> {
        mime::fields(self.header)
            .into_iter()
            .filter_map(|(_, octets)| {
                let text = String::from_utf8_lossy(octets).replace(['\r', '\n'], "");
                let (name, value) = text.split_once(':')?;
                Some((name.trim().to_owned(), value.trim().to_owned()))
            })
            .collect()
    }

    pub(super) fn subject(&self) -> String {
        mime::field(self.header, "subject").map(|value| text::decoded(&value)).unwrap_or_default()
    }

    /// Everybody in the fields of that name (lower case).
    pub(super) fn people(&self, name: &str) -> Vec<Person> {
        self.entries(name)
            .iter()
            .filter_map(|entry| {
                let address = entry.spec()?;
                let name = entry.name.as_ref().map_or_else(|| address.clone(), |name| text::decoded(name));
                Some(Person { name, address })
            })
            .collect()
    }

    fn entries(&self, name: &str) -> Vec<Address> {
        let fields = mime::fields(self.header).into_iter().filter(|(found, _)| found == name);
        fields
            .flat_map(|(_, octets)| {
                let colon = octets.iter().position(|&octet| octet == b':').unwrap_or(0);
                let value: Vec<u8> =
                    octets[colon + 1..].iter().copied().filter(|octet| !b"\r\n".contains(octet)).collect();
                address::list(&value)
            })
            .collect()
    }

    /// Whom the header names: To, Cc and Bcc. An entry without a domain is an error, in its own
    /// words.
    pub(super) fn recipients(&self) -> Result<Vec<String>, String> {
        let mut recipients: Vec<String> = Vec::new();
        for entry in ["to", "cc", "bcc"].into_iter().flat_map(|name| self.entries(name)) {
            match (entry.spec(), &entry.mailbox, &entry.host) {
                (Some(spec), ..) if recipients.iter().any(|known| known.eq_ignore_ascii_case(&spec)) => {}
                (Some(spec), ..) => recipients.push(spec),
                (None, Some(mailbox), Some(_)) => return Err(String::from_utf8_lossy(mailbox).into_owned()),
                // This marks a group's beginning or end.
                (None, ..) => {}
            }
        }
        Ok(recipients)
    }

    /// The time at which it says it was sent, in seconds since 1970.
    pub(super) fn sent_at(&self) -> Option<i64> {
        calendar::parse_message_date(&self.field("date")?)
    }

    /// The text to show: HTML (true) if there is some, else plain.
    pub(super) fn body(&self) -> (bool, String) {
        let mut leaves = Vec::new();
        leaves_of(&self.build, &mut leaves);
        let of = |subtype: &str| {
            leaves.iter().find(|part| part.media.kind == "text" && part.media.subtype == subtype && !self.is_file(part))
        };
        match (of("html"), of("plain")) {
            (Some(part), _) => (true, self.text_of(part)),
            (None, Some(part)) => (false, self.text_of(part)),
            (None, None) => (false, String::new()),
        }
    }

    pub(super) fn attachments(&self) -> Vec<Attachment> {
        let mut leaves = Vec::new();
        leaves_of(&self.build, &mut leaves);
        leaves
            .into_iter()
            .filter(|part| self.is_file(part))
            .map(|part| Attachment {
                name: self.file_name(part).unwrap_or_else(|| "attachment".to_owned()),
                content_type: format!("{}/{}", part.media.kind, part.media.subtype),
                content_id: self.content_id(part),
                content: self.octets_of(part),
            })
            .collect()
    }

    fn part_field(&self, part: &Part, name: &str) -> Option<Vec<u8>> {
        mime::field(&self.raw[part.header.clone()], name)
    }

    fn is_file(&self, part: &Part) -> bool {
        let attached = self
            .part_field(part, "content-disposition")
            .is_some_and(|value| mime::parameterised(&value).0.eq_ignore_ascii_case("attachment"));
        attached || part.media.kind != "text"
    }

    fn content_id(&self, part: &Part) -> Option<String> {
        let id = String::from_utf8_lossy(&self.part_field(part, "content-id")?).into_owned();
        Some(id.trim().trim_matches(['<', '>']).to_owned())
    }

    fn file_name(&self, part: &Part) -> Option<String> {
        let disposition = self.part_field(part, "content-disposition")?;
        let (_, parameters) = mime::parameterised(&disposition);
        let name = parameters.into_iter().find(|(name, _)| name == "filename").map(|(_, value)| value);
        name.or_else(|| part.media.parameter("name").map(str::to_owned)).map(|name| text::decoded(name.as_bytes()))
    }

    fn octets_of(&self, part: &Part) -> Vec<u8> {
        let encoding = self.part_field(part, "content-transfer-encoding").unwrap_or_default();
        text::without_transfer_encoding(&self.raw[part.body.clone()], &String::from_utf8_lossy(&encoding))
    }

    fn text_of(&self, part: &Part) -> String {
        text::from_charset(&self.octets_of(part), part.media.parameter("charset").unwrap_or_default())
    }
}

/// The parts without parts of their own. An attached message is one of them.
fn leaves_of<'p>(part: &'p Part, leaves: &mut Vec<&'p Part>) {
    match &part.content {
        Content::Multipart(parts) => parts.iter().for_each(|part| leaves_of(part, leaves)),
        Content::Leaf | Content::Message(_) => leaves.push(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sample_messages;

    #[test]
    fn the_sample_messages_are_read_as_a_person_sees_them() {
        let messages = sample_messages("alice@contoso.example", 1_800_000_000);
        let letters: Vec<Letter<'_>> = messages.iter().map(|(_, raw)| Letter::read(raw)).collect();
        assert_eq!(letters[2].subject(), "Grüße aus Köln");
        let sender = Person { name: "Jürgen Müller".into(), address: "j.mueller@fabrikam.example".into() };
        assert_eq!(letters[2].people("from"), [sender]);
        assert_eq!(letters[2].sent_at(), Some(messages[2].0));
        assert!(letters[2].body().1.starts_with("Schöne Grüße!"), "{}", letters[2].body().1);
        let attachments = letters[1].attachments();
        assert_eq!((attachments.len(), attachments[0].name.as_str()), (1, "positions.csv"));
        assert!(attachments[0].content.starts_with(b"Position,Amount"));
        assert!(letters[3].body().0 && letters[3].attachments().is_empty());
        assert_eq!(letters[4].attachments()[0].content_type, "message/rfc822");
    }

    #[test]
    fn recipients_are_those_of_all_three_fields_once_each() {
        let raw = b"To: A <a@x>, B@X\r\nCc: b@x, All: c@x, d@x;\r\nBcc:\r\n e@x\r\nTo: f@x\r\n\r\nTo: nobody@x\r\n";
        assert_eq!(Letter::read(raw).recipients().unwrap(), ["a@x", "B@X", "f@x", "c@x", "d@x", "e@x"]);
        assert_eq!(Letter::read(b"To: undisclosed-recipients:;\r\n\r\n").recipients().unwrap(), [""; 0]);
        assert_eq!(Letter::read(b"To: alice\r\n\r\n").recipients(), Err("alice".to_owned()));
    }
}
