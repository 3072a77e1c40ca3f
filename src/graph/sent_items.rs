//! Looks for the copy of a message in Sent Items, which Exchange keeps of each message that
//! `sendMail` takes (Microsoft, "List messages", and "$filter" on `internetMessageId`).

use std::collections::HashSet;
use std::time::{Duration, UNIX_EPOCH};

use hyper::Method;
use hyper::header::{DATE, HeaderMap};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout_at};

use super::GraphClient;
use super::messages::{Broken, encoded, mailbox};
use super::refused::throttles;
use gatepost_core::account::MailAddress;
use gatepost_core::clock::UnixTime;
use gatepost_proto::mime::Address;
use gatepost_proto::sasl::Bearer;

/// Pauses before the looks. Exchange files the copy within seconds, and a gateway that stopped
/// waiting may be ahead of it.
const PAUSES: [Duration; 5] =
    [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];
/// Time limit for all looks. It is a part of the ten minutes that the client waits.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most copies of one Message-ID that are looked at. A smarthost sends a message a few times, each
/// time to other recipients.
const COPIES: usize = 10;

/// How far Graph's clock and Exchange's may be apart, and what is lost when both tell seconds.
const LEEWAY: Duration = Duration::from_secs(5);

/// A message that was handed over.
pub(super) struct HandedOver<'a> {
    pub(super) message_id: &'a str,
    pub(super) recipients: &'a [Address],
    /// When the first request began, or the search.
    pub(super) since: Instant,
    /// How long before that the message was handed over.
    pub(super) before: Duration,
}

/// What Sent Items tell about a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SentCopy {
    /// It was sent.
    Found,
    /// It was not sent, or is not filed yet.
    Missing,
    /// It cannot be told now, for this reason.
    Unknown(String),
    /// It will never be told, for this reason.
    Barred(String),
}

/// The answer: copies of messages with the Message-ID.
#[derive(Deserialize)]
struct ListBody {
    value: Vec<ListedCopy>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ListedCopy {
    created_date_time: String,
    to_recipients: Vec<Recipient>,
    cc_recipients: Vec<Recipient>,
    bcc_recipients: Vec<Recipient>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Recipient {
    email_address: EmailAddress,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct EmailAddress {
    address: Option<String>,
}

impl ListedCopy {
    /// Whether it is the copy of a message to all of these people, and not older than this time
    /// (RFC 3339). A smarthost sends a message to others as well, and some devices give the same
    /// Message-ID to all of theirs.
    fn is_of(&self, recipients: &[Address], oldest: &str) -> bool {
        let named = self.to_recipients.iter().chain(&self.cc_recipients).chain(&self.bcc_recipients);
        let named: HashSet<_> =
            named.filter_map(|one| Address::parse(one.email_address.address.as_deref()?).ok()).collect();
        *self.created_date_time >= *oldest && recipients.iter().all(|recipient| named.contains(recipient))
    }
}

impl GraphClient {
    /// Looks once for the copy of a message that was handed over at most so long ago, by Graph or by
    /// SMTP, to these recipients.
    pub(crate) async fn find_sent(
        &self,
        bearer: &Bearer,
        message_id: &str,
        recipients: &[String],
        before: Duration,
    ) -> SentCopy {
        let recipients: Result<Vec<_>, _> = recipients.iter().map(|recipient| Address::parse(recipient)).collect();
        let Ok(recipients) = recipients else {
            return SentCopy::Unknown("a recipient has no address that can be compared".to_owned());
        };
        let message = HandedOver { message_id, recipients: &recipients, since: Instant::now(), before };
        let look = async {
            sleep(self.throttle.wait(&bearer.user)).await;
            self.look(bearer, &path(&bearer.user, message_id), &message).await
        };
        match timeout_at(Instant::now() + PATIENCE, look).await {
            Ok(Ok(found)) => found,
            Ok(Err(Barred(why))) => SentCopy::Barred(why),
            Err(_) => SentCopy::Unknown("Microsoft Graph did not answer in time".to_owned()),
        }
    }

    /// Looks for the copy of a message a few times, at most for [`PATIENCE`]. This needs the
    /// permission `Mail.Read`, which a mailbox that only sends need not have.
    pub(super) async fn find_sent_copy(&self, bearer: &Bearer, message: &HandedOver<'_>) -> SentCopy {
        let deadline = Instant::now() + PATIENCE;
        let path = path(&bearer.user, message.message_id);
        let mut copy = SentCopy::Unknown("Microsoft Graph wants no requests for this mailbox now".to_owned());
        for pause in PAUSES {
            let look = async {
                sleep(pause.max(self.throttle.wait(&bearer.user))).await;
                self.look(bearer, &path, message).await
            };
            match timeout_at(deadline, look).await {
                Ok(Ok(SentCopy::Found)) => return SentCopy::Found,
                Ok(Ok(found)) => copy = found,
                Ok(Err(Barred(why))) => return SentCopy::Barred(why),
                Err(_) => break,
            }
        }
        copy
    }

    async fn look(&self, bearer: &Bearer, path: &str, message: &HandedOver<'_>) -> Result<SentCopy, Barred> {
        let unknown = |why: String| Ok(SentCopy::Unknown(why));
        let response = match self.ask_once(&Method::GET, path, bearer, 200).await {
            Ok(Ok(response)) => response,
            Ok(Err(answer)) => {
                if let Some(wait) = answer.retry_after.filter(|_| throttles(answer.status)) {
                    self.throttle.close(&bearer.user, wait);
                }
                let words = answer.words();
                return match answer.status {
                    403 => Err(Barred(format!("the application needs the permission `Mail.Read` for that ({words})"))),
                    400..500 if !throttles(answer.status) => Err(Barred(words)),
                    _ => unknown(words),
                };
            }
            Err(Broken { failure, .. }) => return unknown(failure.message),
        };
        let Some(oldest) = ago(response.headers(), message.since.elapsed() + message.before + LEEWAY) else {
            return unknown("the answer has no Date".to_owned());
        };
        let listed = self.whole(response).await.ok().and_then(|body| serde_json::from_slice(&body).ok());
        Ok(match listed {
            Some(ListBody { value }) if value.iter().any(|copy| copy.is_of(message.recipients, &oldest)) => {
                SentCopy::Found
            }
            Some(_) => SentCopy::Missing,
            None => SentCopy::Unknown("the list of messages cannot be read".to_owned()),
        })
    }
}

/// Another look would be of no use, for this reason.
struct Barred(String);

/// The time so long before an answer, by the clock of its server (RFC 3339). The clock here may be
/// wrong.
fn ago(headers: &HeaderMap, elapsed: Duration) -> Option<String> {
    let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let then = date.checked_sub(elapsed)?.duration_since(UNIX_EPOCH).ok()?;
    Some(UnixTime(then.as_secs()).rfc3339())
}

fn path(address: &MailAddress, message_id: &str) -> String {
    // In OData's strings a quote is doubled.
    let filter = format!("internetMessageId eq '{}'", message_id.replace('\'', "''"));
    let (mailbox, filter) = (mailbox(address), encoded(&filter).replace('+', "%20"));
    let wanted = "createdDateTime,toRecipients,ccRecipients,bccRecipients";
    format!("{mailbox}/mailFolders/sentitems/messages?$select={wanted}&$top={COPIES}&$filter={filter}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_id_is_quoted_and_encoded() {
        let path = path(&MailAddress::parse("a+b@contoso.example").unwrap(), "<o'neil+1 &x@y>");
        assert_eq!(
            path,
            "/v1.0/users/a%2Bb%40contoso.example/mailFolders/sentitems/messages\
             ?$select=createdDateTime,toRecipients,ccRecipients,bccRecipients&$top=10\
             &$filter=internetMessageId%20eq%20%27%3Co%27%27neil%2B1%20%26x%40y%3E%27"
        );
    }

    #[test]
    fn a_copy_is_of_its_recipients_and_not_older_than_the_message() {
        let copy: ListedCopy = serde_json::from_str(
            r#"{"createdDateTime":"2026-11-23T09:00:00Z","toRecipients":[{"emailAddress":{"name":"Anna","address":"Anna@X"}},{"emailAddress":{"name":"Bert"}}],
                "ccRecipients":[],"bccRecipients":[{"emailAddress":{"address":"/o=Exchange/cn=x"}},{"emailAddress":{"address":"c@x"}}]}"#,
        )
        .unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(DATE, "Mon, 23 Nov 2026 09:01:00 GMT".parse().unwrap());
        let is_of = |recipients: &[&str], seconds: u64| {
            let recipients: Vec<_> = recipients.iter().map(|text| Address::parse(text).unwrap()).collect();
            copy.is_of(&recipients, &ago(&headers, Duration::from_secs(seconds)).unwrap())
        };
        assert!(is_of(&["anna@x"], 60) && is_of(&["c@x", "anna@x"], 61));
        assert!(!is_of(&["anna@x", "bert@x"], 60));
        assert!(!is_of(&["anna@x"], 59));
        assert_eq!(ago(&HeaderMap::new(), Duration::ZERO), None);
    }
}
