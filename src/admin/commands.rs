//! Commands to the service from other processes of this machine, over its Unix socket:
//! `gatepost reload`, `gatepost account unlock`, what others have done in the store, and the Gatepost
//! that takes over from it. Access
//! to the socket is what authorizes the caller.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::routing::post;
use axum::{Extension, Router};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::answer::{Page, plain};
use super::form::Form;
use super::places::Place;
use super::server::UserId;
use super::state::{AdminState, SharedState};
use crate::daemon::take_over::{self, TakeOver};
use gatepost_core::account::LoginName;

/// The protocol of the stream after HTTP has ended (RFC 9110 §7.8).
pub(crate) const TAKE_OVER: &str = "gatepost-take-over";

/// Time limit for receiving a form, which has only a few words.
const FORM: Duration = Duration::from_secs(10);

/// Returns the routes of the commands. A connection that has sent a command is not evicted by
/// others.
pub(super) fn commands() -> Router<Arc<AdminState>> {
    Router::new()
        .route("/reload", post(reload))
        .route("/unlock", post(unlock))
        .route("/acted", post(acted))
        .route("/take-over", post(hand_over))
        .route("/doctor", post(super::doctor::of_socket))
}

/// Reloads, and answers with the outcome and its notes: 422 for mistakes in the configuration, 409
/// for anything else.
async fn reload(State(site): SharedState, Extension(place): Extension<Arc<Place>>) -> Page {
    place.keep();
    match site.control.reload().await {
        Ok(reloaded) => {
            let mut text = reloaded.to_string();
            for note in &reloaded.notes {
                text.push_str(&format!("\nnote: {note}"));
            }
            plain(StatusCode::OK, &text)
        }
        Err(error) if error.is_mistakes() => plain(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
        Err(error) => plain(StatusCode::CONFLICT, &error.to_string()),
    }
}

/// Unlocks the account that the field `login` names.
async fn unlock(
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
    let login = match LoginName::parse(form.text("login")) {
        Ok(login) => login,
        Err(error) => return plain(StatusCode::CONFLICT, &error.to_string()),
    };
    // A task of its own, because the caller may go away in the middle. What was done must get into
    // the audit log all the same.
    let unlocking = tokio::spawn(async move {
        match site.shared.authenticator.unlock(&login).await {
            Ok(unlocked) => {
                let (by, told) = (user.to_string(), unlocked.to_string());
                site.shared.journal.act_by(&by, "account-unlocked", unlocked.login.as_str(), &told);
                plain(StatusCode::OK, &told)
            }
            Err(error) => plain(StatusCode::CONFLICT, &error.to_string()),
        }
    });
    let broken =
        |_| plain(StatusCode::INTERNAL_SERVER_ERROR, "unlocking broke off. Gatepost bug: report it with the log");
    unlocking.await.unwrap_or_else(broken)
}

/// What commands do in the store beside the service: the word for it, and a sentence.
const ACTS: [(&str, &str); 8] = [
    ("signed-in", "a person has signed in for the account"),
    ("signed-out", "the sign-in of the account was removed"),
    ("password-made", "a device password was created"),
    ("password-revoked", "a device password was revoked"),
    ("account-unlocked", "the account was unlocked"),
    ("queue-retried", "a message of the queue is tried again"),
    ("queue-discarded", "a message of the queue was discarded"),
    ("queue-exported", "a message of the queue was exported"),
];

/// Logs what a command has done in the store: the field `done`, with `account`, `device` and `item`.
async fn acted(Extension(user): Extension<UserId>, request: Request) -> Page {
    let form = match timeout(FORM, Form::read(request.into_body())).await {
        Ok(Ok(form)) => form,
        Ok(Err(answer)) => return answer,
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the form does not come"),
    };
    let Some((done, message)) = ACTS.into_iter().find(|(done, _)| *done == form.text("done")) else {
        return plain(StatusCode::CONFLICT, "this act is not known here");
    };
    let by = user.to_string();
    let (account, device, item) = (form.text("account"), form.text("device"), form.text("item"));
    // The command itself writes into the audit log, so that a line is there when it ends.
    let item = if item.is_empty() { String::new() } else { format!(": {item}") };
    tracing::info!(account, device, done, by, "{message}{item}");
    plain(StatusCode::OK, "noted")
}

/// Ends HTTP on the connection, and continues as [`TakeOver::serve`] on the bare stream.
async fn hand_over(
    State(site): SharedState,
    Extension(place): Extension<Arc<Place>>,
    headers: HeaderMap,
    mut request: Request,
) -> Page {
    place.keep();
    if headers.get(header::UPGRADE).is_none_or(|wanted| wanted != TAKE_OVER) {
        return switch(StatusCode::UPGRADE_REQUIRED);
    }
    let take_over = match TakeOver::of(&site.control) {
        Ok(take_over) => take_over,
        Err(error) => {
            tracing::warn!("take-over refused: {error}");
            return plain(StatusCode::CONFLICT, &error.to_string());
        }
    };
    let upgraded = hyper::upgrade::on(&mut request);
    // Not part of the connection, which ends with the socket once the other process serves.
    tokio::spawn(async move {
        if let Err(error) = go_on(upgraded, take_over).await {
            tracing::debug!("a take-over was given up: {error}");
        }
    });
    switch(StatusCode::SWITCHING_PROTOCOLS)
}

async fn go_on(upgraded: OnUpgrade, take_over: TakeOver) -> anyhow::Result<()> {
    let upgraded = timeout(take_over::STEP, upgraded).await??;
    let parts = upgraded.downcast::<TokioIo<UnixStream>>();
    let parts = parts.map_err(|_| anyhow::anyhow!("it did not come over the Unix socket"))?;
    Ok(take_over.serve(&parts.read_buf, parts.io.into_inner()).await?)
}

fn switch(status: StatusCode) -> Page {
    let mut answer = plain(status, "");
    answer.headers_mut().remove(header::CONTENT_TYPE);
    answer.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(TAKE_OVER));
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    answer
}
