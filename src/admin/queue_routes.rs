//! What a person does with the messages of the queue on the page.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::StatusCode;

use super::answer::{Page, to};
use super::form::Form;
use super::page;
use crate::admin::sessions::Visitor;
use crate::admin::state::{AdminState, SharedState};
use gatepost_store::queue::{Acted, QueueError, QueueId};

/// Lets a message be tried again.
pub(super) async fn retry(
    State(site): SharedState,
    Extension(visitor): Extension<Visitor>,
    Extension(form): Extension<Arc<Form>>,
) -> Page {
    answer(&visitor, act(&site, &form, "queue-retried").await)
}

/// Deletes a message.
pub(super) async fn discard(
    State(site): SharedState,
    Extension(visitor): Extension<Visitor>,
    Extension(form): Extension<Arc<Form>>,
) -> Page {
    answer(&visitor, act(&site, &form, "queue-discarded").await)
}

/// Acts on the message that the field `id` names. Returns why it was not done.
async fn act(site: &AdminState, form: &Form, done: &'static str) -> Result<Option<String>, QueueError> {
    let (Some(queue), Ok(id)) = (site.control.queue(), form.text("id").parse::<QueueId>()) else {
        return Ok(Some("There is no such message.".to_owned()));
    };
    let entry = queue.show(id).await?;
    let acted = match done {
        "queue-discarded" => queue.discard(id).await?,
        _ => queue.retry(id).await?,
    };
    match acted {
        Acted::Done => {
            let login = entry.and_then(|entry| entry.message).map(|message| message.login).unwrap_or_default();
            site.shared.journal.act(done, &login, &format!("message {id}"));
            Ok(None)
        }
        // Somebody else was faster.
        Acted::Missing => Ok(None),
        Acted::Refused(state) => {
            Ok(Some(format!("Message {id} is in the state \"{}\" by now. Look at the list again.", state.name())))
        }
    }
}

fn answer(visitor: &Visitor, acted: Result<Option<String>, QueueError>) -> Page {
    let title = "Nothing was changed";
    match acted {
        Ok(None) => to(&visitor.at("/#queue")),
        Ok(Some(why)) => page::message(StatusCode::CONFLICT, title, &why, &visitor.at("/#queue")),
        Err(error) => page::message(StatusCode::SERVICE_UNAVAILABLE, title, &error.to_string(), &visitor.at("/#queue")),
    }
}
