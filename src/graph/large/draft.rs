//! A draft in the mailbox, which is removed unless it is sent.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::{sleep, timeout};

use super::draft_state::DraftState;
use super::fields::MARK;
use crate::graph::GraphClient;
use crate::graph::messages::{Unserved, encoded, mailbox};
use gatepost_core::cause::Cause;
use gatepost_core::failure::Failure;
use gatepost_proto::sasl::Bearer;

/// How long the client waits for the removal of a draft. It then goes on without the client.
const REMOVAL: Duration = Duration::from_secs(20);
/// Pauses before the looks for a draft whose id is not known. A gateway that stopped waiting may be
/// ahead of Exchange.
const LOOKS: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(4)];
/// Pauses between further attempts, in the background.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(120),
    Duration::from_secs(300),
];

/// Most drafts of a mailbox that wait for a token.
const LEFT: usize = 16;

/// A draft that exists, or may exist. Dropping it removes it in the background.
pub(super) struct Draft {
    graph: Arc<GraphClient>,
    bearer: Bearer,
    state: Option<DraftState>,
}

/// What became of a draft that is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Removal {
    /// There is none any more.
    Removed,
    /// It was sent, and is no draft.
    Sent,
    /// It may have been sent, and nothing of its id is there.
    Gone,
    /// The draft of this id is still there, or may be.
    Remains(String),
}

#[derive(Deserialize)]
struct ListBody {
    value: Vec<Shown>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    #[serde(default)]
    id: String,
    #[serde(default)]
    is_draft: Option<bool>,
}

#[derive(Deserialize)]
struct AttachmentsBody {
    value: Vec<IgnoredAny>,
    #[serde(rename = "@odata.nextLink", default)]
    next_link: Option<String>,
}

impl Draft {
    /// A draft that is about to be created. It can be found by its mark.
    pub(super) fn new(graph: Arc<GraphClient>, bearer: Bearer, mark: String) -> Self {
        Self { graph, bearer, state: Some(DraftState { mark, id: None, may_be_sent: false }) }
    }

    /// Notes its id.
    pub(super) fn created(&mut self, id: String) {
        if let Some(state) = &mut self.state {
            state.id = Some(id);
        }
    }

    /// Notes that the request to send it begins.
    pub(super) fn sending(&mut self) {
        if let Some(state) = &mut self.state {
            state.may_be_sent = true;
        }
    }

    /// Notes that it is no draft any more, or never was one.
    pub(super) fn is_gone(&mut self) {
        self.state = None;
    }

    /// Removes it. One that remains is removed in the background.
    pub(super) async fn remove(&mut self) -> Removal {
        let Some(state) = self.state.clone() else { return Removal::Removed };
        match timeout(REMOVAL, self.graph.remove_draft(&self.bearer, &state)).await {
            Ok(Ok(removal)) => {
                self.state = None;
                return removal;
            }
            Ok(Err(failure)) if failure.cause == Cause::TokenRefused => {
                self.state = None;
                self.graph.leave_draft(&self.bearer, state.clone());
            }
            Ok(Err(_)) | Err(_) => self.remove_in_background(),
        }
        Removal::Remains(state.id.unwrap_or_else(|| format!("with the mark {}", state.mark)))
    }

    fn remove_in_background(&mut self) {
        let Some(state) = self.state.take() else { return };
        // Without a runtime the process is at its end.
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (graph, bearer) = (Arc::clone(&self.graph), self.bearer.clone());
        self.graph.removals.spawn(async move { graph.remove_patiently(&bearer, state).await });
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.remove_in_background();
    }
}

fn told(bearer: &Bearer, state: &DraftState, failure: &Failure, action: &str) {
    tracing::warn!(
        mailbox = %bearer.user,
        draft = state.id.as_deref(),
        cause = failure.cause.name(),
        "a draft of a message that was not sent is still in the mailbox: {}. {action}",
        failure.message
    );
}

impl GraphClient {
    /// Waits until the drafts of broken-off messages are removed, at most this long.
    pub(crate) async fn removed_drafts(&self, most: Duration) {
        self.removals.close();
        let _late = timeout(most, self.removals.wait()).await;
    }

    /// Removes the drafts of this mailbox whose token was refused, with a newer one.
    pub(super) fn remove_left_drafts(self: &Arc<Self>, bearer: &Bearer) {
        for state in self.left_drafts.lock().remove(&bearer.user).into_iter().flatten() {
            let (graph, bearer) = (Arc::clone(self), bearer.clone());
            self.removals.spawn(async move { graph.remove_patiently(&bearer, state).await });
        }
    }

    /// Leaves a draft to the next token of its mailbox.
    fn leave_draft(&self, bearer: &Bearer, state: DraftState) {
        let mut mailboxes = self.left_drafts.lock();
        let left = mailboxes.get_or_insert_with(bearer.user.clone(), Vec::new);
        if left.len() < LEFT {
            left.push(state);
        }
    }

    async fn remove_patiently(&self, bearer: &Bearer, state: DraftState) {
        let mut pauses = PAUSES.into_iter();
        while let Err(failure) = self.remove_draft(bearer, &state).await {
            if failure.cause == Cause::TokenRefused {
                told(bearer, &state, &failure, "Gatepost removes it with the next large message of this mailbox");
                return self.leave_draft(bearer, state);
            }
            let Some(pause) = pauses.next() else { return told(bearer, &state, &failure, "delete it in Drafts") };
            told(bearer, &state, &failure, "Gatepost tries again");
            sleep(pause.max(self.throttle.wait(&bearer.user))).await;
        }
    }

    async fn remove_draft(&self, bearer: &Bearer, state: &DraftState) -> Result<Removal, Failure> {
        if let Some(id) = &state.id {
            if state.may_be_sent {
                match self.is_draft(bearer, id).await? {
                    Some(true) => {}
                    Some(false) => return Ok(Removal::Sent),
                    None => return Ok(Removal::Gone),
                }
            }
            return self.delete_draft(bearer, id).await.map(|()| Removal::Removed);
        }
        for pause in LOOKS {
            sleep(pause).await;
            let found = self.marked_drafts(bearer, &state.mark).await?;
            for draft in &found {
                self.delete_draft(bearer, &draft.id).await?;
            }
            if !found.is_empty() {
                break;
            }
        }
        Ok(Removal::Removed)
    }

    /// Returns how many files a draft has.
    pub(super) async fn attachments_of(&self, bearer: &Bearer, draft: &str) -> Result<usize, Failure> {
        let path = format!("{draft}/attachments?$select=id");
        let response = self.ask(&Method::GET, &path, bearer, 200).await.map_err(Unserved::into_failure)?;
        let body = self.whole(response).await.map_err(Unserved::into_failure)?;
        match serde_json::from_slice(&body) {
            // A list in several pages is longer than what this is asked for.
            Ok(AttachmentsBody { value, next_link: None }) => Ok(value.len()),
            _ => Err(self.not_graph("a list of attachments cannot be read")),
        }
    }

    /// Whether a message is still a draft; `None` if there is no such message.
    pub(super) async fn is_draft(&self, bearer: &Bearer, id: &str) -> Result<Option<bool>, Failure> {
        let path = format!("{}?$select=isDraft", message(bearer, id));
        let response = match self.ask(&Method::GET, &path, bearer, 200).await {
            Ok(response) => response,
            Err(Unserved::Gone) => return Ok(None),
            Err(unserved) => return Err(unserved.into_failure()),
        };
        let body = self.whole(response).await.map_err(Unserved::into_failure)?;
        let shown: Option<Shown> = serde_json::from_slice(&body).ok();
        match shown.and_then(|shown| shown.is_draft) {
            Some(is_draft) => Ok(Some(is_draft)),
            None => Err(self.not_graph("a message cannot be read")),
        }
    }

    async fn marked_drafts(&self, bearer: &Bearer, mark: &str) -> Result<Vec<Shown>, Failure> {
        let filter = format!("singleValueExtendedProperties/any(ep:ep/id eq '{MARK}' and ep/value eq '{mark}')");
        let filter = encoded(&filter).replace('+', "%20");
        let path = format!("{}/mailFolders/drafts/messages?$select=id&$filter={filter}", mailbox(&bearer.user));
        let response = self.ask(&Method::GET, &path, bearer, 200).await.map_err(Unserved::into_failure)?;
        let body = self.whole(response).await.map_err(Unserved::into_failure)?;
        let listed: Option<ListBody> = serde_json::from_slice(&body).ok();
        listed.map(|listed| listed.value).ok_or_else(|| self.not_graph("a list of drafts cannot be read"))
    }

    /// Removes a draft for good. Clouds that cannot do that move it to Deleted Items.
    async fn delete_draft(&self, bearer: &Bearer, id: &str) -> Result<(), Failure> {
        let path = message(bearer, id);
        let for_good = self.ask(&Method::POST, &format!("{path}/permanentDelete"), bearer, 204).await;
        match for_good {
            Ok(_) | Err(Unserved::Gone) => return Ok(()),
            Err(_) => {}
        }
        match self.ask(&Method::DELETE, &path, bearer, 204).await {
            Ok(_) | Err(Unserved::Gone) => Ok(()),
            Err(unserved) => Err(unserved.into_failure()),
        }
    }
}

/// The path of a message.
pub(super) fn message(bearer: &Bearer, id: &str) -> String {
    format!("{}/messages/{}", mailbox(&bearer.user), encoded(id))
}
