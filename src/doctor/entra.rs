//! Entra: whether each tenant exists, each application and credential is accepted, and each person
//! has signed in. It also gets the tokens for the steps behind.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::accounts::{Group, Subject};
use super::at_start::are_over;
use super::facts::Facts;
use super::in_order::in_order;
use super::network::{Late, Tenants, Unreached, authority_place, bounded};
use super::order::Order;
use super::step::{Section, Step};
use crate::login::overview::SignInView;
use crate::login::{AuthorizedLogin, LoginRequest};
use gatepost_config::{Credential, Grant, Issuer, LoginPattern, Resource};
use gatepost_core::account::{LoginName, MailAddress};
use gatepost_core::cause::Cause;
use gatepost_core::clock::UnixTime;
use gatepost_core::failure::{Actor, Failure};
use gatepost_core::protocol::Protocol;
use gatepost_oauth::claims::TokenClaims;
use gatepost_oauth::expiry::{CredentialEnd, Expiry, Renewing};
use gatepost_oauth::tokens::{explain, scope};

const HERE: Section = Section::Entra;
/// A credential that expires within so many days is told.
const DAYS_BEFORE_EXPIRY: i64 = 30;
/// A certificate that renews itself should have done so before its last days.
const LATE: i64 = 7;
/// Time limit for reading when the credentials expire.
const ENDS: Duration = Duration::from_secs(10);
/// Why a mailbox is skipped.
const ENTRA: &str = "Entra";
/// Why a service of Microsoft is skipped for an account of another provider.
pub(super) const NO_SERVICE: &str = "its provider has no such service";

/// What Entra gave.
#[derive(Default)]
pub(super) struct Admitted {
    /// By place of the subject and by resource.
    pub(super) tokens: HashMap<(usize, Resource), AuthorizedLogin>,
    /// Why there is none, likewise.
    pub(super) without: HashMap<(usize, Resource), String>,
}

impl Admitted {
    /// Notes why these subjects have no tokens for these resources.
    fn lack(&mut self, places: &[usize], resources: &[Resource], why: &str) {
        let pairs = places.iter().flat_map(|place| resources.iter().map(|resource| (*place, *resource)));
        self.without.extend(pairs.map(|pair| (pair, why.to_owned())));
    }
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
            admitted.lack(&group.members, &examination.resources, "network");
            continue;
        }
        match tenants.of(&group) {
            Some(Err(error)) => {
                let tenant = group.tenant.as_deref().unwrap_or_default();
                let failure = explain::of_application(&error.clone().into_error(), &group.application, tenant, "");
                steps.push(Step::failed(HERE, format!("tenant {tenant}"), &failure));
                admitted.lack(&group.members, &examination.resources, ENTRA);
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

/// The token of a subject for each resource, or why there is none.
type Obtained = Vec<(Resource, Result<AuthorizedLogin, Failure>)>;

impl Examination {
    async fn group(self: Arc<Self>, group: Group) -> (Vec<Step>, Admitted) {
        let authenticator = &self.facts.shared.authenticator;
        // Certificates are read, perhaps from a disk that does not answer.
        let ends = timeout(ENDS, authenticator.ends(&group.application)).await.unwrap_or_default();
        let mut steps = expiries(&group.application.client_id, &ends, authenticator.clock().unix_time());
        let mut admitted = Admitted::default();
        let accepted = credential_accepted(&group.application.credential, &ends);
        let of = |wanted: fn(Grant) -> bool| -> Vec<usize> {
            let fits = |place: &&usize| self.subjects.get(**place).is_some_and(|subject| wanted(subject.account.grant));
            group.members.iter().filter(fits).copied().collect()
        };
        let applications = of(|grant| grant == Grant::ClientCredentials);
        match group.application.issuer {
            Issuer::Entra(_) => {
                self.application(&group, &applications, &accepted, &mut steps, &mut admitted).await;
            }
            Issuer::Provider(_) => {
                self.service_account(&group, &applications, &accepted, &mut steps, &mut admitted).await;
            }
        }
        let users = of(|grant| grant == Grant::Password);
        self.users(&group, &users, &accepted, &mut steps, &mut admitted).await;
        let people = of(Grant::is_sign_in);
        self.people(&people, &mut steps, &mut admitted).await;
        (steps, admitted)
    }

    /// The application's own access: one token request for each resource.
    async fn application(
        &self,
        group: &Group,
        members: &[usize],
        credential: &str,
        steps: &mut Vec<Step>,
        admitted: &mut Admitted,
    ) {
        let Some(login) = members.iter().find_map(|place| some_login(self.subjects.get(*place)?)) else { return };
        let authenticator = &self.facts.shared.authenticator;
        let mut named = group.name();
        let mut accepted = false;
        for resource in &self.resources {
            let most = self.facts.config.limits.token_total + Duration::from_secs(5);
            let asked = self.asked(most, authenticator.admit_afresh(&login, *resource)).await;
            let first = match asked {
                Ok(Ok(first)) => first,
                Ok(Err(failure)) => {
                    add_new(steps, Step::failed(HERE, format!("application {named}"), &failure));
                    admitted.lack(members, &[*resource], ENTRA);
                    continue;
                }
                Err(late) => {
                    steps.push(late.step(HERE, format!("application {named}")));
                    admitted.lack(members, &[*resource], ENTRA);
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
                        add_new(steps, Step::failed(HERE, login.to_string(), &failure));
                        admitted.lack(&[*place], &[*resource], ENTRA);
                    }
                }
            }
        }
        if accepted {
            steps.push(Step::ok(HERE, format!("application {named}"), credential));
        }
    }

    /// The access of a service account: a token request for each mailbox.
    async fn service_account(
        &self,
        group: &Group,
        members: &[usize],
        credential: &str,
        steps: &mut Vec<Step>,
        admitted: &mut Admitted,
    ) {
        let named = format!("service account {}", group.application.client_id);
        // A pattern has no mailbox.
        let mailboxes = members.iter().filter_map(|place| Some((*place, self.subjects.get(*place)?.login.clone()?)));
        let jobs = mailboxes.map(|(place, login)| {
            let (facts, resources) = (Arc::clone(&self.facts), self.resources.clone());
            async move {
                let obtained = obtain(&facts, &login, &resources).await;
                (place, login, obtained)
            }
        });
        let mut accepted = false;
        for (place, login, obtained) in in_order(jobs.collect::<Vec<_>>()).await {
            for (resource, token) in obtained {
                match token {
                    Ok(token) => {
                        accepted = true;
                        admitted.tokens.insert((place, resource), token);
                    }
                    Err(failure) if failure.cause == Cause::ProviderLacksService => {
                        admitted.lack(&[place], &[resource], NO_SERVICE);
                    }
                    Err(failure) => {
                        // What is wrong with the service account is told once for all mailboxes.
                        let subject = if failure.cause == Cause::NoMailbox { login.to_string() } else { named.clone() };
                        add_new(steps, Step::failed(HERE, subject, &failure));
                        admitted.lack(&[place], &[resource], group.application.issuer.title());
                    }
                }
            }
        }
        if accepted {
            steps.push(Step::ok(HERE, named, credential));
        }
    }

    /// Accounts whose password Entra checks: the application alone, unless a password was given.
    async fn users(
        &self,
        group: &Group,
        members: &[usize],
        accepted: &str,
        steps: &mut Vec<Step>,
        admitted: &mut Admitted,
    ) {
        let Some(first) = members.first().and_then(|place| self.subjects.get(*place)) else { return };
        let (config, shared) = (&self.facts.config, &self.facts.shared);
        let subject = format!("application {}", group.name());
        let Some(tenant) = &group.tenant else {
            steps.push(Step::skipped(HERE, subject, "its tenant is only known from a login"));
            return;
        };
        let mut usable = Vec::new();
        for resource in &self.resources {
            let scope = scope::of(&first.account, *resource, config);
            let probing = shared.authenticator.source().probe_application(&group.application, tenant, &scope);
            let failed = match self.asked(config.limits.token_total, probing).await {
                Ok(Ok(())) => {
                    usable.push(*resource);
                    continue;
                }
                Ok(Err(error)) => {
                    Step::failed(HERE, &*subject, &explain::of_application(&error, &group.application, tenant, &scope))
                }
                Err(late) => late.step(HERE, &*subject),
            };
            add_new(steps, failed);
            admitted.lack(members, &[*resource], ENTRA);
        }
        if usable.is_empty() {
            return;
        }
        let text = match &*group.application.credential {
            Credential::None => "known, public client flows are allowed",
            _ => accepted,
        };
        steps.push(Step::ok(HERE, subject, text));
        for place in members {
            self.user(*place, &usable, steps, admitted).await;
        }
    }

    async fn user(&self, place: usize, resources: &[Resource], steps: &mut Vec<Step>, admitted: &mut Admitted) {
        let Some(subject) = self.subjects.get(place) else { return };
        let (Some(login), Some(password)) = (&subject.login, &self.order.password) else {
            let login = subject.login.as_ref().map_or("LOGIN", MailAddress::as_str);
            let why = format!("needs the user's password: run `gatepost doctor --login {login}`");
            admitted.lack(&[place], resources, &why);
            return;
        };
        let mut is_accepted = false;
        for (number, resource) in resources.iter().enumerate() {
            let request = LoginRequest {
                login: login.as_login(),
                acting_as: None,
                password,
                source: IpAddr::V4(Ipv4Addr::LOCALHOST),
                protocol: Protocol::Imap,
                resource: *resource,
            };
            let _turn = self.facts.slots.turn().await;
            match self.facts.shared.authenticator.admit(request, Duration::ZERO).await {
                Ok(token) => {
                    if !is_accepted {
                        steps.push(Step::ok(HERE, login.to_string(), "Entra accepts the password"));
                    }
                    is_accepted = true;
                    admitted.tokens.insert((place, *resource), token);
                }
                // The application may lack consent for one resource, and have it for the other.
                Err(failure) if is_accepted || failure.cause == Cause::EntraConfiguration => {
                    add_new(steps, Step::failed(HERE, login.to_string(), &failure));
                    admitted.lack(&[place], &[*resource], ENTRA);
                }
                Err(failure) => {
                    add_new(steps, Step::failed(HERE, login.to_string(), &failure));
                    // A wrong password goes to Entra once.
                    admitted.lack(&[place], resources.get(number..).unwrap_or_default(), ENTRA);
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
            let Some((login, obtained)) = examined else {
                admitted.lack(&[place], &self.resources, "each of its users signs in");
                continue;
            };
            if obtained.iter().any(|(_, token)| token.is_ok()) {
                steps.push(Step::ok(HERE, &*name, self.signed_in(&login)));
            }
            for (resource, token) in obtained {
                match token {
                    Ok(token) => drop(admitted.tokens.insert((place, resource), token)),
                    Err(failure) if failure.cause == Cause::ProviderLacksService => {
                        admitted.lack(&[place], &[resource], NO_SERVICE);
                    }
                    Err(failure) => {
                        add_new(steps, Step::failed(HERE, &*name, &failure));
                        admitted.lack(&[place], &[resource], ENTRA);
                    }
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

    /// Asks Entra within `most`, when it is the turn.
    async fn asked<T>(&self, most: Duration, asking: impl Future<Output = T>) -> Result<T, Late> {
        let _turn = self.facts.slots.turn().await;
        bounded(most, asking).await
    }
}

/// Adds a step, unless one says the same of the same subject: answers about two resources often
/// differ in their trace ids only.
fn add_new(steps: &mut Vec<Step>, step: Step) {
    let is_same =
        |known: &Step| known.subject == step.subject && known.cause == step.cause && known.remedy == step.remedy;
    if !steps.iter().any(is_same) {
        steps.push(step);
    }
}

/// Tells the credentials of an application that expire soon, or have expired.
fn expiries(client_id: &str, ends: &[CredentialEnd], now: UnixTime) -> Vec<Step> {
    let is_over = are_over(ends, now);
    let step = |end: &CredentialEnd| {
        let CredentialEnd { what, expires, renewal } = end.clone();
        let expiry = Expiry { client_id: client_id.to_owned(), what, expires: expires?, renewal };
        expiry_step(&expiry, is_over, now)
    };
    ends.iter().filter_map(step).collect()
}

/// Tells a credential that expires soon, or has expired. `is_over`: no other one may work.
fn expiry_step(expiry: &Expiry, is_over: bool, now: UnixTime) -> Option<Step> {
    let Expiry { client_id, what, expires, renewal } = expiry;
    let subject = format!("application {client_id}");
    let place = format!("in Entra (App registrations, {client_id}, Certificates & secrets)");
    let create = || (Actor::M365Admin, format!("create a new one {place}, then put it into the configuration"));
    match renewal {
        Some(Renewing::Planned) if expiry.days_left(now) > LATE => return None,
        Some(Renewing::Failed(why)) if expiry.days_left(now) >= 0 => {
            let text = format!("{what} expires on {}, and its renewal failed: {why}", day(*expires));
            let remedy = (Actor::GatepostAdmin, "do what it says. Gatepost tries again within hours".to_owned());
            return Some(Step::warning(HERE, subject, text, remedy).because(Cause::CertificateNotRenewed));
        }
        _ => {}
    }
    match expiry.days_left(now) {
        ..0 if is_over => Some(Step::problem(HERE, subject, format!("{what} expired on {}", day(*expires)), create())),
        ..0 => {
            let text = format!("{what} expired on {}, another one is configured", day(*expires));
            let remedy = format!("remove it from the configuration, and {place}");
            Some(Step::warning(HERE, subject, text, (Actor::GatepostAdmin, remedy)))
        }
        days @ 0..=DAYS_BEFORE_EXPIRY => {
            let text = format!("{what} expires in {days} days, on {}", day(*expires));
            Some(Step::warning(HERE, subject, text, create()))
        }
        _ => None,
    }
}

async fn obtain(facts: &Facts, login: &MailAddress, resources: &[Resource]) -> Obtained {
    let mut obtained = Vec::new();
    for resource in resources {
        let _turn = facts.slots.turn().await;
        let token = facts.shared.authenticator.admit_afresh(login.as_login(), *resource).await;
        obtained.push((*resource, token));
    }
    obtained
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

/// What is said of a credential that Entra accepts. One without a known end is not said to last.
fn credential_accepted(credential: &Credential, ends: &[CredentialEnd]) -> String {
    let accepted = match credential {
        Credential::None | Credential::NotRead => "accepted",
        Credential::Secrets(_) => "secret accepted",
        Credential::Certificates(_) => "certificate accepted",
        Credential::FederatedTokenFile(_) => "federated token accepted",
        Credential::ServiceAccountKey(_) => "key accepted",
        Credential::ManagedIdentity(_) => "the platform gives it tokens",
    };
    let unknown: Vec<&str> = ends.iter().filter(|end| end.expires.is_none()).map(|end| &*end.what).collect();
    match (credential, ends.len(), unknown.as_slice()) {
        (Credential::Secrets(_), 1, [_]) => format!("{accepted}, when it expires is not set in `expires`"),
        (Credential::Secrets(_), _, [_, ..]) => {
            format!("{accepted}, when {} expires is not set in `expires`", unknown.join(" or "))
        }
        (_, _, [_, ..]) => format!("{accepted}, when {} expires is not known", unknown.join(" or ")),
        _ => accepted.to_owned(),
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
        let end = |what: &str, days: Option<i64>| CredentialEnd {
            what: what.to_owned(),
            expires: days.map(|days| UnixTime(now.0.saturating_add_signed(days * 86_400))),
            renewal: None,
        };
        let told = |ends: &[CredentialEnd]| {
            let steps = expiries("2f5c7e10", ends, now).into_iter();
            steps.map(|step| (step.outcome, step.text)).collect::<Vec<_>>()
        };
        assert_eq!(told(&[end("client secret", Some(40))]), []);
        assert_eq!(told(&[end("client secret", None)]), []);
        let soon = (Outcome::Warning, "client secret expires in 12 days, on 2026-12-11".to_owned());
        assert_eq!(told(&[end("client secret", Some(12))]), [soon]);
        let past = (Outcome::Failed, "client secret expired on 2026-11-20".to_owned());
        assert_eq!(told(&[end("client secret", Some(-9))]), [past]);
        // The other one may work.
        let text = "client secret 1 expired on 2026-11-20, another one is configured".to_owned();
        for other in [None, Some(400)] {
            let ends = [end("client secret 1", Some(-9)), end("client secret 2", other)];
            assert_eq!(told(&ends), [(Outcome::Warning, text.clone())]);
        }
        let step = expiries("2f5c7e10", &[end("client secret", Some(-9))], now).remove(0);
        assert!(step.remedy.unwrap().contains("2f5c7e10"));
        let renewing = |days, renewal| told(&[CredentialEnd { renewal: Some(renewal), ..end("it", Some(days)) }]);
        assert_eq!(renewing(12, Renewing::Planned), []);
        assert_eq!(renewing(LATE, Renewing::Planned).len(), 1);
        let text = "it expires on 2027-01-08, and its renewal failed: no answer".to_owned();
        assert_eq!(renewing(40, Renewing::Failed("no answer".into())), [(Outcome::Warning, text)]);
    }

    #[test]
    fn a_credential_without_a_known_end_is_not_said_to_last() {
        let secret =
            |number: u32| CredentialEnd { what: format!("client secret {number}"), expires: None, renewal: None };
        let known = CredentialEnd { expires: Some(UnixTime(1_895_957_955)), ..secret(1) };
        let accepted = |ends: &[CredentialEnd]| credential_accepted(&Credential::Secrets(Vec::new()), ends);
        assert_eq!(accepted(std::slice::from_ref(&known)), "secret accepted");
        assert_eq!(accepted(&[secret(1)]), "secret accepted, when it expires is not set in `expires`");
        let text = "secret accepted, when client secret 2 expires is not set in `expires`";
        assert_eq!(accepted(&[known, secret(2)]), text);
        let unread = CredentialEnd { what: "the certificate in `app.pem`".to_owned(), expires: None, renewal: None };
        let text = "certificate accepted, when the certificate in `app.pem` expires is not known";
        assert_eq!(credential_accepted(&Credential::Certificates(Vec::new()), &[unread]), text);
    }
}
