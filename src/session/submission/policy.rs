//! Which sender the messages of a client may have.

use super::refused::Refused;
use crate::login::Principal;
use gatepost_config::SenderRule;
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure, Refusal};
use gatepost_proto::mail::smtp::Reply;
use gatepost_proto::mail::smtp::transaction::Mail;

/// The sender that the messages of a client may have.
#[derive(Clone, Debug)]
pub(super) struct SenderPolicy {
    pub(super) rule: SenderRule,
    /// The client's account.
    principal: Principal,
}

impl SenderPolicy {
    /// Applies a rule to a client.
    pub(super) fn new(rule: SenderRule, principal: Principal) -> Self {
        Self { rule, principal }
    }

    /// The mailbox that sends the messages.
    pub(super) fn mailbox(&self) -> &MailAddress {
        &self.principal.mailbox
    }

    /// Checks the sender of a transaction, or replaces it.
    ///
    /// # Errors
    /// The refusal of a sender that is none of the account's. `<>` is no sender and passes.
    pub(super) fn apply(&self, mail: &mut Mail) -> Result<(), Refused> {
        match (self.rule, &mail.sender) {
            (SenderRule::Forced, _) => mail.sender = Some(self.mailbox().to_string()),
            (SenderRule::Checked, Some(sender)) => self.check(sender)?,
            (SenderRule::Checked, None) | (SenderRule::Free, _) => {}
        }
        Ok(())
    }

    /// Checks that an address is one of the account's.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn check(&self, address: &str) -> Result<(), Refused> {
        let Principal { account, login, .. } = &self.principal;
        let is_of_account = |address: &MailAddress| self.principal.is_own(address) || account.mailboxes.lists(address);
        if MailAddress::parse(address).is_ok_and(|address| is_of_account(&address)) {
            return Ok(());
        }
        let failure = Failure {
            refusal: Refusal::NotAuthorized,
            actor: Actor::Operator,
            cause: Cause::SenderNotAllowed,
            message: format!("the account `{login}` may not send as `{address}` (`sender: checked`)"),
            remedy: "let the program name an address of the account, or write `sender: forced`".into(),
            delay: false,
        };
        let reply = Reply::new(550, [7, 60], format_args!("Not allowed to send as <{address}>"));
        Err(Refused { reply, failure: Some(failure) })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use url::Url;

    use super::*;
    use gatepost_config::{Account, Application, Cloud, Grant, LoginPattern, Mailboxes, Sending};
    use gatepost_core::account::LoginName;

    pub(in crate::session::submission) fn address(text: &str) -> MailAddress {
        MailAddress::parse(text).unwrap()
    }

    /// The rule for `scanner@contoso.com`, whose mailbox is `scans@contoso.com`, whose aliases are
    /// `scan7` and `scan7@contoso.com`, and which may open `office@contoso.com`.
    pub(in crate::session::submission) fn policy(rule: SenderRule) -> SenderPolicy {
        let application = Arc::new(Application {
            authority: Url::parse("https://login.example/").unwrap(),
            tenant: "contoso.com".into(),
            client_id: "app".into(),
            credential: Arc::default(),
            cloud: Cloud::Worldwide,
        });
        let (login, mailbox) = (address("scanner@contoso.com"), address("scans@contoso.com"));
        let account = Arc::new(Account {
            pattern: LoginPattern::Address(login.clone()),
            aliases: ["scan7", "scan7@contoso.com"].map(|alias| LoginName::parse(alias).unwrap()).into(),
            grant: Grant::ClientCredentials,
            passwords: Vec::new(),
            application,
            scope: None,
            mailbox: Some(mailbox.clone()),
            mailboxes: Mailboxes::Listed(vec![address("office@contoso.com")]),
            sending: Sending::default(),
            signs_in_as: None,
            token_expiry_margin: Duration::ZERO,
        });
        SenderPolicy::new(rule, Principal { account, login, mailbox })
    }

    fn applied(rule: SenderRule, sender: Option<&str>) -> Result<Option<String>, u16> {
        let sender = sender.map(str::to_owned);
        let mut mail = Mail { sender, size: None, body: None, smtputf8: false, dsn: Vec::new() };
        policy(rule).apply(&mut mail).map(|()| mail.sender).map_err(|refused| refused.reply.code())
    }

    #[test]
    fn every_rule_has_its_sender() {
        let own = ["scanner@contoso.com", "Scans@Contoso.com", "scan7@contoso.com", "office@contoso.com"];
        let others = ["boss@contoso.com", "\"scans\"@contoso.com"];
        for sender in own.into_iter().chain(others) {
            assert_eq!(applied(SenderRule::Free, Some(sender)), Ok(Some(sender.into())));
            assert_eq!(applied(SenderRule::Forced, Some(sender)), Ok(Some("scans@contoso.com".into())));
        }
        for sender in own {
            assert_eq!(applied(SenderRule::Checked, Some(sender)), Ok(Some(sender.into())));
        }
        for sender in others {
            assert_eq!(applied(SenderRule::Checked, Some(sender)), Err(550));
        }
        assert_eq!(applied(SenderRule::Free, None), Ok(None));
        assert_eq!(applied(SenderRule::Forced, None), Ok(Some("scans@contoso.com".into())));
        assert_eq!(applied(SenderRule::Checked, None), Ok(None));
    }
}
