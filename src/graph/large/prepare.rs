//! Reads a large message before anything is sent: its header as a draft, its text, and its files.

use std::io;

use super::failed;
use super::fields::{self, DraftFields, Text};
use super::octets::MessageOctets;
use super::part::PartReader;
use super::plan::{self, Plan, PlannedFile};
use crate::graph::outgoing::{self, AddressedHead};
use crate::graph::{MESSAGE_OCTETS, NotSent};
use gatepost_oauth::endpoint::guid;
use gatepost_proto::mail::smtp::Envelope;
use gatepost_proto::mime::{HEAD_OCTETS, Head, Part, StructureReader, sender, words};
use gatepost_proto::sasl::Bearer;

/// Longest text. It goes in one request with the header, which has 4 MB at most.
const TEXT_OCTETS: u64 = 1_000_000;

/// A large message, read and addressed.
pub(super) struct Prepared {
    pub(super) head: AddressedHead,
    pub(super) fields: DraftFields,
    pub(super) files: Vec<(PlannedFile, Part, u64)>,
    pub(super) mark: String,
}

pub(super) fn unreadable(error: io::Error) -> NotSent {
    failed::unreadable(&error)
}

/// Reads the message once, and checks all that can be checked before anything is sent.
pub(super) async fn prepare(
    bearer: &Bearer,
    envelope: &Envelope,
    message: &MessageOctets,
) -> Result<Prepared, NotSent> {
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
