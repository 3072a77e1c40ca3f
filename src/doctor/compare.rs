//! What only the comparison of several mailboxes and protocols shows. Exchange Online has one answer
//! for several causes: it rejects a valid token in the same way when a protocol is off for a mailbox,
//! when the application may not open the mailbox, and when it does not know the application. What is
//! said of all mailboxes needs two of them. Pure.

use std::collections::BTreeSet;

use gatepost_oauth::claims::MailAccess;

/// How a mailbox answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It opened.
    Opened,
    /// A token that permits it was rejected.
    Rejected,
    /// A token was rejected that does not say that it permits it.
    Unpermitted,
    /// The token was accepted, and the mailbox did not open, as without a license.
    NotConnected,
    /// It was not asked, or something else happened.
    Unknown,
}

/// One attempt to open a mailbox.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// Which application and tenant, by number.
    pub(super) application: usize,
    pub(super) mailbox: String,
    pub(super) access: MailAccess,
    /// Whether the token is the application's own.
    pub(super) is_app_only: bool,
    pub(super) answer: Answer,
}

/// What the comparison shows of a rejected attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The protocol is off for the mailbox: another protocol opens it.
    ProtocolOff {
        /// A protocol that opens it.
        works: MailAccess,
        /// Whether this protocol opens none of several mailboxes.
        everywhere: bool,
    },
    /// Exchange Online does not know the application: none of several mailboxes opens.
    UnknownApplication,
    /// The application opens other mailboxes, and not this one.
    NoAccess {
        /// Whether another protocol accepted the token and did not open the mailbox, as without a
        /// license.
        may_lack_license: bool,
    },
}

/// Returns what the attempts show of one that was rejected.
pub(super) fn compare(attempts: &[Attempt], this: &Attempt) -> Option<Finding> {
    if !matches!(this.answer, Answer::Rejected | Answer::NotConnected) || !is_mail(this.access) {
        return None;
    }
    // Without the permission, an answer says nothing about mailbox and application.
    let counts = |other: &&Attempt| is_mail(other.access) && other.answer != Answer::Unpermitted;
    let of_application = || attempts.iter().filter(|other| other.application == this.application).filter(counts);
    let opened = |other: &&Attempt| other.answer == Answer::Opened;
    if let Some(other) = of_application().filter(opened).find(|other| other.mailbox == this.mailbox) {
        let of_protocol = || of_application().filter(|other| other.access == this.access);
        let everywhere = are_several(of_protocol()) && of_protocol().all(|other| !opened(&other));
        return Some(Finding::ProtocolOff { works: other.access, everywhere });
    }
    if !this.is_app_only || this.answer == Answer::NotConnected {
        return None;
    }
    match of_application().any(|other| opened(&other)) {
        true => {
            let unopened = |other: &Attempt| other.mailbox == this.mailbox && other.answer == Answer::NotConnected;
            Some(Finding::NoAccess { may_lack_license: of_application().any(unopened) })
        }
        false if are_several(of_application()) && of_application().all(|other| other.answer == Answer::Rejected) => {
            Some(Finding::UnknownApplication)
        }
        false => None,
    }
}

/// Whether the attempts are about more than one mailbox. What is wrong with one may be its own fault.
fn are_several<'a>(attempts: impl Iterator<Item = &'a Attempt>) -> bool {
    attempts.map(|attempt| &*attempt.mailbox).collect::<BTreeSet<_>>().len() > 1
}

/// Whether Exchange Online judges an application there by its service principal. EWS and Graph go by
/// what the token permits.
fn is_mail(access: MailAccess) -> bool {
    matches!(access, MailAccess::Imap | MailAccess::Pop3 | MailAccess::Smtp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Answer::{Opened, Rejected, Unknown, Unpermitted};
    use MailAccess::{Imap, Pop3, Smtp};

    fn attempt(mailbox: &str, access: MailAccess, answer: Answer) -> Attempt {
        Attempt { application: 0, mailbox: mailbox.into(), access, is_app_only: true, answer }
    }

    fn found(attempts: &[Attempt]) -> Vec<Option<Finding>> {
        attempts.iter().map(|this| compare(attempts, this)).collect()
    }

    #[test]
    fn a_protocol_is_off_where_another_one_opens_the_mailbox() {
        let attempts = [attempt("a", Imap, Opened), attempt("a", Pop3, Rejected), attempt("b", Pop3, Opened)];
        assert_eq!(found(&attempts), [None, Some(Finding::ProtocolOff { works: Imap, everywhere: false }), None]);
        let attempts = [attempt("a", Imap, Opened), attempt("a", Pop3, Rejected), attempt("b", Pop3, Rejected)];
        assert_eq!(found(&attempts)[1], Some(Finding::ProtocolOff { works: Imap, everywhere: true }));
        assert_eq!(found(&attempts)[2], Some(Finding::NoAccess { may_lack_license: false }));
    }

    #[test]
    fn an_application_that_opens_nothing_is_unknown_to_exchange() {
        let attempts = [attempt("a", Imap, Rejected), attempt("a", Smtp, Rejected), attempt("b", Imap, Rejected)];
        assert!(found(&attempts).iter().all(|finding| *finding == Some(Finding::UnknownApplication)));
        // Without knowing all answers, nothing is concluded.
        let attempts = [attempt("a", Imap, Rejected), attempt("b", Imap, Unknown)];
        assert_eq!(found(&attempts), [None, None]);
        let attempts =
            [attempt("a", Imap, Rejected), attempt("b", Imap, Rejected), attempt("a", MailAccess::Ews, Opened)];
        assert_eq!(found(&attempts)[0], Some(Finding::UnknownApplication));
        let other = Attempt { application: 1, ..attempt("c", Imap, Opened) };
        let attempts = [attempt("a", Imap, Rejected), attempt("b", Imap, Rejected), other];
        assert_eq!(found(&attempts)[0], Some(Finding::UnknownApplication));
    }

    #[test]
    fn one_mailbox_says_nothing_about_all() {
        let attempts = [attempt("a", Imap, Rejected), attempt("a", Smtp, Rejected), attempt("a", Pop3, Rejected)];
        assert_eq!(found(&attempts), [None, None, None]);
        let other = Attempt { application: 1, ..attempt("b", Imap, Rejected) };
        assert_eq!(found(&[attempt("a", Imap, Rejected), other]), [None, None]);
        let attempts = [attempt("a", Imap, Rejected), attempt("a", Pop3, Opened), attempt("b", Pop3, Opened)];
        assert_eq!(found(&attempts)[0], Some(Finding::ProtocolOff { works: Pop3, everywhere: false }));
    }

    #[test]
    fn an_answer_without_the_permission_says_nothing() {
        let attempts = [attempt("a", Imap, Rejected), attempt("b", Imap, Unpermitted)];
        assert_eq!(found(&attempts), [None, None]);
        let attempts = [attempt("a", Imap, Unpermitted), attempt("a", Pop3, Opened), attempt("b", Imap, Unpermitted)];
        assert_eq!(found(&attempts), [None, None, None]);
    }

    #[test]
    fn one_mailbox_of_several_is_not_opened() {
        let attempts = [attempt("a", Imap, Opened), attempt("b", Imap, Rejected), attempt("b", Pop3, Rejected)];
        let no_access = |may_lack_license| Some(Finding::NoAccess { may_lack_license });
        assert_eq!(found(&attempts), [None, no_access(false), no_access(false)]);
        let attempts =
            [attempt("a", Imap, Opened), attempt("b", Imap, Answer::NotConnected), attempt("b", Pop3, Rejected)];
        assert_eq!(found(&attempts), [None, None, no_access(true)]);
    }

    #[test]
    fn a_mailbox_without_a_license_is_no_matter_of_rights() {
        let attempts = [attempt("a", Imap, Answer::NotConnected), attempt("b", Imap, Opened)];
        assert_eq!(found(&attempts), [None, None]);
        let attempts = [attempt("a", Imap, Answer::NotConnected), attempt("a", Pop3, Opened)];
        assert_eq!(found(&attempts)[0], Some(Finding::ProtocolOff { works: Pop3, everywhere: false }));
    }

    #[test]
    fn a_users_own_token_says_nothing_about_other_mailboxes() {
        let of_user = |mailbox, access, answer| Attempt { is_app_only: false, ..attempt(mailbox, access, answer) };
        let attempts = [of_user("a", Imap, Rejected), of_user("b", Imap, Opened)];
        assert_eq!(found(&attempts), [None, None]);
        let attempts = [of_user("a", Imap, Rejected), of_user("a", Pop3, Opened)];
        assert_eq!(found(&attempts)[0], Some(Finding::ProtocolOff { works: Pop3, everywhere: false }));
    }
}
