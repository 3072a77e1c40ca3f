//! Decides what becomes of each part of a message, and refuses a message of which something would
//! be lost.

use gatepost_core::escape::escaped;
use gatepost_proto::mime::{Head, Part, StructureError, percent_decoded, words};

/// Longest name of a file, in characters.
const NAME_CHARS: usize = 200;
/// Why a part that Outlook wrote for Outlook is refused.
const OUTLOOKS: &str = "has a part in Outlook's own format (TNEF)";
/// How much is shown of a type that a message names.
const SHOWN: usize = 80;

/// Begins the address by which an HTML text shows a file.
const SCHEME: &[u8] = b"cid:";

/// What becomes of the parts, as indices of their list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// The text; `None` if there is none.
    pub(super) text: Option<usize>,
    /// The files, in their order.
    pub(super) files: Vec<PlannedFile>,
}

/// A part that becomes a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PlannedFile {
    pub(super) part: usize,
    pub(super) name: String,
    pub(super) content_type: String,
    /// By this an HTML text may show it.
    pub(super) content_id: Option<String>,
    /// Whether the text does, which is known with the text. Outlook hides such a file.
    pub(super) is_inline: bool,
}

/// Why a draft cannot hold all of a message, as the end of the sentence "the message …".
pub(super) type Unfit = String;

/// Checks what the header of a message tells about its parts.
///
/// # Errors
/// Why a draft cannot hold the message.
pub(crate) fn check_head(head: &Head<'_>) -> Result<(), Unfit> {
    let part = Part::read(head, None).map_err(|error: StructureError| error.to_string())?;
    match part.media.value.as_str() {
        // Their parts decide.
        "multipart/mixed" | "multipart/related" | "multipart/alternative" => Ok(()),
        _ => check_type(&part),
    }
}

impl Plan {
    /// Plans for the parts of a message.
    ///
    /// # Errors
    /// Why a draft cannot hold the message.
    pub(super) fn of(parts: &[Part]) -> Result<Self, Unfit> {
        let mut plan = Self::default();
        plan.add(parts, 0, false)?;
        Ok(plan)
    }

    /// Adds a part and those in it. `shown` says that the text of a `multipart/related` shows it.
    fn add(&mut self, parts: &[Part], index: usize, shown: bool) -> Result<(), Unfit> {
        let Some(part) = parts.get(index) else { return Ok(()) };
        let inside = || parts.iter().enumerate().filter(|(_, part)| part.parent == Some(index)).map(|(index, _)| index);
        match part.media.value.as_str() {
            "multipart/mixed" => inside().try_for_each(|index| self.add(parts, index, false)),
            "multipart/related" => {
                let root = inside().next().and_then(|index| parts.get(index));
                let start = part.media.parameter("start").map(|id| String::from_utf8_lossy(id).into_owned());
                let is_first = |start: String| {
                    let id = root.and_then(|root| root.content_id.as_deref());
                    id == Some(start.trim_matches(['<', '>']))
                };
                if !start.is_none_or(is_first) || root.is_some_and(|root| !root.is_multipart() && !is_text(root)) {
                    return Err("has related parts that do not begin with a text".to_owned());
                }
                inside().enumerate().try_for_each(|(number, index)| self.add(parts, index, number > 0))
            }
            "multipart/alternative" if inside().count() < 2 => {
                inside().try_for_each(|index| self.add(parts, index, shown))
            }
            "multipart/alternative" => {
                Err("has its text in several forms, such as plain and HTML, and a draft holds one".to_owned())
            }
            _ => {
                check_type(part)?;
                self.add_leaf(part, index, shown)
            }
        }
    }

    fn add_leaf(&mut self, part: &Part, index: usize, shown: bool) -> Result<(), Unfit> {
        let name = name(part);
        if is_text(part) && name.is_none() && !shown {
            if self.text.is_some() {
                return Err("has more than one text".to_owned());
            }
            if let Some(charset) = charset(part).filter(|charset| !words::is_known(charset)) {
                return Err(format!("has its text in the charset `{}`", escaped(charset.as_bytes(), SHOWN)));
            }
            self.text = Some(index);
            return Ok(());
        }
        let content_type = content_type(&part.media.value);
        let number = self.files.len() + 1;
        self.files.push(PlannedFile {
            part: index,
            name: name.and_then(|name| file_name(&name)).unwrap_or_else(|| nameless(number, &content_type)),
            content_type,
            content_id: part.content_id.clone(),
            is_inline: false,
        });
        Ok(())
    }
}

/// The name that a part gives itself.
fn name(part: &Part) -> Option<String> {
    part.disposition.text("filename").or_else(|| part.media.text("name"))
}

/// The charset of a text.
pub(super) fn charset(part: &Part) -> Option<String> {
    part.media.parameter("charset").map(|charset| String::from_utf8_lossy(charset.trim_ascii()).into_owned())
}

/// The text cannot be decoded without a loss.
pub(super) fn not_of_charset(charset: &str) -> Unfit {
    format!("has a text that is not in its charset `{}`", escaped(charset.as_bytes(), SHOWN))
}

/// Whether an HTML text shows the file of this Content-ID (RFC 2392).
pub(super) fn shows(html: &str, content_id: &str) -> bool {
    let mut rest = html.as_bytes();
    while let Some(at) = rest.windows(SCHEME.len()).position(|octets| octets.eq_ignore_ascii_case(SCHEME)) {
        rest = rest.get(at + SCHEME.len()..).unwrap_or_default();
        let is_end = |octet: &u8| octet.is_ascii_whitespace() || b"\"'<>()".contains(octet);
        let url = rest.get(..rest.iter().position(is_end).unwrap_or(rest.len())).unwrap_or_default();
        if *percent_decoded(url) == *content_id.as_bytes() {
            return true;
        }
    }
    false
}

/// Whether the text is HTML.
pub(super) fn is_html(part: &Part) -> bool {
    part.media.value == "text/html"
}

/// Whether a part is a text that a mail program shows.
fn is_text(part: &Part) -> bool {
    matches!(part.media.value.as_str(), "text/plain" | "text/html") && part.disposition.value != "attachment"
}

/// Refuses types of which a draft keeps not all.
fn check_type(part: &Part) -> Result<(), Unfit> {
    let unfit = match part.media.value.as_str() {
        "multipart/signed" | "application/pkcs7-mime" | "application/x-pkcs7-mime" => {
            "is signed or encrypted".to_owned()
        }
        "multipart/encrypted" | "application/pgp-encrypted" => "is encrypted".to_owned(),
        "text/calendar" => "has an invitation".to_owned(),
        "application/ms-tnef" | "application/vnd.ms-tnef" => OUTLOOKS.to_owned(),
        _ if name(part).is_some_and(|name| name.trim().eq_ignore_ascii_case("winmail.dat")) => OUTLOOKS.to_owned(),
        value if value.starts_with("message/") => "has another message in it".to_owned(),
        value if value.starts_with("multipart/") => {
            format!("has parts of the type `{}`", escaped(value.as_bytes(), SHOWN))
        }
        _ => return Ok(()),
    };
    Err(unfit)
}

/// The type of a file, if it is one.
fn content_type(value: &str) -> String {
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&octet))
    };
    let is_type = value.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    if is_type && value.len() <= SHOWN { value.to_owned() } else { "application/octet-stream".to_owned() }
}

/// The name of a file: the last part of a path, as some programs write one, without characters that
/// no file has.
fn file_name(name: &str) -> Option<String> {
    let clean: String = name.chars().filter(|c| !c.is_control()).collect();
    // In a name such as `Invoice 12/2026.pdf`, the slash is none of a path.
    let is_path = clean.contains('\\') || clean.trim_start().starts_with(['/', '.']) || clean.contains(":/");
    let last = if is_path { clean.rsplit(['/', '\\']).next().unwrap_or_default() } else { &clean };
    let clean = last.replace('/', "_");
    let clean = clean.trim();
    let Some((cut, _)) = clean.char_indices().nth(NAME_CHARS) else {
        return Some(clean.to_owned()).filter(|name| !name.is_empty());
    };
    // The extension says with which program to open it.
    let extension = clean.rsplit_once('.').map_or("", |(_, extension)| extension);
    let extension = if extension.len() <= 8 { format!(".{extension}") } else { String::new() };
    Some(format!("{}{extension}", clean.get(..cut).unwrap_or_default()))
}

fn nameless(number: usize, content_type: &str) -> String {
    let subtype = content_type.rsplit('/').next().unwrap_or_default();
    let is_extension = subtype.len() <= 4 && subtype.bytes().all(|octet| octet.is_ascii_alphanumeric());
    if is_extension { format!("attachment-{number}.{subtype}") } else { format!("attachment-{number}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_proto::mime::StructureReader;

    fn plan(message: &str) -> Result<Plan, Unfit> {
        let head = Head::parse(message.as_bytes()).unwrap();
        check_head(&head)?;
        let mut reader = StructureReader::new(&head).unwrap();
        reader.feed(&message.as_bytes()[head.body()..]).unwrap();
        Plan::of(&reader.finish().unwrap())
    }

    fn mixed(parts: &[&str]) -> String {
        multipart("mixed; boundary=m", "m", parts)
    }

    fn multipart(kind: &str, boundary: &str, parts: &[&str]) -> String {
        let parts: String = parts.iter().map(|part| format!("--{boundary}\r\n{part}\r\n")).collect();
        format!("Content-Type: multipart/{kind}\r\n\r\n{parts}--{boundary}--\r\n")
    }

    const TEXT: &str = "Content-Type: text/plain\r\n\r\nHello";
    const PDF: &str = "Content-Type: application/pdf; name=scan.pdf\r\n\r\n%PDF";

    /// The names of the files, with the Content-ID behind them.
    fn files(message: &str) -> (bool, Vec<String>) {
        let plan = plan(message).unwrap();
        let name = |file: &PlannedFile| match &file.content_id {
            Some(id) => format!("{} {id}", file.name),
            None => file.name.clone(),
        };
        (plan.text.is_some(), plan.files.iter().map(name).collect())
    }

    #[test]
    fn what_scanners_send_is_a_text_and_files() {
        assert_eq!(files(&mixed(&[TEXT, PDF, PDF])), (true, vec!["scan.pdf".into(), "scan.pdf".into()]));
        assert_eq!(files(&mixed(&[PDF])), (false, vec!["scan.pdf".into()]));
        assert_eq!(files(PDF), (false, vec!["scan.pdf".into()]));
        assert_eq!(files("Subject: s\r\n\r\ntext"), (true, vec![]));
        let attached = "Content-Type: text/plain\r\nContent-Disposition: attachment; filename=a.log\r\n\r\nlog";
        assert_eq!(files(&mixed(&[TEXT, attached])), (true, vec!["a.log".into()]));
        let named = "Content-Type: text/plain; name=\"b.txt\"\r\n\r\nlog";
        assert_eq!(files(&mixed(&[named, TEXT])), (true, vec!["b.txt".into()]));
        assert_eq!(files(&multipart("alternative; boundary=a", "a", &[TEXT])), (true, vec![]));
    }

    #[test]
    fn files_keep_their_content_id() {
        let html = "Content-Type: text/html\r\nContent-ID: <r@x>\r\n\r\n<img src=cid:1@x>";
        let image = "Content-Type: image/png\r\nContent-ID: <1@x>\r\n\r\nPNG";
        let related = multipart("related; boundary=r; start=\"<r@x>\"", "r", &[html, image]);
        assert_eq!(files(&mixed(&[&related, PDF])), (true, vec!["attachment-1.png 1@x".into(), "scan.pdf".into()]));
        let inline =
            "Content-Type: image/png; name=a.png\r\nContent-ID: <2@x>\r\nContent-Disposition: inline\r\n\r\nPNG";
        assert_eq!(files(&mixed(&[TEXT, inline])), (true, vec!["a.png 2@x".into()]));
        assert_eq!(files(&mixed(&[html, image])), (true, vec!["attachment-1.png 1@x".into()]));
    }

    #[test]
    fn an_html_text_shows_the_files_that_it_names() {
        for (html, shown) in [
            ("<img src=\"cid:1@x\">", true),
            ("<img src=CID:1%40x>", true),
            ("<td style='background: url(cid:1@x)'>", true),
            ("<img src='cid:0@x'><img src='cid:1@x'>", true),
            ("<img src='cid:1@x.example'>", false),
            ("<p>1@x", false),
        ] {
            assert_eq!(shows(html, "1@x"), shown, "{html}");
        }
    }

    #[test]
    fn what_would_not_survive_is_refused_with_the_reason() {
        let message = "Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ntext";
        let html = "Content-Type: text/html\r\n\r\n<p>";
        let image = "Content-Type: image/png\r\n\r\nPNG";
        for (message, why) in [
            (multipart("signed; boundary=s", "s", &[TEXT, PDF]), "is signed or encrypted"),
            (multipart("encrypted; boundary=s", "s", &[TEXT, PDF]), "is encrypted"),
            ("Content-Type: application/pkcs7-mime\r\n\r\nMII".into(), "is signed or encrypted"),
            (mixed(&["Content-Type: application/x-pkcs7-mime\r\n\r\nMII"]), "is signed or encrypted"),
            (mixed(&["Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1"]), "is encrypted"),
            (mixed(&[TEXT, "Content-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN"]), "has an invitation"),
            ("Content-Type: text/calendar\r\n\r\nBEGIN".into(), "has an invitation"),
            (mixed(&[TEXT, message]), "has another message in it"),
            (mixed(&["Content-Type: application/ms-tnef\r\n\r\nx"]), "has a part in Outlook's own format (TNEF)"),
            (mixed(&["Content-Type: application/vnd.ms-tnef\r\n\r\nx"]), OUTLOOKS),
            (mixed(&[TEXT, "Content-Type: application/octet-stream; name=WinMail.dat\r\n\r\nx"]), OUTLOOKS),
            (mixed(&[TEXT, TEXT]), "has more than one text"),
            (multipart("alternative; boundary=a", "a", &[TEXT, html]), "has its text in several forms, "),
            (
                mixed(&[&multipart("alternative; boundary=a", "a", &[TEXT, html]), PDF]),
                "has its text in several forms, ",
            ),
            (multipart("report; boundary=r", "r", &[TEXT]), "has parts of the type `multipart/report`"),
            (mixed(&[&multipart("digest; boundary=d", "d", &[TEXT])]), "has parts of the type `multipart/digest`"),
            (multipart("related; boundary=r", "r", &[image, html]), "has related parts that do not begin"),
            (
                multipart("related; boundary=r; start=\"<2@x>\"", "r", &[html, image]),
                "has related parts that do not begin",
            ),
            (
                "Content-Type: text/plain; charset=x-unknown\r\n\r\ntext".into(),
                "has its text in the charset `x-unknown`",
            ),
            (
                "Content-Type: text/plain; charset=iso-2022-kr\r\n\r\ntext".into(),
                "has its text in the charset `iso-2022-kr`",
            ),
        ] {
            let unfit = plan(&message).unwrap_err();
            assert!(unfit.starts_with(why), "{unfit}: {message}");
        }
    }

    #[test]
    fn names_are_those_of_files() {
        for (name, expected) in [
            ("C:\\scans\\\u{dc}bersicht.pdf", Some("\u{dc}bersicht.pdf")),
            ("../../etc/passwd", Some("passwd")),
            (" a\u{1b}b\r\n.pdf ", Some("ab.pdf")),
            ("/scans/", None),
            ("C:/scans/1.pdf", Some("1.pdf")),
            ("Invoice 12/2026.pdf", Some("Invoice 12_2026.pdf")),
            ("\\\\server\\scans/1.pdf", Some("1.pdf")),
        ] {
            assert_eq!(file_name(name).as_deref(), expected, "{name}");
        }
        let long = file_name(&format!("{}.pdf", "\u{fc}".repeat(500))).unwrap();
        assert!(long.chars().count() == NAME_CHARS + 4 && long.ends_with(".pdf"), "{long}");
        assert_eq!(content_type("image/tiff"), "image/tiff");
        assert_eq!(content_type("pdf"), "application/octet-stream");
        assert_eq!(
            (nameless(2, "image/tiff").as_str(), nameless(1, "application/octet-stream").as_str()),
            ("attachment-2.tiff", "attachment-1")
        );
    }
}
