//! What an HTTP/1 client sends to the judge in front of the library.

use gatepost_proto::http::head::{HeadLimits, HeadValidator, REFUSED};

use super::recipe::Recipe;

const LIMITS: HeadLimits = HeadLimits { octets: 4_096, fields: 16 };

/// No flags.
pub fn check(data: &[u8]) {
    if let Some(recipe) = Recipe::read(data) {
        let whole = run(&recipe, false);
        assert_eq!(whole, run(&recipe, true), "the pieces change the meaning");
        assert_one_meaning(&whole.0);
    }
}

/// What the library sees, the flaw, and whether the connection broke off.
fn run(recipe: &Recipe<'_>, split: bool) -> (Vec<u8>, Option<&'static str>, bool) {
    let (mut judge, mut out) = (HeadValidator::new(LIMITS), Vec::new());
    let mut chunks = recipe.chunks(split);
    let mut rest = recipe.body;
    while !rest.is_empty() {
        let (chunk, behind) = chunks.cut(rest);
        judge.feed(chunk, &mut out);
        rest = behind;
    }
    (out, judge.flaw().map(|flaw| flaw.word()), judge.is_broken())
}

/// Another parser finds the same requests in it, with one length each.
fn assert_one_meaning(mut octets: &[u8]) {
    while !octets.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut fields);
        let Ok(httparse::Status::Complete(length)) = request.parse(octets) else { panic!("no whole head passes") };
        let (head, rest) = octets.split_at(length);
        assert!(!head.iter().zip(&head[1..]).any(|(a, b)| (*b == b'\n') != (*a == b'\r')), "a lone CR or LF");
        let values = |name: &str| -> Vec<&[u8]> {
            request
                .headers
                .iter()
                .filter(|field| field.name.eq_ignore_ascii_case(name))
                .map(|field| field.value)
                .collect()
        };
        if request.method == Some(REFUSED) {
            assert!(rest.is_empty(), "something is behind a refused request");
            return;
        }
        assert_eq!(values("host").len(), 1);
        let path = request.path.expect("a target");
        if !path.starts_with('/') {
            let (_, rest) = path.split_once("://").expect("the absolute form");
            let (authority, _) = rest.split_once('/').expect("a path");
            assert!(authority.as_bytes().eq_ignore_ascii_case(values("host")[0]), "two hosts");
        }
        octets = match (values("content-length").as_slice(), values("transfer-encoding").as_slice()) {
            ([], []) => rest,
            ([length], []) => {
                let length: usize = std::str::from_utf8(length).expect("digits").parse().expect("a number");
                rest.get(length..).unwrap_or_default()
            }
            ([], [coding]) => {
                assert!(coding.eq_ignore_ascii_case(b"chunked"));
                match behind_chunks(rest) {
                    Some(behind) => behind,
                    // It goes on, or broke off.
                    None => return,
                }
            }
            _ => panic!("two lengths"),
        };
    }
}

/// What is behind the last chunk, if it is there.
fn behind_chunks(mut octets: &[u8]) -> Option<&[u8]> {
    loop {
        let Ok(httparse::Status::Complete((length, size))) = httparse::parse_chunk_size(octets) else { return None };
        octets = octets.get(length..)?;
        let data = octets.get(usize::try_from(size).ok()?..)?;
        octets = data.strip_prefix(b"\r\n")?;
        if size == 0 {
            return Some(octets);
        }
    }
}
