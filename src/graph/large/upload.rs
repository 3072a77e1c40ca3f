//! Uploads a large file in ranges. An upload that breaks goes on where the server stopped: a GET of
//! its address tells that (Microsoft, "uploadSession resource type": `nextExpectedRanges`).

use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use super::failed::{self, Step};
use super::octets::MessageOctets;
use super::part::PartReader;
use super::plan::PlannedFile;
use super::requests::{Failed, Requests, StepAddress, StepRequest};
use super::upload_url::UploadUrl;
use crate::graph::NotSent;
use gatepost_proto::mime::Part;

/// Bytes of a file in one request: below 4 MB, and a multiple of 320 KiB, which OneDrive wants and
/// Exchange does not mind.
const RANGE_OCTETS: usize = 12 * 320 * 1_024;
/// Pauses before the questions where to go on. After the last one without a further byte, the upload
/// is given up.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OpenedBody {
    upload_url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RangesBody {
    next_expected_ranges: Vec<String>,
}

/// How far the server has come.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// It wants the file from here on.
    At(u64),
    /// The file is attached.
    Attached,
}

/// A request for a range failed.
enum Trouble {
    /// Asking where to go on may help.
    Broken(NotSent),
    Final(NotSent),
}

/// The content of a file, from any place on. It holds one range.
struct FileContent<'a> {
    message: &'a MessageOctets,
    part: &'a Part,
    reader: PartReader<'a>,
    /// Where `range` begins in the file.
    start: u64,
    range: Bytes,
}

impl<'a> FileContent<'a> {
    fn new(message: &'a MessageOctets, part: &'a Part) -> Self {
        Self { message, part, reader: PartReader::new(message, part), start: 0, range: Bytes::new() }
    }

    /// Returns a range that begins at `at`; empty at the end of the file.
    async fn from(&mut self, at: u64) -> Result<Bytes, NotSent> {
        if at < self.start {
            *self = Self::new(self.message, self.part);
        }
        loop {
            // The range is at most as long as a request.
            let within = usize::try_from(at - self.start).unwrap_or(usize::MAX);
            if within < self.range.len() {
                return Ok(self.range.slice(within..));
            }
            self.start += self.range.len() as u64;
            let next = self.reader.next(RANGE_OCTETS).await;
            self.range = next.map_err(|error| failed::undecodable("a file", &error))?.into();
            if self.range.is_empty() {
                return Ok(Bytes::new());
            }
        }
    }
}

impl Requests<'_> {
    /// Uploads a file to a draft.
    pub(super) async fn upload(
        &mut self,
        draft: &str,
        message: &MessageOctets,
        (file, part, length): (&PlannedFile, &Part, u64),
    ) -> Result<(), NotSent> {
        let url = self.open(draft, file, length).await?;
        let before = self.taken;
        let mut content = FileContent::new(message, part);
        let (mut at, mut furthest) = (0, 0);
        let mut pauses = PAUSES.into_iter();
        let mut broken = None;
        loop {
            let progress = match broken.take() {
                None => self.put(&url, at, content.from(at).await?, length).await,
                Some(why) => {
                    let Some(pause) = pauses.next() else { return Err(failed::not_resumed(why)) };
                    sleep(pause).await;
                    self.ask_where(draft, &url, at, length).await
                }
            };
            match progress {
                Ok(Progress::Attached) => break,
                Ok(Progress::At(next)) => {
                    if next > furthest {
                        furthest = next;
                        pauses = PAUSES.into_iter();
                        self.taken = before + furthest;
                    }
                    at = next;
                }
                Err(Trouble::Broken(not_sent)) => {
                    let why = &not_sent.failure.message;
                    tracing::debug!(mailbox = %self.bearer.user, at, length, "an upload broke: {why}");
                    broken = Some(not_sent);
                }
                Err(Trouble::Final(not_sent)) => return Err(not_sent),
            }
        }
        self.taken = before + length;
        Ok(())
    }

    /// Opens an upload session.
    async fn open(&mut self, draft: &str, file: &PlannedFile, length: u64) -> Result<UploadUrl, NotSent> {
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
        let (_, body) = self.request(&request, &[StatusCode::CREATED, StatusCode::OK]).await?;
        let url = serde_json::from_slice(&body)
            .ok()
            .and_then(|OpenedBody { upload_url }| UploadUrl::read(self.graph.origin(), &upload_url));
        url.ok_or_else(|| {
            failed::not_yet(Step::OpenUpload, "the address for the file is neither at this Graph nor at Microsoft")
        })
    }

    /// Sends the range that begins at `at`.
    async fn put(&mut self, url: &UploadUrl, at: u64, range: Bytes, length: u64) -> Result<Progress, Trouble> {
        let next = at + range.len() as u64;
        if range.is_empty() || next > length {
            return Err(Trouble::Final(failed::not_yet(Step::Upload, "the file has another length than it had")));
        }
        let is_last = next == length;
        let request = StepRequest {
            step: Step::Upload,
            address: StepAddress::Upload(url),
            content: range,
            range: Some(format!("bytes {at}-{}/{length}", next - 1)),
        };
        let expected: &[_] = if is_last { &[StatusCode::CREATED] } else { &[StatusCode::OK, StatusCode::ACCEPTED] };
        match self.request(&request, expected).await {
            Ok(_) if is_last => Ok(Progress::Attached),
            Ok((_, body)) => match next_expected(&body, length) {
                Some(wanted) if wanted > at => Ok(Progress::At(wanted)),
                _ => Err(Trouble::Broken(failed::not_yet(Step::Upload, "the answer does not say what comes next"))),
            },
            Err(Failed { not_sent, may_pass: true, .. }) => Err(Trouble::Broken(not_sent)),
            Err(Failed { not_sent, .. }) => Err(Trouble::Final(not_sent)),
        }
    }

    /// Asks where to go on with an upload that broke in the range that begins at `at`.
    async fn ask_where(&mut self, draft: &str, url: &UploadUrl, at: u64, length: u64) -> Result<Progress, Trouble> {
        let address = StepAddress::Upload(url);
        let request = StepRequest { step: Step::Upload, address, content: Bytes::new(), range: None };
        match self.request(&request, &[StatusCode::OK]).await {
            Ok((_, body)) => match next_expected(&body, length) {
                Some(next) if next < length => Ok(Progress::At(next)),
                _ => Err(Trouble::Broken(failed::not_yet(Step::Upload, "the answer does not say what comes next"))),
            },
            // The session ends with the file, so the last range may have arrived.
            Err(Failed { not_sent, status: Some(404 | 410), .. }) if length - at <= RANGE_OCTETS as u64 => {
                match self.graph.attachments_of(self.bearer, draft).await {
                    Ok(number) if number == self.attached + 1 => Ok(Progress::Attached),
                    Ok(_) => Err(Trouble::Final(not_sent)),
                    Err(_) => Err(Trouble::Broken(not_sent)),
                }
            }
            Err(Failed { not_sent, may_pass: true, .. }) => Err(Trouble::Broken(not_sent)),
            Err(Failed { not_sent, .. }) => Err(Trouble::Final(not_sent)),
        }
    }
}

/// Reads where the next range begins: `{"nextExpectedRanges":["3932160"]}`, or `"3932160-"`.
fn next_expected(body: &[u8], length: u64) -> Option<u64> {
    let RangesBody { next_expected_ranges } = serde_json::from_slice(body).ok()?;
    let next = next_expected_ranges.first()?.split('-').next()?.parse().ok()?;
    (next <= length).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_proto::mime::{Head, StructureReader};

    #[test]
    fn the_next_range_is_read_as_microsoft_writes_it() {
        for (body, expected) in [
            (r#"{"expirationDateTime":"2026-01-01T00:00:00Z","nextExpectedRanges":["3932160"]}"#, Some(3_932_160)),
            (r#"{"nextExpectedRanges":["0-"]}"#, Some(0)),
            (r#"{"nextExpectedRanges":["26-4999999"]}"#, Some(26)),
            (r#"{"nextExpectedRanges":["5000001"]}"#, None),
            (r#"{"nextExpectedRanges":["-5"]}"#, None),
            (r#"{"nextExpectedRanges":[]}"#, None),
            ("{}", None),
            ("<html>", None),
            ("", None),
        ] {
            assert_eq!(next_expected(body.as_bytes(), 5_000_000), expected, "{body}");
        }
    }

    #[tokio::test]
    async fn a_file_is_read_from_any_place_on() {
        let content: Vec<u8> = (b'!'..=b'~').cycle().take(2 * RANGE_OCTETS + 17).collect();
        let head = b"Content-Transfer-Encoding: binary\r\n\r\n";
        let message = [&head[..], &content].concat();
        let octets = MessageOctets::Memory(Bytes::from(message.clone()));
        let head = Head::parse(&message).unwrap();
        let mut reader = StructureReader::new(&head).unwrap();
        reader.feed(&message[head.body()..]).unwrap();
        let part = reader.finish().unwrap().remove(0);
        let mut file = FileContent::new(&octets, &part);
        for at in [0, 0, 5, RANGE_OCTETS, 2 * RANGE_OCTETS + 3, 7, RANGE_OCTETS - 1, content.len()] {
            let range = file.from(at as u64).await.unwrap();
            let end = (at / RANGE_OCTETS + 1) * RANGE_OCTETS;
            assert!(range == content[at..end.min(content.len())], "{at}");
        }
    }
}
