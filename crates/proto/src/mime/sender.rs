//! Reads the sender of a message, replaces it, and quotes its display name.

use std::borrow::Cow;

use super::lexer::{self, Kind, Token};
use super::{AddressList, Change, Field, Head, MimeError};
use gatepost_core::account::MailAddress;

/// Length at which a line is folded before a further mailbox, so that it stays below 998 octets
/// (RFC 5322 §2.1.1).
const FOLD_OCTETS: usize = 500;

/// The addresses in From; none if there is no such field.
///
/// # Errors
/// [`MimeError::Unreadable`], and [`MimeError::Repeated`] if there are two From fields, because it
/// is not certain which one counts.
pub fn from(head: &Head<'_>) -> Result<AddressList, MimeError> {
    match only(head, "From")? {
        Some(field) => {
            let list = AddressList::parse(head.value(field));
            list.map_err(|why| MimeError::Unreadable { field: "From", why })
        }
        None => Ok(AddressList::default()),
    }
}

/// The header of the message, with the empty line after it, changed so that no display name in
/// From, Sender and Reply-To has an `@` outside quotes. `None` if none has.
///
/// Some programs write their address as its display name too (`a@b <a@b>`). RFC 5322 §3.4 does not
/// allow that, and strict readers then find two addresses.
pub fn quote_names(head: &Head<'_>) -> Option<Vec<u8>> {
    let fields = ["From", "Sender", "Reply-To"].into_iter().flat_map(|name| head.named(name));
    let changes: Vec<_> = fields.filter_map(|field| Some((field.value.clone(), quoted(head.value(field))?))).collect();
    rewritten(head, changes)
}

/// The header of the message, with the empty line after it, changed so that the message is from
/// `mailbox`. `None` if it is already.
///
/// From keeps its display name, which gets the quotes that it lacks. The former sender becomes
/// Reply-To, unless that field exists. A Sender field with another address is removed, because RFC
/// 5322 §3.6.2 wants none if From is enough. Everything else is unchanged.
///
/// # Errors
/// [`MimeError::Repeated`] if there are two From fields.
pub fn replace_from(head: &Head<'_>, mailbox: &MailAddress) -> Result<Option<Vec<u8>>, MimeError> {
    let is_mailbox = |list: &AddressList| match list.addresses.as_slice() {
        [address] => address.as_str().eq_ignore_ascii_case(mailbox.as_str()),
        _ => false,
    };
    let value = |field: &Field| match quoted(head.value(field)) {
        Some(quoted) => Cow::Owned(quoted),
        None => Cow::Borrowed(head.value(field)),
    };
    let mut changes: Vec<Change> = Vec::new();
    for field in head.named("Sender") {
        match value(field) {
            value if !AddressList::parse(&value).is_ok_and(|list| is_mailbox(&list)) => {
                changes.push((field.all.clone(), Vec::new()));
            }
            Cow::Owned(quoted) => changes.push((field.value.clone(), quoted)),
            Cow::Borrowed(_) => {}
        }
    }
    match only(head, "From")? {
        None => changes.push((0..0, format!("From: {mailbox}\r\n").into_bytes())),
        Some(field) => {
            let value = value(field);
            match AddressList::parse(&value) {
                Ok(list) if is_mailbox(&list) => {
                    if let Cow::Owned(quoted) = value {
                        changes.push((field.value.clone(), quoted));
                    }
                }
                // The address cannot be parsed, so no reply could reach it.
                Err(_) => changes.push((field.all.clone(), format!("From: {mailbox}\r\n").into_bytes())),
                Ok(list) => {
                    let mut text = renamed(&value, &list, mailbox);
                    if head.named("Reply-To").next().is_none() && !list.addresses.is_empty() {
                        let addresses: Vec<_> = list.addresses.iter().map(|address| address.as_str()).collect();
                        text.extend(format!("Reply-To: {}\r\n", addresses.join(",\r\n ")).into_bytes());
                    }
                    changes.push((field.all.clone(), text));
                }
            }
        }
    }
    Ok(rewritten(head, changes))
}

/// The header, with the empty line after it, in which these ranges have other content. `None` if
/// there are none.
fn rewritten(head: &Head<'_>, changes: Vec<Change>) -> Option<Vec<u8>> {
    (!changes.is_empty()).then(|| head.edited(changes))
}

/// A field's value with quotes around every word of a display name that has an `@`. `None` if no
/// word needs them, or if the value cannot be split into words.
fn quoted(value: &[u8]) -> Option<Vec<u8>> {
    let tokens = lexer::tokens(value).ok()?;
    let mut text = Vec::new();
    let mut done = 0;
    // Each piece ends in a sign that cannot be in a name.
    for piece in tokens.split_inclusive(|token| matches!(token.kind, Kind::Sign(sign) if !b".@".contains(&sign))) {
        let Some((Token { kind: Kind::Sign(b'<'), .. }, name)) = piece.split_last() else { continue };
        for word in name.chunk_by(|_, next| !next.apart) {
            let (Some(first), Some(last)) = (word.first(), word.last()) else { continue };
            if word.iter().any(|token| token.kind == Kind::Sign(b'@')) {
                text.extend_from_slice(value.get(done..first.at.start)?);
                text.extend(quoted_string(value, word));
                done = last.at.end;
            }
        }
    }
    if done == 0 {
        return None;
    }
    text.extend_from_slice(value.get(done..)?);
    Some(text)
}

/// The tokens as one quoted string (RFC 5322 §3.2.4).
fn quoted_string(value: &[u8], tokens: &[Token]) -> Vec<u8> {
    let mut text = vec![b'"'];
    for token in tokens {
        let content = match &token.kind {
            Kind::Quoted(content) => content,
            _ => value.get(token.at.clone()).unwrap_or_default(),
        };
        for octet in content {
            if matches!(octet, b'"' | b'\\') {
                text.push(b'\\');
            }
            text.push(*octet);
        }
    }
    text.push(b'"');
    text
}

/// The new From field, with the display name of the old one.
fn renamed(value: &[u8], list: &AddressList, mailbox: &MailAddress) -> Vec<u8> {
    let mut text = b"From:".to_vec();
    // A malformed display name could be read as another address.
    let name = list.names.first().cloned().flatten().filter(|_| list.plain).and_then(|name| value.get(name));
    match name {
        None => text.extend(format!(" {mailbox}").into_bytes()),
        Some(name) => {
            text.push(b' ');
            text.extend_from_slice(name);
            let last_line = name.len() - memchr::memrchr(b'\n', name).map_or(0, |at| at + 1);
            let fold = if last_line > FOLD_OCTETS { "\r\n" } else { "" };
            text.extend(format!("{fold} <{mailbox}>").into_bytes());
        }
    }
    text.extend_from_slice(b"\r\n");
    text
}

fn only<'h>(head: &'h Head<'_>, name: &'static str) -> Result<Option<&'h Field>, MimeError> {
    let mut fields = head.named(name);
    match (fields.next(), fields.next()) {
        (_, Some(_)) => Err(MimeError::Repeated(name)),
        (field, None) => Ok(field),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn replaced(head: &str) -> Option<String> {
        let mailbox = MailAddress::parse("scan@contoso.com").unwrap();
        let changed = replace_from(&Head::parse(head.as_bytes()).unwrap(), &mailbox).unwrap();
        changed.map(|octets| String::from_utf8(octets).unwrap())
    }

    #[test]
    fn the_mailbox_itself_stays_untouched() {
        assert_eq!(replaced("From: Scanner <SCAN@contoso.com>\r\nSender: scan@contoso.com\r\n\r\n"), None);
    }

    #[test]
    fn the_display_name_stays_and_answers_go_where_they_went() {
        for (before, after) in [
            (
                "X: 1\r\nFrom: \"Scanner, 2nd\"\r\n floor <a@b>\r\nTo: x@y\r\n\r\nbody",
                "X: 1\r\nFrom: \"Scanner, 2nd\"\r\n floor <scan@contoso.com>\r\nReply-To: a@b\r\nTo: x@y\r\n\r\n",
            ),
            ("From: a@b\r\n\r\n", "From: scan@contoso.com\r\nReply-To: a@b\r\n\r\n"),
            ("From: a@b\r\nreply-to: c@d\r\n\r\n", "From: scan@contoso.com\r\nreply-to: c@d\r\n\r\n"),
            ("From: a@b, c@d\r\n\r\n", "From: scan@contoso.com\r\nReply-To: a@b,\r\n c@d\r\n\r\n"),
            ("From: scanner\r\nTo: x@y\r\n\r\n", "From: scan@contoso.com\r\nTo: x@y\r\n\r\n"),
            ("To: x@y\r\n\r\n", "From: scan@contoso.com\r\nTo: x@y\r\n\r\n"),
            ("\r\n", "From: scan@contoso.com\r\n\r\n"),
            ("Sender: a@b\r\nFrom: scan@contoso.com\r\n\r\n", "From: scan@contoso.com\r\n\r\n"),
        ] {
            assert_eq!(replaced(before).as_deref(), Some(after), "{before:?}");
        }
    }

    #[test]
    fn a_display_name_that_looks_like_an_address_gets_quotes() {
        for (before, after) in [
            ("From: a@b <a@b>\r\n\r\n", "From: \"a@b\" <a@b>\r\n\r\n"),
            ("From: me@home<a@b>, c@d <c@d>\r\n\r\n", "From: \"me@home\"<a@b>, \"c@d\" <c@d>\r\n\r\n"),
            // Words without the sign stay as they are: one of them may be an encoded word.
            (
                "Sender: =?utf-8?q?B=C3=B6?= a@b (x)\r\n <a@b>\r\n\r\n",
                "Sender: =?utf-8?q?B=C3=B6?= \"a@b\" (x)\r\n <a@b>\r\n\r\n",
            ),
            ("Reply-To: \"a \\\"b\\\\\"@c <a@b>\r\n\r\n", "Reply-To: \"a \\\"b\\\\@c\" <a@b>\r\n\r\n"),
            ("From: Shop: a@b <a@b>;\r\nX: a@b <a@b>\r\n\r\n", "From: Shop: \"a@b\" <a@b>;\r\nX: a@b <a@b>\r\n\r\n"),
        ] {
            let changed = quote_names(&Head::parse(before.as_bytes()).unwrap());
            assert_eq!(changed.map(|octets| String::from_utf8(octets).unwrap()).as_deref(), Some(after), "{before:?}");
            assert_eq!(quote_names(&Head::parse(after.as_bytes()).unwrap()), None, "{after:?}");
        }
        for fine in [
            "From: a@b\r\n\r\n",
            "From: \"a@b\" <a@b>\r\n\r\n",
            "From: <@relay:a@b>\r\n\r\n",
            "From: a@b <a@b\"\r\n\r\n",
        ] {
            assert_eq!(quote_names(&Head::parse(fine.as_bytes()).unwrap()), None, "{fine:?}");
        }
    }

    #[test]
    fn a_replaced_sender_keeps_such_a_name_in_quotes() {
        for (before, after) in [
            ("From: a@b <a@b>\r\n\r\n", "From: \"a@b\" <scan@contoso.com>\r\nReply-To: a@b\r\n\r\n"),
            ("From: a@b <c@d>\r\n\r\n", "From: \"a@b\" <scan@contoso.com>\r\nReply-To: c@d\r\n\r\n"),
            (
                "Sender: a@b <scan@contoso.com>\r\nFrom: scan@x <scan@contoso.com>\r\n\r\n",
                "Sender: \"a@b\" <scan@contoso.com>\r\nFrom: \"scan@x\" <scan@contoso.com>\r\n\r\n",
            ),
        ] {
            assert_eq!(replaced(before).as_deref(), Some(after), "{before:?}");
        }
    }

    proptest! {
        /// Quotes name nobody else, and are needed once only.
        #[test]
        fn quotes_change_no_address(value in "[a-c@.<>,:; \"(]{0,24}") {
            let before = format!("From: {value}\r\n\r\n");
            let head = Head::parse(before.as_bytes()).unwrap();
            if let Some(changed) = quote_names(&head) {
                let after = Head::parse(&changed).unwrap();
                prop_assert_eq!(after.body(), changed.len());
                prop_assert_eq!(quote_names(&after), None);
                if let Ok(list) = from(&head) {
                    prop_assert_eq!(from(&after).map(|list| list.addresses), Ok(list.addresses));
                }
            }
        }
    }

    #[test]
    fn two_from_fields_are_refused() {
        let head = Head::parse(b"From: a@b\r\nFrom: c@d\r\n\r\n").unwrap();
        assert_eq!(from(&head), Err(MimeError::Repeated("From")));
        let mailbox = MailAddress::parse("scan@contoso.com").unwrap();
        assert_eq!(replace_from(&head, &mailbox), Err(MimeError::Repeated("From")));
    }
}
