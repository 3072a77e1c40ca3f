//! Rewrites links in responses that point to the origin. The client cannot use those, because its
//! password is valid only at Gatepost.
//!
//! Paging in Graph uses `@odata.nextLink` and `@odata.deltaLink`, absolute URLs in the JSON of a
//! response. They are replaced while the response is streamed. A quote within a JSON string is
//! written `\"`, so the search for a key with its quotes finds nothing else.

/// Keys whose value is a link to the next page.
const KEYS: [&[u8]; 2] = [b"\"@odata.nextLink\"", b"\"@odata.deltaLink\""];

/// The common beginning of all keys.
const BEGINNING: &[u8] = b"\"@odata.";

/// Most white space between key and value; Microsoft sends none.
const MOST_SPACE: usize = 16;

/// Origins, and the URL that replaces them.
#[derive(Clone, Debug)]
pub struct Places {
    /// `https://graph.microsoft.com/`, perhaps also with its port.
    origins: Vec<String>,
    /// `https://gateway.corp.example:8443/`.
    here: String,
}

/// The target of a URL.
#[derive(Debug, PartialEq, Eq)]
pub enum Destination {
    /// The origin, with the URL that replaces it.
    Here(String),
    /// A path, which is valid here as well.
    Relative,
    /// Another server.
    Elsewhere,
}

impl Places {
    /// Creates the places for an origin with this name and port. `here` is scheme and authority of
    /// this server, as the client knows it.
    pub fn new(name: &str, port: u16, here: &str) -> Self {
        let mut origins = vec![format!("https://{name}:{port}/")];
        // Without a port the address is of 443, which a test's own origin does not mean.
        origins.push(format!("https://{name}/"));
        Self { origins, here: format!("{here}/") }
    }

    /// The target of a URL in a response.
    pub fn destination(&self, address: &str) -> Destination {
        if address.starts_with('/') && !address.starts_with("//") && !address.contains('\\') {
            return Destination::Relative;
        }
        let prefix = |origin: &&String| {
            address.get(..origin.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(origin))
        };
        match self.origins.iter().find(prefix) {
            Some(origin) => {
                Destination::Here(format!("{}{}", self.here, address.get(origin.len()..).unwrap_or_default()))
            }
            None => Destination::Elsewhere,
        }
    }

    /// Creates a rewriter for the links of one response.
    pub fn rewriter(self) -> Rewriter {
        Rewriter { places: self, held: Vec::new() }
    }
}

/// Takes the octets of a response, and returns them with rewritten links.
#[derive(Debug)]
pub struct Rewriter {
    places: Places,
    /// Octets that may be the beginning of a link.
    held: Vec<u8>,
}

enum Found<'a> {
    /// A link: the length of what precedes the value, and the origin at the beginning of the value.
    Link { before: usize, origin: &'a str },
    /// Something else.
    Nothing,
    /// Too short to decide.
    Unclear,
}

impl Rewriter {
    /// Takes the next octets, and returns those that are decided.
    pub fn push(&mut self, part: &[u8]) -> Vec<u8> {
        let mut input = std::mem::take(&mut self.held);
        input.extend_from_slice(part);
        let mut output = Vec::with_capacity(input.len() + 64);
        let mut rest = input.as_slice();
        loop {
            let Some(at) = memchr::memmem::find(rest, BEGINNING) else {
                let kept = partial_suffix(rest, BEGINNING);
                let (decided, unclear) = rest.split_at(rest.len() - kept);
                output.extend_from_slice(decided);
                self.held = unclear.to_vec();
                return output;
            };
            let (decided, from_key) = rest.split_at(at);
            output.extend_from_slice(decided);
            let passed = match self.places.look(from_key) {
                Found::Link { before, origin } => {
                    output.extend_from_slice(from_key.get(..before).unwrap_or_default());
                    output.extend_from_slice(self.places.here.as_bytes());
                    before + origin.len()
                }
                Found::Nothing => {
                    output.extend_from_slice(BEGINNING);
                    BEGINNING.len()
                }
                Found::Unclear => {
                    self.held = from_key.to_vec();
                    return output;
                }
            };
            rest = from_key.get(passed..).unwrap_or_default();
        }
    }

    /// Returns the octets left at the end.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

impl Places {
    /// Examines the text where a key begins.
    fn look(&self, text: &[u8]) -> Found<'_> {
        let Some(key) = KEYS.into_iter().find(|key| begin_alike(text, key)) else { return Found::Nothing };
        let mut rest = text.get(key.len()..).unwrap_or_default();
        if text.len() <= key.len() {
            return Found::Unclear;
        }
        for divider in [b':', b'"'] {
            let space = rest.iter().take_while(|octet| octet.is_ascii_whitespace()).count();
            match rest.get(space) {
                None if space <= MOST_SPACE => return Found::Unclear,
                Some(octet) if *octet == divider && space <= MOST_SPACE => {}
                _ => return Found::Nothing,
            }
            rest = rest.get(space + 1..).unwrap_or_default();
        }
        for origin in &self.origins {
            if rest.starts_with(origin.as_bytes()) {
                return Found::Link { before: text.len() - rest.len(), origin };
            }
        }
        if self.origins.iter().any(|origin| begin_alike(rest, origin.as_bytes())) {
            Found::Unclear
        } else {
            Found::Nothing
        }
    }
}

/// Whether the shorter text is the beginning of the other.
fn begin_alike(a: &[u8], b: &[u8]) -> bool {
    let length = a.len().min(b.len());
    a.get(..length) == b.get(..length)
}

/// How many octets at the end of `text` may be the beginning of `wanted`.
fn partial_suffix(text: &[u8], wanted: &[u8]) -> usize {
    let most = text.len().min(wanted.len() - 1);
    (1..=most).rev().find(|length| text.ends_with(wanted.get(..*length).unwrap_or_default())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places() -> Places {
        Places::new("graph.microsoft.com", 443, "http://127.0.0.1:8080")
    }

    fn rewritten(text: &str, cut: usize) -> String {
        let mut rewriter = places().rewriter();
        let mut output = Vec::new();
        for part in text.as_bytes().chunks(cut) {
            output.extend(rewriter.push(part));
            assert!(rewriter.held.len() < 200);
        }
        output.extend(rewriter.finish());
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn paging_leads_back_here() {
        for key in ["@odata.nextLink", "@odata.deltaLink"] {
            for (colon, port) in [(":", ""), (" : ", ""), (":", ":443")] {
                let json = format!(
                    "{{\"value\":[],\"{key}\"{colon}\"https://graph.microsoft.com{port}/v1.0/me/messages?$skip=10\"}}"
                );
                let wanted =
                    format!("{{\"value\":[],\"{key}\"{colon}\"http://127.0.0.1:8080/v1.0/me/messages?$skip=10\"}}");
                for cut in 1..80 {
                    assert_eq!(rewritten(&json, cut), wanted, "{cut}");
                }
            }
        }
    }

    #[test]
    fn the_text_of_a_message_is_left_alone() {
        for json in [
            r#"{"subject":"see https://graph.microsoft.com/v1.0/me"}"#,
            r#"{"body":"{\"@odata.nextLink\":\"https://graph.microsoft.com/v1.0/me\"}"}"#,
            r#"{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#x"}"#,
            r#"{"@odata.nextLink":"https://evil.example/v1.0/me"}"#,
            r#"{"@odata.nextLink":null,"x":"@odata."}"#,
            r#"{"@odata.nextLink":"https://graph.microsoft.com.evil.example/"}"#,
            r#"{"@odata.nextLinks":"https://graph.microsoft.com/"}"#,
            r#""@odata"#,
        ] {
            for cut in 1..40 {
                assert_eq!(rewritten(json, cut), json);
            }
        }
    }

    #[test]
    fn an_address_is_here_or_elsewhere() {
        let to = |address| places().destination(address);
        assert_eq!(
            to("https://graph.microsoft.com/v1.0/x?y"),
            Destination::Here("http://127.0.0.1:8080/v1.0/x?y".into())
        );
        assert_eq!(to("HTTPS://Graph.Microsoft.com/x"), Destination::Here("http://127.0.0.1:8080/x".into()));
        assert_eq!(to("/v1.0/x"), Destination::Relative);
        for elsewhere in [
            "https://evil.example/",
            "http://graph.microsoft.com/",
            "//evil.example/",
            "/\\evil.example/",
            "https://graph.microsoft.com@evil.example/",
            "https://graph.microsoft.com.evil.example/",
            "https://graph.microsoft.com:8443/",
            "https://graph.microsoft.com",
            "javascript:alert(1)",
            "x/y",
            "",
            "https://evil.example/https://graph.microsoft.com/",
            "http://169.254.169.254/latest/",
        ] {
            assert_eq!(to(elsewhere), Destination::Elsewhere, "{elsewhere}");
        }
    }

    proptest! {
        #[test]
        fn divisions_do_not_matter(text in "(\"@odata\\.|nextLink\"|deltaLink\"|:|\"https://graph\\.microsoft\\.com/|x| ){0,30}", cut in 1_usize..20) {
            prop_assert_eq!(rewritten(&text, cut), rewritten(&text, 10_000));
        }
    }
}
