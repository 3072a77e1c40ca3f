//! Entra's error codes: what each means, who must act, and the next step. Sources: Microsoft Learn,
//! "Microsoft Entra authentication and authorization error codes", and reports of administrators.
//!
//! Microsoft states that programs must not depend on these numbers, and may change them. So the
//! OAuth `error` decides first ([`classify`]). A code only refines what the `error` leaves open. An
//! unknown code changes nothing.

use gatepost_core::failure::Actor;

/// What kind of answer an OAuth error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The user name or the password is wrong, as Entra states explicitly.
    WrongPassword,
    /// The account, or the address the request came from, is locked for a while; the password may
    /// be right.
    Locked,
    /// The account may not sign in, or not to this application.
    NotAllowed,
    /// The user must do something in a browser: change the password, enrol, consent.
    SignInNeeded,
    /// A refresh token, code or session is used up.
    GrantExpired,
    /// Registration, policy, licence or configuration must change.
    Administrator,
    /// An outage, a time-out, throttling: waiting helps.
    Temporary,
    /// The request itself was wrong.
    Malformed,
    /// Part of the device-code dialogue.
    Polling,
}

impl Class {
    /// True when Entra refused this particular user: what it granted before must not be used any
    /// longer.
    pub fn concerns_user(self) -> bool {
        matches!(self, Self::WrongPassword | Self::NotAllowed | Self::SignInNeeded | Self::GrantExpired)
    }
}

/// What is known about one or several codes.
#[derive(Debug)]
pub struct Entry {
    /// The digits after `AADSTS`.
    pub codes: &'static [u32],
    /// The kind of answer.
    pub class: Class,
    /// Who must act.
    pub actor: Actor,
    /// What happened: one clause, lower case, no full stop.
    pub meaning: &'static str,
    /// What the actor does: one clause, lower case, no full stop.
    pub remedy: &'static str,
}

/// The entry of a code, if it is known.
pub fn explain(code: u32) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.codes.contains(&code))
}

/// The class of an OAuth `error` with its `suberror` and `error_codes`.
pub fn classify(error: &str, suberror: Option<&str>, codes: &[u32]) -> Class {
    let by_error = match error {
        "invalid_grant" if suberror == Some("consent_required") => return Class::Administrator,
        // The metadata of a tenant that does not exist says `invalid_tenant`.
        "invalid_client"
        | "unauthorized_client"
        | "invalid_scope"
        | "invalid_resource"
        | "invalid_tenant"
        | "consent_required" => Class::Administrator,
        "invalid_grant"
        | "interaction_required"
        | "login_required"
        | "access_denied"
        | "authorization_declined"
        | "user_password_expired" => Class::SignInNeeded,
        "invalid_request" | "unsupported_grant_type" => Class::Malformed,
        "authorization_pending" | "slow_down" | "expired_token" | "bad_verification_code" => Class::Polling,
        // `temporarily_unavailable`, `server_error`, and any `error` that is added later: unknown
        // means temporary.
        _ => return Class::Temporary,
    };
    match codes.iter().find_map(|&code| explain(code)).map(|entry| entry.class) {
        None => by_error,
        // Only `invalid_grant` is a verdict on the user's name and password.
        Some(Class::WrongPassword | Class::Locked) if error != "invalid_grant" => by_error,
        Some(refined) => refined,
    }
}

macro_rules! catalogue {
    ($($($code:literal)|+ => $class:ident, $actor:ident, $meaning:literal, $remedy:literal;)+) => {
        /// All codes that Gatepost knows.
        pub const CATALOGUE: &[Entry] = &[$(Entry {
            codes: &[$($code),+],
            class: Class::$class,
            actor: Actor::$actor,
            meaning: $meaning,
            remedy: $remedy,
        }),+];
    };
}

catalogue! {
    // The user.
    50126 => WrongPassword, ClientOwner, "the user name or the password is wrong",
        "enter the password in the client again";
    50034 => WrongPassword, ClientOwner, "the user does not exist in this tenant",
        "correct the user name in the client, or the tenant and the cloud in the configuration";
    50053 => Locked, M365Admin, "the account is locked after wrong passwords, or this address has a bad reputation",
        "find the device that still has an old password. A password reset unlocks at once";
    50196 => Locked, Nobody, "the same request was repeated too often",
        "wait five minutes, and report it if it comes back";
    50057 => NotAllowed, M365Admin, "the account is disabled",
        "enable the account. A shared mailbox is disabled by design: use `grant: client_credentials` or `signs_in_as`";
    500341 => NotAllowed, M365Admin, "the account was deleted from the directory",
        "restore the account within 30 days of its deletion, or remove it from the client";
    50105 => NotAllowed, M365Admin, "the user is not assigned to the application",
        "assign the user, or set \"Assignment required\" to No in Enterprise applications";
    50055 => SignInNeeded, ClientOwner, "the password has expired",
        "change the password. For a device, let it never expire";
    50144 => SignInNeeded, ClientOwner, "the password in the on-premises directory has expired",
        "change the password there";
    50135 | 50142 => SignInNeeded, ClientOwner, "the password must be changed because of a risk or a policy",
        "change the password";
    50125 => SignInNeeded, ClientOwner, "the sign-in was interrupted by a password reset or a registration",
        "complete it in a browser";
    16000 | 50058 | 700020 => SignInNeeded, ClientOwner, "Entra wants the user to sign in in a browser",
        "sign in again interactively";
    50199 => SignInNeeded, ClientOwner, "Entra wants the user to confirm the application in a browser",
        "sign in again and confirm it";
    500121 => SignInNeeded, ClientOwner, "the second factor was refused or not answered in time",
        "sign in again and answer the request for it";
    50089 => SignInNeeded, ClientOwner, "the sign-in took too long",
        "start the sign-in again";
    65004 => SignInNeeded, ClientOwner, "the user declined consent",
        "sign in again and accept";
    80012 => SignInNeeded, ClientOwner, "the on-premises directory does not allow a sign-in at this hour",
        "try again within the permitted hours, or have them changed";

    // Strong authentication and policy. A password alone cannot answer it.
    50072 | 50079 => Administrator, M365Admin, "the user must enroll in multifactor authentication",
        "use `grant: authorization_code` or `grant: device_code` for the account, or exclude it by policy";
    50074 | 50076 | 50078 => Administrator, M365Admin, "multifactor authentication is required",
        "use `grant: authorization_code` or `grant: device_code` for the account, or exclude it by policy";
    50086 => Administrator, M365Admin, "strong authentication failed for good",
        "look up the sign-in in Entra's sign-in log";
    50097 => Administrator, M365Admin, "device authentication is required",
        "exclude the account from the device policy";
    50131 => Administrator, M365Admin, "a device policy of Conditional Access is not met",
        "adapt the policy, or exclude the account";
    50158 => Administrator, M365Admin, "an external security challenge is not satisfied",
        "exclude the account from third-party authentication and terms of use";
    53000 | 53001 | 53002 | 530003 => Administrator, M365Admin,
        "Conditional Access wants a managed, compliant or joined device, or an approved app",
        "exclude the account or this application from the policy";
    53003 => Administrator, M365Admin, "Conditional Access blocked the sign-in",
        "read the policy's name in Entra's sign-in log, and exclude the account or this location";
    530031 => Administrator, M365Admin, "an access policy does not allow Entra to issue the token",
        "read the policy's name in Entra's sign-in log, and exclude the account or this application";
    135011 => Administrator, M365Admin, "the device of the sign-in is disabled",
        "enable the device in Entra, or sign in again on another one";
    53004 | 53011 => Administrator, M365Admin, "the user is considered at risk",
        "dismiss the risk in Entra ID Protection";
    530032 => Administrator, M365Admin, "a security policy of the tenant blocked the sign-in",
        "look up the sign-in in Entra's sign-in log";
    530034 => Administrator, M365Admin, "a delegated administrator is blocked for suspicious activity",
        "have the partner's tenant lift the block";
    530035 => Administrator, M365Admin, "security defaults blocked the sign-in",
        "use `grant: client_credentials`, or replace security defaults by Conditional Access";
    50056 => Administrator, M365Admin, "Entra holds no password for the account",
        "turn on password hash synchronisation, or use `grant: client_credentials`";
    50107 => Administrator, M365Admin, "the federation realm does not exist",
        "check the federation of the user's domain";
    40008 => Administrator, M365Admin, "the federated identity provider answered with an error",
        "check the federation server";

    // Tenant and cloud.
    50020 | 90072 => Administrator, GatepostAdmin, "the user belongs to another tenant or identity provider",
        "check `microsoft.tenant`. Guest and personal accounts cannot be used";
    50059 | 90019 => Administrator, GatepostAdmin, "the request names no tenant",
        "set `microsoft.tenant` to the directory id";
    50128 | 90002 => Administrator, GatepostAdmin, "the tenant was not found",
        "check `microsoft.tenant` and `microsoft.cloud`";
    900023 => Administrator, GatepostAdmin, "the tenant is neither a domain nor a directory id",
        "correct `microsoft.tenant`";
    50194 => Administrator, GatepostAdmin, "a single-tenant application was called without its tenant",
        "set `microsoft.tenant` to the directory id";
    500208 => Administrator, GatepostAdmin, "the domain does not fit this kind of account",
        "check `microsoft.authority`. Personal accounts cannot be used";
    500021 | 500022 => Administrator, NetworkAdmin, "tenant restrictions on the way to Entra do not allow this tenant",
        "allow the tenant in the corporate proxy's header policy";
    500212 | 500213 => Administrator, M365Admin, "a cross-tenant access policy blocked the sign-in",
        "adapt the cross-tenant access settings";
    90038 | 90043 | 90051 => Administrator, GatepostAdmin, "the tenant belongs to another national cloud",
        "set `microsoft.cloud` and `microsoft.authority` for that cloud";
    9001023 => Administrator, GatepostAdmin, "this grant does not work on `common` or `consumers`",
        "set `microsoft.tenant` to the directory id";
    9002332 => Administrator, M365Admin, "the application is for another kind of account",
        "correct \"Supported account types\" of the registration";

    // The application.
    70001 | 700011 | 700016 => Administrator, GatepostAdmin, "the application was not found in this tenant",
        "check `microsoft.client_id`, `microsoft.tenant` and `microsoft.cloud`, and that consent was granted";
    70002 => Administrator, GatepostAdmin, "the application's credential was not accepted",
        "check the application's secret, certificate or federated token";
    7000229 => Administrator, M365Admin,
        "the application has no service principal in this tenant, as after `az ad app create`",
        "run `az ad sp create --id CLIENT_ID`, then grant admin consent";
    65002 => Administrator, GatepostAdmin, "the client id is one of Microsoft's own applications, which may not ask for this",
        "set `microsoft.client_id` to an application of your own tenant";
    7000216 => Administrator, GatepostAdmin, "app-only access needs a credential of the application, and none was sent",
        "set `client_secret`, `client_certificate` or `federated_token_file`";
    7000215 => Administrator, GatepostAdmin, "the client secret is wrong",
        "set `microsoft.client_secret` to the secret's value, not its id";
    7000222 => Administrator, M365Admin, "the client secret or certificate has expired",
        "create a new one and set `client_secret` or `client_certificate`";
    7000218 => Administrator, M365Admin, "the application is confidential and sent no credential",
        "set \"Allow public client flows\" to Yes, or configure `microsoft.client_secret`";
    90023 | 700025 => Administrator, GatepostAdmin, "the application or its redirect address is public and must send no credential",
        "write `client_secret: none` for the account, or switch \"Allow public client flows\" off";
    7000112 => Administrator, M365Admin, "the application is disabled",
        "enable it in Enterprise applications";
    7000114 => Administrator, M365Admin, "the application may not act on behalf of users",
        "correct the registration";
    65001 => Administrator, M365Admin, "nobody has consented to the application's permissions",
        "grant admin consent for the requested permission";
    90094 | 90095 => Administrator, M365Admin, "an administrator must consent",
        "grant admin consent for the requested permission";
    65005 | 650052 | 650056 | 650057 => Administrator, M365Admin,
        "the registration lacks the permission, or the organisation has no such service",
        "add the Exchange Online permission to the registration and grant admin consent";
    500011 => Administrator, M365Admin, "the requested resource does not exist in the tenant",
        "check the scope, the cloud, and that the tenant has Exchange Online";
    650053 => Administrator, GatepostAdmin, "the resource has no permission of the requested name",
        "correct `microsoft.scope` and the API permissions of the registration, each of which belongs to one resource";
    28002 | 700022 | 700023 => Administrator, GatepostAdmin, "the scope names several resources, or none",
        "ask for scopes of one resource in `microsoft.scope`";
    70011 => Administrator, GatepostAdmin, "the scope is invalid",
        "correct `microsoft.scope`, or remove it to use the default";
    901002 => Administrator, GatepostAdmin, "the v2.0 endpoint takes no `resource`",
        "set `microsoft.cloud`, which decides the endpoint's version";
    9002325 => Administrator, M365Admin, "the redirect address is registered for a single-page application",
        "register `http://localhost` as a redirect of the type mobile and desktop";
    50011 => Administrator, M365Admin, "the redirect address is not registered",
        "register `http://localhost` as a redirect of the type mobile and desktop";

    // Assertions and certificates.
    50012 | 700027 => Administrator, M365Admin, "the signature of the client assertion was not accepted",
        "upload the certificate that is in use to this application";
    1000502 => Administrator, M365Admin, "the certificate of the application is not valid now",
        "upload a valid certificate and set `client_certificate`, and check this machine's clock";
    700030 => Administrator, M365Admin, "the certificate is invalid",
        "renew the certificate";
    50013 | 500133 | 700024 => Administrator, GatepostAdmin, "an assertion is invalid or outside its time range",
        "synchronise this machine's clock";
    70021 | 700211 | 700212 | 700213 => Administrator, M365Admin, "no federated credential matches",
        "compare issuer, audience and subject of the federated credential exactly";
    700229 => Administrator, GatepostAdmin, "only an app-only token can serve as federated credential",
        "use another assertion";

    // Refresh tokens, codes, sessions.
    50064 | 50132 | 50133 | 50173 => GrantExpired, ClientOwner, "the session was revoked, as after a password change",
        "sign in again with the new password";
    50085 => GrantExpired, ClientOwner, "an external identity provider wants a new sign-in",
        "sign in again";
    70000 | 70008 | 700005 => GrantExpired, ClientOwner, "the code or refresh token is not valid any more",
        "sign in again";
    7000012 => GrantExpired, GatepostAdmin, "the code or refresh token was issued by another tenant",
        "set `microsoft.tenant` to the tenant of the user, then sign in again";
    700003 => GrantExpired, M365Admin, "the device of the sign-in is no longer in the directory",
        "register the device again, then sign in again";
    70043 => GrantExpired, ClientOwner, "the sign-in is older than the tenant's sign-in frequency allows",
        "sign in again. The administrator may relax the frequency for this account";
    700082 => GrantExpired, ClientOwner, "the refresh token was not used for too long",
        "sign in again";
    700084 => GrantExpired, M365Admin, "the refresh token belongs to a single-page application",
        "register the redirect as mobile and desktop, then sign in again";

    // Outages.
    50000 | 90006 | 90024 | 90033 | 90090 => Temporary, Nobody, "Entra has a passing fault",
        "clients retry. If this lasts over 10 minutes, check Microsoft 365 service health";
    50033 => Temporary, Nobody, "Entra's directory has a passing fault",
        "clients retry. If this lasts over 10 minutes, check Microsoft 365 service health";
    50087 | 50088 => Temporary, Nobody, "Entra's strong-authentication service has a passing fault",
        "clients retry. If this lasts over 10 minutes, check Microsoft 365 service health";
    90012 => Temporary, Nobody, "the request timed out inside Entra",
        "clients retry. If this lasts over 10 minutes, check Microsoft 365 service health";
    90055 => Temporary, Nobody, "Entra throttles the tenant because of too many requests",
        "wait, and look for other programs that ask too often";
    40010 => Temporary, M365Admin, "the federated identity provider has a passing fault",
        "check the federation server";
    80001 | 80002 | 80005 | 80007 | 80010 | 80013 | 80014 => Temporary, M365Admin,
        "the pass-through authentication agent did not do its work",
        "check the pass-through authentication agents and their clocks";

    // Our own mistakes.
    90013 | 90014 | 90056 | 900144 | 9002313 => Malformed, Bug, "the token request was malformed",
        "report it with this line of the log";
    70003 => Malformed, Bug, "Entra does not support this grant here",
        "report it with this line of the log";
    54005 => Malformed, Bug, "an authorization code was redeemed twice",
        "start the sign-in again, and report it";

    // The device-code dialogue.
    70016 => Polling, ClientOwner, "the sign-in with the device code is not finished",
        "finish it in the browser";
    70018 | 70019 | 70020 => Polling, ClientOwner, "the device code is wrong or has expired",
        "start the sign-in again";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_code_has_one_entry_and_its_texts_follow_the_rules() {
        let mut seen = HashSet::new();
        for entry in CATALOGUE {
            for code in entry.codes {
                assert!(seen.insert(code), "{code} twice");
            }
            for text in [entry.meaning, entry.remedy] {
                assert!(!text.is_empty() && !text.ends_with('.') && text.is_ascii(), "{text}");
                assert!(
                    !text.starts_with(|c: char| c.is_uppercase())
                        || text.starts_with("Entra")
                        || text.starts_with("Conditional Access"),
                    "{text}"
                );
            }
        }
        assert!(seen.len() >= 120, "{} codes", seen.len());
    }

    #[test]
    fn the_error_decides_and_the_code_refines() {
        use Class::*;
        for (error, suberror, codes, class) in [
            ("invalid_grant", None, &[50126][..], WrongPassword),
            ("invalid_grant", None, &[50034], WrongPassword),
            ("invalid_grant", None, &[50053], Locked),
            ("invalid_grant", None, &[50057], NotAllowed),
            ("invalid_grant", None, &[50055], SignInNeeded),
            ("user_password_expired", None, &[50055], SignInNeeded),
            ("invalid_grant", None, &[50076], Administrator),
            ("interaction_required", None, &[50076], Administrator),
            ("invalid_grant", None, &[53003], Administrator),
            ("invalid_grant", None, &[50173], GrantExpired),
            ("invalid_grant", None, &[80002], Temporary),
            ("invalid_grant", Some("consent_required"), &[65001], Administrator),
            ("invalid_grant", Some("consent_required"), &[], Administrator),
            ("invalid_client", None, &[7000215], Administrator),
            ("unauthorized_client", None, &[700016], Administrator),
            ("invalid_request", None, &[90002], Administrator),
            ("invalid_request", None, &[90055], Temporary),
            ("invalid_request", None, &[900144], Malformed),
            ("unsupported_grant_type", None, &[70003], Malformed),
            ("temporarily_unavailable", None, &[90033], Temporary),
            ("authorization_pending", None, &[70016], Polling),
            ("authorization_declined", None, &[], SignInNeeded),
            ("invalid_request", None, &[90023], Administrator),
            ("invalid_grant", None, &[7_000_229], Administrator),
            ("invalid_request", None, &[900_023], Administrator),
            ("invalid_grant", None, &[500_341], NotAllowed),
            ("interaction_required", None, &[50199], SignInNeeded),
            ("invalid_grant", None, &[7_000_012], GrantExpired),
            // The first code that is known counts.
            ("invalid_grant", None, &[1, 50126], WrongPassword),
        ] {
            assert_eq!(classify(error, suberror, codes), class, "{error} {suberror:?} {codes:?}");
        }
    }

    #[test]
    fn an_unknown_answer_never_blames_the_password() {
        use Class::*;
        for (error, codes, class) in [
            ("invalid_grant", &[][..], SignInNeeded),
            ("invalid_grant", &[99_999_999], SignInNeeded),
            // The number alone is no verdict.
            ("server_error", &[50126], Temporary),
            ("invalid_client", &[50126], Administrator),
            ("invalid_request", &[50053], Malformed),
            ("brand_new_error", &[50126], Temporary),
            ("", &[], Temporary),
        ] {
            assert_eq!(classify(error, None, codes), class, "{error} {codes:?}");
        }
    }
}
