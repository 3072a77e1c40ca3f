//! Reads an EWS request up to the SOAP body, and sets the mailbox for which it acts. The client
//! must not choose it: an application's token opens every mailbox that was granted to it.
//! `ExchangeImpersonation` in the header names the mailbox of this request (Microsoft,
//! "Authenticate an EWS application by using OAuth").
//!
//! Only the header and the name of the operation are read and held. The rest of the SOAP body is
//! streamed unread. Anything unusual (a document type, entities, processing instructions, another
//! encoding than UTF-8) is refused, so that Exchange reads the same request.

use std::ops::Range;

use quick_xml::escape::escape;
use quick_xml::events::{BytesDecl, BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;

use gatepost_core::account::MailAddress;

/// The envelope namespaces of SOAP 1.1 and 1.2.
const ENVELOPES: [&str; 2] = ["http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope"];
const TYPES: &str = "http://schemas.microsoft.com/exchange/services/2006/types";

/// Header elements that say for whom or with which rights a request acts, in any namespace.
const IDENTITY: [&str; 5] = [
    "ExchangeImpersonation",
    "SerializedSecurityContext",
    "ProxySecurityContext",
    "OpenAsAdminOrSystemService",
    "ManagementRole",
];

/// Operations that are not served, in any namespace. One hands out tokens, the others search
/// mailboxes of other users or put them on hold.
const BARRED: [&str; 8] = [
    "GetClientAccessToken",
    "GetDiscoverySearchConfiguration",
    "GetHoldOnMailboxes",
    "GetNonIndexableItemDetails",
    "GetNonIndexableItemStatistics",
    "GetSearchableMailboxes",
    "SearchMailboxes",
    "SetHoldOnMailboxes",
];

/// Deepest nesting within the header.
const DEPTH: usize = 32;

/// Most attributes of one tag, because each is compared with all before it.
const ATTRIBUTES: usize = 64;

/// The result of examining the octets of a request received so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Looked {
    /// The SOAP body begins after the first `consumed` octets, which `beginning` replaces. The
    /// operation is served.
    Found {
        /// The request up to its body, with the mailbox that it is for.
        beginning: Vec<u8>,
        /// Number of octets that `beginning` replaces.
        consumed: usize,
    },
    /// The first element of the body has not arrived yet.
    Unclear,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SoapError {
    /// The request is not UTF-8, or declares another encoding.
    #[error("the request is not in UTF-8")]
    Encoding,
    /// The request has a document type, a processing instruction, or an entity other than the five
    /// of XML.
    #[error("the request has a document type, a processing instruction or an entity")]
    NotPlain,
    /// The request is not well-formed XML.
    #[error("the request is not well-formed XML")]
    Malformed,
    /// The request is well-formed, but not SOAP.
    #[error("the request is no SOAP envelope with a body")]
    NotSoap,
    /// The body did not begin within the limit.
    #[error("the SOAP header is longer than `limits.soap_head`")]
    TooLong,
    /// The operation is one of those that are not served.
    #[error("this operation is not served: it hands out tokens, or is about mailboxes of others")]
    Barred,
}

/// A request that is arriving, until it can be decided.
///
/// The held octets are examined again only when twice as many are held, or all. So at most four
/// times the received octets are parsed, however small the pieces are.
#[derive(Debug)]
pub struct Arriving {
    held: Vec<u8>,
    /// Octets that must be held before they are examined again.
    due: usize,
    most: usize,
    parsed: usize,
}

/// The beginning of a request, ready to be forwarded.
#[derive(Debug, PartialEq, Eq)]
pub struct Ready {
    /// The held octets, with the mailbox of the request inserted.
    pub octets: Vec<u8>,
    /// Number of received octets that these replace.
    pub stands_for: usize,
}

impl Arriving {
    /// Creates it without any octets. The body must begin within `most` octets.
    pub fn new(most: usize) -> Self {
        Self { held: Vec::new(), due: 0, most, parsed: 0 }
    }

    /// Takes received octets.
    pub fn push(&mut self, octets: &[u8]) {
        self.held.extend_from_slice(octets);
    }

    /// Examines the held octets, unless there are hardly more than last time; see [`look`]. `None`
    /// if the request cannot be decided yet.
    ///
    /// # Errors
    /// [`SoapError`].
    pub fn look(&mut self, ended: bool, acting_for: Option<&MailAddress>) -> Result<Option<Ready>, SoapError> {
        let too_long = self.held.len() > self.most;
        if !ended && !too_long && self.held.len() < self.due {
            return Ok(None);
        }
        self.due = self.held.len().saturating_mul(2).max(1);
        self.parsed = self.parsed.saturating_add(self.held.len());
        match look(&self.held, ended, acting_for)? {
            Looked::Found { mut beginning, consumed } => {
                beginning.extend_from_slice(self.held.get(consumed..).unwrap_or_default());
                Ok(Some(Ready { octets: beginning, stands_for: self.held.len() }))
            }
            Looked::Unclear if too_long => Err(SoapError::TooLong),
            Looked::Unclear => Ok(None),
        }
    }

    /// The held octets, unchanged.
    pub fn into_octets(self) -> Vec<u8> {
        self.held
    }

    /// Octets parsed so far. Octets parsed twice count twice.
    pub fn parsed(&self) -> usize {
        self.parsed
    }
}

/// Examines the beginning of a request. `ended` says that no more will arrive. `acting_for` is the
/// mailbox to set, for the token of an application; with a user's token none is set.
///
/// # Errors
/// [`SoapError`]. Before the end it is not known whether something is malformed or only incomplete.
pub fn look(input: &[u8], ended: bool, acting_for: Option<&MailAddress>) -> Result<Looked, SoapError> {
    let (mut text, mut is_text) = match std::str::from_utf8(input) {
        Ok(text) => (text, true),
        Err(error) => {
            let valid = input.get(..error.valid_up_to()).and_then(|valid| std::str::from_utf8(valid).ok());
            // The last character may be incomplete.
            (valid.unwrap_or_default(), error.error_len().is_none() && !ended)
        }
    };
    // UTF-16 without a byte order mark: every other octet of its ASCII is zero.
    if let Some((before, _)) = text.split_once('\0') {
        (text, is_text) = (before, false);
    }
    let mut head = Head { text, marked: text.starts_with('\u{feff}'), cuts: Vec::new() };
    match head.read() {
        Ok(found) => Ok(head.write(&found, acting_for)),
        Err(Stop::CutOff) if !is_text => Err(SoapError::Encoding),
        Err(Stop::CutOff) if !ended => Ok(Looked::Unclear),
        Err(Stop::CutOff) => Err(SoapError::Malformed),
        Err(Stop::SoapError(flaw)) => Err(flaw),
    }
}

enum Stop {
    /// The text ends or is malformed here. More of it is needed to decide which.
    CutOff,
    SoapError(SoapError),
}

impl From<SoapError> for Stop {
    fn from(error: SoapError) -> Self {
        Self::SoapError(error)
    }
}

impl From<quick_xml::Error> for Stop {
    fn from(_: quick_xml::Error) -> Self {
        Self::CutOff
    }
}

struct Head<'a> {
    text: &'a str,
    marked: bool,
    /// Ranges that are removed.
    cuts: Vec<Range<usize>>,
}

/// Positions in the request.
struct Found {
    /// Start of the SOAP body's start tag.
    body: usize,
    /// Start of the header's content. If there is no header, one is inserted before the body.
    header: Header,
    /// The namespace prefix of the envelope, with its colon.
    prefix: String,
}

enum Header {
    Absent,
    /// `<Header>`: the position after its start tag.
    Open(usize),
    /// `<Header/>`: the range of the tag.
    Empty(Range<usize>, String),
}

impl<'a> Head<'a> {
    fn read(&mut self) -> Result<Found, Stop> {
        let mark = if self.marked { '\u{feff}'.len_utf8() } else { 0 };
        let text = self.text.get(mark..).unwrap_or_default();
        let mut reader = NsReader::from_str(text);
        let config = reader.config_mut();
        (config.check_comments, config.check_end_names) = (true, true);
        let mut declared = false;
        // Before the envelope.
        let prefix = loop {
            let at_start = reader.buffer_position() == 0;
            match reader.read_resolved_event()? {
                (_, Event::Decl(declaration)) if at_start && !declared => {
                    declared = true;
                    check_declaration(&declaration)?;
                }
                (_, Event::Comment(_)) => {}
                (_, Event::Text(text)) if text.trim_ascii().is_empty() => {}
                (namespace, Event::Start(start)) => {
                    check_tag(&start)?;
                    if !is_soap(&namespace, &start, "Envelope") {
                        return Err(Stop::SoapError(SoapError::NotSoap));
                    }
                    break start.name().prefix().map_or_else(String::new, |prefix| format!("{}:", prefix.into_inner()));
                }
                (_, event) => return Err(refusal(&event)),
            }
        };
        let mut header = Header::Absent;
        loop {
            let before = position(&reader);
            match reader.read_resolved_event()? {
                (_, Event::Comment(_)) => {}
                (_, Event::Text(text)) if text.trim_ascii().is_empty() => {}
                (namespace, Event::Start(start)) => {
                    check_tag(&start)?;
                    if is_soap(&namespace, &start, "Body") {
                        check_operation(&mut reader)?;
                        return Ok(Found { body: mark + before, header, prefix });
                    }
                    if !matches!(header, Header::Absent) || !is_soap(&namespace, &start, "Header") {
                        return Err(Stop::SoapError(SoapError::NotSoap));
                    }
                    header = Header::Open(mark + position(&reader));
                    self.read_header(&mut reader, mark)?;
                }
                (namespace, Event::Empty(start)) => {
                    check_tag(&start)?;
                    if !matches!(header, Header::Absent) || !is_soap(&namespace, &start, "Header") {
                        return Err(Stop::SoapError(SoapError::NotSoap));
                    }
                    let name = start.name().into_inner().to_owned();
                    header = Header::Empty(mark + before..mark + position(&reader), name);
                }
                (_, event) => return Err(refusal(&event)),
            }
        }
    }

    /// Reads the elements of the header up to its end tag, and notes those to be removed.
    fn read_header(&mut self, reader: &mut NsReader<&'a [u8]>, mark: usize) -> Result<(), Stop> {
        let (mut depth, mut cut) = (0_usize, None);
        loop {
            let before = position(reader);
            match reader.read_event()? {
                Event::Start(start) => {
                    check_tag(&start)?;
                    if depth == 0 && is_identity(&start) {
                        cut = Some(before);
                    }
                    depth += 1;
                    if depth > DEPTH {
                        return Err(Stop::SoapError(SoapError::NotSoap));
                    }
                }
                Event::Empty(start) => {
                    check_tag(&start)?;
                    if depth == 0 && is_identity(&start) {
                        self.cuts.push(mark + before..mark + position(reader));
                    }
                }
                Event::End(_) if depth == 0 => return Ok(()),
                Event::End(_) => {
                    depth -= 1;
                    if depth == 0
                        && let Some(from) = cut.take()
                    {
                        self.cuts.push(mark + from..mark + position(reader));
                    }
                }
                Event::GeneralRef(reference) => {
                    let known = ["lt", "gt", "amp", "apos", "quot"].contains(&&*reference);
                    if !known && !reference.is_char_ref() {
                        return Err(Stop::SoapError(SoapError::NotPlain));
                    }
                }
                Event::Text(_) | Event::CData(_) | Event::Comment(_) => {}
                event => return Err(refusal(&event)),
            }
        }
    }

    fn write(&self, found: &Found, acting_for: Option<&MailAddress>) -> Looked {
        let identity = acting_for.map_or_else(String::new, |mailbox| {
            let mailbox = escape(mailbox.as_str());
            format!(
                "<t:ExchangeImpersonation xmlns:t=\"{TYPES}\"><t:ConnectingSID><t:PrimarySmtpAddress>{mailbox}\
                 </t:PrimarySmtpAddress></t:ConnectingSID></t:ExchangeImpersonation>"
            )
        });
        // The ranges to remove, and what is inserted.
        let mut edits: Vec<(Range<usize>, String)> = self.cuts.iter().map(|cut| (cut.clone(), String::new())).collect();
        match &found.header {
            _ if identity.is_empty() => {}
            Header::Open(at) => edits.push((*at..*at, identity)),
            Header::Empty(tag, name) => {
                let open = self.text.get(tag.clone()).unwrap_or_default().trim_end_matches('>').trim_end_matches('/');
                edits.push((tag.clone(), format!("{open}>{identity}</{name}>")));
            }
            Header::Absent => {
                let prefix = &found.prefix;
                edits.push((found.body..found.body, format!("<{prefix}Header>{identity}</{prefix}Header>")));
            }
        }
        edits.sort_by_key(|(cut, _)| (cut.start, cut.end));
        let mut beginning = String::with_capacity(found.body + 512);
        let mut done = 0;
        for (cut, replacement) in edits {
            beginning.push_str(self.text.get(done..cut.start).unwrap_or_default());
            beginning.push_str(&replacement);
            done = cut.end;
        }
        beginning.push_str(self.text.get(done..found.body).unwrap_or_default());
        Looked::Found { beginning: beginning.into_bytes(), consumed: found.body }
    }
}

fn position(reader: &NsReader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

fn is_soap(namespace: &ResolveResult<'_>, start: &BytesStart<'_>, name: &str) -> bool {
    soap_namespace(namespace).is_some() && start.local_name().into_inner() == name
}

fn soap_namespace(namespace: &ResolveResult<'_>) -> Option<&'static str> {
    let ResolveResult::Bound(namespace) = namespace else { return None };
    ENVELOPES.into_iter().find(|known| *known == namespace.into_inner())
}

/// The namespace of an envelope, if this element is one.
pub(super) fn envelope(namespace: &ResolveResult<'_>, start: &BytesStart<'_>) -> Option<&'static str> {
    soap_namespace(namespace).filter(|_| start.local_name().into_inner() == "Envelope")
}

fn is_identity(start: &BytesStart<'_>) -> bool {
    IDENTITY.contains(&start.local_name().into_inner())
}

/// Checks the operation, which is the first element of the body (WS-I Basic Profile 1.1, R2712).
fn check_operation(reader: &mut NsReader<&[u8]>) -> Result<(), Stop> {
    loop {
        match reader.read_event()? {
            Event::Comment(_) => {}
            Event::Text(text) if text.trim_ascii().is_empty() => {}
            Event::Start(start) | Event::Empty(start) => {
                check_tag(&start)?;
                let barred = BARRED.contains(&start.local_name().into_inner());
                return if barred { Err(Stop::SoapError(SoapError::Barred)) } else { Ok(()) };
            }
            event => return Err(refusal(&event)),
        }
    }
}

/// Checks that an XML declaration names UTF-8, or nothing.
pub(super) fn check_declaration(declaration: &BytesDecl<'_>) -> Result<(), SoapError> {
    let Some(encoding) = declaration.encoding() else { return Ok(()) };
    let encoding = encoding.map_err(|_| SoapError::Malformed)?;
    let is_known = ["utf-8", "us-ascii"].iter().any(|known| encoding.eq_ignore_ascii_case(known));
    if is_known { Ok(()) } else { Err(SoapError::Encoding) }
}

/// Checks names and attributes against the rules of XML, because the parser itself does not check
/// them all.
pub(super) fn check_tag(start: &BytesStart<'_>) -> Result<(), SoapError> {
    let name_is_one = |name: &str| {
        let part = |part: &str| {
            let first = part.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
            first && part.chars().all(|c| c.is_alphanumeric() || "-._".contains(c))
        };
        name.matches(':').count() <= 1 && name.split(':').all(part)
    };
    if !name_is_one(start.name().into_inner()) {
        return Err(SoapError::Malformed);
    }
    for (number, attribute) in start.attributes().enumerate() {
        let attribute = attribute.map_err(|_| SoapError::Malformed)?;
        if number >= ATTRIBUTES {
            return Err(SoapError::Malformed);
        }
        let value = &attribute.value;
        if !name_is_one(attribute.key.into_inner()) || value.contains('<') {
            return Err(SoapError::Malformed);
        }
        // Only the entities that need no document type are allowed.
        quick_xml::escape::unescape(value).map_err(|_| SoapError::NotPlain)?;
    }
    Ok(())
}

/// The error for an event that is not allowed here.
fn refusal(event: &Event<'_>) -> Stop {
    match event {
        Event::Eof => Stop::CutOff,
        Event::DocType(_) | Event::PI(_) | Event::GeneralRef(_) => Stop::SoapError(SoapError::NotPlain),
        // At the end, text may be the beginning of something else.
        Event::Text(_) => Stop::CutOff,
        _ => Stop::SoapError(SoapError::NotSoap),
    }
}

#[cfg(test)]
mod tests;
