//! The providers of mail whose addresses Gatepost knows. Only facts that each provider publishes.

/// A provider that needs no more than an application of the operator's own.
#[derive(Debug)]
pub struct ProviderPreset {
    /// The name in the configuration.
    pub name: &'static str,
    /// The name for people.
    pub title: &'static str,
    /// The authorization endpoint.
    pub authorize_url: &'static str,
    /// Parameters that it needs besides those of RFC 6749.
    pub authorize_parameters: &'static [(&'static str, &'static str)],
    /// The token endpoint.
    pub token_url: &'static str,
    /// The revocation endpoint, if it publishes one.
    pub revoke_url: Option<&'static str>,
    /// The issuers of its ID tokens; none: it gives none for this scope.
    pub issuers: &'static [&'static str],
    /// What opens a mailbox.
    pub scope: &'static str,
    /// Whether a service account can act for its mailboxes (RFC 7523 §2.1).
    pub has_service_accounts: bool,
    /// Whether its servers take OAUTHBEARER rather than XOAUTH2.
    pub oauthbearer: bool,
    /// Whether its POP3 server takes the token in the line of the AUTH command.
    pub pop3_in_one_line: bool,
    /// Host and port of IMAP, POP3 and SMTP, with TLS from the first byte.
    pub hosts: [(&'static str, u16); 3],
    /// Domains of its addresses; one that ends in a dot stands for all that begin so.
    pub domains: &'static [&'static str],
    /// Other domains of its servers. No token of another provider is sent there.
    pub servers: &'static [&'static str],
}

/// Every preset.
pub const PRESETS: [ProviderPreset; 4] = [
    // Google, "OAuth 2.0 for Mobile & Desktop Apps", and "OAuth 2.0 Mechanism" of Gmail. A refresh
    // token comes only with `access_type=offline`, and again only with `prompt=consent`. Device codes
    // are not given for the scope of mail. Service accounts: "Using OAuth 2.0 for Server to Server
    // Applications".
    ProviderPreset {
        name: "google",
        title: "Google",
        authorize_url: "https://accounts.google.com/o/oauth2/v2/auth",
        authorize_parameters: &[("access_type", "offline"), ("prompt", "consent")],
        token_url: "https://oauth2.googleapis.com/token",
        revoke_url: Some("https://oauth2.googleapis.com/revoke"),
        issuers: &["https://accounts.google.com", "accounts.google.com"],
        scope: "https://mail.google.com/ openid email",
        has_service_accounts: true,
        oauthbearer: false,
        pop3_in_one_line: true,
        hosts: [("imap.gmail.com", 993), ("pop.gmail.com", 995), ("smtp.gmail.com", 465)],
        domains: &["gmail.com", "googlemail.com"],
        servers: &["gmail.com", "googlemail.com", "google.com", "googleapis.com"],
    },
    // Yahoo, "Yahoo Mail OAuth".
    ProviderPreset {
        name: "yahoo",
        title: "Yahoo",
        authorize_url: "https://api.login.yahoo.com/oauth2/request_auth",
        authorize_parameters: &[],
        token_url: "https://api.login.yahoo.com/oauth2/get_token",
        revoke_url: None,
        issuers: &[],
        scope: "mail-w",
        has_service_accounts: false,
        oauthbearer: false,
        pop3_in_one_line: false,
        hosts: [("imap.mail.yahoo.com", 993), ("pop.mail.yahoo.com", 995), ("smtp.mail.yahoo.com", 465)],
        domains: &["yahoo.com", "yahoo.", "ymail.com", "rocketmail.com"],
        servers: &["yahoo.com"],
    },
    ProviderPreset {
        name: "aol",
        title: "AOL",
        authorize_url: "https://api.login.aol.com/oauth2/request_auth",
        authorize_parameters: &[],
        token_url: "https://api.login.aol.com/oauth2/get_token",
        revoke_url: None,
        issuers: &[],
        scope: "mail-w",
        has_service_accounts: false,
        oauthbearer: false,
        pop3_in_one_line: false,
        hosts: [("imap.aol.com", 993), ("pop.aol.com", 995), ("smtp.aol.com", 465)],
        domains: &["aol.com", "aol."],
        servers: &["aol.com"],
    },
    // Fastmail, "OAuth" for developers.
    ProviderPreset {
        name: "fastmail",
        title: "Fastmail",
        authorize_url: "https://api.fastmail.com/oauth/authorize",
        authorize_parameters: &[],
        token_url: "https://api.fastmail.com/oauth/refresh",
        revoke_url: Some("https://api.fastmail.com/oauth/revoke"),
        issuers: &[],
        scope: "https://www.fastmail.com/dev/protocol-imap https://www.fastmail.com/dev/protocol-pop \
                https://www.fastmail.com/dev/protocol-smtp offline_access",
        has_service_accounts: false,
        oauthbearer: true,
        pop3_in_one_line: false,
        hosts: [("imap.fastmail.com", 993), ("pop.fastmail.com", 995), ("smtp.fastmail.com", 465)],
        domains: &["fastmail.com", "fastmail.fm"],
        servers: &["fastmail.com"],
    },
];

impl ProviderPreset {
    /// The preset of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// The preset to which a mail domain belongs.
    pub fn of_domain(domain: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.domains.iter().any(|own| is_in(domain, own)))
    }

    /// The preset to which a host belongs.
    pub fn of_host(host: &str) -> Option<&'static Self> {
        let host = host.to_ascii_lowercase();
        let is_of = |own: &&str| host == **own || host.strip_suffix(*own).is_some_and(|rest| rest.ends_with('.'));
        PRESETS.iter().find(|preset| preset.servers.iter().any(is_of))
    }
}

/// Whether a mail domain is the one of a preset, or begins as it says.
pub(crate) fn is_in(domain: &str, own: &str) -> bool {
    if own.ends_with('.') { domain.starts_with(own) } else { domain == own }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_and_hosts_belong_to_their_provider() {
        let of = |preset: Option<&ProviderPreset>| preset.map(|preset| preset.name);
        for (domain, name) in [
            ("gmail.com", Some("google")),
            ("googlemail.com", Some("google")),
            ("yahoo.co.uk", Some("yahoo")),
            ("yahoo.com", Some("yahoo")),
            ("aol.com", Some("aol")),
            ("fastmail.fm", Some("fastmail")),
            ("notgmail.com", None),
            ("gmail.com.evil.example", None),
            ("myyahoo.com", None),
            ("contoso.com", None),
        ] {
            assert_eq!(of(ProviderPreset::of_domain(domain)), name, "{domain}");
        }
        for (host, name) in [
            ("imap.gmail.com", Some("google")),
            ("SMTP.gmail.com", Some("google")),
            ("imap.mail.yahoo.com", Some("yahoo")),
            ("imap.gmail.com.evil.example", None),
            ("evilgmail.com", None),
            ("outlook.office365.com", None),
        ] {
            assert_eq!(of(ProviderPreset::of_host(host)), name, "{host}");
        }
        for preset in &PRESETS {
            for (host, _) in preset.hosts {
                assert_eq!(of(ProviderPreset::of_host(host)), Some(preset.name), "{host}");
            }
        }
    }
}
