//! The mailboxes that a login may open besides its own, and the names by which a client asks for them.

use gatepost_core::account::{LoginName, MailAddress};

/// The mailboxes that a login may open besides its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mailboxes {
    /// These.
    Listed(Vec<MailAddress>),
    /// Every one that Exchange opens for the token of the login.
    Any,
}

impl Default for Mailboxes {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl Mailboxes {
    /// The mailbox that `login` asks for by this name; `None` when it may not open it. A name
    /// without a domain has that of the login, or else that of the only mailbox listed with it.
    pub fn find(&self, login: &MailAddress, name: &LoginName) -> Option<MailAddress> {
        let address = address(login, name)?;
        let Self::Listed(listed) = self else { return Some(address) };
        if listed.contains(&address) {
            return Some(address);
        }
        let mut named = listed.iter().filter(|mailbox| mailbox.local_part() == name.as_str());
        named.next().filter(|_| named.next().is_none()).cloned()
    }

    /// Whether this mailbox is listed.
    pub fn lists(&self, mailbox: &MailAddress) -> bool {
        matches!(self, Self::Listed(listed) if listed.contains(mailbox))
    }
}

/// The address that a name stands for when `login` uses it: without a domain, one in its own.
pub(super) fn address(login: &MailAddress, name: &LoginName) -> Option<MailAddress> {
    match MailAddress::try_from(name.clone()) {
        Ok(address) => Some(address),
        Err(_) => MailAddress::parse(&format!("{name}@{}", login.domain())).ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listed(mailboxes: &[&str]) -> Mailboxes {
        Mailboxes::Listed(mailboxes.iter().map(|mailbox| MailAddress::parse(mailbox).unwrap()).collect())
    }

    #[test]
    fn a_name_without_a_domain_is_the_one_that_it_can_be() {
        let login = MailAddress::parse("anna@contoso.com").unwrap();
        let mailboxes =
            listed(&["office@contoso.com", "office@fabrikam.com", "sales@fabrikam.com", "a@b.com", "a@c.com"]);
        for (name, found) in [
            ("office", Some("office@contoso.com")),
            ("Office@Fabrikam.com", Some("office@fabrikam.com")),
            ("sales", Some("sales@fabrikam.com")),
            ("sales@contoso.com", None),
            ("a", None),
            ("a@c.com", Some("a@c.com")),
            ("b", None),
            ("office\\x", None),
            ("of fice", None),
        ] {
            let name = LoginName::parse(name).unwrap();
            assert_eq!(mailboxes.find(&login, &name).as_ref().map(MailAddress::as_str), found, "{name}");
        }
        let any = |name: &str| Mailboxes::Any.find(&login, &LoginName::parse(name).unwrap()).map(|it| it.to_string());
        assert_eq!(any("b").as_deref(), Some("b@contoso.com"));
        assert_eq!(any("b@c.com").as_deref(), Some("b@c.com"));
        assert_eq!(any("b c"), None);
    }

    proptest! {
        /// What is not listed is never opened, however it is written.
        #[test]
        fn only_what_is_listed_is_found(name in "[a-cA-C]{1,2}(@[a-b]\\.c)?|\\PC{1,8}") {
            let mailboxes = listed(&["a@a.c", "b@a.c", "b@b.c", "ab@b.c"]);
            let login = MailAddress::parse("anna@a.c").unwrap();
            if let Ok(name) = LoginName::parse(&name)
                && let Some(mailbox) = mailboxes.find(&login, &name)
            {
                prop_assert!(mailboxes.lists(&mailbox));
                let local = name.as_str().split('@').next().unwrap();
                prop_assert_eq!(mailbox.local_part(), local);
                prop_assert!(!name.as_str().contains('@') || mailbox.as_str() == name.as_str());
            }
        }
    }
}
