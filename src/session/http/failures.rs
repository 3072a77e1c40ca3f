//! Failures between a client's request and Microsoft's answer, as one [`Failure`] each.

use hyper::body::Incoming;
use hyper::{HeaderMap, Response};

use gatepost_config::{Http, Origin};
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::failure::Failure;
use gatepost_oauth::tokens::explain::JUST_GRANTED;
use gatepost_proto::sasl::CredentialsError;

pub(super) fn plaintext() -> Failure {
    Failure::new(
        Cause::PlaintextLogin,
        "a login came without TLS from a network that needs it. The password was readable on the wire",
    )
}

pub(super) fn unusable(flaw: &CredentialsError) -> Failure {
    let cause = match flaw {
        CredentialsError::Name(_) => Cause::BadName,
        _ => Cause::BadPassword,
    };
    Failure::new(cause, format!("the credentials cannot be used: {flaw}")).delayed()
}

/// In EWS, a user's token opens that user's mailbox and not the one that the login is for.
pub(super) fn other_mailbox(person: &MailAddress, mailbox: &MailAddress) -> Failure {
    Failure::new(
        Cause::EwsOtherMailbox,
        format!("EWS would open the mailbox of `{person}`, whose token it is, and not `{mailbox}`"),
    )
}

/// Returns Microsoft's code of a refusal in brackets, if the answer has one.
fn diagnostics(headers: &HeaderMap) -> String {
    // `2000008;reason="…"`: the number is the code.
    let field = headers.get("x-ms-diagnostics").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let code: String = field.chars().take_while(char::is_ascii_digit).take(10).collect();
    if code.is_empty() { String::new() } else { format!(" (`{code}`)") }
}

/// The origin answered 401 to a token that was just fetched or just replaced.
pub(super) fn token_refused(response: &Response<Incoming>, config: &Http) -> Failure {
    let at = &config.origin;
    let code = diagnostics(response.headers());
    Failure::new(Cause::TokenRefused, format!("{at} rejected the access token{code}"))
        .to_do(format!("check that `scope` is not set for another service. {JUST_GRANTED}"))
}

pub(super) fn ews_barred(origin: &Origin, application: &str, headers: &HeaderMap) -> Failure {
    let code = diagnostics(headers);
    Failure::new(
        Cause::EwsBarred,
        format!(
            "{origin} answered 403{code}: EWS is turned off for the organization or mailbox, or blocked for this application"
        ),
    )
    .to_do(format!(
        "run `Set-OrganizationConfig -EwsEnabled $true`, and add {application} to `EwsAllowedAppIDs`. EWS ends on \
         1 April 2027, so plan a move to Graph, IMAP or POP3"
    ))
}

pub(super) fn redirected(origin: &Origin) -> Failure {
    Failure::new(
        Cause::Redirected,
        format!("{origin} redirects to another server, which is not followed: the token is for {origin} only"),
    )
}

pub(super) fn no_ews(origin: &Origin) -> Failure {
    Failure::new(Cause::UpstreamGarbage, format!("{origin} answered with something else than XML, as EWS does not"))
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;
    use gatepost_core::account::LoginName;
    use gatepost_proto::sasl::BadName;

    #[test]
    fn of_the_diagnostics_only_the_code_is_shown() {
        let shown = |field: &'static str| {
            let name = HeaderName::from_static("x-ms-diagnostics");
            diagnostics(&HeaderMap::from_iter([(name, HeaderValue::from_static(field))]))
        };
        assert_eq!(shown("2000008;reason=\"The token is not valid\""), " (`2000008`)");
        assert_eq!(shown("12345678901"), " (`1234567890`)");
        assert_eq!(shown("reason=1"), "");
        assert_eq!(diagnostics(&HeaderMap::new()), "");
    }

    #[test]
    fn what_cannot_be_used_is_refused_late_like_a_wrong_password() {
        let bad = BadName { error: LoginName::parse("").unwrap_err(), hint: String::new() };
        for (flaw, cause) in [
            (CredentialsError::Name(bad), Cause::BadName),
            (CredentialsError::Password, Cause::BadPassword),
            (CredentialsError::Token, Cause::BadPassword),
        ] {
            let failure = unusable(&flaw);
            assert_eq!((failure.cause, failure.delay), (cause, true));
        }
    }
}
