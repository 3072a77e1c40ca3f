//! The claims of an access token, read to explain a refusal. Access tokens are opaque to a client
//! (Microsoft, "Access tokens in the identity platform"), and nothing here checks the signature:
//! nothing may be decided from a claim. A token that is not a JWT has no claims. Pure.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use gatepost_config::{Grant, Upstream};
use gatepost_core::account::is_guid;
use gatepost_core::clock::UnixTime;
use gatepost_core::escape;
use gatepost_core::protocol::{MailProtocol, Protocol};
use gatepost_core::secret::AccessToken;

/// Longest token whose claims are read, in octets. Entra's have 2 to 4 KiB.
const LONGEST_TOKEN: usize = 64 * 1024;
/// Longest value that is shown, in octets.
const LONGEST_VALUE: usize = 100;
/// As many permissions are shown.
const SHOWN_PERMISSIONS: usize = 20;

/// What a token says of itself. Texts are printable ASCII of 100 octets at most, without quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenClaims {
    /// `aud`: the resource that the token is for, by its URL or its application id.
    pub audience: Option<String>,
    /// `appid` or `azp`: the application (client) id.
    pub application_id: Option<String>,
    /// `app_displayname`: the name of the application's registration.
    pub application_name: Option<String>,
    /// `oid`: the object id of the person, or in an app-only token of the service principal.
    pub object_id: Option<String>,
    /// `tid`: the directory id of the tenant.
    pub tenant_id: Option<String>,
    /// `upn`, `unique_name` or `preferred_username`: the person's name.
    pub user: Option<String>,
    /// `idtyp`: `app` or `user`.
    pub kind: Option<String>,
    /// `exp`.
    pub expires_at: Option<UnixTime>,
    /// `roles`: permissions of the application itself.
    pub roles: Vec<String>,
    /// `scp`: permissions on behalf of a user.
    pub scopes: Vec<String>,
}

impl TokenClaims {
    /// Reads the claims of a JWT; `None` for any other token.
    pub fn of(token: &AccessToken) -> Option<Self> {
        let payload = Payload::of(token)?;
        let text = |value: &Option<Value>| value.as_ref()?.as_str().and_then(shown);
        let list = |value: &Option<Value>| texts(value).into_iter().filter_map(shown).collect();
        let mut scopes: Vec<String> = Vec::new();
        for scope in texts(&payload.scp) {
            scopes.extend(scope.split(' ').filter_map(shown));
        }
        Some(Self {
            audience: texts(&payload.aud).first().copied().and_then(shown),
            application_id: text(&payload.appid).or_else(|| text(&payload.azp)).filter(|id| is_guid(id)),
            application_name: text(&payload.app_displayname),
            object_id: text(&payload.oid).filter(|id| is_guid(id)),
            tenant_id: text(&payload.tid).filter(|id| is_guid(id)),
            user: text(&payload.upn)
                .or_else(|| text(&payload.unique_name))
                .or_else(|| text(&payload.preferred_username)),
            kind: text(&payload.idtyp),
            expires_at: payload.exp.as_ref().and_then(Value::as_u64).map(UnixTime),
            roles: list(&payload.roles),
            scopes,
        })
    }

    /// Whether the token permits `access`.
    ///
    /// # Errors
    /// The name of the permission that a token of this grant must have, and lacks. App-only access
    /// can still be allowed: roles that Exchange Online gives itself (RBAC for Applications) are in
    /// no token. They exist for SMTP, EWS and Graph.
    pub fn permits(&self, access: MailAccess, grant: Grant) -> Result<(), &'static str> {
        let needed = access.permission(grant);
        let granted = if grant.is_of_user() { &self.scopes } else { &self.roles };
        let fits = |name: &String| name == needed || name.strip_suffix(".Shared") == Some(needed);
        if granted.iter().any(fits) { Ok(()) } else { Err(needed) }
    }

    /// Its permissions for people, such as `IMAP.AccessAsApp, POP.AccessAsApp`, or `none`.
    pub fn permissions(&self) -> String {
        let mut names: Vec<&str> = self.roles.iter().chain(&self.scopes).map(String::as_str).collect();
        let more = names.len().saturating_sub(SHOWN_PERMISSIONS);
        names.truncate(SHOWN_PERMISSIONS);
        match (names.is_empty(), more) {
            (true, _) => "none".to_owned(),
            (false, 0) => names.join(", "),
            (false, more) => format!("{} and {more} more", names.join(", ")),
        }
    }
}

/// Access to mail, which a token must permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MailAccess {
    /// Reading over IMAP.
    Imap,
    /// Reading over POP3.
    Pop3,
    /// Sending over SMTP.
    Smtp,
    /// Sending over SMTP as an account of High Volume Email.
    HighVolume,
    /// Everything over Exchange Web Services.
    Ews,
    /// Sending over Microsoft Graph.
    GraphSend,
    /// Sending large messages over Microsoft Graph, as drafts.
    GraphDraft,
    /// Reading, changing and removing over Microsoft Graph.
    GraphReadWrite,
}

impl MailAccess {
    /// The name of the permission, of Exchange Online or of Microsoft Graph, for tokens of `grant`.
    pub fn permission(self, grant: Grant) -> &'static str {
        match (self, grant.is_of_user()) {
            (Self::Imap, true) => "IMAP.AccessAsUser.All",
            (Self::Imap, false) => "IMAP.AccessAsApp",
            (Self::Pop3, true) => "POP.AccessAsUser.All",
            (Self::Pop3, false) => "POP.AccessAsApp",
            (Self::Smtp, true) => "SMTP.Send",
            (Self::Smtp, false) => "SMTP.SendAsApp",
            (Self::Ews, true) => "EWS.AccessAsUser.All",
            (Self::Ews, false) => "full_access_as_app",
            // Of Exchange Online the one, of Graph the other.
            (Self::HighVolume | Self::GraphSend, _) => "Mail.Send",
            (Self::GraphDraft | Self::GraphReadWrite, _) => "Mail.ReadWrite",
        }
    }
}

impl From<MailProtocol> for MailAccess {
    fn from(protocol: MailProtocol) -> Self {
        match protocol {
            MailProtocol::Imap => Self::Imap,
            MailProtocol::Pop3 => Self::Pop3,
            MailProtocol::Smtp => Self::Smtp,
        }
    }
}

impl From<&Upstream> for MailAccess {
    fn from(upstream: &Upstream) -> Self {
        if upstream.is_high_volume() { Self::HighVolume } else { upstream.protocol.into() }
    }
}

impl From<Protocol> for MailAccess {
    /// For Graph, whose calls need different permissions, the one that most need.
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Imap => Self::Imap,
            Protocol::Pop3 => Self::Pop3,
            Protocol::Smtp => Self::Smtp,
            Protocol::Ews => Self::Ews,
            Protocol::Graph => Self::GraphReadWrite,
        }
    }
}

/// The claims as they are in the token. Each may be absent or have another type.
#[derive(Deserialize)]
pub(crate) struct Payload {
    pub(crate) aud: Option<Value>,
    pub(crate) tid: Option<Value>,
    /// The application, in tokens of version 1.0 and 2.0.
    pub(crate) appid: Option<Value>,
    pub(crate) azp: Option<Value>,
    /// The object id of the person.
    pub(crate) oid: Option<Value>,
    app_displayname: Option<Value>,
    upn: Option<Value>,
    unique_name: Option<Value>,
    preferred_username: Option<Value>,
    idtyp: Option<Value>,
    exp: Option<Value>,
    roles: Option<Value>,
    scp: Option<Value>,
}

impl Payload {
    /// Reads a JWT in its compact form (RFC 7515 §3.1): three parts between dots, the second one
    /// JSON.
    pub(crate) fn of(token: &AccessToken) -> Option<Self> {
        let token = token.expose();
        if token.len() > LONGEST_TOKEN {
            return None;
        }
        let mut parts = token.split('.');
        let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return None;
        };
        let payload = Zeroizing::new(URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?);
        serde_json::from_slice(&payload).ok()
    }
}

// A claim may name a person: it is shown on purpose only.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Payload(…)")
    }
}

/// The texts of a claim: one, or several in a list, as `aud` may have.
pub(crate) fn texts(value: &Option<Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// A claim's text for a message. `None` if nothing of it can be shown.
pub(crate) fn shown(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|&c| !c.is_control() && c != '`' && c != '"').collect();
    let text = text.trim();
    (!text.is_empty()).then(|| escape::escaped(text.as_bytes(), LONGEST_VALUE))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const OBJECT: &str = "5d1b9a8e-2f34-4c8a-9d2b-111111111111";

    fn jwt(claims: &Value) -> AccessToken {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        AccessToken::new(format!("{}.{}.{}", part(r#"{"alg":"RS256"}"#), part(&claims.to_string()), part("signature")))
    }

    fn claims(claims: &Value) -> TokenClaims {
        TokenClaims::of(&jwt(claims)).unwrap()
    }

    #[test]
    fn a_token_says_whose_it_is_and_what_it_permits() {
        let app_only = claims(&json!({
            "aud": "https://outlook.office365.com", "appid": "2f5c7e10", "app_displayname": "Gatepost", "oid": OBJECT,
            "tid": OBJECT, "idtyp": "app", "exp": 1_795_957_955_u64, "roles": ["IMAP.AccessAsApp", "POP.AccessAsApp"],
        }));
        assert_eq!(app_only.application_name.as_deref(), Some("Gatepost"));
        assert_eq!(app_only.object_id.as_deref(), Some(OBJECT));
        assert_eq!(app_only.kind.as_deref(), Some("app"));
        assert_eq!(app_only.expires_at, Some(UnixTime(1_795_957_955)));
        assert_eq!(app_only.permissions(), "IMAP.AccessAsApp, POP.AccessAsApp");
        let delegated = claims(&json!({
            "azp": OBJECT, "unique_name": "grace@contoso.com", "scp": "IMAP.AccessAsUser.All SMTP.Send",
        }));
        assert_eq!(delegated.application_id.as_deref(), Some(OBJECT));
        assert_eq!(delegated.user.as_deref(), Some("grace@contoso.com"));
        assert_eq!(delegated.permissions(), "IMAP.AccessAsUser.All, SMTP.Send");
        assert_eq!(claims(&json!({})).permissions(), "none");
    }

    #[test]
    fn a_missing_permission_is_named_as_the_grant_needs_it() {
        use Grant::{ClientCredentials, DeviceCode, Password};
        let app_only = claims(&json!({"roles": ["IMAP.AccessAsApp", "POP.AccessAsApp", "Mail.Send"]}));
        for (access, permits) in [
            (MailAccess::Imap, Ok(())),
            (MailAccess::Pop3, Ok(())),
            (MailAccess::Smtp, Err("SMTP.SendAsApp")),
            (MailAccess::Ews, Err("full_access_as_app")),
            (MailAccess::GraphSend, Ok(())),
            (MailAccess::GraphDraft, Err("Mail.ReadWrite")),
            (MailAccess::GraphReadWrite, Err("Mail.ReadWrite")),
        ] {
            assert_eq!(app_only.permits(access, ClientCredentials), permits, "{access:?}");
        }
        let delegated = claims(&json!({"scp": "SMTP.Send Mail.Send.Shared"}));
        for (access, permits) in [
            (MailAccess::Imap, Err("IMAP.AccessAsUser.All")),
            (MailAccess::Pop3, Err("POP.AccessAsUser.All")),
            (MailAccess::Smtp, Ok(())),
            (MailAccess::Ews, Err("EWS.AccessAsUser.All")),
            (MailAccess::GraphSend, Ok(())),
        ] {
            assert_eq!(delegated.permits(access, Password), permits, "{access:?}");
            assert_eq!(delegated.permits(access, DeviceCode), permits, "{access:?}");
        }
        // A permission of the other kind does not count.
        assert_eq!(delegated.permits(MailAccess::Smtp, ClientCredentials), Err("SMTP.SendAsApp"));
    }

    #[test]
    fn what_is_no_jwt_has_no_claims() {
        let payload = URL_SAFE_NO_PAD.encode("{}");
        let of_length = |length: usize| format!("a.{payload}.{}", "c".repeat(length - payload.len() - 3));
        assert!(TokenClaims::of(&AccessToken::new(of_length(LONGEST_TOKEN))).is_some());
        let long = of_length(LONGEST_TOKEN + 1);
        for token in ["opaque", "a.b", "a.b.c", "....", &format!("a.{payload}"), &format!("a.{payload}.c.d.e"), &long] {
            assert_eq!(TokenClaims::of(&AccessToken::new(token.to_owned())), None);
        }
    }

    #[test]
    fn claims_are_shown_bounded_and_without_quotes() {
        let odd = claims(&json!({
            "app_displayname": format!("a`\"\r\n\u{1b}é {}", "b".repeat(500)), "oid": "no id", "exp": "soon", "aud": [7],
            "roles": (0..25).map(|n| format!("Role{n}")).collect::<Vec<_>>(), "scp": ["", 3], "appid": "\u{7}",
        }));
        let name = odd.application_name.as_deref().unwrap();
        assert!(name.starts_with("a\\xc3\\xa9 bb") && name.len() == LONGEST_VALUE, "{name}");
        assert!(odd.permissions().ends_with("Role19 and 5 more"), "{}", odd.permissions());
        assert_eq!((odd.object_id, odd.expires_at, odd.audience, odd.application_id), (None, None, None, None));
        assert_eq!(odd.scopes, Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn any_token_is_read(token in "[a-zA-Z0-9._~+/=-]{0,64}", payload in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = TokenClaims::of(&AccessToken::new(token));
            let _ = TokenClaims::of(&AccessToken::new(format!("a.{}.b", URL_SAFE_NO_PAD.encode(payload))));
        }
    }
}
