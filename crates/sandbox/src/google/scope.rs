//! The scopes that Google knows here.

use super::refusal::Refusal;
use crate::sasl::IMAP_ADMIN;

/// The scope of IMAP, POP3 and SMTP.
pub(super) const MAIL: &str = "https://mail.google.com/";

const OF_PERSONS: [&str; 6] = [
    MAIL,
    "openid",
    "email",
    "profile",
    "https://www.googleapis.com/auth/userinfo.email",
    "https://www.googleapis.com/auth/userinfo.profile",
];

/// What a device may ask for (Google, "OAuth 2.0 for TV and Limited-Input Device Applications",
/// allowed scopes). Mail is not among it.
const OF_DEVICES: [&str; 7] = [
    "openid",
    "email",
    "profile",
    "https://www.googleapis.com/auth/drive.appdata",
    "https://www.googleapis.com/auth/drive.file",
    "https://www.googleapis.com/auth/youtube",
    "https://www.googleapis.com/auth/youtube.readonly",
];

fn all_of(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// The scopes that a person is asked for.
pub(super) fn of_person(text: &str) -> Result<Vec<String>, Refusal> {
    let scopes = all_of(text);
    let unknown: Vec<&str> = scopes.iter().map(String::as_str).filter(|scope| !OF_PERSONS.contains(scope)).collect();
    if unknown.is_empty() {
        return Ok(scopes);
    }
    let description = format!("Some requested scopes were invalid. {{invalid=[{}]}}", unknown.join(", "));
    Err(Refusal::new(400, "invalid_scope", description))
}

/// The scopes that a device asks for.
pub(super) fn of_device(text: &str) -> Result<Vec<String>, Refusal> {
    let scopes = all_of(text);
    match scopes.iter().find(|scope| !OF_DEVICES.contains(&scope.as_str())) {
        None => Ok(scopes),
        Some(scope) => Err(Refusal::new(400, "invalid_scope", format!("Invalid device flow scope: {scope}"))),
    }
}

/// The scopes that a service account asks for.
pub(super) fn of_service_account(text: &str) -> Result<Vec<String>, Refusal> {
    let scopes = all_of(text);
    let is_known = |scope: &String| OF_PERSONS.contains(&scope.as_str()) || scope == IMAP_ADMIN;
    if !scopes.is_empty() && scopes.iter().all(is_known) {
        return Ok(scopes);
    }
    Err(Refusal::new(400, "invalid_scope", "Invalid OAuth scope or ID token audience provided."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_may_not_ask_for_mail() {
        assert_eq!(of_device("openid email").unwrap(), ["openid", "email"]);
        let refused = of_device("openid https://mail.google.com/").unwrap_err();
        assert_eq!(refused, Refusal::new(400, "invalid_scope", "Invalid device flow scope: https://mail.google.com/"));
    }

    #[test]
    fn an_unknown_scope_is_refused() {
        assert_eq!(of_person("https://mail.google.com/ email").unwrap(), [MAIL, "email"]);
        // Without the slash at its end it is another one.
        assert_eq!(of_person("https://mail.google.com").unwrap_err().error, "invalid_scope");
        assert_eq!(of_service_account(IMAP_ADMIN).unwrap(), [IMAP_ADMIN]);
        assert_eq!(of_service_account("").unwrap_err().error, "invalid_scope");
        assert_eq!(of_service_account("https://mail.google.com").unwrap_err().error, "invalid_scope");
    }
}
