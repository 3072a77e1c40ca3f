//! Validates requests before the HTTP/1 library (RFC 9112) reads them. It forwards the head of a
//! request only if it has exactly one meaning, and counts the octets of the body to know where the
//! next head begins.
//!
//! Libraries accept input that two readers can understand differently: a lone LF, both lengths, a
//! space before the colon. Request smuggling depends on that, so none of it is forwarded.

use std::fmt;

/// Most digits of a chunk's size, without leading zeros. It is more than anybody sends.
const CHUNK_DIGITS: u32 = 15;

/// Most octets of one chunked body that are left out: extensions, leading zeros of a size,
/// trailers.
const LEFT_OUT: usize = 16 * 1024;

/// Names that matter for framing or forwarding, with `_` in place of `-`, because some servers
/// treat the two alike.
const FRAMING: [&str; 8] = [
    "content-length",
    "transfer-encoding",
    "proxy-authorization",
    "x-anchormailbox",
    "x-backendoverridecookie",
    "proxy-connection",
    "keep-alive",
    "content-type",
];

/// Methods that are forwarded. Whether a listener serves one is decided later.
const METHODS: [&[u8]; 7] = [b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"];

/// The method of the request that replaces a refused one. A client cannot use it, because it is
/// none of `METHODS`.
pub const REFUSED: &str = "REFUSED";

/// Limits on a head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Most octets of request line and fields together.
    pub octets: usize,
    /// Most fields.
    pub fields: usize,
}

/// Why the head of a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// There is no request line of HTTP/1.
    RequestLine,
    /// The method is not one of those that are forwarded.
    Method,
    /// The target is in authority form, or in absolute form for another host than the Host field,
    /// or holds octets that no path may hold.
    Target,
    /// The version is not HTTP/1.0 or HTTP/1.1.
    Version,
    /// There is a CR, LF or NUL where none is allowed.
    LineEnd,
    /// A field continues on the next line.
    Folded,
    /// A line is not a field name with its value.
    Field,
    /// A field name has `_` in place of `-`.
    LookAlike,
    /// There is no Host field, or more than one.
    Host,
    /// The length is not a single whole number.
    Length,
    /// The coding is not `chunked` alone, or the body does not have the chunks of RFC 9112 §7.1.
    Coding,
    /// Both `Content-Length` and `Transfer-Encoding`.
    TwoLengths,
    /// An expectation other than `100-continue`.
    Expectation,
    /// The head exceeds [`HeadLimits`].
    TooLong,
    /// The head did not arrive in time.
    Slow,
}

impl HeadError {
    const ALL: [Self; 15] = [
        Self::RequestLine,
        Self::Method,
        Self::Target,
        Self::Version,
        Self::LineEnd,
        Self::Folded,
        Self::Field,
        Self::LookAlike,
        Self::Host,
        Self::Length,
        Self::Coding,
        Self::TwoLengths,
        Self::Expectation,
        Self::TooLong,
        Self::Slow,
    ];

    /// A short fixed word for the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::RequestLine => "request-line",
            Self::Method => "method",
            Self::Target => "target",
            Self::Version => "version",
            Self::LineEnd => "line-end",
            Self::Folded => "folded-field",
            Self::Field => "field",
            Self::LookAlike => "look-alike",
            Self::Host => "host",
            Self::Length => "content-length",
            Self::Coding => "transfer-encoding",
            Self::TwoLengths => "two-lengths",
            Self::Expectation => "expectation",
            Self::TooLong => "too-long",
            Self::Slow => "slow",
        }
    }

    /// The error that a path of the validator's own request stands for.
    pub fn of_path(path: &str) -> Option<Self> {
        let word = path.strip_prefix('/')?;
        Self::ALL.into_iter().find(|flaw| flaw.word() == word)
    }

    /// The HTTP status code of the error.
    pub fn status(self) -> u16 {
        match self {
            Self::Method => 501,
            Self::Version => 505,
            Self::Expectation => 417,
            Self::TooLong => 431,
            Self::Slow => 408,
            _ => 400,
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RequestLine => "the request line is none",
            Self::Method => "the method is not known",
            Self::Target => "the target is neither a plain path nor an address of the host in the Host field",
            Self::Version => "the version of HTTP is not served",
            Self::LineEnd => "a carriage return, line feed or NUL stands where none may be",
            Self::Folded => "a header field is folded",
            Self::Field => "a header field is malformed",
            Self::LookAlike => "a header field has `_` in its name where `-` belongs",
            Self::Host => "there is no Host field, or there are several",
            Self::Length => "the length is not one whole number",
            Self::Coding => "the transfer coding is not `chunked` alone, or the chunks are malformed",
            Self::TwoLengths => "the length is given twice, as such and as chunks",
            Self::Expectation => "the expectation is not known",
            Self::TooLong => "the head of the request is too long",
            Self::Slow => "the head of the request did not arrive in time",
        })
    }
}

/// The validator of one connection: octets from the client in, octets for the library out.
#[derive(Debug)]
pub struct HeadValidator {
    limits: HeadLimits,
    state: State,
    /// An empty line before the next head was skipped.
    skipped: bool,
    flaw: Option<HeadError>,
    /// Octets of the current body that were left out.
    left_out: usize,
    /// The part of a trailer field received so far.
    trailer: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// The part of the next head received so far.
    Head(Vec<u8>),
    /// Octets of a body that are still missing.
    Body(u64),
    Chunked(Chunk),
    /// A head was refused, so nothing more is read.
    Refused,
    /// A body is malformed. For the library the connection ends here.
    Broken,
}

#[derive(Clone, Copy, Debug)]
enum Chunk {
    /// The digits of a chunk size so far.
    Size {
        digits: u32,
        size: u64,
    },
    /// An extension after a size, which is left out (RFC 9112 §7.1.1).
    Extension(u64),
    /// The LF after a size.
    SizeEnd(u64),
    /// Octets of data that are still missing.
    Data(u64),
    /// CR, then LF, after the data.
    DataCr,
    DataLf,
    /// CR, then LF, after the last chunk and its trailers.
    LastCr,
    LastLf,
    /// A trailer field, which is left out (RFC 9112 §7.1.2), and its LF.
    Trailer,
    TrailerLf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
}

impl HeadValidator {
    /// Creates the validator of a connection that has sent nothing yet.
    pub fn new(limits: HeadLimits) -> Self {
        Self { limits, state: State::Head(Vec::new()), skipped: false, flaw: None, left_out: 0, trailer: Vec::new() }
    }

    /// Takes received octets, and appends those for the library to `out`. A refused head is
    /// replaced by a request of the validator's own, and nothing after it is forwarded.
    pub fn feed(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while !input.is_empty() {
            let taken = match &mut self.state {
                State::Head(_) => self.feed_head(input, out),
                State::Body(missing) => {
                    let taken = usize::try_from(*missing).unwrap_or(usize::MAX).min(input.len());
                    out.extend_from_slice(input.get(..taken).unwrap_or_default());
                    *missing -= taken as u64;
                    if *missing == 0 {
                        self.state = State::Head(Vec::new());
                    }
                    taken
                }
                State::Chunked(_) => self.feed_chunks(input, out),
                State::Refused | State::Broken => return,
            };
            input = input.get(taken..).unwrap_or_default();
        }
    }

    /// Octets of a body that come next and need not be validated. [`HeadValidator::pass`] reports
    /// them instead.
    pub fn body_ahead(&self) -> u64 {
        match self.state {
            State::Body(missing) | State::Chunked(Chunk::Data(missing)) => missing,
            _ => 0,
        }
    }

    /// Notes that octets of a body were forwarded, no more than [`HeadValidator::body_ahead`].
    pub fn pass(&mut self, octets: u64) {
        match &mut self.state {
            State::Body(missing) => {
                *missing = missing.saturating_sub(octets);
                if *missing == 0 {
                    self.state = State::Head(Vec::new());
                }
            }
            State::Chunked(Chunk::Data(missing)) => {
                *missing = missing.saturating_sub(octets);
                if *missing == 0 {
                    self.state = State::Chunked(Chunk::DataCr);
                }
            }
            _ => {}
        }
    }

    /// Whether a head comes next, or has begun.
    pub fn in_head(&self) -> bool {
        matches!(self.state, State::Head(_))
    }

    /// Whether a head has begun.
    pub fn head_begun(&self) -> bool {
        matches!(&self.state, State::Head(head) if !head.is_empty())
    }

    /// Whether the connection ends here for the library.
    pub fn is_broken(&self) -> bool {
        matches!(self.state, State::Broken)
    }

    /// Why a request was refused.
    pub fn flaw(&self) -> Option<HeadError> {
        self.flaw
    }

    /// Refuses the head that has begun, because it took too long.
    pub fn expire(&mut self, out: &mut Vec<u8>) {
        self.refuse(HeadError::Slow, out);
    }

    fn refuse(&mut self, flaw: HeadError, out: &mut Vec<u8>) {
        self.flaw = Some(flaw);
        self.state = State::Refused;
        let request = format!("{REFUSED} /{} HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n", flaw.word());
        out.extend_from_slice(request.as_bytes());
    }

    fn feed_head(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let State::Head(head) = &mut self.state else { return input.len() };
        let before = head.len();
        let room = self.limits.octets.saturating_sub(before) + 1;
        head.extend_from_slice(input.get(..room.min(input.len())).unwrap_or_default());
        // RFC 9112 §2.2: an empty line before a request is skipped, because old clients send one
        // after a body.
        if head.starts_with(b"\r\n") && !std::mem::replace(&mut self.skipped, true) {
            head.clear();
            return 2_usize.saturating_sub(before).min(input.len());
        }
        let unseen = head.get(before.saturating_sub(3)..).unwrap_or_default();
        let Some(end) = memchr::memmem::find(unseen, b"\r\n\r\n").map(|at| before.saturating_sub(3) + at + 4) else {
            // A head that cannot become valid is refused before its end has arrived.
            let flaw = line_end_flaw(head.get(before.saturating_sub(1)..).unwrap_or_default(), before > 0);
            if let Some(flaw) = flaw {
                self.refuse(flaw, out);
            } else if head.len() > self.limits.octets {
                self.refuse(HeadError::TooLong, out);
            }
            return input.len();
        };
        head.truncate(end);
        let taken = end.saturating_sub(before);
        if end > self.limits.octets {
            self.refuse(HeadError::TooLong, out);
            return taken;
        }
        match framing(head, self.limits.fields) {
            Ok(framing) => {
                self.skipped = false;
                self.left_out = 0;
                out.extend_from_slice(head);
                self.state = match framing {
                    Framing::Length(0) => State::Head(Vec::new()),
                    Framing::Length(length) => State::Body(length),
                    Framing::Chunked => State::Chunked(Chunk::Size { digits: 0, size: 0 }),
                };
            }
            Err(flaw) => self.refuse(flaw, out),
        }
        taken
    }

    fn feed_chunks(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let mut taken = 0;
        while let (State::Chunked(chunk), Some(&octet)) = (&mut self.state, input.get(taken)) {
            if let Chunk::Data(missing) = *chunk {
                let rest = input.get(taken..).unwrap_or_default();
                let length = usize::try_from(missing).unwrap_or(usize::MAX).min(rest.len());
                out.extend_from_slice(rest.get(..length).unwrap_or_default());
                taken += length;
                let missing = missing - length as u64;
                *chunk = if missing == 0 { Chunk::DataCr } else { Chunk::Data(missing) };
                continue;
            }
            // The next state, and whether the octet is forwarded to the library.
            let next = match *chunk {
                Chunk::Size { digits, size } => match char::from(octet).to_digit(16) {
                    // Of leading zeros, one is enough.
                    Some(0) if size == 0 => Some((Chunk::Size { digits: 1, size }, digits == 0)),
                    Some(digit) if digits < CHUNK_DIGITS => {
                        Some((Chunk::Size { digits: digits + 1, size: size * 16 + u64::from(digit) }, true))
                    }
                    None if octet == b'\r' && digits > 0 => Some((Chunk::SizeEnd(size), true)),
                    None if octet == b';' && digits > 0 => Some((Chunk::Extension(size), false)),
                    _ => None,
                },
                Chunk::Extension(size) => match octet {
                    b'\r' => Some((Chunk::SizeEnd(size), true)),
                    _ => is_text(octet).then_some((Chunk::Extension(size), false)),
                },
                Chunk::SizeEnd(size) => (octet == b'\n').then_some(match size {
                    0 => (Chunk::LastCr, true),
                    size => (Chunk::Data(size), true),
                }),
                Chunk::Data(_) => None,
                Chunk::DataCr => (octet == b'\r').then_some((Chunk::DataLf, true)),
                Chunk::DataLf => (octet == b'\n').then_some((Chunk::Size { digits: 0, size: 0 }, true)),
                Chunk::LastCr if octet == b'\r' => Some((Chunk::LastLf, true)),
                Chunk::LastCr | Chunk::Trailer if is_text(octet) => {
                    self.trailer.push(octet);
                    Some((Chunk::Trailer, false))
                }
                Chunk::LastCr => None,
                Chunk::Trailer => (octet == b'\r' && field(&self.trailer).is_ok()).then_some((Chunk::TrailerLf, false)),
                Chunk::TrailerLf => {
                    self.trailer = Vec::new();
                    (octet == b'\n').then_some((Chunk::LastCr, false))
                }
                Chunk::LastLf if octet == b'\n' => {
                    out.push(octet);
                    self.state = State::Head(Vec::new());
                    return taken + 1;
                }
                Chunk::LastLf => None,
            };
            let next = next.filter(|(_, seen)| *seen || self.left_out < LEFT_OUT);
            let Some((next, seen)) = next else {
                self.flaw = Some(HeadError::Coding);
                self.state = State::Broken;
                return input.len();
            };
            if seen {
                out.push(octet);
            } else {
                self.left_out += 1;
            }
            taken += 1;
            *chunk = next;
        }
        taken
    }
}

/// Whether a field's value or a chunk's extension may hold this octet (RFC 9110 §5.5).
fn is_text(octet: u8) -> bool {
    octet >= b' ' && octet != 0x7F || octet == b'\t'
}

/// Finds CR without LF, LF without CR, and NUL. A CR at the end may still get its LF. With
/// `inside`, the first octet was checked before.
fn line_end_flaw(octets: &[u8], inside: bool) -> Option<HeadError> {
    let (mut before, rest) = match octets.split_first() {
        Some((first, rest)) if inside => (*first, rest),
        _ => (0, octets),
    };
    for &octet in rest {
        if octet == 0 || (octet == b'\n') != (before == b'\r') {
            return Some(HeadError::LineEnd);
        }
        before = octet;
    }
    None
}

/// The framing that a complete head announces for its body.
fn framing(head: &[u8], most_fields: usize) -> Result<Framing, HeadError> {
    if let Some(flaw) = line_end_flaw(head, false) {
        return Err(flaw);
    }
    let head = head.strip_suffix(b"\r\n\r\n").unwrap_or(head);
    let mut lines = Lines(Some(head));
    let RequestLine { authority, http_1_0 } = request_line(lines.next().ok_or(HeadError::RequestLine)?)?;
    let (mut hosts, mut host, mut fields, mut expects) = (0, &b""[..], 0, 0);
    let (mut length, mut chunked) = (None, false);
    for line in lines {
        fields += 1;
        if fields > most_fields {
            return Err(HeadError::TooLong);
        }
        let (name, value) = field(line)?;
        match name.as_str() {
            "host" => (hosts, host) = (hosts + 1, value),
            "content-length" => {
                let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
                let number = digits.filter(|text| text.len() <= 18).and_then(|text| text.parse::<u64>().ok());
                if length.replace(number.ok_or(HeadError::Length)?).is_some() {
                    return Err(HeadError::Length);
                }
            }
            "transfer-encoding" => {
                let again = std::mem::replace(&mut chunked, true);
                if again || http_1_0 || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(HeadError::Coding);
                }
            }
            "expect" => {
                expects += 1;
                if expects > 1 || !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(HeadError::Expectation);
                }
            }
            _ => {}
        }
    }
    if hosts != 1 {
        return Err(HeadError::Host);
    }
    if authority.is_some_and(|authority| !authority.eq_ignore_ascii_case(host)) {
        return Err(HeadError::Target);
    }
    match (length, chunked) {
        (Some(_), true) => Err(HeadError::TwoLengths),
        (None, true) => Ok(Framing::Chunked),
        (length, false) => Ok(Framing::Length(length.unwrap_or(0))),
    }
}

/// Lines separated by CRLF.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?;
        match memchr::memmem::find(rest, b"\r\n") {
            Some(at) => {
                self.0 = rest.get(at + 2..);
                rest.get(..at)
            }
            None => self.0.take(),
        }
    }
}

struct RequestLine<'a> {
    /// The authority, in absolute form.
    authority: Option<&'a [u8]>,
    http_1_0: bool,
}

/// Parses a request line (RFC 9112 §3) with single spaces, in origin or absolute form.
fn request_line(line: &[u8]) -> Result<RequestLine<'_>, HeadError> {
    let mut parts = line.split(|&octet| octet == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(HeadError::RequestLine);
    };
    if !METHODS.contains(&method) {
        // For CONNECT, and for anything that cannot be a method, the request line is wrong. Only a
        // word in capitals can be an unknown method.
        let word = !method.is_empty() && method.iter().all(u8::is_ascii_uppercase) && method != b"CONNECT";
        return Err(if word { HeadError::Method } else { HeadError::RequestLine });
    }
    let visible = |octet: &u8| octet.is_ascii_graphic() && !matches!(octet, b'#' | b'\\');
    let authority = if target.starts_with(b"/") { None } else { Some(authority(target).ok_or(HeadError::Target)?) };
    if !target.iter().all(visible) {
        return Err(HeadError::Target);
    }
    match version {
        b"HTTP/1.1" => Ok(RequestLine { authority, http_1_0: false }),
        b"HTTP/1.0" => Ok(RequestLine { authority, http_1_0: true }),
        _ if version.starts_with(b"HTTP/") => Err(HeadError::Version),
        _ => Err(HeadError::RequestLine),
    }
}

/// Host and port of a target in absolute form (RFC 9112 §3.2.2), without user information.
fn authority(target: &[u8]) -> Option<&[u8]> {
    let prefixed = |scheme: &[u8]| {
        let (before, rest) = target.split_at_checked(scheme.len())?;
        before.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let rest = prefixed(b"http://").or_else(|| prefixed(b"https://"))?;
    let authority = rest.get(..memchr::memchr(b'/', rest)?)?;
    let plain = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._:[]".contains(octet);
    (!authority.is_empty() && authority.iter().all(plain)).then_some(authority)
}

/// Parses a field (RFC 9112 §5): a token directly followed by a colon, and a value. The name is
/// returned in lower case.
fn field(line: &[u8]) -> Result<(String, &[u8]), HeadError> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(HeadError::Folded);
    }
    let at = memchr::memchr(b':', line).ok_or(HeadError::Field)?;
    let (name, value) = (line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default());
    if name.is_empty() || !name.iter().all(|&octet| is_token(octet)) {
        return Err(HeadError::Field);
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    if is_look_alike(&name) {
        return Err(HeadError::LookAlike);
    }
    if value.iter().any(|&octet| octet < b' ' && octet != b'\t' || octet == 0x7F) {
        return Err(HeadError::Field);
    }
    Ok((name, value.trim_ascii()))
}

/// Whether a later server may take this name for one that is checked here.
pub fn is_look_alike(name: &str) -> bool {
    if !name.contains('_') {
        return false;
    }
    let meant = name.replace('_', "-");
    FRAMING.contains(&meant.as_str()) || super::fields::is_ours(&meant)
}

/// RFC 9110 §5.6.2.
fn is_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet)
}

#[cfg(test)]
mod tests;
