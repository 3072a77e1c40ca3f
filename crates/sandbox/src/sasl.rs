//! SASL XOAUTH2 and OAUTHBEARER, the server's side, at every provider: what a client presents, and
//! what it is told when that is not good enough.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::mode::{Service, UpstreamMode};
use super::provider::{Provider, note_foreign, read};
use super::state::SandboxState;
use super::xoauth2::{self, Login, LoginVerdict};

/// A mechanism that takes tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    Xoauth2,
    OauthBearer,
}

impl Mechanism {
    /// The mechanism of this name, where the provider has it: Microsoft has XOAUTH2 only.
    pub(super) fn at(provider: Provider, name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "XOAUTH2" => Some(Self::Xoauth2),
            "OAUTHBEARER" if provider != Provider::Microsoft => Some(Self::OauthBearer),
            _ => None,
        }
    }
}

/// Judges a client's response, counts the login, and takes note of a token that must never arrive
/// here.
pub(super) fn judge(
    shared: &SandboxState,
    (provider, service): (Provider, Service),
    mode: UpstreamMode,
    (mechanism, response): (Mechanism, &[u8]),
) -> LoginVerdict {
    let presented = match mechanism {
        Mechanism::Xoauth2 => xoauth2::parse(response),
        Mechanism::OauthBearer => bearer(response),
    };
    if let Some((user, token)) = &presented {
        note_foreign(shared, provider, Some(service), user, token);
    }
    if provider == Provider::Microsoft {
        return xoauth2::judge(shared, service, mode, response);
    }
    let user = presented.as_ref().map_or("", |(user, _)| user);
    let verdict = match &presented {
        _ if mode == UpstreamMode::Unavailable => LoginVerdict::Unavailable,
        Some((user, token)) => decide(shared, (provider, service), mode, user, token),
        None => LoginVerdict::Refused,
    };
    shared.tally_of(provider).login(service, user, matches!(verdict, LoginVerdict::Accepted(_)));
    verdict
}

fn decide(
    shared: &SandboxState,
    (provider, service): (Provider, Service),
    mode: UpstreamMode,
    user: &str,
    token: &str,
) -> LoginVerdict {
    let user = user.to_lowercase();
    let mail_scope = shared.provider(provider).and_then(|state| state.started()).map(|started| &started.mail_scope);
    let (Some(claims), Some(mail_scope)) = (read(shared, provider, token), mail_scope) else {
        return LoginVerdict::Refused;
    };
    // A service account may have this one in place of the other.
    let of_administrator = provider == Provider::Google && service == Service::Imap && claims.number == 0;
    let permits = |scope: &String| scope == mail_scope || of_administrator && scope == IMAP_ADMIN;
    let is_here = shared.directory.kind_of(&user).is_some_and(|kind| kind.provider() == provider);
    if claims.user != user || !claims.scopes.iter().any(permits) || !is_here {
        return LoginVerdict::Refused;
    }
    if shared.exchange.is_switched_off(&user, service) {
        return LoginVerdict::Refused;
    }
    if mode == UpstreamMode::NotConnected {
        return LoginVerdict::NotConnected;
    }
    match shared.directory.mailbox(&user) {
        Some(mailbox) => LoginVerdict::Accepted(Login {
            address: user,
            mailbox,
            expires_at: Duration::from_millis(claims.expires_at),
        }),
        None => LoginVerdict::Refused,
    }
}

/// Google's scope for the IMAP of a whole domain.
pub(super) const IMAP_ADMIN: &str = "https://www.googleapis.com/auth/gmail.imap_admin";

/// The challenge with which a refusal begins, in base64; the client answers it before it hears the
/// end. Microsoft sends none.
pub(super) fn challenge(shared: &SandboxState, provider: Provider, mechanism: Mechanism) -> Option<String> {
    let scope = &shared.provider(provider)?.started()?.mail_scope;
    let json = match (provider, mechanism) {
        (Provider::Microsoft, _) => return None,
        (Provider::Google, Mechanism::Xoauth2) => {
            format!(r#"{{"status":"400","schemes":"Bearer","scope":"{scope}"}}"#)
        }
        (Provider::Google, Mechanism::OauthBearer) => format!(r#"{{"status":"invalid_request","scope":"{scope}"}}"#),
        (Provider::Plain, Mechanism::Xoauth2) => format!(r#"{{"status":"401","schemes":"bearer","scope":"{scope}"}}"#),
        (Provider::Plain, Mechanism::OauthBearer) => format!(r#"{{"status":"invalid_token","scope":"{scope}"}}"#),
    };
    Some(STANDARD.encode(json))
}

/// The user and the token of OAUTHBEARER (RFC 7628 §3.1): a GS2 header, and pairs of which `auth`
/// is the token.
fn bearer(response: &[u8]) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(response).ok()?).ok()?;
    let (header, rest) = text.split_once('\u{1}')?;
    let user = header.strip_prefix("n,a=")?.strip_suffix(',')?;
    let user = user.replace("=2C", ",").replace("=3D", "=");
    let mut token = None;
    for pair in rest.strip_suffix("\u{1}\u{1}")?.split('\u{1}') {
        let (key, value) = pair.split_once('=')?;
        let is_key = !key.is_empty() && key.bytes().all(|octet| octet.is_ascii_alphabetic());
        match key {
            "auth" if token.is_none() => {
                let (scheme, value) = value.split_once(' ')?;
                token = Some(value.trim().to_owned()).filter(|_| scheme.eq_ignore_ascii_case("bearer"));
            }
            "port" if value.parse::<u16>().is_err() => return None,
            _ if is_key && key != "auth" => {}
            _ => return None,
        }
    }
    let token = token.filter(|token| !token.is_empty() && !token.contains(|c: char| c.is_control() || c == ' '))?;
    (!user.is_empty()).then_some((user, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_bearer(text: &str) -> Option<(String, String)> {
        bearer(STANDARD.encode(text).as_bytes())
    }

    #[test]
    fn a_bearer_response_has_the_form_of_its_rfc() {
        let whole = "n,a=gus@gmail.example,\u{1}host=imap.gmail.com\u{1}port=993\u{1}auth=Bearer ya29.x\u{1}\u{1}";
        assert_eq!(read_bearer(whole), Some(("gus@gmail.example".into(), "ya29.x".into())));
        let short = "n,a=a=2Cb=3D@x,\u{1}auth=bearer t\u{1}\u{1}";
        assert_eq!(read_bearer(short), Some(("a,b=@x".into(), "t".into())));
        for text in [
            "",
            "user=a@b\u{1}auth=Bearer t\u{1}\u{1}",
            "n,a=a@b\u{1}auth=Bearer t\u{1}\u{1}",
            "n,,\u{1}auth=Bearer t\u{1}\u{1}",
            "n,a=a@b,\u{1}auth=Bearer t\u{1}",
            "n,a=a@b,\u{1}host=x\u{1}\u{1}",
            "n,a=a@b,\u{1}auth=Basic t\u{1}\u{1}",
            "n,a=a@b,\u{1}auth=Bearer \u{1}\u{1}",
            "n,a=a@b,\u{1}port=x\u{1}auth=Bearer t\u{1}\u{1}",
            "n,a=a@b,\u{1}auth=Bearer t\u{1}auth=Bearer u\u{1}\u{1}",
            "n,a=a@b,\u{1}\u{1}auth=Bearer t\u{1}\u{1}",
        ] {
            assert_eq!(read_bearer(text), None, "{text:?}");
        }
        assert_eq!(bearer(b"not base64!"), None);
    }

    #[test]
    fn microsoft_has_one_mechanism() {
        assert_eq!(Mechanism::at(Provider::Microsoft, "xoauth2"), Some(Mechanism::Xoauth2));
        assert_eq!(Mechanism::at(Provider::Microsoft, "OAUTHBEARER"), None);
        assert_eq!(Mechanism::at(Provider::Google, "OAuthBearer"), Some(Mechanism::OauthBearer));
        assert_eq!(Mechanism::at(Provider::Plain, "PLAIN"), None);
    }
}
