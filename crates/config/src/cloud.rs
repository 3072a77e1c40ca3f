//! Microsoft's clouds: the token service, the mail hosts and the resources of each. They only work
//! with those of the same cloud. Pure.

use super::model::issuer::Cloud;
use super::model::server::HIGH_VOLUME;
use gatepost_core::protocol::MailProtocol;
use gatepost_proto::http::rules::HttpService;

/// Exchange Online's application id, which names its resource in every cloud.
pub const EXCHANGE_ID: &str = "00000002-0000-0ff1-ce00-000000000000";

/// The settings of one cloud (Microsoft, "National clouds" and "Microsoft 365 URLs and IP address
/// ranges").
#[derive(Debug)]
pub struct Preset {
    /// The name in the configuration.
    pub name: &'static str,
    /// Hosts of the token service; the first is the default.
    pub authorities: &'static [&'static str],
    imap_and_pop3: &'static str,
    smtp: &'static str,
    /// The server of High Volume Email, where the cloud has it.
    high_volume: Option<&'static str>,
    /// Domains of the mail hosts. A token of this cloud is sent to no other host.
    mail_domains: &'static [&'static str],
    /// Scope (v1.0: resource) of a user's token; Microsoft documents another prefix for it than for
    /// an application's.
    pub user_scope: &'static str,
    /// Scope (v1.0: resource) of an application's token.
    pub application_scope: &'static str,
    /// The names of the resource Exchange Online.
    pub exchange: &'static [&'static str],
    /// The name of the resource Microsoft Graph, which is also its host name.
    pub graph: &'static str,
    /// The host of Exchange Web Services.
    ews: &'static str,
}

const WORLDWIDE: Preset = Preset {
    name: "worldwide",
    authorities: &[
        "login.microsoftonline.com",
        "login.windows.net",
        "login.microsoft.com",
        "sts.windows.net",
        "login-us.microsoftonline.com",
    ],
    imap_and_pop3: "outlook.office365.com",
    smtp: "smtp.office365.com",
    high_volume: Some(HIGH_VOLUME[0]),
    mail_domains: &["office365.com", "outlook.com", "office.com", "hve.mx.microsoft"],
    user_scope: "https://outlook.office.com/.default",
    application_scope: "https://outlook.office365.com/.default",
    exchange: &["https://outlook.office.com", "https://outlook.office365.com"],
    graph: "https://graph.microsoft.com",
    ews: "outlook.office365.com",
};

const US_GOV_GCC_HIGH: Preset = Preset {
    name: "us-gov-gcc-high",
    authorities: &["login.microsoftonline.us", "login.usgovcloudapi.net"],
    imap_and_pop3: "outlook.office365.us",
    smtp: "smtp.office365.us",
    high_volume: None,
    mail_domains: &["office365.us"],
    user_scope: "https://outlook.office365.us/.default",
    application_scope: "https://outlook.office365.us/.default",
    exchange: &["https://outlook.office365.us"],
    graph: "https://graph.microsoft.us",
    ews: "outlook.office365.us",
};

const US_GOV_DOD: Preset = Preset {
    name: "us-gov-dod",
    imap_and_pop3: "outlook-dod.office365.us",
    smtp: "outlook-dod.office365.us",
    mail_domains: &["office365.us", "apps.mil"],
    graph: "https://dod-graph.microsoft.us",
    ews: "webmail.apps.mil",
    ..US_GOV_GCC_HIGH
};

const CHINA: Preset = Preset {
    name: "china",
    authorities: &["login.partner.microsoftonline.cn", "login.chinacloudapi.cn"],
    imap_and_pop3: "partner.outlook.cn",
    smtp: "smtp.partner.outlook.cn",
    high_volume: None,
    mail_domains: &["partner.outlook.cn"],
    user_scope: "https://partner.outlook.cn",
    application_scope: "https://partner.outlook.cn",
    exchange: &["https://partner.outlook.cn"],
    graph: "https://microsoftgraph.chinacloudapi.cn",
    ews: "partner.outlook.cn",
};

impl Cloud {
    /// All clouds.
    pub const ALL: [Self; 4] = [Self::Worldwide, Self::UsGovGccHigh, Self::UsGovDod, Self::China];

    /// The settings of the cloud.
    pub fn preset(self) -> &'static Preset {
        match self {
            Self::Worldwide => &WORLDWIDE,
            Self::UsGovGccHigh => &US_GOV_GCC_HIGH,
            Self::UsGovDod => &US_GOV_DOD,
            Self::China => &CHINA,
        }
    }

    /// The clouds to which this mail or Graph host belongs; none for a host that is not
    /// Microsoft's.
    pub fn of_host(host: &str) -> Vec<Self> {
        let under =
            |domain: &&str| host.strip_suffix(*domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        let has = |preset: &Preset| preset.mail_domains.iter().any(under) || preset.origin(HttpService::Graph) == host;
        Self::ALL.into_iter().filter(|cloud| has(cloud.preset())).collect()
    }

    /// The clouds to which this token service belongs; none for a host that is not Microsoft's.
    pub fn of_authority(host: &str) -> Vec<Self> {
        Self::ALL.into_iter().filter(|cloud| cloud.preset().authorities.contains(&host)).collect()
    }
}

/// Microsoft's host that differs from `host` by one letter, which then is a misspelling. `None` for
/// a host of Microsoft's itself.
pub fn meant_host(host: &str) -> Option<&'static str> {
    let hosts = Cloud::ALL.into_iter().flat_map(|cloud| {
        let preset = cloud.preset();
        let services = [HttpService::Ews, HttpService::Graph].map(|service| preset.origin(service));
        preset.authorities.iter().copied().chain([preset.imap_and_pop3, preset.smtp]).chain(services)
    });
    // The cost is the product of the lengths.
    let mut alike = hosts.filter(|known| known.len().abs_diff(host.len()) <= 1);
    let found = alike.find(|known| strsim::osa_distance(host, known) <= 1)?;
    (found != host).then_some(found)
}

impl Preset {
    /// The default upstream of a protocol: host and port.
    pub fn upstream(&self, protocol: MailProtocol) -> (&'static str, u16) {
        match protocol {
            MailProtocol::Imap => (self.imap_and_pop3, 993),
            MailProtocol::Pop3 => (self.imap_and_pop3, 995),
            MailProtocol::Smtp => (self.smtp, 587),
        }
    }

    /// The host of a protocol for personal accounts, where it is another one (Microsoft, "POP, IMAP, and
    /// SMTP settings for Outlook.com").
    pub fn personal(&self, protocol: MailProtocol) -> Option<&'static str> {
        let has_another = self.name == "worldwide" && protocol == MailProtocol::Smtp;
        has_another.then_some("smtp-mail.outlook.com")
    }

    /// The server of High Volume Email, host and port; only one cloud has it.
    pub fn high_volume(&self) -> Option<(&'static str, u16)> {
        self.high_volume.map(|host| (host, 587))
    }

    /// The host name of an HTTP service; the port is 443.
    pub fn origin(&self, service: HttpService) -> &'static str {
        match service {
            HttpService::Ews => self.ews,
            HttpService::Graph => self.graph.trim_start_matches("https://"),
        }
    }

    /// True for a name of the resource Exchange Online in this cloud.
    pub fn is_exchange(&self, resource: &str) -> bool {
        resource == EXCHANGE_ID || self.exchange.contains(&resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_letter_is_a_misspelling() {
        for (host, meant) in [
            ("login.microsoftonlin.com", Some("login.microsoftonline.com")),
            ("outlook.ofice365.com", Some("outlook.office365.com")),
            ("smtp.office356.com", Some("smtp.office365.com")),
            ("graph.microsofd.com", Some("graph.microsoft.com")),
            ("login.microsoftonline.com", None),
            ("login.microsoftonline.us", None),
            ("login.contoso.com", None),
            ("", None),
        ] {
            assert_eq!(meant_host(host), meant, "{host}");
        }
    }

    #[test]
    fn what_belongs_together_fits_together() {
        use MailProtocol::{Imap, Pop3, Smtp};
        for (cloud, authority, imap, smtp, user, application) in [
            (
                Cloud::Worldwide,
                "login.microsoftonline.com",
                "outlook.office365.com",
                "smtp.office365.com",
                "https://outlook.office.com/.default",
                "https://outlook.office365.com/.default",
            ),
            (
                Cloud::UsGovGccHigh,
                "login.microsoftonline.us",
                "outlook.office365.us",
                "smtp.office365.us",
                "https://outlook.office365.us/.default",
                "https://outlook.office365.us/.default",
            ),
            (
                Cloud::UsGovDod,
                "login.microsoftonline.us",
                "outlook-dod.office365.us",
                "outlook-dod.office365.us",
                "https://outlook.office365.us/.default",
                "https://outlook.office365.us/.default",
            ),
            (
                Cloud::China,
                "login.partner.microsoftonline.cn",
                "partner.outlook.cn",
                "smtp.partner.outlook.cn",
                "https://partner.outlook.cn",
                "https://partner.outlook.cn",
            ),
        ] {
            let preset = cloud.preset();
            assert_eq!(preset.authorities[0], authority);
            assert_eq!([Imap, Pop3, Smtp].map(|p| preset.upstream(p)), [(imap, 993), (imap, 995), (smtp, 587)]);
            assert_eq!((preset.user_scope, preset.application_scope), (user, application));
            for host in [imap, smtp] {
                assert!(Cloud::of_host(host).contains(&cloud), "{host}");
            }
            for scope in [user, application] {
                assert!(preset.is_exchange(scope.trim_end_matches("/.default")), "{scope}");
            }
            assert!(Cloud::of_authority(authority).contains(&cloud));
        }
    }

    #[test]
    fn one_cloud_has_high_volume_email() {
        let of = Cloud::ALL.map(|cloud| cloud.preset().high_volume());
        assert_eq!(of, [Some(("smtp.hve.mx.microsoft", 587)), None, None, None]);
    }

    #[test]
    fn a_host_belongs_to_its_clouds_and_to_no_other() {
        use Cloud::{China, UsGovDod, UsGovGccHigh, Worldwide};
        for (host, clouds) in [
            ("outlook.office365.com", &[Worldwide][..]),
            ("smtp-hve.office365.com", &[Worldwide]),
            ("smtp.hve.mx.microsoft", &[Worldwide]),
            ("smtp-mail.outlook.com", &[Worldwide]),
            ("outlook.office365.us", &[UsGovGccHigh, UsGovDod]),
            ("webmail.apps.mil", &[UsGovDod]),
            ("partner.outlook.cn", &[China]),
            ("outlook.office365.com.evil.example", &[]),
            ("evil-office365.com", &[]),
            ("outlook.cn", &[]),
            ("127.0.0.1", &[]),
        ] {
            assert_eq!(Cloud::of_host(host), clouds, "{host}");
        }
    }
}
