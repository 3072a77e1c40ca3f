//! `gatepost doctor` in the service: an examination that a command or the page asks for.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use askama::Template;
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderValue};
use axum::http::{Response, StatusCode};
use hyper::body::Frame;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

use super::answer::{Page, plain};
use super::form::Form;
use super::places::Place;
#[cfg(unix)]
use super::server::UserId;
use super::state::{AdminState, SharedState};
use super::{filters, page};
use crate::admin::sessions::Visitor;
use crate::doctor::{Event, Facts, Order, Outcome, Recipient, Step, Summary, examine};
use gatepost_core::account::{LoginName, MailAddress};
use gatepost_core::secret::Password;

/// Time limit for receiving the form, which has only a few words.
const FORM: Duration = Duration::from_secs(10);
/// Most events that wait for a slow reader. The examination then waits.
const WAITING: usize = 64;
/// Most time of an examination for the page, which is shown as a whole.
const PAGE: Duration = Duration::from_secs(45);

/// Examines, and answers with one [`Event`] in JSON on each line, as they come. The examination ends
/// when the caller goes.
#[cfg(unix)]
pub(super) async fn of_socket(
    State(site): SharedState,
    Extension(place): Extension<Arc<Place>>,
    Extension(user): Extension<UserId>,
    request: Request,
) -> Page {
    place.keep();
    let form = match timeout(FORM, Form::read(request.into_body())).await {
        Ok(Ok(form)) => form,
        Ok(Err(answer)) => return answer,
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the form does not come"),
    };
    let order = match order(&form) {
        Ok(order) => order,
        Err(text) => return plain(StatusCode::UNPROCESSABLE_ENTITY, &text),
    };
    if let Some(text) = order.lacks_password(&site.control.shared().authenticator.config()) {
        return plain(StatusCode::UNPROCESSABLE_ENTITY, &text);
    }
    let (account, acts) = (order.account().to_owned(), order.acts());
    match begin(&site, order) {
        Some(events) => {
            let by = user.to_string();
            for (done, message) in acts {
                site.shared.journal.act_by(&by, done, &account, &message);
            }
            let mut answer = Response::new(Body::new(Lines { events }));
            let kind = HeaderValue::from_static("application/x-ndjson");
            answer.headers_mut().insert(header::CONTENT_TYPE, kind);
            answer
        }
        None => plain(StatusCode::CONFLICT, "two examinations run already. Wait until one of them has ended"),
    }
}

/// The page with the outcome.
#[derive(Template)]
#[template(path = "doctor.html")]
struct DoctorPage<'a> {
    base: &'a str,
    /// The account; empty for all.
    login: &'a str,
    sections: Vec<(&'static str, Vec<Step>)>,
    /// `None`: it was not finished.
    summary: Option<Summary>,
    doctor_token: String,
}

/// Examines the account that the form names, or all, and shows the steps.
pub(super) async fn of_page(
    State(site): SharedState,
    Extension(visitor): Extension<Visitor>,
    Extension(form): Extension<Arc<Form>>,
) -> Page {
    let named = form.text("login");
    let login = match Some(named).filter(|name| !name.is_empty()).map(LoginName::parse).transpose() {
        Ok(login) => login,
        Err(error) => {
            let title = "Doctor cannot run for this account";
            return page::message(StatusCode::BAD_REQUEST, title, &error.to_string(), &visitor.at("/#accounts"));
        }
    };
    let Some((steps, summary)) = steps(&site, login).await else {
        let text = "Doctor runs twice already. Wait until one run has ended, then try again.";
        return page::message(StatusCode::CONFLICT, "Doctor is busy", text, &visitor.at("/#accounts"));
    };
    let mut sections: Vec<(&'static str, Vec<Step>)> = Vec::new();
    for step in steps {
        let title = step.section.title();
        match sections.last_mut() {
            Some((of, steps)) if *of == title => steps.push(step),
            _ => sections.push((title, vec![step])),
        }
    }
    let doctor_token = visitor.form_token("/doctor");
    page::answer(StatusCode::OK, &DoctorPage { base: visitor.base(), login: named, sections, summary, doctor_token })
}

/// Examines one account, or all, and returns the steps; `None` if too many examinations run already.
async fn steps(site: &AdminState, login: Option<LoginName>) -> Option<(Vec<Step>, Option<Summary>)> {
    let mut events = begin(site, Order { login, ..Order::default() })?;
    let (mut steps, mut summary) = (Vec::new(), None);
    let collecting = async {
        while let Some(event) = events.recv().await {
            match event {
                Event::Step(step) => steps.push(step),
                Event::End(end) => summary = Some(end),
                Event::Begin { .. } | Event::Working { .. } => {}
            }
        }
    };
    // What was found until then is shown.
    let _late = timeout(PAGE, collecting).await;
    Some((steps, summary))
}

/// Begins an examination. It ends when the receiver is dropped.
fn begin(site: &AdminState, order: Order) -> Option<mpsc::Receiver<Event>> {
    let permit: OwnedSemaphorePermit = Arc::clone(&site.examinations).try_acquire_owned().ok()?;
    let facts = Arc::new(Facts::of(&site.control, site.slots.clone()));
    let (sender, events) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        examine(facts, order, sender).await;
        drop(permit);
    });
    Some(events)
}

/// Reads what is to be examined.
fn order(form: &Form) -> Result<Order, String> {
    let given = |name: &'static str| Some(form.text(name)).filter(|text| !text.is_empty());
    let login = given("login").map(LoginName::parse).transpose().map_err(|error| error.to_string())?;
    let from = given("from").map(|from| from.parse().map_err(|_| format!("`{from}` is not an IP address")));
    let send = match (given("send_test"), given("send")) {
        (Some(to), _) => Some(Recipient::Address(MailAddress::parse(to).map_err(|error| error.to_string())?)),
        (None, Some(_)) => Some(Recipient::Itself),
        (None, None) => None,
    };
    // A password is taken as it is, with blanks at its ends.
    let password = form.value("password").filter(|password| !password.is_empty());
    let password = password.map(|password| Password::new(password.to_owned()));
    Ok(Order { login, password, from: from.transpose()?, send })
}

/// The events as lines of JSON.
struct Lines {
    events: mpsc::Receiver<Event>,
}

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut waiting = VecDeque::new();
        match self.events.poll_recv(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(event)) => waiting.push_back(event),
        }
        while let Ok(event) = self.events.try_recv() {
            waiting.push_back(event);
        }
        let mut lines = Vec::new();
        for event in waiting {
            if let Err(error) = serde_json::to_writer(&mut lines, &event) {
                return Poll::Ready(Some(Err(io::Error::other(error))));
            }
            lines.push(b'\n');
        }
        Poll::Ready(Some(Ok(Frame::data(lines.into()))))
    }
}
