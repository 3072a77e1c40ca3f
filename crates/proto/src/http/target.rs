//! Checks the path of a request: it must lead to one service of the origin, and there to the
//! mailbox of the credentials.
//!
//! Paths are parsed strictly, so that later readers see the same segments. Empty segments, dot
//! segments, and encoded characters that decode to a separator are refused.

use http::Method;

use crate::http::autodiscover::Form;
use crate::http::rules::GraphRules;
use gatepost_core::account::MailAddress;

/// What is served beside EWS itself: its path, where it goes, and its method.
const EWS: [(&str, EwsTarget, &[Method]); 6] = [
    ("/EWS/Exchange.asmx", EwsTarget::Origin("/EWS/Exchange.asmx"), &[Method::POST]),
    ("/EWS/Services.wsdl", EwsTarget::Origin("/EWS/Services.wsdl"), &[Method::GET]),
    ("/EWS/messages.xsd", EwsTarget::Origin("/EWS/messages.xsd"), &[Method::GET]),
    ("/EWS/types.xsd", EwsTarget::Origin("/EWS/types.xsd"), &[Method::GET]),
    ("/autodiscover/autodiscover.xml", EwsTarget::Autodiscover(Form::Pox), &[Method::POST]),
    ("/autodiscover/autodiscover.svc", EwsTarget::Autodiscover(Form::Soap), &[Method::POST]),
];

/// The path by which a client gets the message, event or contact inside an attachment (Microsoft
/// Graph, "Get attachment").
const ATTACHED_ITEM: &str = "microsoft.graph.itemattachment/item";

/// Where a request of an EWS client goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EwsTarget {
    /// To the origin, by this path.
    Origin(&'static str),
    /// To the listener itself, which tells its own address.
    Autodiscover(Form),
}

/// Why a request is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied<'a> {
    /// The path can be read in two ways.
    Malformed,
    /// The path is not served here.
    NotServed,
    /// The path casts to another type of object, whose properties may lead anywhere.
    Cast,
    /// The method is not served for this path; these are.
    Method(&'a [Method]),
    /// The path names a mailbox other than that of the credentials.
    OtherMailbox,
}

/// The mailbox of the credentials.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// The user of the token, or the address that logged in.
    pub login: &'a MailAddress,
    /// The mailbox.
    pub mailbox: &'a MailAddress,
    /// Whether `/me` at the origin is this mailbox. With the token of an application there is no
    /// `/me`.
    pub is_me: bool,
}

/// Checks the path of an EWS request, and returns where it goes. Case and a slash at the end have no
/// meaning.
///
/// # Errors
/// [`Denied`].
pub fn ews(method: &Method, path: &str) -> Result<EwsTarget, Denied<'static>> {
    segments(path)?;
    let path = path.strip_suffix('/').unwrap_or(path);
    let served = EWS.iter().find(|(served, ..)| path.eq_ignore_ascii_case(served));
    let &(_, target, methods) = served.ok_or(Denied::NotServed)?;
    if methods.contains(method) { Ok(target) } else { Err(Denied::Method(methods)) }
}

/// Whether an EWS client asks here for the address of EWS, by whatever method.
pub fn is_autodiscover(path: &str) -> bool {
    matches!(ews(&Method::POST, path), Ok(EwsTarget::Autodiscover(_)))
}

/// Returns the path of a Graph request for the origin, with `/me` and other names of the mailbox
/// replaced as needed.
///
/// # Errors
/// [`Denied`].
pub fn graph<'a>(rules: &'a GraphRules, method: &Method, path: &str, owner: Owner<'_>) -> Result<String, Denied<'a>> {
    let segments = segments(path)?;
    let mut rest = segments.iter();
    let version = match rest.next().map(|segment| segment.text.to_lowercase()).as_deref() {
        Some("v1.0") => "v1.0",
        Some("beta") => "beta",
        _ => return Err(Denied::NotServed),
    };
    let first = rest.next().ok_or(Denied::NotServed)?;
    let own = match whose(first, &mut rest)? {
        None if owner.is_me => "/me".to_owned(),
        None => user(owner.mailbox),
        Some(name) if is(&name, owner.mailbox) || is(&name, owner.login) => user(owner.mailbox),
        Some(name) if rules.other_mailboxes => format!("/users/{}", encoded(&name)),
        Some(_) => return Err(Denied::OtherMailbox),
    };
    let below: Vec<&Segment<'_>> = rest.collect();
    if below.iter().any(|segment| has_cast(&segment.text)) {
        return Err(Denied::Cast);
    }
    if !rules.paths.iter().any(|allowed| is_below(allowed, &below)) {
        return Err(Denied::NotServed);
    }
    if !rules.methods.contains(method) {
        return Err(Denied::Method(&rules.methods));
    }
    let mut target = format!("/{version}{own}");
    for segment in below {
        target.push('/');
        target.push_str(segment.raw);
    }
    Ok(target)
}

/// Checks the query of a Graph request: `$expand` must not cast to other types. An attachment's
/// content is part of the message, so it is allowed.
///
/// # Errors
/// [`Denied::Cast`].
pub fn query(query: &str) -> Result<(), Denied<'static>> {
    let leads_out = url::form_urlencoded::parse(query.as_bytes()).any(|(name, value)| {
        // The dollar sign is optional (OData 4.01).
        name.trim_start_matches('$').eq_ignore_ascii_case("expand")
            && has_cast(&value.to_lowercase().replace(ATTACHED_ITEM, ""))
    });
    if leads_out { Err(Denied::Cast) } else { Ok(()) }
}

/// A segment of a path.
struct Segment<'a> {
    /// The segment as received.
    raw: &'a str,
    /// The segment, decoded.
    text: String,
}

fn segments(path: &str) -> Result<Vec<Segment<'_>>, Denied<'static>> {
    let path = path.strip_prefix('/').ok_or(Denied::Malformed)?;
    if path.is_empty() {
        return Ok(Vec::new());
    }
    // A single slash at the end has no meaning.
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').map(segment).collect()
}

fn segment(raw: &str) -> Result<Segment<'_>, Denied<'static>> {
    // RFC 3986 §3.3 without `;`, because some servers end the segment there.
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@%".contains(&octet);
    if !raw.bytes().all(plain) {
        return Err(Denied::Malformed);
    }
    let mut octets = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let mut digit = || rest.next().and_then(|octet| char::from(octet).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(Denied::Malformed) };
        let decoded = u8::try_from(high * 16 + low).map_err(|_| Denied::Malformed)?;
        if decoded < b' ' || matches!(decoded, b'/' | b'\\' | b'%' | b';' | b'?' | b'#' | 0x7F) {
            return Err(Denied::Malformed);
        }
        octets.push(decoded);
    }
    let text = String::from_utf8(octets).map_err(|_| Denied::Malformed)?;
    if text.is_empty() || text == "." || text == ".." || text.chars().any(char::is_control) {
        return Err(Denied::Malformed);
    }
    Ok(Segment { raw, text })
}

/// Whether a text names a type, as an OData cast does (OData 4.01 §4.11).
fn has_cast(text: &str) -> bool {
    text.to_lowercase().contains("microsoft.graph.")
}

/// The user that a path names; `None` for `me`.
fn whose<'a, 's: 'a>(
    first: &Segment<'_>,
    rest: &mut impl Iterator<Item = &'a Segment<'s>>,
) -> Result<Option<String>, Denied<'static>> {
    if first.text.eq_ignore_ascii_case("me") {
        return Ok(None);
    }
    if first.text.eq_ignore_ascii_case("users") {
        return rest.next().map(|name| Some(name.text.clone())).ok_or(Denied::NotServed);
    }
    // OData: the key is in parentheses and quotes, and a quote inside it is doubled.
    let (name, key) = first.text.split_once('(').ok_or(Denied::NotServed)?;
    let key = key.strip_suffix("')").and_then(|key| key.strip_prefix('\'')).ok_or(Denied::NotServed)?;
    if !name.eq_ignore_ascii_case("users") {
        return Err(Denied::NotServed);
    }
    Ok(Some(key.replace("''", "'")))
}

fn is(name: &str, address: &MailAddress) -> bool {
    MailAddress::parse(name).is_ok_and(|name| name == *address)
}

fn user(address: &MailAddress) -> String {
    format!("/users/{}", encoded(address.as_str()))
}

/// Percent-encodes a text (RFC 3986 §2.1), except `@`.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~@".contains(&octet) {
            encoded.push(char::from(octet));
        } else {
            encoded.push_str(&format!("%{octet:02X}"));
        }
    }
    encoded
}

/// Whether the path below the user begins with these names; `/` alone is the user itself.
fn is_below(allowed: &[String], below: &[&Segment<'_>]) -> bool {
    if allowed.is_empty() {
        return below.is_empty();
    }
    // The name of a collection may be followed by a key: `messages('AAMk…')`.
    let name = |segment: &&Segment<'_>| segment.text.split('(').next().unwrap_or_default().to_lowercase();
    below.len() >= allowed.len() && below.iter().map(name).zip(allowed).all(|(name, allowed)| name == *allowed)
}

#[cfg(test)]
mod tests;
