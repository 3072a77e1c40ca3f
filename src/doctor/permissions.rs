//! What the tokens permit, compared with what the listeners need.

use std::sync::Arc;

use super::accounts::{Group, Subject};
use super::destinations::Destination;
use super::entra::Admitted;
use super::step::{Section, Step};
use gatepost_config::{Grant, Resource};
use gatepost_core::failure::Actor;
use gatepost_oauth::claims::{MailAccess, TokenClaims};
use gatepost_oauth::consent_url;

const HERE: Section = Section::Permissions;

/// A permission that tokens lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) access: MailAccess,
    /// Its name, such as `SMTP.SendAsApp`.
    pub(super) permission: &'static str,
    /// The listeners that need it.
    pub(super) listeners: Vec<Arc<str>>,
    /// Whether Exchange Online may permit it all the same, by a role of its own that no token shows
    /// (RBAC for Applications).
    pub(super) may_be_granted_elsewhere: bool,
    /// Whether messages take another way without it.
    pub(super) has_substitute: bool,
}

/// What the servers have shown of an access that no token permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// A mailbox opened all the same.
    Granted,
    /// Each mailbox that was asked rejected the token.
    Missing,
    /// No server was asked, or none has answered that.
    Unknown,
}

/// The permissions of the tokens of one or several accounts.
#[derive(Debug)]
pub(super) struct Permitted {
    /// The accounts for people: an application, or one account.
    pub(super) subject: String,
    /// Places of the subjects.
    pub(super) members: Vec<usize>,
    /// What the tokens permit, for people; `None` when they cannot be read.
    pub(super) permissions: Option<String>,
    pub(super) missing: Vec<Missing>,
    /// Where an administrator consents.
    consent: String,
}

/// Compares the tokens of a group with what the destinations need.
pub(super) fn permitted(
    group: &Group,
    subjects: &[Subject],
    admitted: &Admitted,
    destinations: &[Destination],
) -> Vec<Permitted> {
    let mut all: Vec<Permitted> = Vec::new();
    // Tokens of another provider are opaque (RFC 6749 §1.4). What they permit, its mail servers show.
    if group.application.issuer.provider().is_some() {
        return all;
    }
    for place in &group.members {
        let Some(subject) = subjects.get(*place) else { continue };
        let claims =
            |resource| admitted.tokens.get(&(*place, resource)).map(|token| TokenClaims::of(&token.bearer.token));
        let (exchange, graph) = (claims(Resource::Exchange), claims(Resource::Graph));
        if exchange.is_none() && graph.is_none() {
            continue;
        }
        let grant = subject.account.grant;
        let mut missing: Vec<Missing> = Vec::new();
        let mut names: Vec<String> = Vec::new();
        let mut readable = true;
        for of_resource in [&exchange, &graph] {
            match of_resource {
                Some(Some(claims)) => names.push(claims.permissions()),
                Some(None) => readable = false,
                None => {}
            }
        }
        for destination in destinations {
            let claims = if destination.resource() == Resource::Exchange { &exchange } else { &graph };
            let Some(Some(claims)) = claims else { continue };
            missing.extend(lacks(claims, grant, destination));
        }
        let consent = consent(group);
        let permissions = readable.then(|| names.join(", "));
        // Accounts of one application have the same token.
        let same = |known: &&mut Permitted| {
            grant == Grant::ClientCredentials && known.permissions == permissions && known.missing == missing
        };
        match all.iter_mut().find(same) {
            Some(known) => known.members.push(*place),
            None => {
                let subject = match grant {
                    Grant::ClientCredentials => format!("application {}", group.name()),
                    _ => subject.name.clone(),
                };
                all.push(Permitted { subject, members: vec![*place], permissions, missing, consent });
            }
        }
    }
    all
}

/// What a token lacks for a destination.
fn lacks(claims: &TokenClaims, grant: Grant, destination: &Destination) -> Option<Missing> {
    let access = destination.access;
    let permission = claims.permits(access, grant).err()?;
    // What the clients of a Graph listener do is not known. Any permission about mail may be enough.
    let granted = || claims.roles.iter().chain(&claims.scopes);
    if access == MailAccess::GraphReadWrite && granted().any(|name| name.starts_with("Mail.")) {
        return None;
    }
    Some(Missing {
        access,
        permission,
        listeners: destination.listeners.clone(),
        may_be_granted_elsewhere: grant == Grant::ClientCredentials
            && !matches!(access, MailAccess::Imap | MailAccess::Pop3),
        has_substitute: destination.has_substitute,
    })
}

/// The page on which an administrator consents for the tenant.
fn consent(group: &Group) -> String {
    let Some(entra) = group.application.issuer.entra() else { return String::new() };
    consent_url(entra, &group.application.client_id, group.tenant.as_deref().unwrap_or("organizations")).into()
}

impl Permitted {
    /// Returns the steps. `shown` says what is known of an access that no token permits.
    pub(super) fn steps(&self, shown: impl Fn(MailAccess) -> Shown) -> Vec<Step> {
        let Some(permissions) = &self.permissions else {
            return vec![Step::skipped(HERE, &*self.subject, "the token cannot be read, only Microsoft can")];
        };
        let mut steps = Vec::new();
        for missing in &self.missing {
            let permission = missing.permission;
            let shown = shown(missing.access);
            if shown == Shown::Granted {
                let text = format!("{permission} is not in the token, but Exchange Online permits it (RBAC)");
                steps.push(Step::ok(HERE, &*self.subject, text));
                continue;
            }
            let listeners: Vec<String> = missing.listeners.iter().map(|name| format!("`{name}`")).collect();
            let noun = if listeners.len() == 1 { "listener" } else { "listeners" };
            let needs = if listeners.len() == 1 { "needs" } else { "need" };
            let mut text = format!(
                "{permission} is not in the token (it has {permissions}), {noun} {} {needs} it",
                listeners.join(", ")
            );
            let mut remedy = format!("add {permission} and grant consent: {}", self.consent);
            let is_open = shown == Shown::Unknown && missing.may_be_granted_elsewhere;
            if is_open {
                text.push_str(", and whether an RBAC role of Exchange gives that right is not known");
                remedy = format!("if no role gives it, {remedy}");
            }
            let remedy = (Actor::M365Admin, remedy);
            steps.push(if missing.has_substitute || is_open {
                Step::warning(HERE, &*self.subject, text, remedy)
            } else {
                Step::problem(HERE, &*self.subject, text, remedy)
            });
        }
        if self.missing.is_empty() {
            steps.push(Step::ok(HERE, &*self.subject, permissions.clone()));
        }
        steps
    }

    /// Whether the tokens do not permit this access.
    pub(super) fn lacks(&self, access: MailAccess) -> bool {
        self.missing.iter().any(|missing| missing.access == access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::step::Outcome;

    fn missing(access: MailAccess, permission: &'static str) -> Permitted {
        Permitted {
            subject: "application 2f5c7e10".into(),
            members: vec![0],
            permissions: Some("IMAP.AccessAsApp, POP.AccessAsApp".into()),
            missing: vec![Missing {
                access,
                permission,
                listeners: vec!["smtp".into()],
                may_be_granted_elsewhere: access == MailAccess::Smtp,
                has_substitute: false,
            }],
            consent: "https://login.example/contoso.com/adminconsent?client_id=2f5c7e10".into(),
        }
    }

    #[test]
    fn a_missing_permission_is_named_with_the_listener_and_the_page_for_consent() {
        let lacking = missing(MailAccess::Smtp, "SMTP.SendAsApp");
        let steps = lacking.steps(|_| Shown::Missing);
        let [step] = steps.as_slice() else { panic!("{steps:?}") };
        assert_eq!(step.outcome, Outcome::Failed);
        assert_eq!(
            step.text,
            "SMTP.SendAsApp is not in the token (it has IMAP.AccessAsApp, POP.AccessAsApp), listener `smtp` needs it"
        );
        assert_eq!(
            step.remedy.as_deref(),
            Some(
                "add SMTP.SendAsApp and grant consent: \
                 https://login.example/contoso.com/adminconsent?client_id=2f5c7e10"
            )
        );
    }

    #[test]
    fn a_permission_that_is_not_in_the_token_may_be_granted_missing_or_unknown() {
        let outcome = |lacking: &Permitted, shown| {
            let steps = lacking.steps(|_| shown);
            let [step] = steps.as_slice() else { panic!("{steps:?}") };
            (step.outcome, step.text.contains("RBAC"))
        };
        let smtp = missing(MailAccess::Smtp, "SMTP.SendAsApp");
        assert_eq!(outcome(&smtp, Shown::Granted), (Outcome::Ok, true));
        assert_eq!(outcome(&smtp, Shown::Missing), (Outcome::Failed, false));
        assert_eq!(outcome(&smtp, Shown::Unknown), (Outcome::Warning, true));
        // Exchange has no role for it, as far as Microsoft says. If it opens, it opens.
        let imap = missing(MailAccess::Imap, "IMAP.AccessAsApp");
        assert_eq!(outcome(&imap, Shown::Granted), (Outcome::Ok, true));
        assert_eq!(outcome(&imap, Shown::Missing), (Outcome::Failed, false));
        assert_eq!(outcome(&imap, Shown::Unknown), (Outcome::Failed, false));
        assert!(imap.lacks(MailAccess::Imap) && !imap.lacks(MailAccess::Smtp));
    }
}
