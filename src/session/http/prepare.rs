//! Prepares the body of a request for the origin: holds what must be read or may have to be sent
//! again.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode};
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::Refused;
use gatepost_config::Limits;
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_proto::http::rules::HttpService;
use gatepost_proto::http::soap;

/// A body up to this size is held until it is answered, so that it can be sent again with a fresh
/// token. Of a refused request's body, up to this much is read, so that the connection can be used
/// further.
const HELD_OCTETS: u64 = 64 * 1024;

const COMPRESSED: &str = "A compressed request is not served";

/// Time limit for the rest of a refused request's body.
const DRAIN: Duration = Duration::from_secs(5);

/// A body ready for the origin.
pub(super) struct Prepared {
    /// The part that is held.
    pub(super) beginning: Bytes,
    /// The part that is still to come.
    pub(super) rest: Option<Incoming>,
    /// The length of both together, if the client has told it.
    pub(super) length: Option<u64>,
}

impl Prepared {
    pub(super) fn empty() -> Self {
        Self::whole(Bytes::new())
    }

    /// A body that is held completely.
    pub(super) fn whole(octets: Bytes) -> Self {
        Self { length: Some(octets.len() as u64), beginning: octets, rest: None }
    }
}

/// Holds what must be inspected of the body, and what is small enough to be sent twice.
///
/// # Errors
/// The refusal for the client: the body has a form that is not served, or did not come in time.
pub(super) async fn prepare(
    parts: &Parts,
    mut body: Incoming,
    service: HttpService,
    limits: &Limits,
    acting_for: Option<&MailAddress>,
) -> Result<Prepared, Refused> {
    let length = body.size_hint().exact();
    let small = length.is_some_and(|length| length <= HELD_OCTETS);
    let ews = service == HttpService::Ews;
    // One deadline for all that is held, however slowly it arrives.
    let end = Instant::now() + limits.http_idle;
    if matches!(parts.method, Method::GET | Method::HEAD) {
        // The library sends a body on or omits it, by its framing. The origin expects none (RFC
        // 9110 §9.3.1).
        return match next_data(&mut body, end).await? {
            None => Ok(Prepared::empty()),
            Some(_) => Err(Refused::new(StatusCode::BAD_REQUEST, "A GET with a body is not served").and_close()),
        };
    }
    if ews {
        check_soap_type(&parts.headers)?;
    }
    if !small && !ews {
        return Ok(Prepared { beginning: Bytes::new(), rest: Some(body), length });
    }
    let mut arriving = soap::Arriving::new(limits.soap_head_bytes);
    let mut ended = false;
    loop {
        if ews && (ended || !small) {
            match arriving.look(ended, acting_for) {
                Ok(Some(soap::Ready { octets, stands_for })) => {
                    let length = length
                        .map(|length| length.saturating_sub(stands_for as u64).saturating_add(octets.len() as u64));
                    let rest = (!ended).then_some(body);
                    return Ok(Prepared { beginning: octets.into(), rest, length });
                }
                Ok(None) => {}
                Err(flaw) => {
                    let barred = flaw == soap::SoapError::Barred;
                    let status = if barred { StatusCode::FORBIDDEN } else { StatusCode::BAD_REQUEST };
                    let refused = Refused::new(status, flaw.to_string());
                    return Err(if ended { refused } else { refused.and_close() });
                }
            }
        } else if ended {
            return Ok(Prepared::whole(arriving.into_octets().into()));
        }
        match next_data(&mut body, end).await? {
            Some(data) => arriving.push(&data),
            None => ended = true,
        }
    }
}

/// Reads a whole body, which must be within `limits.soap_head`.
///
/// # Errors
/// The refusal for the client: the body is too long or compressed, or did not come in time.
pub(super) async fn read_whole(headers: &HeaderMap, mut body: Incoming, limits: &Limits) -> Result<Vec<u8>, Refused> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, COMPRESSED));
    }
    let end = Instant::now() + limits.http_idle;
    let mut octets = Vec::new();
    while let Some(data) = next_data(&mut body, end).await? {
        if octets.len() + data.len() > limits.soap_head_bytes {
            let message = "the request is longer than `limits.soap_head`";
            return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, message).and_close());
        }
        octets.extend_from_slice(&data);
    }
    Ok(octets)
}

/// Reads a small body of a refused request, so that the connection can be used further. A client
/// that waits to be asked for its body (`Expect`) is not asked.
pub(super) async fn read_away(headers: &HeaderMap, body: &mut Incoming) {
    let small = body.size_hint().exact().is_some_and(|length| length <= HELD_OCTETS);
    if !small || headers.contains_key(EXPECT) {
        return;
    }
    let read = timeout(DRAIN, async { while let Some(Ok(_)) = body.frame().await {} });
    // An unread rest closes the connection.
    let _late = read.await;
}

/// The refusal when the client sends no more of the body.
pub(super) fn stalled() -> Refused {
    Refused::because(Cause::Idle, StatusCode::REQUEST_TIMEOUT, "the body of the request does not go on").and_close()
}

/// Returns the next octets of a body, which must come before `end`; `None` at its end.
async fn next_data(body: &mut Incoming, end: Instant) -> Result<Option<Bytes>, Refused> {
    loop {
        match timeout_at(end, body.frame()).await.map_err(|_| stalled())? {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if !data.is_empty() => return Ok(Some(data)),
                Ok(_) | Err(_) => {}
            },
            Some(Err(_)) => return Err(broke_off()),
            None => return Ok(None),
        }
    }
}

/// The refusal of a body that is not what its head says.
pub(super) fn broke_off() -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, "the body of the request broke off, or its chunks are malformed").and_close()
}

/// Checks that this is an uncompressed SOAP request in UTF-8, because it must be read.
fn check_soap_type(headers: &HeaderMap) -> Result<(), Refused> {
    let unsupported = |message: &str| Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    if headers.contains_key(CONTENT_ENCODING) {
        return unsupported(COMPRESSED);
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(Ok(content_type)), None) = (types.next().map(HeaderValue::to_str), types.next()) else {
        return unsupported("The type of the request must be text/xml or application/soap+xml");
    };
    if !is_of_type(headers, &["text/xml", "application/soap+xml"]) {
        return unsupported("The type of the request must be text/xml or application/soap+xml");
    }
    let charsets = content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let charsets = charsets.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    for (_, charset) in charsets {
        let charset = charset.trim().trim_matches('"');
        if !["utf-8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known)) {
            return unsupported("The request must be in UTF-8");
        }
    }
    Ok(())
}

/// Whether the content type is one of these, with any parameters.
pub(super) fn is_of_type(headers: &HeaderMap, types: &[&str]) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    types.iter().any(|known| essence.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soap_request_has_one_type_and_is_in_utf_8() {
        let check = |fields: &[(hyper::header::HeaderName, &'static str)]| {
            let fields = fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(name, value);
            }
            check_soap_type(&headers).err().map(|refused| (refused.status.as_u16(), refused.message))
        };
        let refused = |message: &str| Some((415, message.to_owned()));
        let (type_, charset) =
            ("The type of the request must be text/xml or application/soap+xml", "The request must be in UTF-8");
        for (value, expected) in [
            ("text/xml", None),
            ("Application/SOAP+XML ; action=\"a=b\"; CharSet = \"UTF-8\"", None),
            ("text/xml; charset=us-ascii", None),
            ("text/xml; charset=utf-16", refused(charset)),
            ("text/xml; charset=utf-8; charset=utf-16", refused(charset)),
            ("text/plain; x=text/xml", refused(type_)),
            ("", refused(type_)),
        ] {
            assert_eq!(check(&[(CONTENT_TYPE, value)]), expected, "{value}");
        }
        assert_eq!(check(&[]), refused(type_));
        assert_eq!(check(&[(CONTENT_TYPE, "text/xml"), (CONTENT_TYPE, "text/xml")]), refused(type_));
        assert_eq!(check(&[(CONTENT_TYPE, "text/xml"), (CONTENT_ENCODING, "gzip")]), refused(COMPRESSED));
    }

    #[test]
    fn a_whole_body_has_its_length() {
        let whole = Prepared::whole(Bytes::from_static(b"abc"));
        assert_eq!((&*whole.beginning, whole.rest.is_none(), whole.length), (&b"abc"[..], true, Some(3)));
        assert_eq!(Prepared::empty().length, Some(0));
    }
}
