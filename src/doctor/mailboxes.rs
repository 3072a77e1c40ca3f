//! Each account's mailbox over each service that the listeners lead to.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::accounts::Subject;
use super::compare::{Answer, Attempt, Finding, compare};
use super::destinations::{self, Destination, Door};
use super::entra::{Admitted, NO_SERVICE};
use super::facts::Facts;
use super::in_order::in_order;
use super::network::{Unreached, bounded};
use super::order::{Order, Recipient};
use super::step::{Section, Step};
use crate::login::AuthorizedLogin;
use crate::session::http::probe::Unserved;
use crate::session::probe::{MailboxProbe, Message, Unopened};
use gatepost_config::{Account, Grant, Resource};
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure};
use gatepost_core::protocol::MailProtocol;
use gatepost_oauth::claims::{MailAccess, TokenClaims};
use gatepost_oauth::endpoint::guid;
use gatepost_proto::mail::smtp::Envelope;

const HERE: Section = Section::Mailboxes;
/// Time limit of a visit that sends a message. A server that takes longer is no help to a client either.
const SEND: Duration = Duration::from_secs(60);

/// A mailbox over one service.
#[derive(Clone)]
pub(super) struct Visit {
    /// The place of the subject.
    pub(super) place: usize,
    pub(super) account: Arc<Account>,
    /// The number of application and tenant.
    pub(super) application: usize,
    pub(super) destination: Destination,
    /// Host and port of the account's own server there.
    at: String,
    pub(super) admission: AuthorizedLogin,
}

impl Visit {
    fn subject(&self) -> String {
        self.admission.bearer.user.to_string()
    }
}

/// How a visit ended.
pub(super) struct Visited {
    pub(super) visit: Visit,
    pub(super) step: Step,
    pub(super) answer: Answer,
}

impl Visited {
    /// Leaves it to the step about a permission to say what fails.
    pub(super) fn skip_for_permission(&mut self) {
        let text = format!("{} (permission)", self.visit.destination.name());
        self.step = Step::skipped(HERE, self.visit.subject(), text);
    }
}

/// Why nothing is to be visited for a subject, and the visits of the others.
pub(super) fn plan(
    subjects: &[Subject],
    application_of: impl Fn(usize) -> usize,
    admitted: &Admitted,
    destinations: &[Destination],
    unreached: &Unreached,
    is_personal: impl Fn(&AuthorizedLogin) -> bool,
) -> (Vec<Step>, Vec<Visit>) {
    let (mut skipped, mut visits) = (Vec::new(), Vec::new());
    let resources = resources(destinations);
    for (place, subject) in subjects.iter().enumerate() {
        let without = |resource: Resource| admitted.without.get(&(place, resource));
        let of_all: Option<Vec<&String>> = resources.iter().map(|resource| without(*resource)).collect();
        let of_all = of_all.filter(|reasons| reasons.windows(2).all(|two| matches!(two, [one, other] if one == other)));
        if let Some(why) = of_all.iter().flatten().next() {
            skipped.push(Step::skipped(HERE, &*subject.name, why.as_str()));
            continue;
        }
        if subject.login.is_none() {
            let why = "stands for many mailboxes: name one with `gatepost doctor LOGIN`";
            skipped.push(Step::skipped(HERE, &*subject.name, why));
            continue;
        }
        for destination in destinations {
            let name = destination.name();
            if let Some(why) = without(destination.resource()) {
                skipped.push(Step::skipped(HERE, &*subject.name, format!("{name} ({why})")));
            }
            let Some(admission) = admitted.tokens.get(&(place, destination.resource())) else { continue };
            let mailbox = admission.bearer.user.to_string();
            // The token of another provider is not for Microsoft.
            if matches!(destination.door, Door::Ews(_)) && subject.account.application.issuer.provider().is_some() {
                skipped.push(Step::skipped(HERE, mailbox, format!("{name} ({NO_SERVICE})")));
                continue;
            }
            let at = destination.place_of(&subject.account.application.issuer, is_personal(admission));
            if unreached.contains(&at) {
                skipped.push(Step::skipped(HERE, mailbox, format!("{name} (network)")));
            } else {
                visits.push(Visit {
                    place,
                    account: Arc::clone(&subject.account),
                    application: application_of(place),
                    destination: destination.clone(),
                    at,
                    admission: admission.clone(),
                });
            }
        }
    }
    (skipped, visits)
}

/// Visits all mailboxes, and adds what the comparison shows. `lacks` says of a subject whether its
/// token does not permit an access.
pub(super) async fn visit_all(
    facts: &Arc<Facts>,
    order: &Arc<Order>,
    visits: Vec<Visit>,
    lacks: impl Fn(usize, MailAccess) -> bool,
) -> Vec<Visited> {
    let jobs = visits.into_iter().map(|visit| {
        let (facts, order) = (Arc::clone(facts), Arc::clone(order));
        async move {
            let sends =
                matches!(visit.destination.access, MailAccess::Smtp | MailAccess::HighVolume | MailAccess::GraphSend);
            let limit = facts.config.limits.login;
            let most = if sends && order.send.is_some() { limit.max(SEND) } else { limit };
            let _turn = facts.slots.turn().await;
            let (step, answer) = match bounded(most, open(&facts, &order, &visit, most)).await {
                Ok(opened) => opened,
                Err(late) => (named(late.step(HERE, visit.subject()), visit.destination.name()), Answer::Unknown),
            };
            Visited { visit, step, answer }
        }
    });
    let mut visited = in_order(jobs).await;
    for Visited { visit, answer, .. } in &mut visited {
        if *answer == Answer::Rejected && lacks(visit.place, visit.destination.access) {
            *answer = Answer::Unpermitted;
        }
    }
    let attempts: Vec<Attempt> = visited.iter().map(attempt).collect();
    for (visited, attempt) in visited.iter_mut().zip(&attempts) {
        // The servers of another provider answer otherwise than Exchange Online.
        if visited.visit.account.application.issuer.entra().is_some()
            && let Some(finding) = compare(&attempts, attempt)
        {
            visited.step = explained(&visited.visit, &finding, visited.step.cause.take());
        }
    }
    visited
}

fn attempt(visited: &Visited) -> Attempt {
    let Visited { visit, answer, .. } = visited;
    Attempt {
        application: visit.application,
        mailbox: visit.subject(),
        access: visit.destination.access,
        is_app_only: visit.account.grant == Grant::ClientCredentials,
        answer: *answer,
    }
}

/// Opens the mailbox.
async fn open(facts: &Facts, order: &Order, visit: &Visit, most: Duration) -> (Step, Answer) {
    let (name, subject) = (visit.destination.name(), visit.subject());
    let end = Instant::now() + most;
    let opened = |found: String| (Step::ok(HERE, &*subject, format!("{name}: {found}")), Answer::Opened);
    let failed = |failure: &Failure| (named(Step::failed(HERE, &*subject, failure), name), answer_of(failure.cause));
    match &visit.destination.door {
        Door::Mail(servers) => {
            let probe = MailboxProbe { shared: &facts.shared, servers, end };
            let message = order.send.as_ref().filter(|_| servers.protocol() == MailProtocol::Smtp);
            let message = message.map(|to| message_of(&visit.admission.bearer.user, to));
            match probe.open(visit.admission.clone(), message.as_ref()).await {
                Ok(found) => opened(found),
                Err(Unopened::Occupied) => {
                    let text = format!("{name}: all sessions that the mailbox may have are in use");
                    (Step::skipped(HERE, &*subject, text), Answer::Unknown)
                }
                Err(Unopened::Failed(failure)) => failed(&failure),
                Err(Unopened::Refused { command, reply }) => (refused(visit, &command, &reply), Answer::Unknown),
            }
        }
        Door::Ews(gateway) => match gateway.probe_ews(&visit.admission, end).await {
            Ok(()) => opened("Inbox opens".to_owned()),
            Err(Unserved::Failed(failure)) => failed(&failure),
            Err(Unserved::Refused { code, words }) => {
                let is_denied = matches!(&*code, "ErrorImpersonateUserDenied" | "ErrorAccessDenied");
                let answer = if is_denied { Answer::Rejected } else { Answer::Unknown };
                (refused_by_ews(visit, &code, &words), answer)
            }
        },
        Door::Graph(graph) if visit.destination.access == MailAccess::GraphSend => match &order.send {
            Some(to) => {
                let mailbox = &visit.admission.bearer.user;
                let Message { to, text } = message_of(mailbox, to);
                let envelope =
                    Envelope { sender: Some(mailbox.to_string()), recipients: vec![to.to_string()], smtputf8: false };
                match graph.send_mail(&visit.admission.bearer, &envelope, text.into_bytes()).await {
                    Ok(_) => opened(format!("sent a message to {to}")),
                    Err(not_sent) => failed(&not_sent.failure),
                }
            }
            None if reads(&visit.admission) => match graph.probe(&visit.admission.bearer).await {
                Ok(()) => {
                    let text =
                        format!("{name}: the mailbox exists, whether it may send only a message can tell (`--send`)");
                    (Step::ok(HERE, &*subject, text), Answer::Unknown)
                }
                // It tells of reading, and not of sending.
                Err(failure) => (failed(&failure).0, Answer::Unknown),
            },
            None => {
                let text = format!("{name}: only a message can tell, use `--send`");
                (Step::skipped(HERE, &*subject, text), Answer::Unknown)
            }
        },
        Door::Graph(graph) => match graph.probe(&visit.admission.bearer).await {
            Ok(()) => opened("Inbox opens".to_owned()),
            Err(failure) => failed(&failure),
        },
    }
}

/// What a failure says of the token's right to open the mailbox.
fn answer_of(cause: Cause) -> Answer {
    match cause {
        Cause::TokenRefused | Cause::PermissionMissing | Cause::MailboxDenied | Cause::SendDenied => Answer::Rejected,
        Cause::MailboxNotConnected => Answer::NotConnected,
        _ => Answer::Unknown,
    }
}

/// Whether the token says that it permits reading mail through Graph.
fn reads(admission: &AuthorizedLogin) -> bool {
    let claims = TokenClaims::of(&admission.bearer.token);
    claims.is_some_and(|claims| claims.roles.iter().chain(&claims.scopes).any(|name| name.starts_with("Mail.Read")))
}

fn named(step: Step, service: &str) -> Step {
    Step { text: format!("{service}: {}", step.text), ..step }
}

fn refused(visit: &Visit, command: &str, reply: &str) -> Step {
    let (name, mailbox) = (visit.destination.name(), visit.subject());
    let text = format!("{name}: {} accepted the login and refused {command} (`{reply}`)", visit.at);
    let remedy = match visit.destination.access {
        MailAccess::Smtp if reply.contains("SendAsDenied") || reply.contains("5.7.60") => {
            let who = trustee(visit);
            format!("run `Add-RecipientPermission {mailbox} -Trustee {who} -AccessRights SendAs`")
        }
        _ => format!("check the mailbox in the Exchange admin center, such as with `Get-Mailbox {mailbox}`"),
    };
    Step::problem(HERE, mailbox, text, (Actor::M365Admin, remedy))
}

fn refused_by_ews(visit: &Visit, code: &str, words: &str) -> Step {
    let mailbox = visit.subject();
    let code = if code.is_empty() { String::new() } else { format!("{code}: ") };
    let text = format!("EWS: {} does not open the Inbox (`{code}{words}`)", visit.destination.place());
    let remedy = match code.as_str() {
        "ErrorImpersonateUserDenied: " => {
            let application = &visit.account.application.client_id;
            format!(
                "include the mailbox in the application's RBAC scope or access policy, and check it with \
                 `Test-ApplicationAccessPolicy -Identity {mailbox} -AppId {application}`"
            )
        }
        _ => format!("check that the mailbox exists and has a license: `Get-Mailbox {mailbox}`"),
    };
    Step::problem(HERE, mailbox, text, (Actor::M365Admin, remedy))
}

/// The words of what the comparison shows.
fn explained(visit: &Visit, finding: &Finding, cause: Option<String>) -> Step {
    let (name, mailbox) = (visit.destination.name(), visit.subject());
    let claims = TokenClaims::of(&visit.admission.bearer.token).unwrap_or_default();
    let (text, remedy) = match finding {
        Finding::ProtocolOff { works, everywhere } => {
            let works = destinations::name(*works);
            let text = match everywhere {
                true => {
                    format!("{name}: Exchange Online rejected a valid token ({name} opens no mailbox, {works} does)")
                }
                false => format!("{name}: Exchange Online rejected a valid token, {works} accepted it"),
            };
            (text, format!("run {}", switch_on(visit.destination.access, &mailbox)))
        }
        Finding::UnknownApplication => {
            let application = claims.application_id.unwrap_or_else(|| visit.account.application.client_id.clone());
            let object = claims.object_id.unwrap_or_else(|| "‹object ID of the enterprise application›".to_owned());
            let text = format!(
                "{name}: Exchange Online rejected a valid token for every mailbox, so it does not know the application"
            );
            let remedy = format!(
                "check that `Get-ServicePrincipal | Where-Object AppId -eq {application}` shows object ID {object}. If \
                 not, run `New-ServicePrincipal -AppId {application} -ObjectId {object}`, then `Add-MailboxPermission \
                 {mailbox} -User {object} -AccessRights FullAccess`"
            );
            (text, remedy)
        }
        Finding::NoAccess { may_lack_license } => {
            let text = format!("{name}: Exchange Online lets the application open other mailboxes, not this one");
            let grant = format!("`Add-MailboxPermission {mailbox} -User {} -AccessRights FullAccess`", trustee(visit));
            let remedy = match may_lack_license {
                true => format!("assign a license with Exchange Online to {mailbox}. If it has one, run {grant}"),
                false => format!("run {grant}"),
            };
            (text, remedy)
        }
    };
    Step { cause, ..Step::problem(HERE, mailbox, text, (Actor::M365Admin, remedy)) }
}

/// The command that switches a protocol on for a mailbox.
fn switch_on(access: MailAccess, mailbox: &str) -> String {
    match access {
        MailAccess::Imap => format!("`Set-CASMailbox {mailbox} -ImapEnabled $true`"),
        MailAccess::Pop3 => format!("`Set-CASMailbox {mailbox} -PopEnabled $true`"),
        MailAccess::Smtp => format!("`Set-CASMailbox {mailbox} -SmtpClientAuthenticationDisabled $false`"),
        MailAccess::HighVolume => format!("`Get-MailUser -HVEAccount -Identity {mailbox}`"),
        MailAccess::Ews => format!("`Set-CASMailbox {mailbox} -EwsEnabled $true`"),
        MailAccess::GraphSend | MailAccess::GraphDraft | MailAccess::GraphReadWrite => {
            format!("`Get-Mailbox {mailbox}`")
        }
    }
}

/// Who is given a right in Exchange: the application's object, or the person.
fn trustee(visit: &Visit) -> String {
    match visit.account.grant {
        Grant::ClientCredentials => {
            let claims = TokenClaims::of(&visit.admission.bearer.token).unwrap_or_default();
            claims.object_id.unwrap_or_else(|| visit.account.application.client_id.clone())
        }
        _ => visit.account.person(&visit.admission.login).to_string(),
    }
}

/// The message of `--send`.
fn message_of(mailbox: &MailAddress, to: &Recipient) -> Message {
    let to = to.of(mailbox).clone();
    let text = format!(
        "From: <{mailbox}>\r\nTo: <{to}>\r\nSubject: Test message of gatepost doctor\r\nMessage-ID: <{}@{}>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
         gatepost doctor sent this message to test that {mailbox} can send.\r\n",
        guid(),
        mailbox.domain()
    );
    Message { to, text }
}

/// The resources that the destinations need tokens for.
pub(super) fn resources(destinations: &[Destination]) -> Vec<Resource> {
    let needs = |resource: &Resource| destinations.iter().any(|destination| destination.resource() == *resource);
    [Resource::Exchange, Resource::Graph].into_iter().filter(needs).collect()
}
