//! Explains why Exchange Online refused a command of a mail transaction, or a message: one
//! [`Failure`] for each kind of reply, whether the session is relayed or not.

use gatepost_core::account::fits_command;
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure, Refusal};
use gatepost_proto::mail::smtp::{RefusedCommand, Reply, Stage};

/// Longest text of a reply in a message, in bytes.
const REPLY: usize = 300;

/// A refusal within a mail transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct MailRefusal<'a> {
    /// Where it was refused.
    pub(super) stage: Stage,
    /// The reply of Exchange Online.
    pub(super) reply: &'a Reply,
    /// The mailbox that sends.
    pub(super) mailbox: &'a str,
    /// The sender that the transaction names, unless it is `<>`.
    pub(super) sender: Option<&'a str>,
    /// The recipient, if one was refused.
    pub(super) recipient: Option<&'a str>,
}

impl<'a> MailRefusal<'a> {
    /// Returns the refusal of a command in a session of `mailbox`.
    pub(super) fn of(refused: &'a RefusedCommand, mailbox: &'a str) -> Self {
        let RefusedCommand { stage, reply, sender, recipient } = refused;
        Self { stage: *stage, reply, mailbox, sender: sender.as_deref(), recipient: recipient.as_deref() }
    }

    /// Returns what happened, who must act and what to do.
    pub(super) fn failure(&self) -> Failure {
        let failure = self.explained();
        match self.reply.status() {
            Some(status) => failure.coded(status),
            None => failure.coded(self.reply.code().to_string()),
        }
    }

    fn explained(&self) -> Failure {
        let Self { stage, reply, mailbox, .. } = *self;
        let text = reply.to_string();
        let said = text.get(..text.floor_char_boundary(REPLY)).unwrap_or_default();
        let failure = |cause, what: &str| Failure::new(cause, format!("{what}: Exchange Online replied `{said}`"));
        let has = |word: &str| text.contains(word);
        // The class stands in the code already.
        let status = reply.status().and_then(|status| status.split_once('.')).map_or("", |(_, rest)| rest);
        let passes = reply.class() == 4;
        match status {
            _ if has("SendAsDenied") => self.send_as_denied(said),
            "7.60" if !passes => self.send_as_denied(said),
            "6.11" if !passes => failure(Cause::BareLineEnd, "message not sent, because it has a bare LF"),
            "3.4" | "2.3" => failure(Cause::MessageTooLarge, "message not sent, because it is too large")
                .to_do("send smaller messages"),
            // The mailbox that is full is the recipient's.
            "2.2" if stage == Stage::Recipient => self.recipient_refused(said, status),
            "2.2" => failure(Cause::MailboxFull, &format!("message not sent, because mailbox `{mailbox}` is full"))
                .by(Actor::ClientOwner),
            "1.8" | "7.501" | "7.502" | "7.503" | "7.705" | "7.708" if !passes => {
                failure(Cause::SenderBarred, &format!("mailbox `{mailbox}` may not send"))
            }
            "5.3" => failure(Cause::SendingLimit, "recipient refused, because the message has too many")
                .to_do("send to fewer recipients at once"),
            "1.90" if !passes => self.limit_reached(said),
            _ if has("SubmissionQuotaExceeded") => self.limit_reached(said),
            // To a recipient, it says that there are too many, or that a mailbox is full (RFC 5321 §4.2.3
            // and §4.5.3.1.10).
            _ if reply.code() == 552 && stage != Stage::Recipient => {
                failure(Cause::MessageTooLarge, "message not sent, because it is too large")
                    .to_do("send smaller messages")
            }
            // Sessions of one mailbox at a time.
            "3.2" if passes => failure(Cause::UpstreamLimit, &format!("message of mailbox `{mailbox}` delayed"))
                .by(Actor::Nobody)
                .to_do("the client retries. If this recurs, let fewer programs send from this mailbox at once"),
            _ if passes => failure(Cause::UpstreamUnavailable, &format!("message of mailbox `{mailbox}` delayed"))
                .answered(Refusal::Limit)
                .to_do("the client retries. If this lasts over an hour, check Microsoft 365 service health"),
            _ if stage == Stage::Recipient => self.recipient_refused(said, status),
            _ if status.starts_with("7.") => {
                failure(Cause::MessageRefused, "message not sent").by(Actor::M365Admin).to_do(
                    "look up the message in message trace, and check mail flow rules and the mailbox's restrictions",
                )
            }
            _ => failure(Cause::MessageRefused, "message not sent")
                .by(Actor::ClientOwner)
                .to_do("correct the message as Exchange Online says"),
        }
    }

    fn send_as_denied(&self, said: &str) -> Failure {
        let Self { mailbox, sender, .. } = *self;
        // Exchange Online names the address in From, which counts more than that of MAIL.
        let named = said
            .split_once(" not allowed to send as ")
            .map(|(_, rest)| rest.split([';', ' ']).next().unwrap_or_default().trim_end_matches('.'));
        let sender = named.or(sender).filter(|sender| !sender.eq_ignore_ascii_case(mailbox));
        let shown = sender.map_or_else(|| "another address".to_owned(), |sender| format!("`{sender}`"));
        let message = format!(
            "message not sent, because mailbox `{mailbox}` may not send as {shown}: Exchange Online replied `{said}`"
        );
        let failure = Failure::new(Cause::SendAsDenied, message).answered(Refusal::NotAuthorized);
        match sender.filter(|sender| fits_command(sender) && fits_command(mailbox)) {
            Some(sender) => failure.to_do(format!(
                "run `Add-RecipientPermission {sender} -Trustee {mailbox} -AccessRights SendAs` in Exchange Online PowerShell"
            )),
            None => failure,
        }
    }

    fn limit_reached(&self, said: &str) -> Failure {
        let message = format!(
            "message not sent, because mailbox `{}` has reached its sending limit: Exchange Online replied `{said}`",
            self.mailbox
        );
        Failure::new(Cause::SendingLimit, message)
    }

    fn recipient_refused(&self, said: &str, status: &str) -> Failure {
        let whom = self.recipient.map_or_else(String::new, |recipient| format!(" `{recipient}`"));
        let message = format!("recipient{whom} refused: Exchange Online replied `{said}`");
        let failure = Failure::new(Cause::RecipientRefused, message);
        if status.starts_with("7.") {
            return failure
                .by(Actor::M365Admin)
                .to_do("check mail flow rules and from whom the recipient accepts messages");
        }
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(stage: Stage, code: u16, status: [u16; 2], text: &str) -> Failure {
        let reply = Reply::new(code, status, text);
        let refusal = MailRefusal {
            stage,
            reply: &reply,
            mailbox: "scanner@contoso.com",
            sender: Some("sales@contoso.com"),
            recipient: Some("who@contoso.com"),
        };
        refusal.failure()
    }

    #[test]
    fn each_refusal_has_its_cause_and_names_who_must_act() {
        use Actor::{ClientOwner, GatepostAdmin, M365Admin, Nobody};
        use Stage::{Content, Recipient, Sender};
        for (stage, code, status, text, cause, actor) in [
            (Content, 554, [2, 252], "SendAsDenied; a not allowed to send as b", Cause::SendAsDenied, M365Admin),
            (Content, 550, [7, 60], "SMTP; Client does not have permissions", Cause::SendAsDenied, M365Admin),
            (Sender, 550, [7, 60], "SMTP; Client does not have permissions", Cause::SendAsDenied, M365Admin),
            (Sender, 552, [3, 4], "too large", Cause::MessageTooLarge, ClientOwner),
            (Sender, 554, [3, 4], "too large", Cause::MessageTooLarge, ClientOwner),
            (Content, 554, [2, 3], "too large", Cause::MessageTooLarge, ClientOwner),
            (Content, 552, [0, 0], "too large", Cause::MessageTooLarge, ClientOwner),
            (Content, 550, [6, 11], "SMTPSEND.BareLinefeedsAreIllegal", Cause::BareLineEnd, GatepostAdmin),
            (Sender, 550, [1, 8], "Access denied, bad outbound sender", Cause::SenderBarred, M365Admin),
            (Content, 550, [7, 501], "Access denied, spam abuse detected", Cause::SenderBarred, M365Admin),
            (Recipient, 550, [1, 10], "RESOLVER.ADR.RecipientNotFound", Cause::RecipientRefused, ClientOwner),
            (Recipient, 550, [4, 1], "Recipient address rejected", Cause::RecipientRefused, ClientOwner),
            (Recipient, 550, [7, 133], "RESOLVER.RST.SenderNotAuthenticated", Cause::RecipientRefused, M365Admin),
            (Recipient, 452, [5, 3], "Too many recipients", Cause::SendingLimit, ClientOwner),
            (Recipient, 552, [5, 3], "Too many recipients", Cause::SendingLimit, ClientOwner),
            (Recipient, 552, [0, 0], "storage exceeded", Cause::RecipientRefused, ClientOwner),
            (Content, 552, [1, 90], "daily limit for message recipients", Cause::SendingLimit, ClientOwner),
            (Content, 550, [1, 90], "daily limit for message recipients", Cause::SendingLimit, ClientOwner),
            (Content, 554, [2, 0], "SubmissionQuotaExceededException", Cause::SendingLimit, ClientOwner),
            (Content, 554, [2, 2], "mailbox full", Cause::MailboxFull, ClientOwner),
            (Content, 552, [2, 2], "mailbox full", Cause::MailboxFull, ClientOwner),
            (Recipient, 552, [2, 2], "mailbox full", Cause::RecipientRefused, ClientOwner),
            (Recipient, 452, [2, 2], "mailbox full", Cause::RecipientRefused, ClientOwner),
            (Sender, 451, [1, 8], "Domain of sender not found", Cause::UpstreamUnavailable, Nobody),
            (Sender, 450, [7, 501], "Service busy", Cause::UpstreamUnavailable, Nobody),
            (Content, 451, [7, 60], "try later", Cause::UpstreamUnavailable, Nobody),
            (Content, 451, [6, 11], "try later", Cause::UpstreamUnavailable, Nobody),
            (Content, 451, [1, 90], "try later", Cause::UpstreamUnavailable, Nobody),
            (Sender, 432, [3, 2], "Concurrent connections limit exceeded", Cause::UpstreamLimit, Nobody),
            (Sender, 550, [3, 2], "System not accepting messages", Cause::MessageRefused, ClientOwner),
            (Content, 451, [7, 500], "Server busy", Cause::UpstreamUnavailable, Nobody),
            (Content, 550, [7, 1], "Delivery not authorized", Cause::MessageRefused, M365Admin),
            (Content, 554, [6, 0], "corrupt", Cause::MessageRefused, ClientOwner),
        ] {
            let failure = explained(stage, code, status, text);
            assert_eq!((failure.cause, failure.actor), (cause, actor), "{code} {status:?} {text}: {failure}");
            assert!(failure.message.contains(&format!("`{code} ")) && !failure.remedy.is_empty(), "{failure}");
        }
    }

    #[test]
    fn a_missing_right_to_send_is_told_with_the_command_that_grants_it() {
        let granted = "`Add-RecipientPermission sales@contoso.com -Trustee scanner@contoso.com -AccessRights SendAs`";
        let failure = explained(Stage::Content, 550, [7, 60], "SMTP; Client does not have permissions");
        assert!(failure.remedy.contains(granted), "{failure}");
        let text = "SendAsDenied; scanner@contoso.com not allowed to send as boss@contoso.com; STOREDRV.Submission";
        let failure = explained(Stage::Content, 554, [2, 252], text);
        assert!(failure.message.contains("may not send as `boss@contoso.com`"), "{failure}");
        assert!(failure.remedy.contains("Add-RecipientPermission boss@contoso.com -Trustee"), "{failure}");
        // What a client has chosen never becomes a part of a command.
        let text = "SendAsDenied; scanner@contoso.com not allowed to send as a|b$c@contoso.com; STOREDRV.Submission";
        let failure = explained(Stage::Content, 554, [2, 252], text);
        assert!(!failure.remedy.contains("a|b"), "{failure}");
    }
}
