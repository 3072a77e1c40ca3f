//! Why Exchange Online bars a login by SMTP AUTH, told apart by the words of its `535 5.7.139`.

/// Who or what bars it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpBar {
    /// It is off for the tenant, and the mailbox has no setting of its own.
    Tenant,
    /// It is off for the mailbox.
    Mailbox,
    /// The tenant has security defaults.
    SecurityDefaults,
    /// A policy, such as one of Conditional Access, is not met.
    Policy,
}

impl SmtpBar {
    /// Reads the words of a reply; `None` if they give no reason that is known.
    pub fn of(reply: &str) -> Option<Self> {
        let reply = reply.to_ascii_lowercase();
        let has = |words| reply.contains(words);
        match () {
            () if has("security defaults") => Some(Self::SecurityDefaults),
            () if has("did not meet the criteria") => Some(Self::Policy),
            () if has("disabled for the tenant") => Some(Self::Tenant),
            () if has("disabled for the mailbox") => Some(Self::Mailbox),
            () => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microsofts_words_tell_the_reasons_apart() {
        let unsuccessful = "535 5.7.139 Authentication unsuccessful, ";
        for (words, bar) in [
            (
                "SmtpClientAuthentication is disabled for the Tenant. Visit https://aka.ms/smtp_auth_disabled",
                Some(SmtpBar::Tenant),
            ),
            (
                "SmtpClientAuthentication is disabled for the Mailbox. Visit https://aka.ms/smtp_auth_disabled",
                Some(SmtpBar::Mailbox),
            ),
            (
                "user is locked by your organization's security defaults policy. Contact your administrator.",
                Some(SmtpBar::SecurityDefaults),
            ),
            ("the request did not meet the criteria to be authenticated successfully.", Some(SmtpBar::Policy)),
            ("basic authentication is disabled.", None),
        ] {
            assert_eq!(SmtpBar::of(&format!("{unsuccessful}{words}")), bar, "{words}");
        }
    }
}
