//! Which sender the messages of a client may have, and which mailbox sends them.

use super::refused::Refused;
use crate::login::Principal;
use gatepost_config::SenderRule;
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::failure::Failure;
use gatepost_proto::mail::smtp::Reply;
use gatepost_proto::mail::smtp::transaction::Mail;
use gatepost_proto::mime::{self, Head};

/// What the messages of a client may have as their sender.
#[derive(Clone, Debug)]
pub(super) struct SenderPolicy {
    rule: SenderRule,
    /// The client's account.
    principal: Principal,
    /// Whether the mailbox follows the sender within `send_as`. A client's own token is for the one
    /// mailbox that the client named.
    follows: bool,
}

impl SenderPolicy {
    /// Applies a rule to a client whose token is Gatepost's or, with `own_token`, its own.
    pub(super) fn new(rule: SenderRule, principal: Principal, own_token: bool) -> Self {
        let follows = !own_token && !principal.account.sending.send_as.is_empty();
        Self { rule, principal, follows }
    }

    /// The rule.
    pub(super) fn rule(&self) -> SenderRule {
        self.rule
    }

    /// The mailbox of the account itself.
    pub(super) fn own_mailbox(&self) -> &MailAddress {
        &self.principal.mailbox
    }

    /// Checks the sender of a transaction, or replaces it. Returns the mailbox that sends the
    /// message, or `None` if its header decides about that.
    ///
    /// # Errors
    /// The refusal of a sender that is none of the account's. `<>` is no sender and passes.
    pub(super) fn apply(&self, mail: &mut Mail) -> Result<Option<MailAddress>, Refused> {
        let named = mail.sender.as_deref().and_then(|sender| self.mailbox_of(sender));
        if let (SenderRule::Checked, Some(sender), None) = (self.rule, &mail.sender, &named) {
            return Err(self.not_allowed(sender));
        }
        let own = &self.principal.mailbox;
        // Many programs name their login in MAIL whatever From says.
        let mailbox = if self.follows { named.filter(|mailbox| mailbox != own) } else { Some(own.clone()) };
        if let Some(mailbox) = &mailbox {
            self.replace(mail, mailbox);
        }
        Ok(mailbox)
    }

    /// Replaces the sender of a transaction by the mailbox that sends the message, if the rule says
    /// so.
    pub(super) fn replace(&self, mail: &mut Mail, mailbox: &MailAddress) {
        if self.rule == SenderRule::Forced {
            mail.sender = Some(mailbox.to_string());
        }
    }

    /// Returns the mailbox that sends a message with this header: that of the first address in From
    /// that is one of the account's.
    ///
    /// # Errors
    /// The refusal of a From field that names others only.
    pub(super) fn mailbox_of_header(&self, head: &Head<'_>) -> Result<MailAddress, Refused> {
        // Without a From that can be read, the message is from nobody else.
        let from = mime::sender::from(head).map(|list| list.addresses).unwrap_or_default();
        match (from.iter().find_map(|address| self.mailbox_of(address.as_str())), from.first()) {
            (Some(mailbox), _) => Ok(mailbox),
            (None, Some(other)) if self.rule != SenderRule::Forced => Err(self.not_allowed(other.as_str())),
            (None, _) => Ok(self.principal.mailbox.clone()),
        }
    }

    /// Checks that an address is one of the account's.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn check(&self, address: &str) -> Result<(), Refused> {
        self.mailbox_of(address).map(drop).ok_or_else(|| self.not_allowed(address))
    }

    /// Returns the mailbox that sends as this address; `None` if it is none of the account's.
    fn mailbox_of(&self, address: &str) -> Option<MailAddress> {
        let Principal { account, mailbox, .. } = &self.principal;
        let address = MailAddress::parse(address).ok()?;
        let in_list = account.sending.send_as.has(&address);
        if in_list && self.follows && !self.principal.is_own(&address) {
            return Some(address);
        }
        let is_of_account = in_list || self.principal.is_own(&address) || account.mailboxes.lists(&address);
        is_of_account.then(|| mailbox.clone())
    }

    fn not_allowed(&self, address: &str) -> Refused {
        let login = &self.principal.login;
        let failure =
            Failure::new(Cause::SenderNotAllowed, format!("the account `{login}` may not send as `{address}`"));
        let reply = Reply::new(550, [7, 60], format_args!("Not allowed to send as <{address}>"));
        Refused { reply, failure }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use url::Url;

    use super::*;
    use gatepost_config::{Account, Application, Cloud, Grant, LoginPattern, Mailboxes, SendAs, Sending};
    use gatepost_core::account::LoginName;

    pub(in crate::session::submission) fn address(text: &str) -> MailAddress {
        MailAddress::parse(text).unwrap()
    }

    /// The rule for `scanner@contoso.com`, whose mailbox is `scans@contoso.com`, whose aliases are
    /// `scan7` and `scan7@contoso.com`, and which may open `office@contoso.com`.
    pub(in crate::session::submission) fn policy(rule: SenderRule) -> SenderPolicy {
        with_send_as(rule, SendAs::default(), false)
    }

    /// The same account, which may also send as these.
    fn with_send_as(rule: SenderRule, send_as: SendAs, own_token: bool) -> SenderPolicy {
        let application = Arc::new(Application {
            issuer: gatepost_config::Issuer::Entra(gatepost_config::Entra {
                authority: Url::parse("https://login.example/").unwrap(),
                tenant: "contoso.com".into(),
                cloud: Cloud::Worldwide,
            }),
            client_id: "app".into(),
            credential: Arc::default(),
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
            sending: Sending { sender: None, send_as },
            signs_in_as: None,
            token_expiry_margin: Duration::ZERO,
        });
        SenderPolicy::new(rule, Principal { account, login, mailbox }, own_token)
    }

    /// The sender after a policy was applied, and the mailbox; an error is the code of the reply.
    fn applied(policy: &SenderPolicy, sender: Option<&str>) -> Result<(Option<String>, Option<String>), u16> {
        let sender = sender.map(str::to_owned);
        let mut mail = Mail { sender, size: None, body: None, smtputf8: false, dsn: Vec::new() };
        let mailbox = policy.apply(&mut mail).map_err(|refused| refused.reply.code())?;
        Ok((mail.sender, mailbox.map(|mailbox| mailbox.to_string())))
    }

    fn of_header(policy: &SenderPolicy, from: &str) -> Result<String, u16> {
        let header = format!("{from}\r\n\r\n");
        let mailbox = policy.mailbox_of_header(&Head::parse(header.as_bytes()).unwrap());
        mailbox.map(|mailbox| mailbox.to_string()).map_err(|refused| refused.reply.code())
    }

    const MAILBOX: &str = "scans@contoso.com";
    const OWN: [&str; 4] = ["scanner@contoso.com", "Scans@Contoso.com", "scan7@contoso.com", "office@contoso.com"];

    #[test]
    fn every_rule_has_its_sender() {
        let (own, some) = (Some(MAILBOX.to_owned()), |text: &str| Some(text.to_owned()));
        let (free, forced) = (policy(SenderRule::Free), policy(SenderRule::Forced));
        let checked = policy(SenderRule::Checked);
        let others = ["boss@contoso.com", "\"scans\"@contoso.com"];
        for sender in OWN.into_iter().chain(others) {
            assert_eq!(applied(&free, Some(sender)), Ok((some(sender), own.clone())));
            assert_eq!(applied(&forced, Some(sender)), Ok((own.clone(), own.clone())));
        }
        for sender in OWN {
            assert_eq!(applied(&checked, Some(sender)), Ok((some(sender), own.clone())));
        }
        for sender in others {
            assert_eq!(applied(&checked, Some(sender)), Err(550));
        }
        assert_eq!(applied(&free, None), Ok((None, own.clone())));
        assert_eq!(applied(&forced, None), Ok((own.clone(), own.clone())));
        assert_eq!(applied(&checked, None), Ok((None, own)));
    }

    #[test]
    fn the_mailbox_follows_the_sender_within_the_list_and_nowhere_else() {
        let send_as =
            || SendAs { addresses: vec![address("sales@contoso.com")], domains: vec!["fabrikam.com".to_owned()] };
        let listed = ["sales@contoso.com", "anybody@fabrikam.com"];
        for rule in [SenderRule::Free, SenderRule::Forced, SenderRule::Checked] {
            let policy = with_send_as(rule, send_as(), false);
            for sender in listed {
                let expected = Some(sender.to_owned());
                assert_eq!(applied(&policy, Some(&sender.to_uppercase())).unwrap().1, expected, "{rule:?}");
                assert_eq!(of_header(&policy, &format!("From: x@y, {sender}")), Ok(sender.to_owned()), "{rule:?}");
            }
            for sender in OWN {
                assert_eq!(applied(&policy, Some(sender)), Ok((Some(sender.to_owned()), None)), "{rule:?}");
                assert_eq!(of_header(&policy, &format!("From: {sender}")).as_deref(), Ok(MAILBOX), "{rule:?}");
            }
            // The header decides, also about what MAIL cannot say.
            assert_eq!(applied(&policy, None), Ok((None, None)), "{rule:?}");
            for other in ["sales@mail.contoso.com", "anybody@mail.fabrikam.com", "sales@contoso.com.example"] {
                let said = applied(&policy, Some(other));
                let from = of_header(&policy, &format!("From: {other}"));
                match rule {
                    SenderRule::Free => assert_eq!((said, from), (Ok((Some(other.into()), None)), Err(550))),
                    SenderRule::Forced => {
                        assert_eq!((said, from), (Ok((Some(other.into()), None)), Ok(MAILBOX.into())));
                    }
                    SenderRule::Checked => assert_eq!((said, from), (Err(550), Err(550))),
                }
            }
            for nobody in ["X: y", "From: root", "From: a@b\r\nFrom: c@d"] {
                assert_eq!(of_header(&policy, nobody).as_deref(), Ok(MAILBOX), "{rule:?}");
            }
            // A client's own token opens what the client has named.
            let own_token = with_send_as(rule, send_as(), true);
            for sender in listed.map(Some).into_iter().chain([None]) {
                assert_eq!(applied(&own_token, sender).unwrap().1.as_deref(), Some(MAILBOX), "{rule:?}");
            }
        }
    }
}
