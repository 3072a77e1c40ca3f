//! Entra: whether each tenant exists, each application and credential is accepted, and each person
//! has signed in. It also gets the tokens for the steps behind.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::accounts::{Group, Subject};
use super::facts::Facts;
use super::in_order::in_order;
use super::network::{Tenants, Unreached, authority_place, bounded};
use super::order::Order;
use super::step::{Section, Step};
use crate::login::overview::SignInView;
use crate::login::{AuthorizedLogin, LoginRequest};
use gatepost_config::{Credential, Grant, LoginPattern, Resource};
use gatepost_core::account::{LoginName, MailAddress};
use gatepost_core::cause::Cause;
use gatepost_core::clock::UnixTime;
use gatepost_core::failure::{Actor, Failure};
use gatepost_core::protocol::Protocol;
use gatepost_oauth::claims::TokenClaims;
use gatepost_oauth::expiry::Expiry;
use gatepost_oauth::tokens::{explain, scope};

const HERE: Section = Section::Entra;
/// A credential that expires within so many days is told.
const DAYS_BEFORE_EXPIRY: i64 = 30;

/// What Entra gave.
#[derive(Default)]
pub(super) struct Admitted {
    /// By place of the subject and by resource.
    pub(super) tokens: HashMap<(usize, Resource), AuthorizedLogin>,
    /// Why a subject has no token, by its place.
    pub(super) without: HashMap<usize, String>,
}

/// What is needed to examine a group.
pub(super) struct Examination {
    pub(super) facts: Arc<Facts>,
    pub(super) subjects: Arc<Vec<Subject>>,
    pub(super) order: Arc<Order>,
    /// What the listeners need tokens for.
    pub(super) resources: Vec<Resource>,
    /// What is known of the sign-ins, by address.
    pub(super) sign_ins: HashMap<MailAddress, SignInView>,
    pub(super) expiries: Vec<Expiry>,
}

pub(super) async fn steps(
    examination: Examination,
    groups: Vec<Group>,
    tenants: &Tenants,
    unreached: &Unreached,
) -> (Vec<Step>, Admitted) {
    let (mut steps, mut admitted) = (Vec::new(), Admitted::default());
    let mut examined = Vec::new();
    for group in groups {
        if unreached.contains(&authority_place(&group.application)) && group.is_of_entra() {
            steps.push(Step::skipped(HERE, group.name(), "Entra cannot be reached (network)"));
            steps.extend(examination.unsigned(&group));
            admitted.without.extend(group.members.iter().map(|place| (*place, "network".to_owned())));
            continue;
        }
        match tenants.of(&group) {
            Some(Err(error)) => {
                let failure = explain::fetch(&error.clone().into_error());
                steps.push(Step::failed(
                    HERE,
                    format!("tenant {}", group.tenant.as_deref().unwrap_or_default()),
                    &failure,
                ));
                admitted.without.extend(group.members.iter().map(|place| (*place, "Entra".to_owned())));
                continue;
            }
            Some(Ok(found)) => {
                let id = found.tenant_id.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
                let tenant = group.tenant.as_deref().unwrap_or_default();
                let step = Step::ok(HERE, format!("tenant {tenant}"), format!("exists{id}"));
                if !steps.contains(&step) {
                    steps.push(step);
                }
            }
            None => {}
        }
        examined.push(group);
    }
    let examination = Arc::new(examination);
    let jobs = examined.into_iter().map(|group| {
        let examination = Arc::clone(&examination);
        async move { examination.group(group).await }
    });
    for (of_group, of) in in_order(jobs).await {
        steps.extend(of_group);
        admitted.tokens.extend(of.tokens);
        admitted.without.extend(of.without);
    }
    (steps, admitted)
}

/// Tokens of one subject, or why there are none.
type Obtained = Result<Vec<(Resource, AuthorizedLogin)>, Failure>;

impl Examination {
    async fn group(self: Arc<Self>, group: Group) -> (Vec<Step>, Admitted) {
        let (mut steps, mut admitted) = (self.expiries(&group), Admitted::default());
        let of = |wanted: fn(Grant) -> bool| -> Vec<usize> {
            let fits = |place: &&usize| self.subjects.get(**place).is_some_and(|subject| wanted(subject.account.grant));
            group.members.iter().filter(fits).copied().collect()
        };
        let applications = of(|grant| grant == Grant::ClientCredentials);
        self.application(&group, &applications, &mut steps, &mut admitted).await;
        let users = of(|grant| grant == Grant::Password);
        self.users(&group, &users, &mut steps, &mut admitted).await;
        let people = of(Grant::is_sign_in);
        self.people(&people, &mut steps, &mut admitted).await;
        (steps, admitted)
    }

    /// The application's own access: one token request for each resource.
    async fn application(&self, group: &Group, members: &[usize], steps: &mut Vec<Step>, admitted: &mut Admitted) {
        let Some(login) = members.iter().find_map(|place| some_login(self.subjects.get(*place)?)) else { return };
        let authenticator = &self.facts.shared.authenticator;
        let mut named = group.name();
        let mut accepted = false;
        for resource in &self.resources {
            let most = self.facts.config.limits.token_total + Duration::from_secs(5);
            let first = match bounded(most, authenticator.admit_afresh(&login, *resource)).await {
                Ok(Ok(first)) => first,
                Ok(Err(failure)) => {
                    let step = Step::failed(HERE, format!("application {named}"), &failure);
                    // The answers about two resources differ in their trace ids only.
                    if !steps.iter().any(|known| known.cause == step.cause && known.remedy == step.remedy) {
                        steps.push(step);
                    }
                    let unless = |place: &usize| (*place, "Entra".to_owned());
                    admitted.without.extend(members.iter().map(unless));
                    continue;
                }
                Err((text, actor, remedy)) => {
                    steps.push(Step::problem(HERE, format!("application {named}"), text, (actor, remedy)));
                    admitted.without.extend(members.iter().map(|place| (*place, "Entra".to_owned())));
                    continue;
                }
            };
            accepted = true;
            if let Some(name) = TokenClaims::of(&first.bearer.token).and_then(|claims| claims.application_name) {
                named = format!("\"{name}\" ({})", group.application.client_id);
            }
            for place in members {
                let Some(login) = self.subjects.get(*place).and_then(|subject| subject.login.clone()) else {
                    // A pattern has no mailbox. Its token tells what it permits.
                    admitted.tokens.insert((*place, *resource), first.clone());
                    continue;
                };
                match authenticator.admit_proved(login.as_login(), *resource, Duration::ZERO).await {
                    Ok(token) => drop(admitted.tokens.insert((*place, *resource), token)),
                    Err(failure) => {
                        steps.push(Step::failed(HERE, login.to_string(), &failure));
                        admitted.without.insert(*place, "Entra".to_owned());
                    }
                }
            }
        }
        if accepted {
            let step =
                Step::ok(HERE, format!("application {named}"), credential_accepted(&group.application.credential));
            steps.push(step);
        }
    }

    /// Accounts whose password Entra checks: the application alone, unless a password was given.
    async fn users(&self, group: &Group, members: &[usize], steps: &mut Vec<Step>, admitted: &mut Admitted) {
        let Some(first) = members.first().and_then(|place| self.subjects.get(*place)) else { return };
        let (config, shared) = (&self.facts.config, &self.facts.shared);
        let subject = format!("application {}", group.name());
        let Some(tenant) = &group.tenant else {
            steps.push(Step::skipped(HERE, subject, "its tenant is only known from a login"));
            return;
        };
        let resource = self.resources.first().copied().unwrap_or(Resource::Exchange);
        let scope = scope::of(&first.account, resource, config);
        let probing = shared.authenticator.source().probe_application(&group.application, tenant, &scope);
        match bounded(config.limits.token_total, probing).await {
            Ok(Ok(())) => {
                let text = match &*group.application.credential {
                    Credential::None => "known, public client flows are allowed",
                    credential => credential_accepted(credential),
                };
                steps.push(Step::ok(HERE, subject, text));
            }
            Ok(Err(error)) => {
                steps.push(Step::failed(HERE, subject, &explain::fetch(&error)));
                admitted.without.extend(members.iter().map(|place| (*place, "Entra".to_owned())));
                return;
            }
            Err((text, actor, remedy)) => {
                steps.push(Step::problem(HERE, subject, text, (actor, remedy)));
                admitted.without.extend(members.iter().map(|place| (*place, "Entra".to_owned())));
                return;
            }
        }
        for place in members {
            self.user(*place, steps, admitted).await;
        }
    }

    async fn user(&self, place: usize, steps: &mut Vec<Step>, admitted: &mut Admitted) {
        let Some(subject) = self.subjects.get(place) else { return };
        let (Some(login), Some(password)) = (&subject.login, &self.order.password) else {
            let login = subject.login.as_ref().map_or("LOGIN", MailAddress::as_str);
            let why = format!("needs the user's password: run `gatepost doctor --login {login}`");
            admitted.without.insert(place, why);
            return;
        };
        for resource in &self.resources {
            let request = LoginRequest {
                login: login.as_login(),
                acting_as: None,
                password,
                source: IpAddr::V4(Ipv4Addr::LOCALHOST),
                protocol: Protocol::Imap,
                resource: *resource,
            };
            match self.facts.shared.authenticator.admit(request, Duration::ZERO).await {
                Ok(token) => {
                    if admitted.tokens.keys().all(|(of, _)| *of != place) {
                        steps.push(Step::ok(HERE, login.to_string(), "Entra accepts the password"));
                    }
                    admitted.tokens.insert((place, *resource), token);
                }
                Err(failure) => {
                    steps.push(Step::failed(HERE, login.to_string(), &failure));
                    admitted.without.insert(place, "Entra".to_owned());
                    // A wrong password goes to Entra once.
                    return;
                }
            }
        }
    }

    /// Accounts for which a person signs in.
    async fn people(&self, members: &[usize], steps: &mut Vec<Step>, admitted: &mut Admitted) {
        let logins: Vec<(usize, Option<MailAddress>, String)> = members
            .iter()
            .filter_map(|place| {
                let subject = self.subjects.get(*place)?;
                Some((*place, subject.login.clone(), subject.name.clone()))
            })
            .collect();
        let jobs = logins.into_iter().map(|(place, login, name)| {
            let (facts, resources) = (Arc::clone(&self.facts), self.resources.clone());
            async move {
                let Some(login) = login else { return (place, name, None) };
                let obtained = obtain(&facts, &login, &resources).await;
                (place, name, Some((login, obtained)))
            }
        });
        for (place, name, examined) in in_order(jobs).await {
            match examined {
                None => drop(admitted.without.insert(place, "each of its users signs in".to_owned())),
                Some((login, Ok(tokens))) => {
                    steps.push(Step::ok(HERE, name, self.signed_in(&login)));
                    admitted.tokens.extend(tokens.into_iter().map(|(resource, token)| ((place, resource), token)));
                }
                Some((_, Err(failure))) => {
                    steps.push(Step::failed(HERE, name, &failure));
                    admitted.without.insert(place, "Entra".to_owned());
                }
            }
        }
    }

    /// Accounts of a group for which nobody has signed in, which is known without Entra.
    fn unsigned(&self, group: &Group) -> Vec<Step> {
        let logins = group.members.iter().filter_map(|place| self.subjects.get(*place)?.login.as_ref());
        let missing = logins.filter(|login| matches!(self.sign_ins.get(*login), Some(SignInView::Missing)));
        let step = |login: &MailAddress| {
            let remedy = (Actor::GatepostAdmin, format!("run `gatepost login {login}`"));
            Step::problem(HERE, login.to_string(), "nobody has signed in", remedy).because(Cause::SignInNeeded)
        };
        missing.map(step).collect()
    }

    fn signed_in(&self, login: &MailAddress) -> String {
        match self.sign_ins.get(login) {
            Some(SignInView::SignedIn { username, at, .. }) => format!("signed in as {username} on {}", day(*at)),
            _ => "signed in".to_owned(),
        }
    }

    /// Credentials of the application that expire soon, or have expired.
    fn expiries(&self, group: &Group) -> Vec<Step> {
        let now = self.facts.shared.authenticator.clock().unix_time();
        let client_id = &group.application.client_id;
        let of_group = self.expiries.iter().filter(|expiry| expiry.client_id == *client_id);
        let steps = of_group.filter_map(|expiry| expiry_step(expiry, now));
        steps.collect()
    }
}

/// Tells a credential that expires soon, or has expired.
fn expiry_step(expiry: &Expiry, now: UnixTime) -> Option<Step> {
    let Expiry { client_id, what, expires } = expiry;
    let days = expiry.days_left(now);
    let subject = format!("application {client_id}");
    let remedy = (
        Actor::M365Admin,
        format!(
            "create a new one in Entra (App registrations, {client_id}, Certificates & secrets), then put it into the \
             configuration"
        ),
    );
    match days {
        ..0 => Some(Step::problem(HERE, subject, format!("{what} expired on {}", day(*expires)), remedy)),
        0..=DAYS_BEFORE_EXPIRY => {
            let text = format!("{what} expires in {days} days, on {}", day(*expires));
            Some(Step::warning(HERE, subject, text, remedy))
        }
        _ => None,
    }
}

async fn obtain(facts: &Facts, login: &MailAddress, resources: &[Resource]) -> Obtained {
    let mut tokens = Vec::new();
    for resource in resources {
        tokens.push((*resource, facts.shared.authenticator.admit_afresh(login.as_login(), *resource).await?));
    }
    Ok(tokens)
}

/// A name that logs in to the account; for a pattern any that it fits.
fn some_login(subject: &Subject) -> Option<LoginName> {
    match (&subject.login, &subject.account.pattern) {
        (Some(login), _) => Some(login.as_login().clone()),
        (None, LoginPattern::Domain(domain)) => LoginName::parse(&format!("gatepost-doctor@{domain}")).ok(),
        (None, LoginPattern::Any) if subject.tenant.is_some() => {
            LoginName::parse("gatepost-doctor@gatepost.invalid").ok()
        }
        (None, _) => None,
    }
}

fn credential_accepted(credential: &Credential) -> &'static str {
    match credential {
        Credential::None => "accepted",
        Credential::Secrets(secrets) if secrets.iter().all(|secret| secret.expires.is_none()) => {
            "secret accepted, when it expires is not set in `expires`"
        }
        Credential::Secrets(_) => "secret accepted",
        Credential::Certificates(_) => "certificate accepted",
        Credential::FederatedTokenFile(_) => "federated token accepted",
        Credential::ManagedIdentity(_) => "the platform gives it tokens",
        Credential::NotRead => "accepted",
    }
}

/// The day of a time (UTC).
pub(super) fn day(time: UnixTime) -> String {
    time.rfc3339().chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::step::Outcome;

    #[test]
    fn a_credential_is_told_before_and_after_its_end() {
        let now = UnixTime(1_795_957_955);
        let expiry = |days: i64| Expiry {
            client_id: "2f5c7e10".into(),
            what: "client secret".into(),
            expires: UnixTime(now.0.saturating_add_signed(days * 86_400)),
        };
        assert_eq!(expiry_step(&expiry(40), now), None);
        let soon = expiry_step(&expiry(12), now).unwrap();
        assert_eq!((soon.outcome, &*soon.text), (Outcome::Warning, "client secret expires in 12 days, on 2026-12-11"));
        let past = expiry_step(&expiry(-9), now).unwrap();
        assert_eq!((past.outcome, &*past.text), (Outcome::Failed, "client secret expired on 2026-11-20"));
        assert!(past.remedy.unwrap().contains("2f5c7e10"));
    }
}
