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
use super::permissions::{Permitted, permitted};
use super::report::Report;
use super::step::{Event, Section};
use super::{clients, configuration, from_address, host, listeners, mailboxes};
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
            running: facts.listening.is_some(),
            pid: std::process::id(),
            user: user::name(user::own()),
            file: facts.file().map(|file| file.display().to_string()),
        })
        .await;
    let (subjects, of_subjects) = subjects(&facts.config, &order);
    report.steps(configuration::steps(facts).into_iter().chain(of_subjects)).await;
    let groups = groups(&subjects);
    let destinations = destinations(facts);

    report.working(Section::Host).await;
    let tenants = Tenants::ask(facts, &groups).await;
    report.steps(host::steps(facts, tenants.clock).await).await;

    report.working(Section::Network).await;
    let (steps, unreached) = network::steps(facts, &groups, &tenants, &destinations).await;
    report.steps(steps).await;

    report.working(Section::Entra).await;
    let application_of = applications(&groups);
    let subjects = Arc::new(subjects);
    let examination = Examination {
        facts: Arc::clone(facts),
        subjects: Arc::clone(&subjects),
        order: Arc::clone(&order),
        resources: mailboxes::resources(&destinations),
        sign_ins: sign_ins(facts).await,
        expiries: facts.shared.authenticator.expiries().await,
    };
    let of_groups = groups.iter().map(copy).collect();
    let (steps, admitted) = entra::steps(examination, of_groups, &tenants, &unreached).await;
    report.steps(steps).await;

    // Whether a permission that no token shows is given all the same, the mailboxes tell.
    report.working(Section::Mailboxes).await;
    let permitted: Vec<Permitted> =
        groups.iter().flat_map(|group| permitted(group, &subjects, &admitted, &destinations)).collect();
    let bars = |place: usize, access| permitted.iter().any(|of| of.members.contains(&place) && of.bars(access));
    let application = |place| application_of.get(&place).copied().unwrap_or_default();
    let (skipped, visits) = mailboxes::plan(&subjects, application, &admitted, &destinations, &unreached, bars);
    let mut visited = mailboxes::visit_all(facts, &order, visits).await;
    for of in &permitted {
        let works = |access: MailAccess| {
            let mut answers = visited.iter().filter(|visited| of.members.contains(&visited.visit.place));
            answers.any(|visited| visited.visit.destination.access == access && visited.answer == Answer::Opened)
        };
        let failing: Vec<MailAccess> =
            of.missing.iter().map(|missing| missing.access).filter(|access| !works(*access)).collect();
        report.steps(of.steps(works)).await;
        let fails = |visited: &&mut Visited| {
            of.members.contains(&visited.visit.place) && failing.contains(&visited.visit.destination.access)
        };
        visited.iter_mut().filter(fails).for_each(Visited::skip_for_permission);
    }
    let mut steps: Vec<_> = visited.into_iter().map(|visited| visited.step).chain(skipped).collect();
    steps.sort_by(|one, other| one.subject.cmp(&other.subject));
    report.steps(steps).await;

    report.working(Section::Clients).await;
    let now = facts.shared.authenticator.clock().unix_time();
    report.steps(clients::steps(facts, &subjects, now).await).await;
    let of_listeners = Arc::clone(facts);
    // Certificates are read outside the threads of the sessions.
    let steps = tokio::task::spawn_blocking(move || listeners::steps(&of_listeners, now)).await;
    report.steps(steps.unwrap_or_default()).await;
    if let Some(from) = order.from {
        report.steps(from_address::steps(facts, from.to_canonical())).await;
    }
    report.end().await;
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
