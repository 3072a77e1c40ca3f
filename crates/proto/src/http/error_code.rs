//! Finds Microsoft's own code in the beginning of an answer that may be a refusal.

use memchr::{memchr, memmem};

use super::rules::HttpService;

/// Longest code, in bytes. Longer text is none.
const CODE: usize = 64;

/// Returns the code of an answer that begins with `head`: the first `"code"` of Graph's JSON, or
/// the first `ResponseCode` of a SOAP answer. `None` if `head` does not hold a whole one.
pub fn find(service: HttpService, head: &[u8]) -> Option<&str> {
    let (key, begin, end) = match service {
        HttpService::Graph => (&b"\"code\""[..], b'"', b'"'),
        HttpService::Ews => (&b"ResponseCode"[..], b'>', b'<'),
    };
    let rest = head.get(memmem::find(head, key)? + key.len()..)?;
    let rest = rest.get(memchr(begin, rest)? + 1..)?;
    let code = str::from_utf8(rest.get(..memchr(end, rest)?)?).ok()?;
    let is_code = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'_' || octet == b'.';
    (!code.is_empty() && code.len() <= CODE && code.bytes().all(is_code)).then_some(code)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use HttpService::{Ews, Graph};

    #[test]
    fn the_code_of_either_service_is_found() {
        for (service, head, code) in [
            (Graph, "{\"error\":{\"code\":\"ErrorAccessDenied\",\"message\":\"no\"}}", Some("ErrorAccessDenied")),
            (Graph, "{ \"error\" : { \"code\" : \"Authorization_RequestDenied\"", Some("Authorization_RequestDenied")),
            (Ews, "<e:ResponseCode xmlns:e=\"x\">ErrorAccessDenied</e:ResponseCode>", Some("ErrorAccessDenied")),
            (Ews, "<m:ResponseCode>NoError</m:ResponseCode>", Some("NoError")),
            (Graph, "{\"error\":{\"code\":\"Erro", None),
            (Graph, "{\"error\":{\"code\":\"a\\u0020b\"}}", None),
            (Graph, "{\"value\":[]}", None),
            (Ews, "<m:ResponseCode>", None),
            (Ews, "", None),
        ] {
            assert_eq!(find(service, head.as_bytes()), code, "{head}");
        }
    }

    proptest! {
        /// Nothing that a server can answer is too much.
        #[test]
        fn anything_may_be_answered(head in proptest::collection::vec(any::<u8>(), 0..200), graph in any::<bool>()) {
            let (service, key) = if graph { (Graph, &b"\"code\":\""[..]) } else { (Ews, &b"ResponseCode>"[..]) };
            let found = find(service, &[key, &head].concat()).map(str::len);
            prop_assert!(found.is_none_or(|length| length <= CODE));
        }
    }
}
