//! What the addresses of a token service and of mail servers say: the cloud and the tenant.

use gatepost_config::{Cloud, ProviderPreset};
use gatepost_core::protocol::MailProtocol;
use gatepost_proto::http::rules::HttpService;
use url::Url;

/// The tenant that an address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TenantName {
    /// One tenant: its id or a domain.
    Named(String),
    /// Whichever is the user's.
    Organizations,
    /// Any kind of account, so that no tenant is named.
    Common,
    /// Personal accounts.
    Consumers,
}

impl TenantName {
    /// The tenant of a word in an address or a key.
    pub(super) fn of(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "" | "common" => Self::Common,
            "organizations" => Self::Organizations,
            "consumers" | "9188040d-6c67-4c5b-b112-36a304b66dad" => Self::Consumers,
            named => Self::Named(named.to_owned()),
        }
    }
}

/// A token service of Microsoft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// The clouds that it serves; never empty.
    pub(super) clouds: Vec<Cloud>,
    pub(super) tenant: TenantName,
}

/// Reads the address of a token service. `None` if it is not Microsoft's.
pub(super) fn token_service(address: &str) -> Option<Endpoint> {
    let url = Url::parse(address.trim()).ok()?;
    let clouds = Cloud::of_authority(url.host_str()?);
    let first = url.path_segments().and_then(|mut segments| segments.next()).unwrap_or_default();
    (!clouds.is_empty()).then(|| Endpoint { clouds, tenant: TenantName::of(first) })
}

/// A provider other than Microsoft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Elsewhere {
    /// Its name in the configuration.
    pub(super) name: String,
    /// Whether its addresses are known.
    pub(super) is_preset: bool,
}

impl Elsewhere {
    /// The provider of a token service that is not Microsoft's. `None`: the address is no URL.
    pub(super) fn of_token_url(address: &str) -> Option<Self> {
        let url = Url::parse(address.trim()).ok()?;
        let host = url.host_str()?;
        Some(match ProviderPreset::of_host(host) {
            Some(preset) => Self { name: preset.name.to_owned(), is_preset: true },
            None => Self { name: host.replace(|c: char| !c.is_ascii_alphanumeric(), "-"), is_preset: false },
        })
    }
}

/// The host of an address or of a host name, in lower case.
pub(super) fn host(text: &str) -> String {
    let url = Url::parse(text.trim()).ok();
    let host = url.and_then(|url| url.host_str().map(str::to_owned));
    host.unwrap_or_else(|| text.trim().trim_end_matches('.').to_owned()).to_ascii_lowercase()
}

/// The first of the clouds to which all these mail servers belong. Servers that are not Microsoft's
/// do not count.
pub(super) fn cloud_of(clouds: &[Cloud], servers: &[String]) -> Option<Cloud> {
    let of_servers: Vec<Vec<Cloud>> = servers.iter().map(|server| Cloud::of_host(server)).collect();
    let fits = |cloud: &&Cloud| of_servers.iter().all(|of_one| of_one.is_empty() || of_one.contains(cloud));
    // Clouds share domains, but not the names that Microsoft gives for them.
    let is_named = |cloud: &&Cloud| {
        let preset = cloud.preset();
        let own = [preset.upstream(MailProtocol::Imap).0, preset.upstream(MailProtocol::Smtp).0];
        servers.iter().any(|server| own.contains(&server.as_str()) || preset.origin(HttpService::Ews) == server)
    };
    let fitting = clouds.iter().filter(fits);
    fitting.clone().find(is_named).or_else(|| fitting.clone().next()).or(clouds.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_cloud_and_tenant() {
        for (address, clouds, tenant) in [
            (
                "https://login.microsoftonline.com/Contoso.com/oauth2/v2.0/token",
                &[Cloud::Worldwide][..],
                TenantName::Named("contoso.com".into()),
            ),
            ("https://login.microsoftonline.com/common/oauth2/v2.0/token", &[Cloud::Worldwide], TenantName::Common),
            ("https://login.microsoftonline.com/", &[Cloud::Worldwide], TenantName::Common),
            (
                "https://login.microsoftonline.us/organizations/oauth2/v2.0/token",
                &[Cloud::UsGovGccHigh, Cloud::UsGovDod],
                TenantName::Organizations,
            ),
            ("https://login.chinacloudapi.cn/common/oauth2/token", &[Cloud::China], TenantName::Common),
            ("https://login.windows.net/consumers/oauth2/token", &[Cloud::Worldwide], TenantName::Consumers),
        ] {
            assert_eq!(token_service(address), Some(Endpoint { clouds: clouds.to_vec(), tenant }), "{address}");
        }
        for other in ["https://oauth2.googleapis.com/token", "login.microsoftonline.com", "", "https://evil.example/"] {
            assert_eq!(token_service(other), None, "{other}");
        }
    }

    #[test]
    fn another_token_service_is_that_of_a_preset_or_named_after_its_host() {
        for (address, name, is_preset) in [
            ("https://oauth2.googleapis.com/token", "google", true),
            ("https://api.login.yahoo.com/oauth2/get_token", "yahoo", true),
            ("https://id.campus.example:8443/token", "id-campus-example", false),
        ] {
            let expected = Some(Elsewhere { name: name.to_owned(), is_preset });
            assert_eq!(Elsewhere::of_token_url(address), expected, "{address}");
        }
        assert_eq!(Elsewhere::of_token_url("oauth2.googleapis.com"), None);
    }

    #[test]
    fn mail_servers_decide_between_clouds_of_one_token_service() {
        let both = [Cloud::UsGovGccHigh, Cloud::UsGovDod];
        assert_eq!(cloud_of(&both, &[]), Some(Cloud::UsGovGccHigh));
        assert_eq!(cloud_of(&both, &["webmail.apps.mil".into()]), Some(Cloud::UsGovDod));
        assert_eq!(cloud_of(&both, &["outlook-dod.office365.us".into()]), Some(Cloud::UsGovDod));
        assert_eq!(cloud_of(&both, &["imap.gmail.com".into(), "outlook.office365.us".into()]), Some(both[0]));
        assert_eq!(host("https://Outlook.Office365.com/EWS/Exchange.asmx"), "outlook.office365.com");
        assert_eq!(host("Imap.Gmail.com"), "imap.gmail.com");
    }
}
