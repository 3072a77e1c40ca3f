//! Checks the header of a message: which author it may name.

use super::policy::SenderPolicy;
use super::refused::{self, Refused};
use gatepost_config::SenderRule;
use gatepost_core::account::MailAddress;
use gatepost_proto::mail::smtp::transaction::Mail;
use gatepost_proto::mime::{self, AddressList, HEAD_OCTETS, Head, MimeError};

/// Holds a message back until its header is complete, then passes everything.
#[derive(Debug)]
pub(super) struct HeaderGate {
    policy: SenderPolicy,
    /// The mailbox that sends the message; `None` until the header has decided about it.
    mailbox: Option<MailAddress>,
    /// `None` once the header has passed.
    held: Option<Vec<u8>>,
}

impl HeaderGate {
    /// Creates a gate for a message of `mailbox` of which nothing has come yet; without a mailbox,
    /// the header decides about it. `None` if everything may pass.
    pub(super) fn new(policy: SenderPolicy, mailbox: Option<MailAddress>) -> Option<Self> {
        let passes_all = policy.rule() == SenderRule::Free && mailbox.is_some();
        (!passes_all).then(|| Self { policy, mailbox, held: Some(Vec::new()) })
    }

    /// Returns the mailbox that sends the message, once that is decided, and makes it the sender of
    /// the transaction if it replaces every other.
    pub(super) fn decided(&self, mail: &mut Mail) -> Option<MailAddress> {
        let mailbox = self.mailbox.clone()?;
        self.policy.replace(mail, &mailbox);
        Some(mailbox)
    }

    /// Takes a piece of the message. Returns what may pass of it, and of what was held.
    ///
    /// # Errors
    /// The refusal of a message that must not pass.
    pub(super) fn pass(&mut self, piece: Vec<u8>) -> Result<Vec<u8>, Refused> {
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
    pub(super) fn finish(&mut self) -> Result<Vec<u8>, Refused> {
        let Some(held) = self.held.take() else { return Ok(Vec::new()) };
        let head = match Head::parse(&held) {
            Ok(head) => head,
            // Microsoft decides what it thinks of the message.
            Err(_) if self.policy.rule() == SenderRule::Free => {
                self.mailbox.get_or_insert_with(|| self.policy.own_mailbox().clone());
                return Ok(held);
            }
            Err(flaw) => return Err(flawed(flaw)),
        };
        let mailbox = match &self.mailbox {
            Some(mailbox) => mailbox,
            None => self.mailbox.insert(self.policy.mailbox_of_header(&head)?),
        };
        let replaced = match self.policy.rule() {
            SenderRule::Free => return Ok(held),
            SenderRule::Forced => mime::sender::replace_from(&head, mailbox).map_err(flawed)?,
            SenderRule::Checked => {
                check(&head, &self.policy)?;
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

fn flawed(flaw: MimeError) -> Refused {
    refused::unreadable(&flaw)
}

/// Checks that From and Sender name nobody else.
fn check(head: &Head<'_>, policy: &SenderPolicy) -> Result<(), Refused> {
    let from = mime::sender::from(head).map_err(flawed)?;
    let sender = head.named("Sender").map(|field| {
        AddressList::parse(head.value(field)).map_err(|why| flawed(MimeError::Unreadable { field: "Sender", why }))
    });
    for list in std::iter::once(Ok(from)).chain(sender) {
        list?.addresses.iter().try_for_each(|address| policy.check(address.as_str()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::policy::tests::{address, policy};
    use super::*;

    /// Returns what passes, for pieces of every size. The result must always be the same.
    fn passed(rule: SenderRule, message: &[u8]) -> Result<String, u16> {
        let pass = |size: usize| -> Result<Vec<u8>, Refused> {
            let mut gate = HeaderGate::new(policy(rule), Some(address("scans@contoso.com"))).unwrap();
            let mut passed = Vec::new();
            for piece in message.chunks(size) {
                passed.extend(gate.pass(piece.to_vec())?);
            }
            passed.extend(gate.finish()?);
            Ok(passed)
        };
        let whole = pass(message.len().max(1)).map_err(|refused| refused.reply.code());
        for size in [1, 2, 3, 7] {
            assert_eq!(pass(size).map_err(|refused| refused.reply.code()), whole);
        }
        whole.map(|message| String::from_utf8(message).unwrap())
    }

    #[test]
    fn a_forced_author_is_written_into_the_header_and_nowhere_else() {
        let forced = |message: &[u8]| passed(SenderRule::Forced, message);
        let message = b"From: Copier <root@localhost>\r\nTo: a@b\r\n\r\nFrom: Copier <root@localhost>\r\n";
        assert_eq!(
            forced(message).unwrap(),
            "From: Copier <scans@contoso.com>\r\nReply-To: root@localhost\r\nTo: a@b\r\n\r\nFrom: Copier <root@localhost>\r\n"
        );
        // From is the mailbox already, and there is no body.
        assert_eq!(forced(b"From: scans@contoso.com\r\n").unwrap(), "From: scans@contoso.com\r\n");
        assert_eq!(forced(b"\r\ntext\r\n").unwrap(), "From: scans@contoso.com\r\n\r\ntext\r\n");
    }

    #[test]
    fn a_checked_author_is_one_of_the_accounts_names() {
        for good in [
            "From: Scan7@Contoso.com\r\n\r\n",
            "To: a@b\r\n\r\n",
            "From: scanner@contoso.com\r\nSender: scan7@contoso.com\r\n\r\n",
        ] {
            assert_eq!(passed(SenderRule::Checked, good.as_bytes()).as_deref(), Ok(good));
        }
        for bad in [
            "From: boss@contoso.com\r\n\r\n",
            "From: scanner@contoso.com, boss@contoso.com\r\n\r\n",
            "From: scanner@contoso.com\r\nSender: boss@contoso.com\r\n\r\n",
        ] {
            assert_eq!(passed(SenderRule::Checked, bad.as_bytes()), Err(550), "{bad}");
        }
    }

    #[test]
    fn a_message_without_a_clear_header_gets_one() {
        for (message, header, body) in [
            (
                "Scan 7:\r\n\r\nFrom: boss@contoso.com\r\n\r\ntext",
                "\r\n",
                "Scan 7:\r\n\r\nFrom: boss@contoso.com\r\n\r\ntext",
            ),
            ("To: a@b\r\nThe text\r\n", "To: a@b\r\n\r\n", "The text\r\n"),
            ("From root Mon Nov 23\r\nTo: a@b\r\n\r\ntext", "To: a@b\r\n\r\n", "text"),
        ] {
            let from = format!("From: scans@contoso.com\r\n{header}{body}");
            assert_eq!(passed(SenderRule::Forced, message.as_bytes()), Ok(from));
            assert_eq!(passed(SenderRule::Checked, message.as_bytes()), Ok(format!("{header}{body}")));
        }
    }

    #[test]
    fn a_header_that_nobody_can_read_does_not_pass() {
        let endless = b"X: y\r\n".repeat(HEAD_OCTETS / 6 + 2);
        for message in [&b"From: a@b\r\nFrom: c@d\r\n\r\n"[..], &endless] {
            assert_eq!(passed(SenderRule::Forced, message), Err(554));
        }
    }

    #[test]
    fn a_header_passes_when_it_is_complete_and_none_is_awaited_without_end() {
        let gate = || HeaderGate::new(policy(SenderRule::Checked), Some(address("scans@contoso.com"))).unwrap();
        let mut whole = gate();
        let pieces =
            [("From: scan7@contoso.com\r\n", ""), ("\r\nte", "From: scan7@contoso.com\r\n\r\nte"), ("xt", "xt")];
        for (piece, passes) in pieces {
            assert_eq!(whole.pass(piece.into()).unwrap(), passes.as_bytes(), "{piece}");
        }
        let refused = gate().pass(b"X: y\r\n".repeat(HEAD_OCTETS / 6 + 2)).unwrap_err();
        assert_eq!(refused.reply.code(), 554);
    }

    #[test]
    fn a_header_that_nobody_can_read_and_that_nobody_checks_is_of_the_own_mailbox() {
        let endless = b"X: y\r\n".repeat(HEAD_OCTETS / 6 + 2);
        let mut gate = HeaderGate::new(policy(SenderRule::Free), None).unwrap();
        assert_eq!(gate.pass(endless.clone()).unwrap(), endless);
        let mut mail = Mail { sender: None, size: None, body: None, smtputf8: false, dsn: Vec::new() };
        assert_eq!(gate.decided(&mut mail), Some(address("scans@contoso.com")));
    }
}
