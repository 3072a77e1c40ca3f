//! Keys whose names may be secrets. YAML reads a secret that ends with a colon, or stands in braces,
//! as the key of a map: `client_secret: [hunter2:]`.

use std::borrow::Cow;

use super::reference::{Kind, ROOT};
use super::render::{self, MASK};
use super::value::nearest;

static WHOLE: Kind = Kind::Block(ROOT);

/// Whether the last key of a path, or one above it, may be a secret: it is unknown, and stands where
/// a secret may stand or below a key that is unknown itself. One that resembles a known key of its
/// place is taken for a slip.
pub(super) fn is_hidden(path: &str) -> bool {
    hidden_from(path).is_some()
}

/// The path with a mask from the first key on that may be a secret.
pub(super) fn shown(path: &str) -> Cow<'_, str> {
    match hidden_from(path).and_then(|at| path.get(..at)) {
        Some(public) => Cow::Owned(format!("{public}{MASK}")),
        None => Cow::Borrowed(path),
    }
}

/// Where the first key begins that may be a secret.
fn hidden_from(path: &str) -> Option<usize> {
    let (mut kind, mut may_be_secret) = (Some(&WHOLE), false);
    let mut at = 0;
    while let Some(rest) = path.get(at..).filter(|rest| !rest.is_empty()) {
        let length = segment(rest);
        let name = rest.get(..length)?;
        if name.starts_with('[') {
            kind = kind.and_then(Kind::item);
        } else {
            let of = kind.and_then(|kind| child(kind, name));
            let is_unknown_below_unknown = kind.is_none() && render::known(name).is_none();
            let is_slip = || kind.is_some_and(|kind| nearest(name, &names(kind)).is_some());
            if of.is_none() && (may_be_secret || is_unknown_below_unknown) && !is_slip() {
                return Some(at);
            }
            may_be_secret = of.is_some_and(has_values) && !render::is_public(path, name, "");
            kind = of;
        }
        at += length;
        at += usize::from(path.get(at..).is_some_and(|rest| rest.starts_with('.')));
    }
    None
}

/// The octets of the first key or index of a path, as [`super::raw::join`] writes them.
fn segment(path: &str) -> usize {
    let end = match path.chars().next() {
        Some('[') => path.find(']').map(|at| at + 1),
        Some('"') => {
            let mut escaped = true;
            let end = path.char_indices().find(|(_, c)| {
                let ends = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                ends
            });
            end.map(|(at, _)| at + 1)
        }
        _ => path.find(['.', '[']),
    };
    end.unwrap_or(path.len()).max(1)
}

fn child(kind: &'static Kind, name: &str) -> Option<&'static Kind> {
    match kind {
        Kind::Map(item) => Some(item),
        Kind::Block(block) => block.key(name).map(|key| &key.kind),
        Kind::OneOrMore(item) => child(item, name),
        Kind::Either(kinds) => kinds.iter().find_map(|kind| child(kind, name)),
        _ => None,
    }
}

/// The keys that may stand in a table here.
fn names(kind: &'static Kind) -> Vec<&'static str> {
    match kind {
        Kind::Block(block) => block.keys().map(|key| key.name).collect(),
        Kind::OneOrMore(item) => names(item),
        Kind::Either(kinds) => kinds.iter().flat_map(names).collect(),
        _ => Vec::new(),
    }
}

/// Whether a single value may stand here, or in a list.
fn has_values(kind: &Kind) -> bool {
    match kind {
        Kind::Map(_) | Kind::Block(_) => false,
        Kind::List(item) | Kind::OneOrMore(item) => has_values(item),
        Kind::Either(kinds) => kinds.iter().any(has_values),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_hidden_where_a_secret_may_stand() {
        for (path, expected) in [
            ("microsoft.client_secret.hunter2", "microsoft.client_secret.********"),
            ("microsoft.client_secret[0].hunter2", "microsoft.client_secret[0].********"),
            ("microsoft.client_secret[0][1].\"hunter.2\".x", "microsoft.client_secret[0][1].********"),
            ("microsoft.client_secret.\"a\\\"b.c\"", "microsoft.client_secret.********"),
            ("accounts[0].passwords[0].hunter2", "accounts[0].passwords[0].********"),
            ("accounts[0].passwords.hunter2", "accounts[0].passwords.********"),
            ("forward_proxy.password.hunter2", "forward_proxy.password.********"),
            ("microsoft.client_secert.hunter2", "microsoft.client_secert.********"),
        ] {
            assert_eq!(shown(path), expected);
            assert!(is_hidden(path));
        }
    }

    #[test]
    fn a_key_that_is_known_or_in_a_section_is_shown() {
        for path in [
            "",
            "microsfot",
            "microsoft.tenants",
            "microsoft.client_secret[0].file",
            "microsoft.client_secret.expires",
            "microsoft.client_secret[0].expiry",
            "microsoft.client_secert.file",
            "listeners.smtp.bindd",
            "listeners.\"a.b\".bind",
            "accounts[12].logins",
            "limits.logn",
        ] {
            assert_eq!((shown(path), is_hidden(path)), (path.into(), false));
        }
    }
}
