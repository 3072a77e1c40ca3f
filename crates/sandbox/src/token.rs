//! Access tokens: shaped and sized like Microsoft's, signed with a key that only the sandbox has.
//!
//! A client must treat them as opaque; only the sandbox's own services read them. Those of personal
//! accounts nobody else can read. Nothing is remembered per token, so any number of them costs no
//! memory.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::provider::Sealer;
use super::random;
use gatepost_core::secret::AccessToken;

/// The resources that stand for Exchange Online; a token for any other is not accepted by the mail
/// services.
pub(super) const EXCHANGE_RESOURCES: [&str; 4] = [
    "https://outlook.office.com",
    "https://outlook.office365.com",
    "https://outlook.office365.us",
    "https://partner.outlook.cn",
];

/// The resources that stand for Graph, one for each cloud.
pub(super) const GRAPH_RESOURCES: [&str; 4] = [
    "https://graph.microsoft.com",
    "https://graph.microsoft.us",
    "https://dod-graph.microsoft.us",
    "https://microsoftgraph.chinacloudapi.cn",
];

/// The issuer of access tokens, and of the ID tokens of the v1.0 endpoint: 21Vianet has its own.
pub(super) fn issuer(resource: &str, tenant_id: &str) -> String {
    let of_china = [EXCHANGE_RESOURCES[3], GRAPH_RESOURCES[3]].contains(&resource);
    let host = if of_china { "sts.chinacloudapi.cn" } else { "sts.windows.net" };
    format!("https://{host}/{tenant_id}/")
}

/// Octets of random filling: they bring a token to the 1.8 KiB that Entra's usually have.
const FILLING: usize = 720;

/// What a token says.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub(super) struct Claims {
    /// The resource, such as `https://outlook.office.com`.
    #[serde(rename = "aud")]
    pub(super) audience: String,
    #[serde(rename = "iss")]
    pub(super) issuer: String,
    #[serde(rename = "appid")]
    pub(super) client_id: String,
    /// The user, folded; absent in an app-only token.
    #[serde(rename = "upn", skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    /// Delegated permissions, divided by spaces.
    #[serde(rename = "scp", skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<String>,
    /// Application permissions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) roles: Vec<String>,
    #[serde(rename = "iat")]
    pub(super) issued_at: u64,
    #[serde(rename = "exp")]
    pub(super) expires_at: u64,
    /// Of the user; in an app-only token of the application in this tenant.
    #[serde(rename = "oid")]
    pub(super) object_id: String,
    #[serde(rename = "tid")]
    pub(super) tenant_id: String,
    #[serde(rename = "app_displayname")]
    pub(super) application_name: String,
    /// `app` or `user`.
    #[serde(rename = "idtyp")]
    pub(super) kind: String,
    /// [`Self::expires_at`] in milliseconds, because tests use short lives.
    #[serde(rename = "xms_exp_ms")]
    pub(super) expires_at_millis: u64,
}

impl Claims {
    pub(super) fn expires_at(&self) -> Duration {
        Duration::from_millis(self.expires_at_millis)
    }

    /// Whether the user or the app was granted `permission`.
    pub(super) fn permits(&self, permission: &str) -> bool {
        self.scope.as_deref().is_some_and(|scope| scope.split(' ').any(|granted| granted == permission))
            || self.roles.iter().any(|role| role == permission)
    }
}

/// With what the tokens of personal accounts begin.
const PERSONAL: &str = "EwBw";

/// Signs tokens and recognises its own.
pub(super) struct Mint {
    key: hmac::Key,
    sealer: Sealer,
}

impl Mint {
    pub(super) fn new() -> std::io::Result<Self> {
        let octets: [u8; 32] = random::octets()?;
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &octets), sealer: Sealer::new()? })
    }

    /// A token that says `claims`; no two are alike.
    pub(super) fn issue(&self, claims: &Claims) -> std::io::Result<AccessToken> {
        #[derive(Serialize)]
        struct Payload<'a> {
            #[serde(flatten)]
            claims: &'a Claims,
            uti: String,
        }
        let filling: [u8; FILLING] = random::octets()?;
        let payload = Payload { claims, uti: URL_SAFE_NO_PAD.encode(filling) };
        let header = URL_SAFE_NO_PAD.encode(br#"{"typ":"JWT","alg":"HS256","kid":"sandbox"}"#);
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&payload).map_err(std::io::Error::other)?);
        let signed = format!("{header}.{payload}");
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, signed.as_bytes()));
        Ok(AccessToken::new(format!("{signed}.{signature}")))
    }

    /// A token that says `claims` to the sandbox alone, as personal accounts have them.
    pub(super) fn issue_opaque(&self, claims: &Claims) -> std::io::Result<AccessToken> {
        // It is about as long as Microsoft's.
        let filling: [u8; FILLING] = random::octets()?;
        let mut says = serde_json::to_vec(claims).map_err(std::io::Error::other)?;
        says.push(0);
        says.extend_from_slice(&filling);
        Ok(AccessToken::new(format!("{PERSONAL}{}", STANDARD.encode(self.sealer.seal(PERSONAL, &says)?))))
    }

    /// What the token says, if it is of this mint and it lives at `now` (time since 1970).
    pub(super) fn verify(&self, token: &str, now: Duration) -> Option<Claims> {
        self.read(token).filter(|claims| now < claims.expires_at())
    }

    /// What the token says, if it is of this mint, whether or not it still lives.
    pub(super) fn read(&self, token: &str) -> Option<Claims> {
        if let Some(sealed) = token.strip_prefix(PERSONAL) {
            let says = self.sealer.open(PERSONAL, &STANDARD.decode(sealed).ok()?)?;
            return serde_json::from_slice(says.split(|&octet| octet == 0).next()?).ok();
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        hmac::verify(&self.key, signed.as_bytes(), &signature).ok()?;
        let payload = URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?;
        serde_json::from_slice(&payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            audience: "https://outlook.office.com".into(),
            issuer: "https://sts.windows.net/0/".into(),
            client_id: "c".into(),
            user: Some("alice@contoso.example".into()),
            scope: Some("IMAP.AccessAsUser.All SMTP.Send".into()),
            roles: Vec::new(),
            issued_at: 1_000,
            expires_at: 2_000,
            expires_at_millis: 2_000_000,
            object_id: String::new(),
            tenant_id: String::new(),
            application_name: String::new(),
            kind: "user".into(),
        }
    }

    #[test]
    fn a_token_is_read_by_its_own_mint_until_it_expires() {
        let mint = Mint::new().unwrap();
        let token = mint.issue(&claims()).unwrap();
        assert_eq!(mint.verify(token.expose(), Duration::from_secs(1_999)), Some(claims()));
        assert_eq!(mint.verify(token.expose(), Duration::from_secs(2_000)), None);
        assert_eq!(Mint::new().unwrap().verify(token.expose(), Duration::from_secs(1_500)), None);
        let mut forged = token.expose().to_owned();
        forged.replace_range(60..61, if &forged[60..61] == "A" { "B" } else { "A" });
        assert_eq!(mint.verify(&forged, Duration::from_secs(1_500)), None);
    }

    #[test]
    fn a_token_has_the_size_of_microsofts_and_fits_pop3() {
        let token = Mint::new().unwrap().issue(&claims()).unwrap();
        assert!((1_600..2_400).contains(&token.expose().len()), "{}", token.expose().len());
        assert!(token.expose().bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)));
    }

    #[test]
    fn a_token_of_a_personal_account_is_opaque() {
        let mint = Mint::new().unwrap();
        let token = mint.issue_opaque(&claims()).unwrap();
        let text = token.expose();
        assert!(text.starts_with("EwB") && !text.contains('.'), "{text}");
        assert!((1_200..2_400).contains(&text.len()), "{}", text.len());
        let decoded = STANDARD.decode(text).unwrap();
        assert!(!decoded.windows(5).any(|octets| octets == b"alice"), "it says nothing to a client");
        assert_eq!(mint.verify(text, Duration::from_secs(1_999)), Some(claims()));
        assert_eq!(mint.verify(text, Duration::from_secs(2_000)), None);
        assert_eq!(mint.read(text), Some(claims()));
        assert_eq!(Mint::new().unwrap().read(text), None);
    }

    #[test]
    fn permissions_are_whole_words() {
        assert!(claims().permits("SMTP.Send"));
        assert!(!claims().permits("SMTP"));
        let app = Claims { scope: None, roles: vec!["IMAP.AccessAsApp".into()], ..claims() };
        assert!(app.permits("IMAP.AccessAsApp"));
    }
}
