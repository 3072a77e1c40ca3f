//! Which grant fits the answers, and why.

use super::answers::Answers;
use crate::cli::setup_options::SignInBy;
use gatepost_config::Grant;
use gatepost_core::protocol::Protocol;

/// Returns the grant for the answers.
pub(super) fn grant(answers: &Answers) -> Grant {
    match answers.sign_in {
        SignInBy::Nobody => Grant::ClientCredentials,
        SignInBy::Person => Grant::DeviceCode,
        SignInBy::Password => Grant::Password,
    }
}

/// Whether a role of Exchange Online confines sending over SMTP, in place of a permission in Entra.
/// With IMAP or POP3, each mailbox is given to the application anyway.
pub(super) fn confines_smtp_by_role(answers: &Answers) -> bool {
    answers.sign_in == SignInBy::Nobody
        && answers.uses(Protocol::Smtp)
        && !answers.uses(Protocol::Imap)
        && !answers.uses(Protocol::Pop3)
}

/// Says what is recommended and why, one line each.
pub(super) fn told(answers: &Answers) -> Vec<String> {
    let mut lines = vec![
        match answers.sign_in {
            SignInBy::Nobody => {
                "recommended: app-only access with a certificate (`client_credentials`), because nobody signs in. Gatepost \
                 checks a device password of each client."
            }
            SignInBy::Person => {
                "recommended: sign-in with a code on any device (`device_code`), because a person can sign in once for each \
                 mailbox. MFA works. A sign-in that is unused for 90 days has to be repeated."
            }
            SignInBy::Password => {
                "as you asked: the Microsoft password of each mailbox (`password`). It stops working as soon as MFA applies. If \
                 the programs can get another password, `--sign-in nobody` or `--sign-in person` is better."
            }
        }
        .to_owned(),
    ];
    if answers.uses(Protocol::Ews) {
        lines.push("EWS: Microsoft ends it on 1 April 2027. Use IMAP, SMTP or Graph where the program can.".to_owned());
    }
    if answers.sign_in != SignInBy::Nobody {
        lines.push(
            "consent: the tenant consents for all its users, not only for these mailboxes. To limit it, assign users to the \
             enterprise application and turn on `Assignment required`."
                .to_owned(),
        );
        return lines;
    }
    if confines_smtp_by_role(answers) {
        lines.push(
            "sending over SMTP: the Exchange role `Application SMTP.SendAsApp` for these mailboxes only. The application gets \
             no permission in Entra and no Full Access, because it never reads."
                .to_owned(),
        );
    }
    let by_role = [(Protocol::Ews, "EWS"), (Protocol::Graph, "Graph")];
    for (_, name) in by_role.into_iter().filter(|(protocol, _)| answers.uses(*protocol)) {
        lines.push(format!(
            "{name}: a role of Exchange for these mailboxes only, because the permission in Entra would open all mailboxes."
        ));
    }
    if answers.uses(Protocol::Imap) || answers.uses(Protocol::Pop3) {
        lines.push(
            "reading over IMAP and POP3: Full Access for each mailbox, because Exchange has no smaller right for an \
             application."
                .to_owned(),
        );
    }
    lines
}
