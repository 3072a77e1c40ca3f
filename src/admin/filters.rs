//! Filters of the templates: how values become words and HTML.

use std::fmt::Display;

use askama::{Result, Values};

use super::units;
use gatepost_core::protocol::Protocol;

#[askama::filter_fn]
pub(super) fn span(seconds: &u64, _: &dyn Values) -> Result<String> {
    Ok(units::span(*seconds))
}

#[askama::filter_fn]
pub(super) fn octets(octets: &u64, _: &dyn Values) -> Result<String> {
    Ok(units::octets(*octets))
}

/// Returns the day of a time as RFC 3339 writes it.
#[askama::filter_fn]
pub(super) fn day(time: impl Display, _: &dyn Values) -> Result<String> {
    Ok(time.to_string().chars().take(10).collect())
}

/// Returns a time, to the minute.
#[askama::filter_fn]
pub(super) fn minute(time: impl Display, _: &dyn Values) -> Result<String> {
    Ok(time.to_string().chars().take(16).map(|c| if c == 'T' { ' ' } else { c }).collect())
}

/// Returns a name as HTML that may break behind `@` and dots, and nowhere else.
#[askama::filter_fn]
pub(super) fn breakable(name: impl Display, _: &dyn Values) -> Result<String> {
    Ok(escape(&name.to_string()).replace('@', "@<wbr>").replace('.', ".<wbr>"))
}

/// Returns a clause as HTML: escaped, with text between backticks as code.
#[askama::filter_fn]
pub(super) fn clause(clause: impl Display, _: &dyn Values) -> Result<String> {
    Ok(html(&clause.to_string()))
}

/// Like `clause`, but starts with a capital letter.
#[askama::filter_fn]
pub(super) fn prose(clause: impl Display, _: &dyn Values) -> Result<String> {
    Ok(html(&capital(&clause.to_string())))
}

/// Returns a name of the configuration as words.
#[askama::filter_fn]
pub(super) fn words(name: impl Display, _: &dyn Values) -> Result<String> {
    Ok(name.to_string().replace('_', " "))
}

/// Returns the names of protocols as people write them, from those of the configuration, separated
/// by commas.
#[askama::filter_fn]
pub(super) fn protocol(names: impl Display, _: &dyn Values) -> Result<String> {
    let title = |name: &str| Protocol::ALL.into_iter().find(|protocol| protocol.name() == name).map(Protocol::title);
    Ok(names.to_string().split(", ").filter_map(title).collect::<Vec<_>>().join(", "))
}

/// Starts a clause with a capital letter, unless it begins with the name of a host, a mailbox or a
/// key, which are written as they are.
fn capital(clause: &str) -> String {
    let first_word = clause.split_whitespace().next().unwrap_or_default();
    if first_word.trim_end_matches(['.', ':', ',']).contains(['.', ':', '@', '_', '`']) {
        return clause.to_owned();
    }
    let mut letters = clause.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

/// Escapes everything, and turns text between backticks into code, because messages mark keys and
/// commands like that.
fn html(text: &str) -> String {
    let mut html = String::with_capacity(text.len() + 16);
    let mut parts = text.split('`').map(escape).peekable();
    let mut is_code = false;
    while let Some(part) = parts.next() {
        match (is_code, parts.peek().is_some()) {
            (true, true) => html.push_str(&format!("<code>{part}</code>")),
            // A backtick without a second one is only a backtick.
            (true, false) => html.push_str(&format!("`{part}")),
            (false, _) => html.push_str(&part),
        }
        is_code = !is_code;
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_message_holds_it_is_text_and_code() {
        for (text, wanted) in [
            ("", ""),
            ("plain", "plain"),
            ("write `a: b` and `c`", "write <code>a: b</code> and <code>c</code>"),
            ("`<b>`", "<code>&lt;b&gt;</code>"),
            ("<script>`\"'&`", "&lt;script&gt;<code>&quot;&#39;&amp;</code>"),
            ("one ` alone", "one ` alone"),
            ("`a` and ` b", "<code>a</code> and ` b"),
            ("``", "<code></code>"),
        ] {
            assert_eq!(html(text), wanted);
        }
        assert_eq!(capital("ärger"), "Ärger");
        for name in ["outlook.office365.com:993 refused", "a@b.c needs a sign-in", "`state` is empty", "client_id: no"]
        {
            assert_eq!(capital(name), name);
        }
    }
}
