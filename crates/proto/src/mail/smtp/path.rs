//! Reverse and forward paths (RFC 5321 §4.1.2, RFC 6531 §3.3).

/// Longest local part, in octets (RFC 5321 §4.5.3.1.1).
const LOCAL_OCTETS: usize = 64;
/// Longest domain, in octets (§4.5.3.1.2).
const DOMAIN_OCTETS: usize = 255;

/// The content of the angle brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// `local@domain`, or `None` for `<>`.
    pub(super) address: Option<String>,
    /// Whether it is ASCII only.
    pub(super) ascii: bool,
}

/// Parses a path at the beginning of `text`, and returns what follows it. A source route is read
/// and ignored (Appendix C). With `bare`, a path without brackets is accepted up to the next space,
/// because some devices never send brackets.
pub(super) fn take(text: &[u8], bare: bool) -> Option<(Path, &[u8])> {
    let Some(inner) = text.strip_prefix(b"<") else {
        let end = if bare { end_of_word(text) } else { return None };
        let (word, rest) = text.split_at_checked(end)?;
        let (path, left) = mailbox(word)?;
        return left.is_empty().then_some((path, rest));
    };
    if let Some(rest) = inner.strip_prefix(b">") {
        return Some((Path { address: None, ascii: true }, rest));
    }
    let (path, rest) = mailbox(skip_route(inner)?)?;
    Some((path, rest.strip_prefix(b">")?))
}

/// The end of a word: a space that is not quoted.
fn end_of_word(text: &[u8]) -> usize {
    let mut quoted = false;
    let mut octets = text.iter().enumerate();
    while let Some((at, octet)) = octets.next() {
        match octet {
            b'"' => quoted = !quoted,
            b'\\' if quoted => drop(octets.next()),
            b' ' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

/// `@relay,@relay:` before a mailbox.
fn skip_route(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    while let Some(relay) = rest.strip_prefix(b"@") {
        let (_, behind) = domain(relay)?;
        match behind {
            [b',', more @ ..] => rest = more,
            [b':', mailbox @ ..] => return Some(mailbox),
            _ => return None,
        }
    }
    // A comma must be followed by a further relay.
    (rest.len() == text.len()).then_some(text)
}

fn mailbox(text: &[u8]) -> Option<(Path, &[u8])> {
    let behind_local = match text.strip_prefix(b"\"") {
        Some(quoted) => quoted_string(quoted)?,
        None => dot_string(text)?,
    };
    let local = text.get(..text.len() - behind_local.len())?;
    if local.len() > LOCAL_OCTETS {
        return None;
    }
    let (_, rest) = domain(behind_local.strip_prefix(b"@")?)?;
    let address = str::from_utf8(text.get(..text.len() - rest.len())?).ok()?;
    // Control characters beyond ASCII would do the same harm in a header or a log line as those of
    // ASCII.
    if address.chars().any(char::is_control) {
        return None;
    }
    Some((Path { address: Some(address.to_owned()), ascii: address.is_ascii() }, rest))
}

fn dot_string(text: &[u8]) -> Option<&[u8]> {
    let atext =
        |octet: &u8| octet.is_ascii_alphanumeric() || !octet.is_ascii() || b"!#$%&'*+-/=?^_`{|}~".contains(octet);
    words(text, atext)
}

/// The text after one or more words with single dots between them.
fn words(text: &[u8], in_word: impl Fn(&u8) -> bool) -> Option<&[u8]> {
    let mut rest = text;
    loop {
        let word = rest.iter().take_while(|octet| in_word(octet)).count();
        if word == 0 {
            return None;
        }
        rest = rest.get(word..)?;
        match rest.strip_prefix(b".") {
            Some(more) => rest = more,
            None => return Some(rest),
        }
    }
}

/// The text after the closing quote.
fn quoted_string(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        match rest {
            [b'"', behind @ ..] => return Some(behind),
            [b'\\', b' '..=b'~', more @ ..] => rest = more,
            [b'\\' | 0..=0x1f | 0x7f, ..] | [] => return None,
            [_, more @ ..] => rest = more,
        }
    }
}

/// A host name, or an address in square brackets, and what follows it. Host names do not allow
/// underscores, but some names in use have them.
fn domain(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = match text.strip_prefix(b"[") {
        Some(literal) => {
            let end = literal.iter().position(|octet| !matches!(octet, b'!'..=b'Z' | b'^'..=b'~'))?;
            literal.get(end..).filter(|_| end > 0)?.strip_prefix(b"]")?
        }
        None => words(text, |octet| octet.is_ascii_alphanumeric() || !octet.is_ascii() || b"-_".contains(octet))?,
    };
    let domain = text.get(..text.len() - rest.len())?;
    (domain.len() <= DOMAIN_OCTETS).then_some((domain, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str, bare: bool) -> Option<String> {
        let (path, rest) = take(text.as_bytes(), bare)?;
        assert_eq!(rest, b"", "{text}");
        Some(path.address.unwrap_or_default())
    }

    #[test]
    fn addresses_of_every_form() {
        for (text, expected) in [
            ("<>", ""),
            ("<a@b>", "a@b"),
            ("<first.last+tag@mail.contoso.com>", "first.last+tag@mail.contoso.com"),
            ("<\"with space\\\"@\"@contoso.com>", "\"with space\\\"@\"@contoso.com"),
            ("<a@[192.0.2.7]>", "a@[192.0.2.7]"),
            ("<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]"),
            ("<@one.example,@two.example:a@b>", "a@b"),
            ("<scan_1@my_site.local>", "scan_1@my_site.local"),
            ("<jürgen@bücher.example>", "jürgen@bücher.example"),
        ] {
            assert_eq!(address(text, false).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn an_address_may_be_as_long_as_the_rfc_allows() {
        let longest = format!("{}@{}", "a".repeat(LOCAL_OCTETS), "b".repeat(DOMAIN_OCTETS));
        assert_eq!(address(&format!("<{longest}>"), false), Some(longest));
    }

    #[test]
    fn what_is_none() {
        let long_local = format!("<{}@b>", "a".repeat(65));
        let long_domain = format!("<a@{}>", "b".repeat(256));
        for text in [
            "",
            "<",
            "a@b",
            "<a@b",
            "<a>",
            "<@b>",
            "<a@>",
            "<a@b@c>",
            "<a b@c>",
            "<a@b c>",
            "<.a@b>",
            "<a..b@c>",
            "<a.@b>",
            "<a@b.>",
            "<a@.b>",
            "<a@b..c>",
            "<\"a@b>",
            "<\"a\"b@c>",
            "<a@[]>",
            "<a@[b>",
            "<@a,:b@c>",
            "<@a:>",
            "<@a>",
            "<a@b\u{85}>",
            "<a\tb@c>",
            "<postmaster>",
            &long_local,
            &long_domain,
        ] {
            assert_eq!(take(text.as_bytes(), false), None, "{text}");
        }
        assert_eq!(take(b"<a\xff@b>", false), None);
    }

    #[test]
    fn brackets_may_be_missing_where_that_is_accepted() {
        assert_eq!(address("a@b", true).as_deref(), Some("a@b"));
        assert_eq!(address("<a@b>", true).as_deref(), Some("a@b"));
        assert_eq!(take(b"\"a b\"@c SIZE=1", true).unwrap().1, b" SIZE=1");
        assert_eq!(take(b"\"a\\\" b\"@c SIZE=1", true).unwrap().1, b" SIZE=1");
        for text in ["", "a", "a@b>", "a@b,c@d"] {
            assert_eq!(take(text.as_bytes(), true), None, "{text}");
        }
    }

    #[test]
    fn what_follows_is_left() {
        let (path, rest) = take(b"<a@b> SIZE=1", false).unwrap();
        assert_eq!((path.address.as_deref(), path.ascii, rest), (Some("a@b"), true, &b" SIZE=1"[..]));
        assert!(!take("<ä@b>".as_bytes(), false).unwrap().0.ascii);
    }
}
