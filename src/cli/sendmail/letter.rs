//! The message of a program: its recipients, and its header as it is sent.

use std::io::{self, Read, Seek as _, Write as _};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tempfile::SpooledTempFile;

use super::arguments::Arguments;
use super::lines::Lines;
use super::outcome::{Code, NotSent};
use gatepost_core::clock::UnixTime;
use gatepost_core::jitter;
use gatepost_proto::mime::{AddressList, HEAD_OCTETS, Head};

/// Most octets of a message. Exchange takes fewer.
const MESSAGE_OCTETS: u64 = 256 * 1024 * 1024;
/// Most octets of it that are kept in memory.
const MEMORY_OCTETS: usize = 1024 * 1024;
/// Most octets of a name for the From field.
const NAME_OCTETS: usize = 200;
/// Most octets of a name in an encoded word (RFC 2047 §2).
const ENCODED_OCTETS: usize = 45;
/// Fields that are for the sender only, or that the receiving server writes.
const REMOVED: [&str; 4] = ["Bcc", "Resent-Bcc", "Return-Path", "Content-Length"];

/// A complete message.
#[derive(Debug)]
pub(super) struct Letter {
    /// The header, and what came with its last piece.
    first: Vec<u8>,
    /// In a file, if it is large: a program may write a message for hours, as cron does with the output
    /// of a job, and a connection to the service does not wait that long.
    rest: SpooledTempFile,
    rest_octets: u64,
}

impl Letter {
    /// Reads a message to its end.
    ///
    /// # Errors
    /// It cannot be read or kept, or it is too large.
    pub(super) fn read(mut from: impl Read, dot_ends: bool) -> Result<Self, NotSent> {
        let mut letter = Self { first: Vec::new(), rest: SpooledTempFile::new(MEMORY_OCTETS), rest_octets: 0 };
        let mut lines = Lines::new(dot_ends);
        let (mut buffer, mut piece, mut in_head) = (vec![0; 64 * 1024], Vec::new(), true);
        loop {
            let read = match from.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(NotSent::of_system("the message cannot be read", &error)),
            };
            piece.clear();
            let is_over = read == 0 || !lines.push(buffer.get(..read).unwrap_or_default(), &mut piece);
            if is_over {
                lines.finish(&mut piece);
            }
            if in_head {
                let searched = letter.first.len();
                letter.first.extend_from_slice(&piece);
                in_head = Head::end(&letter.first, searched).is_none() && letter.first.len() <= HEAD_OCTETS;
            } else {
                letter.rest_octets += piece.len() as u64;
                let kept = letter.rest.write_all(&piece);
                kept.map_err(|error| {
                    NotSent::of_system("the message cannot be kept in the temporary directory", &error)
                })?;
            }
            if letter.first.len() as u64 + letter.rest_octets > MESSAGE_OCTETS {
                return Err(NotSent::new(Code::DataErr, "message not sent: it is larger than 256 MiB"));
            }
            if is_over {
                return Ok(letter);
            }
        }
    }

    fn head(&self) -> Result<Head<'_>, NotSent> {
        Head::parse(&self.first)
            .map_err(|flaw| NotSent::new(Code::DataErr, format_args!("message not sent: it {flaw}")))
    }

    /// Returns the recipients, from the command line and, with `-t`, from the header.
    ///
    /// # Errors
    /// There is none, or it is not certain who is meant.
    pub(super) fn recipients(&self, arguments: &Arguments) -> Result<Vec<String>, NotSent> {
        let mut recipients: Vec<String> = Vec::new();
        let mut add = |value: &[u8], place: &str, code: Code| {
            let found = addresses(value).ok_or_else(|| {
                let shown = gatepost_core::escape::escaped(value, 200);
                NotSent::new(code, format_args!("message not sent: {place} `{}` cannot be read", shown.trim()))
            })?;
            for address in found {
                if !recipients.contains(&address) {
                    recipients.push(address);
                }
            }
            Ok(())
        };
        for recipient in &arguments.recipients {
            add(recipient.as_bytes(), "the recipient", Code::Usage)?;
        }
        if arguments.from_header {
            let head = self.head()?;
            let is_resent =
                ["Resent-To", "Resent-Cc", "Resent-Bcc"].iter().any(|name| head.named(name).next().is_some());
            let prefix = if is_resent { "Resent-" } else { "" };
            for name in ["To", "Cc", "Bcc"] {
                let name = format!("{prefix}{name}");
                for field in head.named(&name) {
                    add(head.value(field), &format!("the field {name}:"), Code::DataErr)?;
                }
            }
        }
        if recipients.is_empty() {
            let why = match arguments.from_header {
                true => "message not sent: neither To, Cc and Bcc nor the command line name a recipient",
                false => {
                    "message not sent: there is no recipient. Name one, or use `-t` with To, Cc or Bcc in the message"
                }
            };
            return Err(NotSent::new(if arguments.from_header { Code::DataErr } else { Code::Usage }, why));
        }
        Ok(recipients)
    }

    /// Returns the message as it is sent by `mailbox`: with the fields that each message has, and
    /// without those that nobody else may see. The second is its length.
    ///
    /// # Errors
    /// The header cannot be read, or the temporary file cannot.
    pub(super) fn finished<'a>(
        &'a mut self,
        mailbox: &str,
        full_name: Option<&str>,
        now: UnixTime,
    ) -> Result<(impl Read + use<'a>, u64), NotSent> {
        let head = self.head()?;
        let mut changes = Vec::new();
        let lacks = |name: &str| head.named(name).next().is_none();
        if lacks("From") {
            let name = full_name.and_then(phrase);
            let from = name.map_or_else(|| mailbox.to_owned(), |name| format!("{name} <{mailbox}>"));
            changes.push((0..0, format!("From: {from}\r\n").into_bytes()));
        }
        if lacks("Date") {
            changes.push((0..0, format!("Date: {}\r\n", now.rfc5322()).into_bytes()));
        }
        if lacks("Message-ID") {
            let domain = mailbox.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
            let id = format!("Message-ID: <{:016x}{:016x}@{domain}>\r\n", jitter::random(), jitter::random());
            changes.push((0..0, id.into_bytes()));
        }
        for name in REMOVED {
            changes.extend(head.named(name).map(|field| (field.all.clone(), Vec::new())));
        }
        let (mut first, body) = (head.edited(changes), head.body());
        // A message of fields only.
        if body == self.first.len() && !first.ends_with(b"\r\n\r\n") {
            first.extend_from_slice(b"\r\n");
        }
        first.extend_from_slice(self.first.get(body..).unwrap_or_default());
        let octets = first.len() as u64 + self.rest_octets;
        self.rest.rewind().map_err(|error| NotSent::of_system("the message cannot be read again", &error))?;
        Ok((io::Cursor::new(first).chain(&mut self.rest), octets))
    }
}

/// The addresses in a list. Names without a domain are those of this machine.
pub(super) fn addresses(value: &[u8]) -> Option<Vec<String>> {
    let list = AddressList::parse_on(value, "localhost").ok()?;
    Some(list.addresses.iter().map(|address| address.as_str().to_owned()).collect())
}

/// A name as it stands before an address (RFC 5322 §3.2.5, RFC 2047), cut if it is very long; `None`
/// if it cannot stand there.
fn phrase(name: &str) -> Option<String> {
    if name.chars().any(char::is_control) {
        return None;
    }
    let name = name.get(..name.floor_char_boundary(NAME_OCTETS))?;
    if name.is_ascii() {
        return Some(format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")));
    }
    let (mut words, mut rest) = (Vec::new(), name);
    while !rest.is_empty() {
        let (word, more) = rest.split_at(rest.floor_char_boundary(ENCODED_OCTETS));
        words.push(format!("=?utf-8?B?{}?=", BASE64_STANDARD.encode(word)));
        rest = more;
    }
    Some(words.join("\r\n "))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn arguments(line: &str) -> Arguments {
        Arguments::read("sendmail", line.split_whitespace().map(OsString::from).collect()).unwrap()
    }

    fn letter(text: &str) -> Letter {
        Letter::read(text.as_bytes(), true).unwrap()
    }

    fn finished(text: &str, full_name: Option<&str>) -> String {
        let mut letter = letter(text);
        let (mut message, octets) = letter.finished("scans@contoso.com", full_name, UnixTime(1_796_135_400)).unwrap();
        let mut read = String::new();
        message.read_to_string(&mut read).unwrap();
        assert_eq!(read.len() as u64, octets);
        read
    }

    #[test]
    fn what_is_missing_is_added_and_what_is_blind_is_removed() {
        let sent = finished("To: a@x\nBcc: b@x,\n c@x\nReturn-Path: <d@x>\nSubject: s\n\nbody\n", None);
        assert!(
            sent.starts_with("From: scans@contoso.com\r\nDate: Tue, 01 Dec 2026 14:30:00 +0000\r\nMessage-ID: <"),
            "{sent}"
        );
        assert!(sent.ends_with("@contoso.com>\r\nTo: a@x\r\nSubject: s\r\n\r\nbody\r\n"), "{sent}");
        let whole = "From: a@x\r\nDate: today\r\nMessage-ID: <1@x>\r\nTo: b@x\r\n\r\nbody\r\n";
        assert_eq!(finished(&whole.replace('\r', ""), Some("unused")), whole);
        // Text without a header, as `echo` writes it, and a header without a text.
        assert!(finished("hello there\n", None).ends_with("@contoso.com>\r\n\r\nhello there\r\n"));
        assert!(finished("Subject: s\n", None).ends_with("Subject: s\r\n\r\n"));
        assert!(finished("", None).ends_with("@contoso.com>\r\n\r\n"));
        for (name, from) in [
            ("CronDaemon", "\"CronDaemon\" <scans@contoso.com>"),
            ("a \"b\" \\", "\"a \\\"b\\\" \\\\\" <scans@contoso.com>"),
            ("Jörg", "=?utf-8?B?SsO2cmc=?= <scans@contoso.com>"),
            (
                &"é".repeat(30),
                &format!(
                    "=?utf-8?B?{}?=\r\n =?utf-8?B?{}?= <scans@contoso.com>",
                    BASE64_STANDARD.encode("é".repeat(22)),
                    BASE64_STANDARD.encode("é".repeat(8))
                ),
            ),
            (&"x".repeat(201), &format!("\"{}\" <scans@contoso.com>", "x".repeat(200))),
            ("a\nBcc: x@y", "scans@contoso.com"),
        ] {
            assert!(finished("\nx\n", Some(name)).starts_with(&format!("From: {from}\r\n")), "{name}");
        }
    }

    #[test]
    fn a_large_message_is_in_a_file_and_can_be_sent_again() {
        let whole = format!("From: a@x\r\nDate: today\r\nMessage-ID: <1@x>\r\n\r\n{}", "text\r\n".repeat(500_000));
        let mut letter = letter(&whole);
        assert!(letter.rest.is_rolled());
        for _ in 0..2 {
            let (mut message, octets) = letter.finished("a@x", None, UnixTime(0)).unwrap();
            let mut read = String::new();
            message.read_to_string(&mut read).unwrap();
            assert!(read == whole && octets == whole.len() as u64, "{} octets, said to be {octets}", read.len());
        }
    }

    #[test]
    fn recipients_come_from_the_command_line_and_with_t_from_the_header() {
        let text = "To: Anna <a@x>, a@x\nCC: b@x,\n \"c, d\" <c@x>\nBcc: root\nReply-To: no@x\n\nTo: never@x\n";
        let of = |line: &str| letter(text).recipients(&arguments(line));
        assert_eq!(of("-t").unwrap(), ["a@x", "b@x", "c@x", "root@localhost"]);
        assert_eq!(of("-t e@x,f@x a@x").unwrap(), ["e@x", "f@x", "a@x", "b@x", "c@x", "root@localhost"]);
        assert_eq!(of("e@x www-data").unwrap(), ["e@x", "www-data@localhost"]);
        assert_eq!(of("").unwrap_err().code, Code::Usage);
        assert_eq!(of("a@x@y").unwrap_err().code, Code::Usage);
        for (to, expected) in [
            ("root, \"Doe, John\" <j@x>", &["root@localhost", "j@x"][..]),
            ("<root>, Web Server <www-data>", &["root@localhost", "www-data@localhost"]),
            ("root (Cron, daily), a@x (A, B)", &["root@localhost", "a@x"]),
            ("Ops: root, a@x;, first.last", &["root@localhost", "a@x", "first.last@localhost"]),
        ] {
            assert_eq!(letter(&format!("To: {to}\n\n")).recipients(&arguments("-t")).unwrap(), expected, "{to}");
        }
        assert_eq!(of("<root>").unwrap(), ["root@localhost"]);
        let resent = letter("To: a@x\nResent-To: b@x\nResent-Bcc: c@x\n\n").recipients(&arguments("-t")).unwrap();
        assert_eq!(resent, ["b@x", "c@x"]);
        for text in ["Subject: s\n\n", "To: undisclosed-recipients:;\n\n", "To: Miller, <a@x>, b@\n\n", "To: a b\n\n"] {
            assert_eq!(letter(text).recipients(&arguments("-t")).unwrap_err().code, Code::DataErr, "{text}");
        }
    }

    #[test]
    fn a_large_message_is_complete() {
        let body = "0123456789abcdef\n".repeat(400_000);
        let sent = finished(&format!("Subject: s\n\n{body}"), None);
        assert!(sent.ends_with(&format!("Subject: s\r\n\r\n{}", body.replace('\n', "\r\n"))));
    }
}
