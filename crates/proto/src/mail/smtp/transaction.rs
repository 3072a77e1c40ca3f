//! The commands of a mail transaction (RFC 5321 §4.1.1, RFC 1870, RFC 3030, RFC 3461, RFC 6152, RFC
//! 6531).

use std::fmt::Write as _;

use super::path::{self, Path};
use super::reply::Reply;
use crate::mail::Capabilities;

/// The extensions of a submission server, besides those that Gatepost always offers: PIPELINING,
/// 8BITMIME, CHUNKING and ENHANCEDSTATUSCODES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extensions {
    /// SIZE: most octets of a message.
    pub size: u64,
    /// DSN: whether the next server accepts its parameters.
    pub dsn: bool,
    /// SMTPUTF8: whether the next server accepts addresses beyond ASCII.
    pub smtputf8: bool,
}

impl Extensions {
    /// The keywords of the reply to EHLO, without those about logging in.
    pub fn keywords(&self) -> Capabilities {
        let mut keywords =
            vec![format!("SIZE {}", self.size), "PIPELINING".into(), "8BITMIME".into(), "CHUNKING".into()];
        keywords.extend(self.dsn.then(|| "DSN".into()));
        keywords.extend(self.smtputf8.then(|| "SMTPUTF8".into()));
        Capabilities(keywords)
    }
}

/// The arguments of MAIL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The reverse path; `None` for `<>`.
    pub sender: Option<String>,
    /// The size of the message that the client declared.
    pub size: Option<u64>,
    /// The value of `BODY=`, if given.
    pub body: Option<Body>,
    /// Whether addresses or header fields are in UTF-8.
    pub smtputf8: bool,
    /// RET and ENVID, as received.
    pub dsn: Vec<String>,
}

/// The arguments of RCPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The forward path.
    pub address: String,
    /// NOTIFY and ORCPT, as received.
    pub dsn: Vec<String>,
}

/// The declared content of a message (RFC 6152).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Lines of ASCII.
    SevenBit,
    /// Lines of octets.
    EightBit,
}

impl Body {
    /// The value for `BODY=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::SevenBit => "7BIT",
            Self::EightBit => "8BITMIME",
        }
    }
}

/// The arguments of BDAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) octets: u64,
    pub(super) last: bool,
}

impl Mail {
    /// The command line for a server that announces `keywords`. Parameters that the server does not
    /// know are left out if nothing is lost.
    pub(super) fn to_line(&self, keywords: impl Fn(&str) -> bool) -> String {
        let mut line = format!("MAIL FROM:<{}>", self.sender.as_deref().unwrap_or_default());
        // Writing to a string does not fail.
        if let Some(size) = self.size.filter(|_| keywords("SIZE")) {
            let _ = write!(line, " SIZE={size}");
        }
        if let Some(body) = self.body.filter(|_| keywords("8BITMIME")) {
            let _ = write!(line, " BODY={}", body.name());
        }
        if self.smtputf8 && keywords("SMTPUTF8") {
            line.push_str(" SMTPUTF8");
        }
        append(&mut line, &self.dsn, keywords("DSN"));
        line
    }
}

impl Recipient {
    /// The command line; see [`Mail::to_line`].
    pub(super) fn to_line(&self, keywords: impl Fn(&str) -> bool) -> String {
        let mut line = format!("RCPT TO:<{}>", self.address);
        append(&mut line, &self.dsn, keywords("DSN"));
        line
    }
}

fn append(line: &mut String, parameters: &[String], known: bool) {
    for parameter in parameters.iter().filter(|_| known) {
        line.push(' ');
        line.push_str(parameter);
    }
}

/// How the reverse path is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SenderForm {
    /// As RFC 5321 writes it.
    Exact,
    /// The brackets may be missing.
    Bare,
    /// As anything: the caller replaces it, and a path that cannot be read counts as `<>`.
    Any,
}

/// Parses the arguments of MAIL.
///
/// # Errors
/// The reply that describes the error.
pub(super) fn mail(arguments: &[u8], extensions: Extensions, form: SenderForm) -> Result<Mail, Reply> {
    let any = form == SenderForm::Any;
    let path = path_and_rest(arguments, b"FROM", form != SenderForm::Exact);
    let unread = any && path.is_none();
    let (path, rest) = match path {
        Some(read) => read,
        None if any => (Path { address: None, ascii: true }, behind_unread(arguments)),
        None => {
            return Err(Reply::new(501, [1, 7], "The sender's address is malformed: MAIL FROM:<name@domain>"));
        }
    };
    let mut mail = Mail { sender: None, size: None, body: None, smtputf8: false, dsn: Vec::new() };
    for parameter in parameters(rest) {
        let Parameter { name, value } = match parameter {
            Ok(parameter) => parameter,
            // It may be a part of the path.
            Err(_) if unread => continue,
            Err(reply) => return Err(reply),
        };
        match (name.as_str(), value) {
            ("SIZE", Some(size)) => mail.size = Some(number(size).ok_or_else(bad_parameter)?),
            ("BODY", Some(body)) if body.eq_ignore_ascii_case("7BIT") => mail.body = Some(Body::SevenBit),
            ("BODY", Some(body)) if body.eq_ignore_ascii_case("8BITMIME") => mail.body = Some(Body::EightBit),
            ("SMTPUTF8", None) if extensions.smtputf8 => mail.smtputf8 = true,
            // The client says on whose behalf it sends. That proves nothing, so it is not passed on
            // (RFC 4954 §5).
            ("AUTH", Some(_)) => {}
            ("RET" | "ENVID", Some(value)) if extensions.dsn => mail.dsn.push(format!("{name}={value}")),
            ("SIZE" | "BODY" | "SMTPUTF8" | "RET" | "ENVID", _) => return Err(bad_parameter()),
            _ if unread => {}
            _ => return Err(unknown_parameter()),
        }
    }
    mail.sender = match in_charset(path, mail.smtputf8) {
        Err(_) if any => None,
        sender => sender?,
    };
    if mail.size.is_some_and(|size| size > extensions.size) {
        return Err(too_large(extensions.size));
    }
    Ok(mail)
}

/// Parses the arguments of RCPT. `smtputf8` was declared with MAIL.
///
/// # Errors
/// The reply that describes the error.
pub(super) fn recipient(
    arguments: &[u8],
    extensions: Extensions,
    smtputf8: bool,
    lenient: bool,
) -> Result<Recipient, Reply> {
    let syntax = || Reply::new(501, [1, 3], "The recipient's address is malformed: RCPT TO:<name@domain>");
    let (path, rest) = path_and_rest(arguments, b"TO", lenient).ok_or_else(syntax)?;
    let mut dsn = Vec::new();
    for parameter in parameters(rest) {
        let Parameter { name, value } = parameter?;
        match (name.as_str(), value) {
            ("NOTIFY" | "ORCPT", Some(value)) if extensions.dsn => dsn.push(format!("{name}={value}")),
            _ => return Err(unknown_parameter()),
        }
    }
    Ok(Recipient { address: in_charset(path, smtputf8)?.ok_or_else(syntax)?, dsn })
}

/// Parses the arguments of BDAT.
pub(super) fn chunk(arguments: &[u8]) -> Option<Chunk> {
    let mut words = arguments.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
    let octets = number(str::from_utf8(words.next()?).ok()?)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
        Some(_) => return None,
    };
    words.next().is_none().then_some(Chunk { octets, last })
}

/// The reply to a message with more octets than this.
pub(super) fn too_large(limit: u64) -> Reply {
    Reply::new(552, [3, 4], format_args!("The message is too large. The limit is {limit} bytes"))
}

fn bad_parameter() -> Reply {
    Reply::new(501, [5, 4], "A parameter has a value that it cannot have")
}

fn unknown_parameter() -> Reply {
    Reply::new(555, [5, 4], "A parameter is not known here")
}

/// An address beyond ASCII needs SMTPUTF8 (RFC 6531 §3.5).
fn in_charset(path: Path, smtputf8: bool) -> Result<Option<String>, Reply> {
    if path.ascii || smtputf8 {
        Ok(path.address)
    } else {
        Err(Reply::new(553, [6, 7], "An address with letters beyond ASCII needs SMTPUTF8"))
    }
}

/// The path after `FROM:` or `TO:`, and its parameters; `None` if no space separates them from it.
/// With `bare`, the brackets may be missing.
fn path_and_rest<'a>(arguments: &'a [u8], keyword: &[u8], bare: bool) -> Option<(Path, &'a [u8])> {
    let (path, rest) = path::take(after_keyword(arguments, keyword)?, bare)?;
    rest.first().is_none_or(|first| *first == b' ').then_some((path, rest))
}

/// What can be parameters behind a path that cannot be read: the words after its last bracket, or
/// after its first space.
fn behind_unread(arguments: &[u8]) -> &[u8] {
    let end = memchr::memrchr(b'>', arguments).map(|bracket| bracket + 1);
    let end = end.or_else(|| memchr::memchr(b' ', arguments));
    end.and_then(|end| arguments.get(end..)).unwrap_or_default()
}

/// The text after `FROM:` or `TO:`. RFC 5321 has no space after the colon, but many clients send
/// one.
fn after_keyword<'a>(arguments: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    let (word, rest) = arguments.trim_ascii_start().split_at_checked(keyword.len())?;
    let rest = rest.trim_ascii_start().strip_prefix(b":")?;
    word.eq_ignore_ascii_case(keyword).then_some(rest.trim_ascii_start())
}

struct Parameter<'a> {
    /// The name, in capitals.
    name: String,
    value: Option<&'a str>,
}

/// The parameters after a path.
fn parameters(text: &[u8]) -> impl Iterator<Item = Result<Parameter<'_>, Reply>> {
    text.split(|octet| *octet == b' ').filter(|word| !word.is_empty()).map(|word| {
        let word = str::from_utf8(word).map_err(|_| bad_parameter())?;
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        let plain = !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
        let whole =
            value.is_none_or(|value| !value.is_empty() && !value.contains(|c: char| c.is_control() || c == '='));
        if plain && whole { Ok(Parameter { name: name.to_ascii_uppercase(), value }) } else { Err(bad_parameter()) }
    })
}

/// A number. RFC 1870 and RFC 3030 allow up to 20 digits.
fn number(text: &str) -> Option<u64> {
    (text.len() <= 20 && !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit())).then_some(())?;
    // A number too large for a u64 is more than any server accepts.
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Extensions = Extensions { size: 1_000, dsn: true, smtputf8: true };
    const NONE: Extensions = Extensions { size: 1_000, dsn: false, smtputf8: false };

    fn line(arguments: &str, extensions: Extensions) -> Result<String, u16> {
        mail(arguments.as_bytes(), extensions, SenderForm::Exact)
            .map(|mail| mail.to_line(|_| true))
            .map_err(|reply| reply.code())
    }

    fn recipient_line(arguments: &str, extensions: Extensions) -> Result<String, u16> {
        recipient(arguments.as_bytes(), extensions, extensions.smtputf8, false)
            .map(|recipient| recipient.to_line(|_| true))
            .map_err(|reply| reply.code())
    }

    #[test]
    fn mail_as_clients_send_it() {
        for (arguments, expected) in [
            ("FROM:<a@b>", "MAIL FROM:<a@b>"),
            ("from: <a@b>  size=7 ", "MAIL FROM:<a@b> SIZE=7"),
            ("FROM:<> BODY=8bitmime", "MAIL FROM:<> BODY=8BITMIME"),
            ("FROM:<a@b> AUTH=<> BODY=7BIT RET=HDRS ENVID=q+2B", "MAIL FROM:<a@b> BODY=7BIT RET=HDRS ENVID=q+2B"),
            ("FROM:<ä@b> SMTPUTF8", "MAIL FROM:<ä@b> SMTPUTF8"),
            ("FROM:<a@b> SIZE=1000", "MAIL FROM:<a@b> SIZE=1000"),
        ] {
            assert_eq!(line(arguments, ALL).as_deref(), Ok(expected), "{arguments}");
        }
    }

    #[test]
    fn mail_that_is_refused_says_why() {
        for (arguments, extensions, code) in [
            ("", ALL, 501),
            ("FROM", ALL, 501),
            ("TO:<a@b>", ALL, 501),
            ("FROM:a@b", ALL, 501),
            ("FROM:<a@b>SIZE=1", ALL, 501),
            ("FROM:<a@b> SIZE=x", ALL, 501),
            ("FROM:<a@b> SIZE=", ALL, 501),
            ("FROM:<a@b> SIZE", ALL, 501),
            ("FROM:<a@b> SIZE=1001", ALL, 552),
            ("FROM:<a@b> SIZE=99999999999999999999", ALL, 552),
            ("FROM:<a@b> SIZE=999999999999999999999", ALL, 501),
            ("FROM:<a@b> BODY=BINARYMIME", ALL, 501),
            ("FROM:<a@b> HOLDFOR=9", ALL, 555),
            ("FROM:<a@b> XOORG=x", ALL, 555),
            ("FROM:<ä@b>", ALL, 553),
            ("FROM:<ä@b> SMTPUTF8", NONE, 501),
            ("FROM:<a@b> RET=FULL", NONE, 501),
            ("FROM:<a@b> ENVID=\u{1b}", ALL, 501),
        ] {
            assert_eq!(line(arguments, extensions), Err(code), "{arguments}");
        }
    }

    #[test]
    fn recipients() {
        let parameters = "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a@b";
        assert_eq!(recipient_line(&format!("to: <a@b> {parameters}"), ALL), Ok(format!("RCPT TO:<a@b> {parameters}")));
        assert_eq!(recipient_line(&format!("TO:<a@b> {parameters}"), NONE), Err(555));
        assert_eq!(recipient_line("TO:<>", ALL), Err(501));
        assert_eq!(recipient_line("TO:<ä@b>", NONE), Err(553));
        assert_eq!(recipient_line("FROM:<a@b>", ALL), Err(501));
    }

    #[test]
    fn what_the_next_server_does_not_know_is_left_out() {
        let mail = mail(b"FROM:<a@b> SIZE=7 BODY=8BITMIME RET=HDRS", ALL, SenderForm::Exact).unwrap();
        assert_eq!(mail.to_line(|keyword| keyword == "SIZE"), "MAIL FROM:<a@b> SIZE=7");
    }

    #[test]
    fn devices_may_leave_out_the_brackets() {
        let mail = mail(b"FROM: a@b SIZE=7", ALL, SenderForm::Bare).unwrap();
        assert_eq!(mail.to_line(|_| true), "MAIL FROM:<a@b> SIZE=7");
        assert_eq!(recipient(b"TO:a@b", ALL, false, true).unwrap().address, "a@b");
    }

    #[test]
    fn a_sender_that_is_replaced_may_be_anything() {
        for (arguments, expected) in [
            ("FROM:<a@b> SIZE=7", "MAIL FROM:<a@b> SIZE=7"),
            ("FROM: a@b SIZE=7", "MAIL FROM:<a@b> SIZE=7"),
            ("FROM:<root> SIZE=7 body=7bit", "MAIL FROM:<> SIZE=7 BODY=7BIT"),
            ("FROM:root SIZE=7", "MAIL FROM:<> SIZE=7"),
            ("FROM:<Copier, 2nd floor <a@b>> SIZE=7", "MAIL FROM:<> SIZE=7"),
            ("FROM:<Copier SIZE=7> RET=HDRS", "MAIL FROM:<> RET=HDRS"),
            ("FROM: Copier 2 = X SIZE=7 FLOOR=3", "MAIL FROM:<> SIZE=7"),
            ("FROM:<a@b", "MAIL FROM:<>"),
            ("FROM:<a@b>SIZE=7", "MAIL FROM:<> SIZE=7"),
            ("FROM:<ä@b>", "MAIL FROM:<>"),
            ("FROM", "MAIL FROM:<>"),
            ("", "MAIL FROM:<>"),
        ] {
            let mail = mail(arguments.as_bytes(), ALL, SenderForm::Any);
            assert_eq!(mail.map(|mail| mail.to_line(|_| true)).as_deref(), Ok(expected), "{arguments}");
        }
        assert!(mail(b"FROM:<\xff>", ALL, SenderForm::Any).is_ok());
        // What is promised about the message still counts.
        for (arguments, code) in [("FROM:<root> SIZE=1001", 552), ("FROM:root SIZE=x", 501), ("FROM:<a@b> X=1", 555)] {
            let reply = mail(arguments.as_bytes(), ALL, SenderForm::Any).unwrap_err();
            assert_eq!(reply.code(), code, "{arguments}");
        }
    }

    #[test]
    fn chunks() {
        assert_eq!(chunk(b"0 last"), Some(Chunk { octets: 0, last: true }));
        assert_eq!(chunk(b" 86 "), Some(Chunk { octets: 86, last: false }));
        for arguments in [&b""[..], b"LAST", b"1 LAST x", b"1 FIRST", b"-1", b"1.0"] {
            assert_eq!(chunk(arguments), None, "{arguments:?}");
        }
    }
}
