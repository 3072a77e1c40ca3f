//! The requests that send a large message: all of them, or none.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE};
use hyper::http::request::Builder;
use hyper::{Request, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout_at};

use super::draft::{self, Draft};
use super::failed::{self, Step};
use super::fields::{self, DraftFields, Text};
use super::octets::MessageOctets;
use super::part::PartReader;
use super::plan::{self, Plan, PlannedFile};
use super::upload_url::UploadUrl;
use crate::graph::answer::Answer;
use crate::graph::messages::{ID_OCTETS, mailbox};
use crate::graph::outgoing::{self, AddressedHead};
use crate::graph::send::{HandOver, Sent};
use crate::graph::sent_items::HandedOver;
use crate::graph::{GraphClient, MESSAGE_OCTETS, NotSent, authorized, refused};
use gatepost_config::GraphLarge;
use gatepost_core::cause::Cause;
use gatepost_core::failure::Failure;
use gatepost_oauth::endpoint::guid;
use gatepost_proto::mail::smtp::{Envelope, Reply};
use gatepost_proto::mime::{HEAD_OCTETS, Head, Part, StructureReader, sender, words};
use gatepost_proto::sasl::Bearer;

/// Longest message: Exchange Online takes no larger one (Microsoft, "Exchange Online limits").
pub const LARGE_OCTETS: usize = 150_000_000;

/// Longest text. It goes in one request with the header, which has 4 MB at most.
const TEXT_OCTETS: u64 = 1_000_000;
/// The smallest file for which there is an upload session. Smaller ones go in one request.
const SESSION_OCTETS: u64 = 3_000_000;
/// Octets of a file in one request: below 4 MB, and a multiple of 320 KiB, which OneDrive wants and
/// Exchange does not mind.
const RANGE_OCTETS: usize = 12 * 320 * 1_024;
/// Octets of a small file that are encoded at a time: a multiple of three.
const ENCODED_OCTETS: usize = 48 * 1_024;

/// Time limit for everything up to the request that sends the draft, and for that request. With the
/// removal of the draft, this stays within the ten minutes that the client waits (RFC 5321
/// §4.5.3.2.6).
const PATIENCE: Duration = Duration::from_secs(7 * 60);
const SENT_AFTER: Duration = Duration::from_secs(9 * 60);
/// Time limit for all waits that Graph asks for.
const WAITS: Duration = Duration::from_secs(60);
/// Pauses before the looks at a draft of which Graph did not say whether it was sent. A gateway that
/// stopped waiting may be ahead of Exchange.
const LOOKS: [Duration; 4] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(8)];
/// Most attempts at one request, of which Graph said that it did not look at it.
const ATTEMPTS: u32 = 3;

/// A large message, read and addressed.
struct Prepared {
    head: AddressedHead,
    fields: DraftFields,
    files: Vec<(PlannedFile, Part, u64)>,
    mark: String,
}

/// The requests for one message.
struct Steps<'a> {
    graph: &'a GraphClient,
    bearer: &'a Bearer,
    first: Instant,
    waited: Duration,
    /// Bytes of files that Graph has, and of all files.
    taken: u64,
    all: u64,
}

/// A request, which can be made more than once.
struct StepRequest<'a> {
    step: Step,
    address: StepAddress<'a>,
    content: Bytes,
    /// Where the content lies in its file.
    range: Option<String>,
}

enum StepAddress<'a> {
    /// A path at Graph, with the token.
    Path(&'a str),
    /// An address that is its own authorization.
    Upload(&'a UploadUrl),
}

#[derive(Deserialize)]
struct CreatedBody {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UploadBody {
    upload_url: String,
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
    pub async fn send_noted(
        self: &Arc<Self>,
        bearer: &Bearer,
        envelope: &Envelope,
        message: &MessageOctets,
        large: GraphLarge,
        hand_over: &impl HandOver,
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
        let steps = Steps { graph: self, bearer, first: Instant::now(), waited: Duration::ZERO, taken: 0, all };
        match steps.send(&mut draft, message, prepared, hand_over).await {
            Ok(sent) => {
                draft.is_gone();
                Ok(sent)
            }
            Err(not_sent) => match draft.remove().await {
                None => Err(not_sent),
                Some(id) => Err(failed::with_remaining_draft(not_sent, &id)),
            },
        }
    }
}

fn unreadable(error: io::Error) -> NotSent {
    failed::unreadable(&error)
}

/// Reads the message once, and checks all that can be checked before anything is sent.
async fn prepare(bearer: &Bearer, envelope: &Envelope, message: &MessageOctets) -> Result<Prepared, NotSent> {
    let beginning = message.beginning(HEAD_OCTETS + 2).await.map_err(unreadable)?;
    let head = Head::parse(&beginning).map_err(|flaw| outgoing::malformed(&flaw))?;
    plan::check_head(&head).map_err(|why| failed::unfit(&why))?;
    let mut reader = StructureReader::new(&head).map_err(|error| failed::unfit(&error.to_string()))?;
    let mut at = head.body() as u64;
    while at < message.length() {
        let chunk = message.chunk_at(at).await.map_err(unreadable)?;
        reader.feed(&chunk).map_err(|error| failed::unfit(&error.to_string()))?;
        at += chunk.len() as u64;
    }
    let parts = reader.finish().map_err(|error| failed::unfit(&error.to_string()))?;
    let plan = Plan::of(&parts).map_err(|why| failed::unfit(&why))?;
    let text = match plan.text.and_then(|index| parts.get(index)) {
        Some(part) => text(message, part).await?,
        None => Text { is_html: false, content: String::new() },
    };
    let mut files = Vec::new();
    for mut file in plan.files {
        file.is_inline = text.is_html && file.content_id.as_deref().is_some_and(|id| plan::shows(&text.content, id));
        let Some(part) = parts.get(file.part) else { continue };
        let length = PartReader::new(message, part).length().await;
        let length = length.map_err(|error| failed::undecodable("a file", &error))?;
        files.push((file, part.clone(), length));
    }
    let quoted = sender::quote_names(&head);
    let again = |octets: &[u8]| Head::parse(octets).map(|head| head.octets().to_vec());
    let head = again(quoted.as_deref().unwrap_or(head.octets())).map_err(|flaw| outgoing::malformed(&flaw))?;
    let head = Head::parse(&head).map_err(|flaw| outgoing::malformed(&flaw))?;
    let mut addressed = outgoing::address(&bearer.user, envelope, &head)?;
    let octets = addressed.octets.take().unwrap_or_else(|| head.octets().to_vec());
    let head = Head::parse(&octets).map_err(|flaw| outgoing::malformed(&flaw))?;
    let mark = guid();
    let fields = fields::draft(&head, &text, addressed.message_id.as_deref(), &mark);
    let fields = fields.map_err(|flaw| outgoing::malformed(&flaw))?;
    if fields.json.len() > MESSAGE_OCTETS {
        return Err(failed::unfit(&"has a text or header that is too large for one request".to_owned()));
    }
    Ok(Prepared { head: addressed, fields, files, mark })
}

async fn text(message: &MessageOctets, part: &Part) -> Result<Text, NotSent> {
    let undecodable = |error| failed::undecodable("a text", &error);
    let length = PartReader::new(message, part).length().await.map_err(undecodable)?;
    if length > TEXT_OCTETS {
        return Err(failed::unfit(&format!("has a text of more than {TEXT_OCTETS} bytes")));
    }
    let most = usize::try_from(length).unwrap_or(usize::MAX);
    let octets = PartReader::new(message, part).next(most).await.map_err(undecodable)?;
    let charset = plan::charset(part);
    match words::exact(&octets, charset.as_deref()) {
        Some(content) => Ok(Text { is_html: plan::is_html(part), content: content.into_owned() }),
        None => Err(failed::unfit(&plan::not_of_charset(charset.as_deref().unwrap_or_default()))),
    }
}

impl Steps<'_> {
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
        }
        if !hand_over.begins().await {
            return Err(refused::withdrawn());
        }
        draft.sending();
        let changed = head.changed.clone();
        let (reply, remark) = self.hand_over(&path, &id, head).await?;
        let what = match files.len() {
            1 => "as a draft with 1 file".to_owned(),
            number => format!("as a draft with {number} files"),
        };
        let remark = [remark, what, changed].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
        Ok(Sent { reply, remark, loss })
    }

    async fn create(&mut self, draft: &mut Draft, path: &str, json: String) -> Result<Vec<u8>, NotSent> {
        let request =
            StepRequest { step: Step::Create, address: StepAddress::Path(path), content: json.into(), range: None };
        let created = self.request(&request, &[StatusCode::CREATED]).await;
        if let Err((_, Processed::No)) = &created {
            draft.is_gone();
        }
        created.map(|(_, body)| body).map_err(|(not_sent, _)| not_sent)
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
        self.request(&request, &[StatusCode::CREATED]).await.map_err(|(not_sent, _)| not_sent)?;
        self.taken += length;
        Ok(())
    }

    /// Uploads a large file, one range after the other.
    async fn upload(
        &mut self,
        draft: &str,
        message: &MessageOctets,
        (file, part, length): (&PlannedFile, &Part, u64),
    ) -> Result<(), NotSent> {
        let item = json!({
            "attachmentType": "file",
            "name": file.name,
            "size": length,
            "contentType": file.content_type,
            "isInline": file.is_inline,
            "contentId": file.content_id,
        });
        let path = format!("{draft}/attachments/createUploadSession");
        let content = json!({"AttachmentItem": item}).to_string().into();
        let request = StepRequest { step: Step::OpenUpload, address: StepAddress::Path(&path), content, range: None };
        let opened = self.request(&request, &[StatusCode::CREATED, StatusCode::OK]).await;
        let (_, body) = opened.map_err(|(not_sent, _)| not_sent)?;
        let url = serde_json::from_slice(&body)
            .ok()
            .and_then(|UploadBody { upload_url }| UploadUrl::read(self.graph.origin(), &upload_url));
        let url = url.ok_or_else(|| {
            failed::not_yet(Step::OpenUpload, "the address for the file is neither at this Graph nor at Microsoft")
        })?;
        let mut reader = PartReader::new(message, part);
        let mut at = 0;
        while at < length {
            let piece = reader.next(RANGE_OCTETS).await.map_err(|error| failed::undecodable("a file", &error))?;
            let next = at + piece.len() as u64;
            if piece.is_empty() {
                return Err(failed::not_yet(Step::Upload, "the file is shorter than it was"));
            }
            let range = Some(format!("bytes {at}-{}/{length}", next - 1));
            let content = Bytes::from(piece);
            let request = StepRequest { step: Step::Upload, address: StepAddress::Upload(&url), content, range };
            let expected: &[_] =
                if next == length { &[StatusCode::CREATED] } else { &[StatusCode::OK, StatusCode::ACCEPTED] };
            self.request(&request, expected).await.map_err(|(not_sent, _)| not_sent)?;
            self.taken += next - at;
            at = next;
        }
        Ok(())
    }

    /// Sends the draft. Returns the reply to the client, and the remark for the log.
    async fn hand_over(&mut self, path: &str, id: &str, head: AddressedHead) -> Result<(Reply, String), NotSent> {
        let address = format!("{path}/send");
        let address = StepAddress::Path(&address);
        let request = StepRequest { step: Step::Send, address, content: Bytes::new(), range: None };
        let not_sent = match self.request(&request, &[StatusCode::ACCEPTED]).await {
            Ok((request, _)) => {
                let words = format_args!("Accepted by Microsoft Graph, request {request}");
                return Ok((Reply::new(250, [0, 0], words), String::new()));
            }
            Err((not_sent, _)) if !not_sent.is_outcome_unknown() => return Err(not_sent),
            Err((not_sent, _)) => not_sent,
        };
        match self.look_at_draft(id).await {
            Ok(Some(false)) => {
                let words = "Accepted by Microsoft Graph, the draft has been sent";
                let remark = format!("the draft is one no more ({})", not_sent.failure.message);
                Ok((Reply::new(250, [0, 0], words), remark))
            }
            Ok(Some(true)) => Err(failed::with_finding(not_sent, "It is still a draft")),
            Ok(None) => {
                // The copy in Sent Items is as old as the draft was.
                let sent = head.message_id.as_deref().map(|message_id| HandedOver {
                    message_id,
                    recipients: &head.recipients,
                    since: self.first,
                    before: Duration::ZERO,
                });
                let remark = self.graph.look_for_copy(self.bearer, sent, not_sent).await?;
                Ok((Reply::new(250, [0, 0], "Accepted by Microsoft Graph, a copy is in Sent Items"), remark))
            }
            Err(why) => {
                let finding = format!("The draft could not be looked at: {}", why.message);
                Err(failed::with_finding(not_sent, &finding))
            }
        }
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

    /// Makes a request, again if Graph asks for a short wait. Returns the id of the request and the
    /// body of the answer. An error says whether the request may have been processed.
    async fn request(
        &mut self,
        request: &StepRequest<'_>,
        expected: &[StatusCode],
    ) -> Result<(String, Vec<u8>), (NotSent, Processed)> {
        let mut attempts = 0;
        loop {
            if self.first.elapsed() >= PATIENCE {
                return Err((failed::too_slow(PATIENCE, self.taken, self.all), Processed::No));
            }
            let quiet = self.graph.throttle.wait(&self.bearer.user);
            if self.waited + quiet > WAITS {
                return Err((refused::quiet(quiet), Processed::No));
            }
            self.waited += quiet;
            sleep(quiet).await;
            attempts += 1;
            let answer = match self.attempt(request, expected).await? {
                Ok(answered) => return Ok(answered),
                Err(answer) => answer,
            };
            let processed = if answer.status < 500 && answer.status != 408 || refused::not_looked_at(answer.status) {
                Processed::No
            } else {
                Processed::Perhaps
            };
            let wait = answer.retry_after.filter(|_| refused::throttles(answer.status) && answer.is_graphs());
            if let Some(wait) = wait {
                self.graph.throttle.close(&self.bearer.user, wait);
            }
            let again = wait.is_some_and(|wait| self.waited + wait <= WAITS)
                && refused::not_looked_at(answer.status)
                && attempts < ATTEMPTS;
            if !again {
                return Err((failed::refused(request.step, &answer), processed));
            }
        }
    }

    async fn attempt(
        &self,
        request: &StepRequest<'_>,
        expected: &[StatusCode],
    ) -> Result<Result<(String, Vec<u8>), Answer>, (NotSent, Processed)> {
        let StepRequest { step, address, content, range } = request;
        let graph = self.graph;
        let defect = |error: hyper::http::Error| (refused::defect(&error), Processed::No);
        let (builder, id, client): (Builder, _, _) = match address {
            StepAddress::Path(path) => {
                let builder = Request::post(graph.uri(path)).header("prefer", "IdType=\"ImmutableId\"");
                let (builder, id) = authorized(builder, &self.bearer.token).map_err(|error| defect(error.into()))?;
                (builder, id, graph.client().await)
            }
            StepAddress::Upload(url) => {
                let client = if url.is_graphs { graph.client().await } else { graph.upload_client().await };
                (Request::put(url.uri.clone()), guid(), client)
            }
        };
        // What blocks the server of the uploads does not block Graph, so it is told by its own name.
        let at = match address {
            StepAddress::Upload(url) if !url.is_graphs => &url.origin(),
            _ => graph.origin(),
        };
        let no_answer = |error| (failed::no_answer(*step, &error, at, &id), Processed::Perhaps);
        let client = client.map_err(|error| no_answer(error.into()))?;
        let builder = match (range, content.is_empty()) {
            (Some(range), _) => builder.header(CONTENT_RANGE, range).header(CONTENT_TYPE, "application/octet-stream"),
            (None, true) => builder,
            (None, false) => builder.header(CONTENT_TYPE, "application/json"),
        };
        let request = builder.body(Either::Left(Full::new(content.clone()))).map_err(defect)?;
        let begun = Instant::now();
        let limit = self.first + if *step == Step::Send { SENT_AFTER } else { PATIENCE };
        let deadline = limit.min(begun + graph.connect + graph.answer);
        let exchange = async { client.request(request).await.map_err(crate::graph::GraphError::Exchange) };
        let response = match timeout_at(deadline, exchange).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let processed = if error.connector().is_some() { Processed::No } else { Processed::Perhaps };
                return Err((no_answer(error).0, processed));
            }
            Err(_) => {
                let waited = Duration::from_secs(begun.elapsed().as_secs());
                return Err((failed::late(*step, at, waited, &id), Processed::Perhaps));
            }
        };
        let status = response.status();
        tracing::debug!(mailbox = %self.bearer.user, client_request_id = id, status = status.as_u16(), ?step, "draft");
        if !expected.contains(&status) {
            return Ok(Err(Answer::read(response, deadline).await));
        }
        let request_id = response.headers().get("request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        let request_id = request_id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect();
        // Of the answer to `send`, the head says everything.
        if *step == Step::Send {
            return Ok(Ok((request_id, Vec::new())));
        }
        match graph.whole(response).await {
            Ok(body) => Ok(Ok((request_id, body))),
            Err(unserved) => Err((failed::not_yet(*step, &unserved.into_failure().message), Processed::Perhaps)),
        }
    }
}

/// Whether Graph may have done what a failed request wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Processed {
    No,
    Perhaps,
}

fn read_id(body: &[u8]) -> Option<String> {
    let CreatedBody { id } = serde_json::from_slice(body).ok()?;
    (1..=ID_OCTETS).contains(&id.len()).then_some(id)
}
