//! Reads the sender of a message, and replaces it.

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

/// The header of the message, with the empty line after it, changed so that the message is from
/// `mailbox`. `None` if it is already.
///
/// From keeps its display name. The former sender becomes Reply-To, unless that field exists. A
/// Sender field with another address is removed, because RFC 5322 §3.6.2 wants none if From is
/// enough. Everything else is unchanged.
///
/// # Errors
/// [`MimeError::Repeated`] if there are two From fields.
pub fn replace_from(head: &Head<'_>, mailbox: &MailAddress) -> Result<Option<Vec<u8>>, MimeError> {
    let is_mailbox = |list: &AddressList| match list.addresses.as_slice() {
        [address] => address.as_str().eq_ignore_ascii_case(mailbox.as_str()),
        _ => false,
    };
    let mut changes: Vec<Change> = Vec::new();
    for field in head.named("Sender") {
        if !AddressList::parse(head.value(field)).is_ok_and(|list| is_mailbox(&list)) {
            changes.push((field.all.clone(), Vec::new()));
        }
    }
    match only(head, "From")? {
        None => changes.push((0..0, format!("From: {mailbox}\r\n").into_bytes())),
        Some(field) => match AddressList::parse(head.value(field)) {
            Ok(list) if is_mailbox(&list) => {}
            // The address cannot be parsed, so no reply could reach it.
            Err(_) => changes.push((field.all.clone(), format!("From: {mailbox}\r\n").into_bytes())),
            Ok(list) => {
                let mut text = renamed(head.value(field), &list, mailbox);
                if head.named("Reply-To").next().is_none() && !list.addresses.is_empty() {
                    let addresses: Vec<_> = list.addresses.iter().map(|address| address.as_str()).collect();
                    text.extend(format!("Reply-To: {}\r\n", addresses.join(",\r\n ")).into_bytes());
                }
                changes.push((field.all.clone(), text));
            }
        },
    }
    if changes.is_empty() {
        return Ok(None);
    }
    Ok(Some(head.edited(changes)))
}

/// The new From field, with the display name of the old one.
fn renamed(value: &[u8], list: &AddressList, mailbox: &MailAddress) -> Vec<u8> {
    let mut text = b"From:".to_vec();
    // A malformed display name could be read as another address.
    let name = list.display_name.clone().filter(|_| list.plain).and_then(|name| value.get(name));
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
    fn a_display_name_that_hides_an_address_goes() {
        assert_eq!(replaced("From: a@b <a@b>\r\n\r\n").unwrap(), "From: scan@contoso.com\r\nReply-To: a@b\r\n\r\n");
    }

    #[test]
    fn two_from_fields_are_refused() {
        let head = Head::parse(b"From: a@b\r\nFrom: c@d\r\n\r\n").unwrap();
        assert_eq!(from(&head), Err(MimeError::Repeated("From")));
        let mailbox = MailAddress::parse("scan@contoso.com").unwrap();
        assert_eq!(replace_from(&head, &mailbox), Err(MimeError::Repeated("From")));
    }
}
