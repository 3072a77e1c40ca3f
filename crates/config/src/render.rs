//! Renders the line of a mistake, with a mark below it and without secrets.
//!
//! Values are shown only if their keys are in a list; all others are masked. So a secret under a
//! misspelled key stays hidden.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use super::problem::Place;
use super::reference::{Kind, ROOT};

/// The replacement of a masked value.
pub(super) const MASK: &str = "********";

/// Longest line shown, in characters.
const LINE: usize = 160;

/// Keys whose values are not secret, in addition to all keys of `limits`.
const PUBLIC: &[&str] = &[
    "additional_ca",
    "algorithm",
    "aliases",
    "allow_from",
    "allow_plaintext_from",
    "authenticate_to",
    "authentication",
    "audit",
    "authority",
    "bare_lf",
    "bind",
    "certificate",
    "client_id",
    "client_tokens",
    "cloud",
    "command",
    "confinement",
    "credential",
    "deliver",
    "directory",
    "domain",
    "env",
    "expires",
    "federated_token_file",
    "file",
    "format",
    "forward_proxy",
    "grant",
    "keytab",
    "level",
    "login",
    "mailbox",
    "managed_identity",
    "no_proxy",
    "pac",
    "private_key",
    "protocol",
    "scope",
    "send_as",
    "sender",
    "server_name",
    "service_name",
    "store",
    "system_roots",
    "tenant",
    "tls",
    "token_expiry_margin",
    "upstream",
    "upstream_name",
    "upstream_tls",
    "url",
    "username",
];

/// True when the value under the key may appear in an excerpt.
pub(super) fn is_public(path: &str, key: &str, value: &str) -> bool {
    !may_have_user(value) && (path.starts_with("limits.") || PUBLIC.contains(&key))
}

/// Whether the value may be `http://user:password@host`, which is a secret under any key, or the
/// beginning of one: in braces, a comma in the password ends it.
fn may_have_user(value: &str) -> bool {
    let Some((_, rest)) = value.split_once("//") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    let port = authority.rsplit(']').next().and_then(|host| host.split_once(':'));
    rest.contains('@') || port.is_some_and(|(_, port)| port.parse::<u16>().is_err())
}

/// The first character of a comment in a line, as an octet of it (YAML 1.2 §6.6). One in quotes is
/// taken for one as well.
fn comment(line: &str) -> Option<usize> {
    let begins = |at: usize| line.get(..at).is_some_and(|before| before.is_empty() || before.ends_with([' ', '\t']));
    line.match_indices('#').map(|(at, _)| at).find(|at| begins(*at))
}

/// Whether the configuration has such a key somewhere, and whether that is never a single value.
pub(super) fn known(key: &str) -> Option<bool> {
    // A text of many lines asks for each of them.
    static KEYS: LazyLock<BTreeMap<&str, bool>> = LazyLock::new(|| {
        static WHOLE: Kind = Kind::Block(ROOT);
        let mut keys = BTreeMap::new();
        add_keys(&WHOLE, &mut keys);
        keys
    });
    KEYS.get(key).copied()
}

fn add_keys(kind: &'static Kind, keys: &mut BTreeMap<&'static str, bool>) {
    match kind {
        Kind::List(item) | Kind::OneOrMore(item) | Kind::Map(item) => add_keys(item, keys),
        Kind::Either(kinds) => kinds.iter().for_each(|kind| add_keys(kind, keys)),
        Kind::Block(block) => {
            for key in block.keys() {
                *keys.entry(key.name).or_insert(true) &=
                    matches!(key.kind, Kind::Block(_) | Kind::Map(_) | Kind::List(_));
                add_keys(&key.kind, keys);
            }
        }
        _ => {}
    }
}

/// The excerpt for a place: the line and a mark, or `None` when the place is not in the text. Comments
/// are masked, because what is behind a ` #` in a secret without quotes is one.
pub(super) fn excerpt(text: &str, place: &Place, masked: &[Range<usize>]) -> Option<String> {
    let (Place::File { line, .. }, Some(range)) = (place, place.range()) else { return None };
    let start = text.get(..range.start)?.rfind('\n').map_or(0, |at| at + 1);
    let end = text.get(range.start..)?.find('\n').map_or(text.len(), |at| range.start + at);
    let marked = range.start..range.end.clamp(range.start, end);
    let content = text.get(start..end)?;
    let comment = comment(content).map(|at| start + at..end);
    let masked: Vec<_> = masked.iter().filter(|range| range.start < end && start < range.end).chain(&comment).collect();

    let mut shown = String::new();
    let mut under = String::new();
    let mut hidden: Option<&Range<usize>> = None;
    for (at, c) in content.trim_end_matches('\r').char_indices().map(|(at, c)| (start + at, c)) {
        let mark = if marked.contains(&at) || (marked.is_empty() && at == marked.start) { '^' } else { ' ' };
        match masked.iter().find(|range| range.contains(&at)) {
            Some(range) if hidden == Some(*range) => {}
            Some(range) => {
                hidden = Some(range);
                shown.push_str(MASK);
                under.extend(std::iter::repeat_n(mark, MASK.len()));
            }
            None => {
                hidden = None;
                shown.push(if c.is_control() { ' ' } else { c });
                under.push(mark);
            }
        }
    }
    if marked.start >= end {
        under.push('^');
    }
    let shown: String = shown.chars().take(LINE).collect();
    let under: String = under.chars().take(LINE).collect();
    Some(format_excerpt(*line, shown.trim_end(), under.trim_end()))
}

/// The excerpt for text that could not be read, so that keys and values are not known for certain.
/// It shows the line up to the value of its key, if the configuration has such a key: anything else may
/// be a part of a secret with a colon. The value is shown only if its key is public and no secret began
/// above it.
pub(super) fn excerpt_of_unread(text: &str, place: &Place) -> Option<String> {
    let Place::File { line, .. } = place else { return None };
    // Indentation of the secret key that the lines below may still belong to.
    let mut secret: Option<usize> = None;
    for (number, content) in text.lines().enumerate().take(*line) {
        let bare = content.trim_start_matches([' ', '-']);
        let indent = content.len() - bare.len();
        if secret.is_some_and(|of| indent <= of && !bare.is_empty()) {
            secret = None;
        }
        let key = bare.split_once(':').map(|(key, _)| key.trim_matches(['"', '\'', ' ']));
        let value = bare.split_once(':').map_or("", |(_, value)| value);
        let known = key.and_then(known);
        // Brackets hold other keys, whose values were not told apart.
        let single = !value.contains(['{', '[', ',']) && !value.contains(": ") && comment(value).is_none();
        let public = key.is_some_and(|key| match value.trim().is_empty() {
            // An unknown one may be the name of a listener, and begin a section.
            true => known != Some(false) || is_public("", key, value),
            false => single && is_public("", key, value),
        });
        if number + 1 == *line {
            let head = content.len() - value.len();
            let shown = match key {
                Some(_) if known.is_some() && public && secret.is_none() => content.to_owned(),
                Some(_) if known.is_some() && secret.is_none() => {
                    format!("{} {MASK}", content.get(..head).unwrap_or_default())
                }
                _ => format!("{}{MASK}", " ".repeat(indent.min(LINE))),
            };
            let shown: String = shown.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LINE).collect();
            return Some(format_excerpt(*line, shown.trim_end(), ""));
        }
        if key.is_some() && !public && secret.is_none() {
            secret = Some(indent);
        }
    }
    None
}

fn format_excerpt(line: usize, shown: &str, under: &str) -> String {
    let number = line.to_string();
    let gap = " ".repeat(number.len());
    let mut excerpt = format!("  {gap} |\n  {number} | {shown}\n");
    if !under.is_empty() {
        excerpt.push_str(&format!("  {gap} | {under}\n"));
    }
    excerpt
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, needle: &str) -> Place {
        let start = text.find(needle).unwrap();
        let line = text[..start].matches('\n').count() + 1;
        Place::File { line, column: 1, start, end: start + needle.len() }
    }

    #[test]
    fn the_mark_stands_below_the_value() {
        let text = "a: 1\nbind: here\r\nb: 2\n";
        assert_eq!(excerpt(text, &at(text, "here"), &[]).unwrap(), "    |\n  2 | bind: here\n    |       ^^^^\n");
    }

    #[test]
    fn masked_octets_are_replaced_and_the_mark_follows() {
        let text = "{client_secret: hunter2, bind: x}";
        let secret = 16..23;
        assert_eq!(&text[secret.clone()], "hunter2");
        assert_eq!(
            excerpt(text, &at(text, "x"), std::slice::from_ref(&secret)).unwrap(),
            "    |\n  1 | {client_secret: ********, bind: x}\n    |                                 ^\n"
        );
        assert!(!excerpt(text, &at(text, "hunter2"), &[secret]).unwrap().contains("hunter"));
    }

    #[test]
    fn text_that_could_not_be_read_hides_what_may_be_a_secret() {
        let text = "microsoft:\n  tenant: contoso.com\n  client_secret: |\n    hunter2\n    bind: hunter3\n  grant: [\n\
                    forward_proxy: {url: x, password: hunter4\n";
        let line = |line| excerpt_of_unread(text, &Place::File { line, column: 1, start: 0, end: 0 }).unwrap();
        assert!(line(2).contains("contoso.com"));
        assert!(line(3).contains("client_secret: ********"));
        assert!(!line(4).contains("hunter2"));
        assert!(!line(5).contains("hunter3"));
        assert!(line(6).contains("grant: ********"));
        assert!(!line(7).contains("hunter4"));
    }

    #[test]
    fn a_secret_with_a_colon_in_text_that_could_not_be_read_is_no_key() {
        for text in [
            "client_secret:\n  - {file: s}\n  - 'hunter:2",
            "client_secret:\n  hunter:2",
            "client_secret: 'x\nhunter:2'",
            "client_secert:\n  hunter:2",
            "bind: x #hunter:2",
        ] {
            let line = text.lines().count();
            let shown = excerpt_of_unread(text, &Place::File { line, column: 1, start: 0, end: 0 }).unwrap();
            assert!(!shown.contains("hunter") && shown.contains(MASK), "{text}: {shown}");
        }
    }

    #[test]
    fn comments_are_masked() {
        let text = "token: x #hunter2\n# hunter2\nurl: 'a#b' # c\n";
        assert_eq!(
            excerpt(text, &at(text, "x"), std::slice::from_ref(&(7..8))).unwrap(),
            "    |\n  1 | token: ******** ********\n    |        ^^^^^^^^\n"
        );
        assert_eq!(excerpt(text, &at(text, "url"), &[]).unwrap(), "    |\n  3 | url: 'a#b' ********\n    | ^^^\n");
        assert!(!excerpt(text, &at(text, "# hunter2"), &[]).unwrap().contains("hunter"));
    }

    #[test]
    fn an_url_with_a_user_is_masked() {
        assert!(is_public("forward_proxy.url", "url", "http://proxy:3128"));
        assert!(is_public("forward_proxy.url", "url", "http://[::1]:3128/"));
        assert!(!is_public("forward_proxy.url", "url", "http://u:p@proxy:3128"));
        // In braces, a comma ends the value in the middle of the password.
        assert!(!is_public("forward_proxy.url", "url", "http://u:hunter"));
        assert!(!is_public("forward_proxy.url", "url", "http://u:"));
        assert!(!is_public("microsoft.client_secert", "client_secert", "x"));
        assert!(is_public("limits.conections", "conections", "5"));
    }
}
