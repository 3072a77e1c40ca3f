//! Parses the parts of a reply that matter besides its status: the challenges, and whether the
//! connection can be used again.

use httparse::Header;

use super::scheme::Scheme;

/// Most octets of a refusal's body that are skipped to use the connection again. Error pages are
/// far smaller.
pub(super) const BODY_OCTETS: u64 = 256 * 1_024;
/// Longest line before a chunk, and longest trailer field, in octets with the line end.
const CHUNK_LINE_OCTETS: usize = 1_024;
/// Most authentication schemes kept, and the longest name among them, in octets.
const SCHEMES: usize = 8;
const SCHEME_OCTETS: usize = 32;
/// Schemes that proxies ask for (the IANA registry, and Microsoft's NTLM).
const WELL_KNOWN_SCHEMES: [&str; 5] = ["Basic", "Bearer", "Digest", "Negotiate", "NTLM"];

/// A challenge of the proxy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) name: String,
    /// The text after the name: a token, or `name=value` pairs separated by commas, or nothing.
    pub(super) parameters: String,
}

/// The challenges in all fields with this name. One field may hold several challenges, and a
/// challenge may hold commas (RFC 9110 §11.6.1). So a part of the form `name=…` continues the
/// challenge before it.
pub(super) fn challenges(fields: &[Header<'_>], name: &str) -> Vec<Offer> {
    let mut offers: Vec<Offer> = Vec::new();
    for field in fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)) {
        let mut goes_on = false;
        for part in parts(field.value) {
            let part = part.trim_ascii();
            let end = part.iter().position(|b| !is_token(*b)).unwrap_or(part.len());
            let (name, rest) = part.split_at(end);
            let parameters = rest.trim_ascii_start();
            let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
            if rest.starts_with(b"=") || parameters.starts_with(b"=") {
                if let Some(offer) = offers.last_mut().filter(|_| goes_on && !name.is_empty()) {
                    offer.parameters.push_str(", ");
                    offer.parameters.push_str(&text(part));
                }
            } else if !name.is_empty() && (rest.is_empty() || rest[0] == b' ') {
                goes_on = name.len() <= SCHEME_OCTETS;
                if goes_on {
                    offers.push(Offer { name: text(name), parameters: text(parameters) });
                }
            }
        }
    }
    offers
}

/// The parts between commas that are not inside quotes.
pub(super) fn parts(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escape) = (false, false);
    list.split(move |b| {
        match *b {
            _ if escape => escape = false,
            b'\\' if quoted => escape = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        *b == b',' && !quoted
    })
}

/// The names of the schemes in order, without duplicates.
pub(super) fn names(offers: &[Offer], well_known_only: bool) -> Vec<String> {
    let is_well_known = |name: &str| WELL_KNOWN_SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(name));
    let mut names: Vec<String> = Vec::new();
    for name in offers.iter().map(|offer| &offer.name) {
        let keep = !well_known_only || is_well_known(name);
        if keep && names.len() < SCHEMES && !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            names.push(name.clone());
        }
    }
    names
}

/// The scheme's last token in a 2xx, with which the proxy authenticates itself (RFC 4559 §5; RFC
/// 9110 §11.7.3).
pub(super) fn last_token(fields: &[Header<'_>], scheme: Scheme) -> Option<String> {
    ["Proxy-Authenticate", "Proxy-Authentication-Info"].iter().find_map(|field| {
        let offers = challenges(fields, field);
        let offer = offers.into_iter().find(|offer| scheme.is_called(&offer.name))?;
        (!offer.parameters.is_empty()).then_some(offer.parameters)
    })
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// A body that is skipped.
#[derive(Debug)]
pub(super) struct Body {
    /// Octets that the body may still have.
    room: u64,
    state: BodyState,
    /// Octets of the next line that were searched and hold no LF.
    searched: usize,
    /// Octets searched or parsed so far. Octets examined twice count twice.
    #[cfg(test)]
    pub(super) examined: usize,
}

#[derive(Debug)]
enum BodyState {
    /// This many octets, and then the end or, in a chunk, its CRLF.
    Octets { left: u64, chunked: bool },
    /// The line end after a chunk.
    ChunkEnd,
    /// The line before a chunk.
    ChunkSize,
    /// Trailer fields, up to the empty line.
    Trailer,
}

impl Body {
    /// The body after this head (RFC 9112 §6.3). `None` if the connection ends with it, or if it is
    /// so long that a new connection costs less.
    pub(super) fn of(reply: &httparse::Response<'_, '_>) -> Option<Self> {
        let fields = &reply.headers;
        let values = |name: &'static str| fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        let has = |name: &'static str, word: &str| {
            let tokens = values(name).flat_map(|field| field.value.split(|b| *b == b','));
            tokens.map(<[u8]>::trim_ascii).any(|token| token.eq_ignore_ascii_case(word.as_bytes()))
        };
        let says = |word| has("Connection", word) || has("Proxy-Connection", word);
        if says("close") || (reply.version == Some(0) && !says("keep-alive")) {
            return None;
        }
        let mut lengths = values("Content-Length");
        let state = match (values("Transfer-Encoding").count(), lengths.next(), lengths.next()) {
            (0, Some(length), None) => {
                let digits = std::str::from_utf8(length.value.trim_ascii()).ok()?;
                let left = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
                BodyState::Octets { left, chunked: false }
            }
            (1, None, None) if has("Transfer-Encoding", "chunked") => BodyState::ChunkSize,
            _ => return None,
        };
        let room = BODY_OCTETS;
        (!matches!(state, BodyState::Octets { left, .. } if left > room)).then_some(Self {
            room,
            state,
            searched: 0,
            #[cfg(test)]
            examined: 0,
        })
    }

    /// Removes the octets of the body from the input; true once all are removed. `None` if the body
    /// cannot be read to its end, so that the connection cannot be used again.
    pub(super) fn skip(&mut self, input: &mut Vec<u8>) -> Option<bool> {
        let mut at = 0;
        let done = self.advance(input, &mut at);
        input.drain(..at);
        done
    }

    fn advance(&mut self, input: &[u8], at: &mut usize) -> Option<bool> {
        loop {
            let rest = &input[*at..];
            let taken = match self.state {
                BodyState::Octets { left, chunked } => {
                    let here = left.min(rest.len() as u64);
                    self.state = BodyState::Octets { left: left - here, chunked };
                    *at += usize::try_from(here).ok()?;
                    self.room = self.room.checked_sub(here)?;
                    match (left == here, chunked) {
                        (false, _) => return Some(false),
                        (true, false) => return Some(true),
                        (true, true) => self.state = BodyState::ChunkEnd,
                    }
                    continue;
                }
                BodyState::ChunkEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        self.state = BodyState::ChunkSize;
                        2
                    }
                    [] | [b'\r'] => return Some(false),
                    _ => return None,
                },
                BodyState::ChunkSize => {
                    let Some(line) = self.line(rest)? else { return Some(false) };
                    let httparse::Status::Complete((_, size)) = httparse::parse_chunk_size(line).ok()? else {
                        return None;
                    };
                    self.state = match size {
                        0 => BodyState::Trailer,
                        size if size > self.room => return None,
                        left => BodyState::Octets { left, chunked: true },
                    };
                    line.len()
                }
                BodyState::Trailer => {
                    let Some(line) = self.line(rest)? else { return Some(false) };
                    if line.trim_ascii().is_empty() {
                        *at += line.len();
                        return Some(true);
                    }
                    line.len()
                }
            };
            // The framing counts too, so that an endless series of one-octet chunks or trailer
            // fields ends.
            self.room = self.room.checked_sub(taken as u64)?;
            *at += taken;
        }
    }

    /// The first line of `rest`, once its end has arrived. `None` if it is too long, whether or not
    /// its end has arrived.
    fn line<'a>(&mut self, rest: &'a [u8]) -> Option<Option<&'a [u8]>> {
        let unsearched = &rest[self.searched.min(rest.len())..];
        #[cfg(test)]
        (self.examined += unsearched.len());
        match memchr::memchr(b'\n', unsearched) {
            Some(end) => {
                let (line, _) = rest.split_at(std::mem::take(&mut self.searched) + end + 1);
                #[cfg(test)]
                (self.examined += line.len());
                (line.len() <= CHUNK_LINE_OCTETS).then_some(Some(line))
            }
            None => {
                self.searched = rest.len();
                (rest.len() < CHUNK_LINE_OCTETS).then_some(None)
            }
        }
    }
}
