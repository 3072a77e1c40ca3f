//! Streaming notifications: a subscription, and an answer that stays open and tells of new mail as
//! it comes.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};

use super::error::EwsError;
use super::session::EwsSession;
use super::xml::{Element, escaped};
use super::{item, soap};
use crate::http::body::{Answer, pieces};
use crate::{calendar, random};

/// How long an answer stays open at most.
const MINUTES: u64 = 30;

impl EwsSession<'_> {
    /// Subscribes to one folder.
    pub(super) fn subscribe(&self, request: &Element) -> Result<String, EwsError> {
        let subscription = request
            .child("StreamingSubscriptionRequest")
            .ok_or_else(|| EwsError::new("ErrorInvalidRequest", "Only streaming subscriptions are served."))?;
        let folder = subscription.list("FolderIds").first().ok_or_else(EwsError::folder_not_found)?;
        let (place, folder) = self.mail_folder(folder)?;
        // No subscription is kept, because its identifier says all about it.
        let id = STANDARD.encode(format!("{} {folder} {}", place.address, random::guid()));
        let content = format!("<m:SubscriptionId>{id}</m:SubscriptionId>");
        Ok(soap::response("Subscribe", &soap::success("Subscribe", &content)))
    }

    /// Tells of new mail until the time is over; each piece of the answer is an envelope of its
    /// own.
    pub(super) fn streaming_events(&self, request: &Element) -> Result<Answer, EwsError> {
        let unknown = || EwsError::new("ErrorSubscriptionNotFound", "The subscription was not found.");
        let id = request.list("SubscriptionIds").first().map_or("", Element::text).to_owned();
        let told = STANDARD.decode(&id).ok().and_then(|id| String::from_utf8(id).ok()).ok_or_else(unknown)?;
        let mut words = told.split(' ');
        let (Some(address), Some(folder)) = (words.next(), words.next().and_then(|word| word.parse::<u32>().ok()))
        else {
            return Err(unknown());
        };
        let place = self.enter(address)?;
        let minutes = request.text_of("ConnectionTimeout").parse::<u64>().ok();
        let minutes = minutes.filter(|minutes| (1..=MINUTES).contains(minutes));
        let minutes = minutes.ok_or_else(|| EwsError::schema("ConnectionTimeout is out of range"))?;

        let (sender, body) = pieces();
        let shared = Arc::clone(self.shared);
        let mut changed = place.mailbox.watch();
        let next_uid = move |mailbox: &crate::store::Mailbox| {
            mailbox.read(|folders| folders.by_validity(folder).map_or(u32::MAX, |folder| folder.uid_next))
        };
        let mut seen = next_uid(&place.mailbox);
        let stop = shared.stop.clone();
        let until = shared.time.unix().saturating_add(Duration::from_secs(minutes * 60));
        self.shared.tasks.spawn(stop.run_until_cancelled_owned(async move {
            let say = async |content: String| {
                let message = soap::success("GetStreamingEvents", &content);
                let envelope = soap::response("GetStreamingEvents", &message);
                sender.send(Ok(Bytes::from(envelope))).await.is_ok()
            };
            let status = |status: &str| format!("<m:ConnectionStatus>{status}</m:ConnectionStatus>");
            let mut connected = say(status("OK")).await;
            while connected {
                tokio::select! {
                    () = shared.time.until(until) => {
                        say(status("Closed")).await;
                        return;
                    }
                    () = sender.closed() => return,
                    // The mailbox lives as long as this task.
                    _ = changed.changed() => {}
                }
                let events = place.mailbox.read(|folders| {
                    let new = folders.by_validity(folder).into_iter().flat_map(|folder| folder.by_uid());
                    new.filter(|(uid, _)| *uid >= seen)
                        .map(|(uid, message)| {
                            format!(
                                "<t:NewMailEvent><t:TimeStamp>{}</t:TimeStamp>{}</t:NewMailEvent>",
                                calendar::iso(message.received_at),
                                item::item_id(&place.object_id, (folder, uid, message))
                            )
                        })
                        .collect::<String>()
                });
                seen = next_uid(&place.mailbox);
                if !events.is_empty() {
                    let id = escaped(&id);
                    connected = say(format!(
                        "<m:Notifications><m:Notification><t:SubscriptionId>{id}</t:SubscriptionId>\
                         <t:MoreEvents>false</t:MoreEvents>{events}</m:Notification></m:Notifications>"
                    ))
                    .await;
                }
            }
        }));
        let mut answer = Answer::new(body);
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(soap::CONTENT_TYPE));
        Ok(answer)
    }
}
