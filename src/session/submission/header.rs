//! Checks the header of a trusted device's message: which author it may name.

use gatepost_core::account::MailAddress;
use gatepost_proto::mail::smtp::Reply;
use gatepost_proto::mime::{self, AddressList, HEAD_OCTETS, Head, MimeError};

/// The requirement on a header.
#[derive(Clone, Debug)]
pub(super) enum Author {
    /// From becomes this mailbox.
    Forced(MailAddress),
    /// From and Sender may name only these.
    Checked(Vec<MailAddress>),
}

/// Holds a message back until its header is complete, then passes everything.
#[derive(Debug)]
pub(super) struct HeaderGate {
    author: Author,
    /// `None` once the header has passed.
    held: Option<Vec<u8>>,
}

impl HeaderGate {
    /// Creates a gate for a message of which nothing has come yet.
    pub(super) fn new(author: Author) -> Self {
        Self { author, held: Some(Vec::new()) }
    }

    /// Takes a piece of the message. Returns what may pass of it, and of what was held.
    ///
    /// # Errors
    /// The reply to a message that must not pass.
    pub(super) fn pass(&mut self, piece: Vec<u8>) -> Result<Vec<u8>, Reply> {
        let Some(held) = &mut self.held else { return Ok(piece) };
        let searched = held.len();
        held.extend_from_slice(&piece);
        if Head::end(held, searched).is_some() || held.len() > HEAD_OCTETS {
            return self.finish();
        }
        Ok(Vec::new())
    }

    /// Returns what may still pass. The header is complete, or nothing more comes.
    ///
    /// # Errors
    /// As [`HeaderGate::pass`].
    pub(super) fn finish(&mut self) -> Result<Vec<u8>, Reply> {
        let Some(held) = self.held.take() else { return Ok(Vec::new()) };
        let head = Head::parse(&held).map_err(flawed)?;
        let replaced = match &self.author {
            Author::Forced(mailbox) => mime::sender::replace_from(&head, mailbox).map_err(flawed)?,
            Author::Checked(names) => {
                check(&head, names)?;
                None
            }
        };
        // Nobody may see another author in it than was seen here.
        let Some(mut message) = replaced.or_else(|| head.is_mended().then(|| head.octets().to_vec())) else {
            return Ok(held);
        };
        message.extend_from_slice(held.get(head.body()..).unwrap_or_default());
        Ok(message)
    }
}

fn flawed(flaw: MimeError) -> Reply {
    Reply::new(554, [6, 0], format_args!("The message {flaw}"))
}

fn check(head: &Head<'_>, names: &[MailAddress]) -> Result<(), Reply> {
    let from = mime::sender::from(head).map_err(flawed)?;
    let sender = head.named("Sender").map(|field| {
        AddressList::parse(head.value(field)).map_err(|why| flawed(MimeError::Unreadable { field: "Sender", why }))
    });
    for list in std::iter::once(Ok(from)).chain(sender) {
        let list = list?;
        if let Some(other) = list.addresses.iter().find(|address| !is_one_of(address.as_str(), names)) {
            return Err(not_yours(other.as_str()));
        }
    }
    Ok(())
}

/// Whether an address is one of these, regardless of case.
pub(super) fn is_one_of(address: &str, names: &[MailAddress]) -> bool {
    MailAddress::parse(address).is_ok_and(|address| names.contains(&address))
}

/// The reply to a client that sends as somebody else.
pub(super) fn not_yours(address: &str) -> Reply {
    Reply::new(550, [7, 1], format_args!("This device may not send as <{address}>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(address: &str) -> MailAddress {
        MailAddress::parse(address).unwrap()
    }

    /// Returns what passes, for pieces of every size. The result must always be the same.
    fn passed(author: &Author, message: &[u8]) -> Result<String, u16> {
        let pass = |size: usize| -> Result<Vec<u8>, Reply> {
            let mut gate = HeaderGate::new(author.clone());
            let mut passed = Vec::new();
            for piece in message.chunks(size) {
                passed.extend(gate.pass(piece.to_vec())?);
            }
            passed.extend(gate.finish()?);
            Ok(passed)
        };
        let whole = pass(message.len().max(1)).map_err(|reply| reply.code());
        for size in [1, 2, 3, 7] {
            assert_eq!(pass(size).map_err(|reply| reply.code()), whole);
        }
        whole.map(|message| String::from_utf8(message).unwrap())
    }

    #[test]
    fn a_forced_author_is_written_into_the_header_and_nowhere_else() {
        let author = Author::Forced(mailbox("scanner@contoso.com"));
        let message = b"From: Copier <root@localhost>\r\nTo: a@b\r\n\r\nFrom: Copier <root@localhost>\r\n";
        assert_eq!(
            passed(&author, message).unwrap(),
            "From: Copier <scanner@contoso.com>\r\nReply-To: root@localhost\r\nTo: a@b\r\n\r\nFrom: Copier <root@localhost>\r\n"
        );
        // From is the mailbox already, and there is no body.
        assert_eq!(passed(&author, b"From: scanner@contoso.com\r\n").unwrap(), "From: scanner@contoso.com\r\n");
        assert_eq!(passed(&author, b"\r\ntext\r\n").unwrap(), "From: scanner@contoso.com\r\n\r\ntext\r\n");
    }

    #[test]
    fn a_checked_author_is_one_of_the_accounts_names() {
        let author = Author::Checked(vec![mailbox("scanner@contoso.com"), mailbox("scan7@contoso.com")]);
        for good in [
            "From: Scan7@Contoso.com\r\n\r\n",
            "To: a@b\r\n\r\n",
            "From: scanner@contoso.com\r\nSender: scan7@contoso.com\r\n\r\n",
        ] {
            assert_eq!(passed(&author, good.as_bytes()).as_deref(), Ok(good));
        }
        for bad in [
            "From: boss@contoso.com\r\n\r\n",
            "From: scanner@contoso.com, boss@contoso.com\r\n\r\n",
            "From: scanner@contoso.com\r\nSender: boss@contoso.com\r\n\r\n",
        ] {
            assert_eq!(passed(&author, bad.as_bytes()), Err(550), "{bad}");
        }
    }

    #[test]
    fn a_message_without_a_clear_header_gets_one() {
        let forced = Author::Forced(mailbox("scanner@contoso.com"));
        let checked = Author::Checked(vec![mailbox("scanner@contoso.com")]);
        for (message, header, body) in [
            (
                "Scan 7:\r\n\r\nFrom: boss@contoso.com\r\n\r\ntext",
                "\r\n",
                "Scan 7:\r\n\r\nFrom: boss@contoso.com\r\n\r\ntext",
            ),
            ("To: a@b\r\nThe text\r\n", "To: a@b\r\n\r\n", "The text\r\n"),
            ("From root Mon Nov 23\r\nTo: a@b\r\n\r\ntext", "To: a@b\r\n\r\n", "text"),
        ] {
            let from = format!("From: scanner@contoso.com\r\n{header}{body}");
            assert_eq!(passed(&forced, message.as_bytes()), Ok(from));
            assert_eq!(passed(&checked, message.as_bytes()), Ok(format!("{header}{body}")));
        }
    }

    #[test]
    fn a_header_that_nobody_can_read_does_not_pass() {
        let author = Author::Forced(mailbox("scanner@contoso.com"));
        let endless = b"X: y\r\n".repeat(HEAD_OCTETS / 6 + 2);
        for message in [&b"From: a@b\r\nFrom: c@d\r\n\r\n"[..], &endless] {
            assert_eq!(passed(&author, message), Err(554));
        }
    }
}
