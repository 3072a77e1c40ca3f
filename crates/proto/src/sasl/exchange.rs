//! A SASL exchange from the server's side (RFC 4422 §3), for any mechanism and protocol.

use super::{Credentials, CredentialsError, Mechanism, login, oauthbearer, plain, text, xoauth2};
use gatepost_core::account::LoginName;

/// An exchange that waits for the client's next message. Each message consumes it, so that a
/// finished or broken exchange leaves no state for the next one.
#[derive(Debug)]
pub struct Exchange(Awaited);

#[derive(Debug)]
enum Awaited {
    Plain,
    LoginName,
    /// An impossible name is reported only after the password, because before it nothing has been
    /// presented.
    LoginPassword(Result<LoginName, CredentialsError>),
    Xoauth2,
    Oauthbearer,
}

/// The next step of an exchange.
#[derive(Debug)]
pub enum Progress {
    /// Send this challenge (in base64), and pass the client's answer to the exchange.
    Challenge(Exchange, &'static str),
    /// The client has presented credentials, or malformed ones.
    Complete(Result<Credentials, CredentialsError>),
}

impl Exchange {
    /// Begins an exchange with the client's initial response, if it sent one. LOGIN has none
    /// according to its draft, but .NET, Veeam and Python's smtplib send the name that way.
    pub fn begin(mechanism: Mechanism, initial: Option<&[u8]>) -> Progress {
        let (awaited, challenge) = match mechanism {
            Mechanism::Plain => (Awaited::Plain, ""),
            Mechanism::Login => (Awaited::LoginName, login::USERNAME_PROMPT),
            Mechanism::Xoauth2 => (Awaited::Xoauth2, ""),
            Mechanism::Oauthbearer => (Awaited::Oauthbearer, ""),
        };
        match initial {
            Some(response) => Self(awaited).respond(response),
            None => Progress::Challenge(Self(awaited), challenge),
        }
    }

    /// Continues after a message that is not base64. `None` when the exchange ends with it. LOGIN
    /// still asks for the password, and fails after it.
    pub fn refuse_response(self) -> Option<Progress> {
        match self.0 {
            Awaited::LoginName => Some(Self::ask_for_password(Err(CredentialsError::Syntax))),
            _ => None,
        }
    }

    fn ask_for_password(name: Result<LoginName, CredentialsError>) -> Progress {
        Progress::Challenge(Self(Awaited::LoginPassword(name)), login::PASSWORD_PROMPT)
    }

    /// Continues with the client's message, decoded from base64.
    pub fn respond(self, response: &[u8]) -> Progress {
        Progress::Complete(match self.0 {
            Awaited::LoginName => {
                return Self::ask_for_password(text::login_name(response).map_err(CredentialsError::Name));
            }
            Awaited::LoginPassword(name) => name.and_then(|name| text::credentials(Ok(name), response)),
            Awaited::Plain => plain::parse(response),
            Awaited::Xoauth2 => xoauth2::parse(response),
            Awaited::Oauthbearer => oauthbearer::parse(response),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sasl::BadName;
    use gatepost_core::account::NameError;

    fn challenge(progress: Progress) -> (Exchange, &'static str) {
        match progress {
            Progress::Challenge(exchange, text) => (exchange, text),
            Progress::Complete(outcome) => panic!("expected a challenge, not {outcome:?}"),
        }
    }

    fn outcome(progress: Progress) -> Result<Credentials, CredentialsError> {
        match progress {
            Progress::Complete(outcome) => outcome,
            Progress::Challenge(_, text) => panic!("expected the end, not {text:?}"),
        }
    }

    #[test]
    fn login_prompts_for_name_and_password() {
        let (exchange, prompt) = challenge(Exchange::begin(Mechanism::Login, None));
        assert_eq!(prompt, "Username:");
        let (exchange, prompt) = challenge(exchange.respond(b"Alice@contoso.com"));
        assert_eq!(prompt, "Password:");
        let credentials = outcome(exchange.respond(b"secret")).unwrap();
        let Credentials::Password { login, acting_as: None, password } = credentials else {
            panic!("LOGIN gives a password: {credentials:?}")
        };
        assert_eq!((login.as_str(), password.expose()), ("alice@contoso.com", "secret"));
    }

    #[test]
    fn login_takes_the_name_at_once() {
        let (exchange, prompt) = challenge(Exchange::begin(Mechanism::Login, Some(b"alice@contoso.com")));
        assert_eq!(prompt, "Password:");
        assert!(outcome(exchange.respond(b"secret")).is_ok());
    }

    #[test]
    fn a_bad_name_is_told_after_the_password() {
        let (exchange, prompt) = challenge(Exchange::begin(Mechanism::Login, Some(b"a\x01b")));
        assert_eq!(prompt, "Password:");
        assert!(matches!(
            outcome(exchange.respond(b"secret")),
            Err(CredentialsError::Name(BadName { error: NameError::NotPrintable, .. }))
        ));
    }

    #[test]
    fn a_name_that_is_not_base64_is_told_after_the_password() {
        let (exchange, _) = challenge(Exchange::begin(Mechanism::Login, None));
        let (exchange, prompt) = challenge(exchange.refuse_response().unwrap());
        assert_eq!(prompt, "Password:");
        assert!(matches!(outcome(exchange.respond(b"secret")), Err(CredentialsError::Syntax)));
    }

    #[test]
    fn the_others_await_one_message() {
        for mechanism in [Mechanism::Plain, Mechanism::Xoauth2, Mechanism::Oauthbearer] {
            let (exchange, text) = challenge(Exchange::begin(mechanism, None));
            assert_eq!(text, "", "{mechanism:?}");
            assert!(exchange.refuse_response().is_none(), "{mechanism:?}");
            let (exchange, _) = challenge(Exchange::begin(mechanism, None));
            assert!(outcome(exchange.respond(b"")).is_err(), "{mechanism:?}");
            assert!(outcome(Exchange::begin(mechanism, Some(b""))).is_err(), "{mechanism:?}");
        }
    }
}
