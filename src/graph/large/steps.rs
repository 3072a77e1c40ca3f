//! The requests that send a large message: all of them, or none.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::draft::{self, Draft, Removal};
use super::failed::{self, Step};
use super::fields::DraftFields;
use super::octets::MessageOctets;
use super::part::PartReader;
use super::patience::Patience;
use super::plan::PlannedFile;
use super::prepare::{Prepared, prepare, unreadable};
use super::requests::{Failed, Processed, Requests, StepAddress, StepRequest};
use crate::graph::messages::{ID_OCTETS, mailbox};
use crate::graph::outgoing::AddressedHead;
use crate::graph::send::{HandOver, Sent};
use crate::graph::sent_items::HandedOver;
use crate::graph::{GraphClient, MESSAGE_OCTETS, NotSent, refused};
use gatepost_config::GraphLarge;
use gatepost_core::cause::Cause;
use gatepost_core::failure::Failure;
use gatepost_proto::mail::smtp::{Envelope, Reply};
use gatepost_proto::mime::Part;
use gatepost_proto::sasl::Bearer;

/// Longest message: Exchange Online takes no larger one (Microsoft, "Exchange Online limits").
pub const LARGE_OCTETS: usize = 150_000_000;

/// The smallest file for which there is an upload session. Smaller ones go in one request.
const SESSION_OCTETS: u64 = 3_000_000;
/// Octets of a small file that are encoded at a time: a multiple of three.
const ENCODED_OCTETS: usize = 48 * 1_024;

/// Pauses before the looks at a draft of which Graph did not say whether it was sent. A gateway that
/// stopped waiting may be ahead of Exchange.
const LOOKS: [Duration; 4] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(8)];
#[derive(Deserialize)]
struct CreatedBody {
    id: String,
}

impl GraphClient {
    /// Sends a message of any size. One that is too large for [`GraphClient::send_mail`] becomes a
    /// draft with files if that is allowed, which is sent when it is complete. On any failure the
    /// draft is removed.
    ///
    /// # Errors
    /// [`NotSent`], with a reply of class 5 when trying again is of no use.
    ///
    /// # Cancel safety
    /// Dropping the future removes the draft in the background. It leaves open whether the message
    /// was sent.
    pub async fn send_message(
        self: &Arc<Self>,
        bearer: &Bearer,
        envelope: &Envelope,
        message: &MessageOctets,
        large: GraphLarge,
    ) -> Result<Sent, NotSent> {
        self.send_noted(bearer, envelope, message, large, &()).await
    }

    /// Sends a message like [`GraphClient::send_message`]. `hand_over` hears of it directly before a
    /// request that sends it.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn send_noted<H: HandOver>(
        self: &Arc<Self>,
        bearer: &Bearer,
        envelope: &Envelope,
        message: &MessageOctets,
        large: GraphLarge,
        hand_over: &H,
    ) -> Result<Sent, NotSent> {
        let is_small = message.length() <= MESSAGE_OCTETS as u64;
        if is_small || large == GraphLarge::Refuse {
            let whole = match message {
                MessageOctets::Memory(octets) => octets.clone(),
                MessageOctets::File(_) => message.beginning(MESSAGE_OCTETS + 1).await.map_err(unreadable)?.into(),
            };
            match self.send_small(bearer, envelope, whole, hand_over).await {
                // What is put into the header makes it larger, and Graph's own limit may be lower.
                Err(not_sent) if not_sent.failure.cause == Cause::MessageTooLarge && large == GraphLarge::Draft => {}
                done => return done,
            }
        }
        let prepared = prepare(bearer, envelope, message).await?;
        self.remove_left_drafts(bearer);
        let mut draft = Draft::new(Arc::clone(self), bearer.clone(), prepared.mark.clone());
        let all = prepared.files.iter().map(|(.., length)| length).sum();
        let patience = if H::WAITS { Patience::CLIENT } else { Patience::queued(message.length()) };
        let requests = Requests {
            graph: self,
            bearer,
            first: Instant::now(),
            patience,
            waited: Duration::ZERO,
            attached: 0,
            taken: 0,
            all,
        };
        match requests.send(&mut draft, message, prepared, hand_over).await {
            Ok(sent) => {
                draft.is_gone();
                Ok(sent)
            }
            Err(not_sent) => match draft.remove().await {
                Removal::Remains(id) => Err(failed::with_remaining_draft(not_sent, &id)),
                Removal::Removed | Removal::Sent | Removal::Gone => Err(not_sent),
            },
        }
    }
}

impl Requests<'_> {
    async fn send(
        mut self,
        draft: &mut Draft,
        message: &MessageOctets,
        prepared: Prepared,
        hand_over: &impl HandOver,
    ) -> Result<Sent, NotSent> {
        let Prepared { head, fields: DraftFields { json, loss }, files, .. } = prepared;
        let path = format!("{}/messages", mailbox(&self.bearer.user));
        let body = self.create(draft, &path, json).await?;
        let id = read_id(&body).ok_or_else(|| failed::not_yet(Step::Create, "the answer has no id"))?;
        draft.created(id.clone());
        let path = draft::message(self.bearer, &id);
        for (file, part, length) in &files {
            if *length < SESSION_OCTETS {
                self.attach(&path, message, (file, part, *length)).await?;
            } else {
                self.upload(&path, message, (file, part, *length)).await?;
            }
            self.attached += 1;
        }
        let (reply, remark) = self.hand_over(draft, (&path, &id), &head, hand_over).await?;
        let what = match files.len() {
            1 => "as a draft with 1 file".to_owned(),
            number => format!("as a draft with {number} files"),
        };
        let remark =
            [remark, what, head.changed].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
        Ok(Sent { reply, remark, loss })
    }

    async fn create(&mut self, draft: &mut Draft, path: &str, json: String) -> Result<Vec<u8>, NotSent> {
        let request =
            StepRequest { step: Step::Create, address: StepAddress::Path(path), content: json.into(), range: None };
        let created = self.request(&request, &[StatusCode::CREATED]).await;
        if let Err(Failed { processed: Processed::No, .. }) = &created {
            draft.is_gone();
        }
        Ok(created?.1)
    }

    /// Attaches a small file.
    async fn attach(
        &mut self,
        draft: &str,
        message: &MessageOctets,
        (file, part, length): (&PlannedFile, &Part, u64),
    ) -> Result<(), NotSent> {
        let described = json!({
            "@odata.type": "#microsoft.graph.fileAttachment",
            "name": file.name,
            "contentType": file.content_type,
            "isInline": file.is_inline,
            "contentId": file.content_id,
        });
        let mut content = described.to_string();
        content.reserve_exact(usize::try_from(length).unwrap_or_default().div_ceil(3) * 4 + 64);
        // The content goes in piece by piece, so that it is not in memory twice.
        content.pop();
        content.push_str(",\"contentBytes\":\"");
        let mut reader = PartReader::new(message, part);
        loop {
            let piece = reader.next(ENCODED_OCTETS).await.map_err(|error| failed::undecodable("a file", &error))?;
            if piece.is_empty() {
                break;
            }
            STANDARD.encode_string(&piece, &mut content);
        }
        content.push_str("\"}");
        let path = format!("{draft}/attachments");
        let address = StepAddress::Path(&path);
        let request = StepRequest { step: Step::Attach, address, content: content.into(), range: None };
        self.request(&request, &[StatusCode::CREATED]).await?;
        self.taken += length;
        Ok(())
    }

    /// Sends the draft. Returns the reply to the client, and the remark for the log.
    ///
    /// A draft that is found unsent is sent a second time. That cannot send it twice, because it is the
    /// same message in the mailbox, of which Exchange makes a sent one. If it is unsent even then, it is
    /// removed, and the client is told that nothing was sent.
    async fn hand_over(
        &mut self,
        draft: &mut Draft,
        (path, id): (&str, &str),
        head: &AddressedHead,
        hand_over: &impl HandOver,
    ) -> Result<(Reply, String), NotSent> {
        let address = format!("{path}/send");
        let mut is_first = true;
        loop {
            if !hand_over.begins().await {
                return Err(refused::withdrawn());
            }
            draft.sending();
            let address = StepAddress::Path(&address);
            let request = StepRequest { step: Step::Send, address, content: Bytes::new(), range: None };
            let not_sent = match self.request(&request, &[StatusCode::ACCEPTED]).await {
                Ok((request, _)) => {
                    let words = format_args!("Accepted by Microsoft Graph, request {request}");
                    return Ok((Reply::new(250, [0, 0], words), String::new()));
                }
                Err(Failed { not_sent, .. }) if is_first && !not_sent.is_outcome_unknown() => return Err(not_sent),
                Err(Failed { not_sent, .. }) => not_sent,
            };
            match self.look_at_draft(id).await {
                Ok(Some(false)) => return Ok(was_sent(&not_sent)),
                Ok(None) => return self.found_copy(head, not_sent).await,
                Ok(Some(true)) if is_first && self.first.elapsed() < self.patience.upload => is_first = false,
                Ok(Some(true)) => return self.take_back(draft, head, not_sent).await,
                Err(why) => {
                    let finding = format!("The draft could not be looked at: {}", why.message);
                    return Err(failed::with_finding(failed::open(not_sent), &finding));
                }
            }
        }
    }

    /// Removes a draft that is still unsent, so that it never is.
    async fn take_back(
        &self,
        draft: &mut Draft,
        head: &AddressedHead,
        not_sent: NotSent,
    ) -> Result<(Reply, String), NotSent> {
        match draft.remove().await {
            Removal::Removed => Err(failed::unsent(&not_sent)),
            Removal::Sent => Ok(was_sent(&not_sent)),
            Removal::Gone => self.found_copy(head, not_sent).await,
            Removal::Remains(id) => {
                let not_sent = failed::with_finding(failed::open(not_sent), "It is still a draft");
                Err(failed::with_remaining_draft(not_sent, &id))
            }
        }
    }

    /// Looks for the copy of a draft that is gone.
    async fn found_copy(&self, head: &AddressedHead, not_sent: NotSent) -> Result<(Reply, String), NotSent> {
        // The copy in Sent Items is as old as the draft was.
        let sent = head.message_id.as_deref().map(|message_id| HandedOver {
            message_id,
            recipients: &head.recipients,
            since: self.first,
            before: Duration::ZERO,
        });
        let remark = self.graph.look_for_copy(self.bearer, sent, failed::open(not_sent)).await?;
        Ok((Reply::new(250, [0, 0], "Accepted by Microsoft Graph, a copy is in Sent Items"), remark))
    }

    /// Looks at the draft a few times, which keeps its id when it is sent. Returns whether it still is
    /// one; `None` if there is nothing of this id.
    async fn look_at_draft(&self, id: &str) -> Result<Option<bool>, Failure> {
        let mut found = Ok(Some(true));
        for pause in LOOKS {
            sleep(pause).await;
            found = self.graph.is_draft(self.bearer, id).await;
            if matches!(found, Ok(Some(false) | None)) {
                break;
            }
        }
        found
    }
}

/// The draft is one no more.
fn was_sent(not_sent: &NotSent) -> (Reply, String) {
    let words = "Accepted by Microsoft Graph, the draft has been sent";
    (Reply::new(250, [0, 0], words), format!("the draft is one no more ({})", not_sent.failure.message))
}

fn read_id(body: &[u8]) -> Option<String> {
    let CreatedBody { id } = serde_json::from_slice(body).ok()?;
    (1..=ID_OCTETS).contains(&id.len()).then_some(id)
}
