//! Walks through all sections in order. What fails in one is skipped in those that need it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::accounts::{Group, groups, subjects};
use super::compare::Answer;
use super::destinations::destinations;
use super::entra::{self, Examination};
use super::facts::Facts;
use super::mailboxes::Visited;
use super::network::{self, Tenants};
use super::order::Order;
use super::permissions::{Permitted, Shown, permitted};
#[cfg(unix)]
use super::programs;
use super::report::Report;
use super::step::{Event, Section};
use super::{clients, configuration, from_address, host, listeners, mailboxes};
use crate::login::AuthorizedLogin;
use crate::login::overview::SignInView;
use gatepost_config::user;
use gatepost_core::account::MailAddress;
use gatepost_oauth::claims::MailAccess;

/// Time limit of the store for the list of sign-ins.
const STORE: Duration = Duration::from_secs(5);

/// Examines everything that `order` names, and tells each step. It ends early when nobody listens
/// to the events any more.
///
/// # Cancel safety
/// Dropping the future ends all connections that it has opened.
pub(crate) async fn examine(facts: Arc<Facts>, order: Order, events: mpsc::Sender<Event>) {
    let report = Report::new(events);
    tokio::select! {
        () = walk(&facts, Arc::new(order), &report) => {}
        () = report.unheard() => {}
    }
}

async fn walk(facts: &Arc<Facts>, order: Arc<Order>, report: &Report) {
    report
        .tell(Event::Begin {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            running: facts.is_running(),
            pid: std::process::id(),
            user: user::name(user::own()),
            file: facts.file().map(|file| file.display().to_string()),
        })
        .await;
    let (subjects, of_subjects) = subjects(&facts.config, &order);
    report.steps(configuration::steps(facts).into_iter().chain(of_subjects)).await;
    let groups = groups(&subjects);
    let destinations = destinations(facts);

    let (tenants, steps) = report
        .working(Section::Host, async {
            let tenants = Tenants::ask(facts, &groups).await;
            let steps = host::steps(facts, tenants.clock).await;
            (tenants, steps)
        })
        .await;
    report.steps(steps).await;

    let reaching = network::steps(facts, &groups, &tenants, &destinations);
    let (steps, unreached) = report.working(Section::Network, reaching).await;
    report.steps(steps).await;

    let application_of = applications(&groups);
    let subjects = Arc::new(subjects);
    let of_groups = groups.iter().map(copy).collect();
    let asking = async {
        let examination = Examination {
            facts: Arc::clone(facts),
            subjects: Arc::clone(&subjects),
            order: Arc::clone(&order),
            resources: mailboxes::resources(&destinations),
            sign_ins: sign_ins(facts).await,
        };
        entra::steps(examination, of_groups, &tenants, &unreached).await
    };
    let (steps, admitted) = report.working(Section::Entra, asking).await;
    report.steps(steps).await;

    // Whether a permission that no token shows is given all the same, the mailboxes tell.
    let permitted: Vec<Permitted> =
        groups.iter().flat_map(|group| permitted(group, &subjects, &admitted, &destinations)).collect();
    let lacks = |place: usize, access| permitted.iter().any(|of| of.members.contains(&place) && of.lacks(access));
    let application = |place| application_of.get(&place).copied().unwrap_or_default();
    let is_personal = |admission: &AuthorizedLogin| facts.shared.authenticator.is_personal(admission);
    let (skipped, visits) = mailboxes::plan(&subjects, application, &admitted, &destinations, &unreached, is_personal);
    let visiting = mailboxes::visit_all(facts, &order, visits, lacks);
    let mut visited = report.working(Section::Mailboxes, visiting).await;
    for of in &permitted {
        let shown = |access| of_answers(of, access, &visited);
        report.steps(of.steps(shown)).await;
        let missing: Vec<MailAccess> =
            of.missing.iter().map(|of| of.access).filter(|access| shown(*access) == Shown::Missing).collect();
        // The server itself has rejected the token, and the step about the permission says why.
        let fails = |visited: &&mut Visited| {
            of.members.contains(&visited.visit.place)
                && visited.answer == Answer::Unpermitted
                && missing.contains(&visited.visit.destination.access)
        };
        visited.iter_mut().filter(fails).for_each(Visited::skip_for_permission);
    }
    let mut steps: Vec<_> = visited.into_iter().map(|visited| visited.step).chain(skipped).collect();
    steps.sort_by(|one, other| one.subject.cmp(&other.subject));
    report.steps(steps).await;

    let now = facts.shared.authenticator.clock().unix_time();
    let of_clients = report.working(Section::Clients, clients::steps(facts, &subjects, now)).await;
    report.steps(of_clients).await;
    let of_listeners = Arc::clone(facts);
    // Certificates are read outside the threads of the sessions.
    let looking = tokio::task::spawn_blocking(move || listeners::steps(&of_listeners, now));
    let steps = report.working(Section::Clients, looking).await;
    report.steps(listeners::found(steps)).await;
    #[cfg(unix)]
    report.steps(report.working(Section::Clients, programs::steps(facts)).await).await;
    if let Some(from) = order.from {
        report.steps(from_address::steps(facts, from.to_canonical())).await;
    }
    report.end().await;
}

/// What the mailboxes have shown of an access that the tokens do not permit.
fn of_answers(of: &Permitted, access: MailAccess, visited: &[Visited]) -> Shown {
    let has = |wanted: Answer| {
        let mut answers = visited.iter().filter(|visited| of.members.contains(&visited.visit.place));
        answers.any(|visited| visited.visit.destination.access == access && visited.answer == wanted)
    };
    match (has(Answer::Opened), has(Answer::Unpermitted)) {
        (true, _) => Shown::Granted,
        (false, true) => Shown::Missing,
        (false, false) => Shown::Unknown,
    }
}

fn copy(group: &Group) -> Group {
    Group { application: Arc::clone(&group.application), tenant: group.tenant.clone(), members: group.members.clone() }
}

/// The number of the group of each subject.
fn applications(groups: &[Group]) -> HashMap<usize, usize> {
    let numbered = groups.iter().enumerate();
    numbered.flat_map(|(number, group)| group.members.iter().map(move |place| (*place, number))).collect()
}

async fn sign_ins(facts: &Facts) -> HashMap<MailAddress, SignInView> {
    match timeout(STORE, facts.shared.authenticator.overview([])).await {
        Ok(Ok((views, _))) => views.into_iter().filter_map(|view| Some((view.login, view.sign_in?))).collect(),
        // The step about the store says why.
        Ok(Err(_)) | Err(_) => HashMap::new(),
    }
}
