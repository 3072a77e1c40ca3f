//! Messages and folders as Graph's JSON shows them.

use std::cell::OnceCell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::calendar;
use crate::item_id::{Alphabet, ItemId};
use crate::letter::{Letter, Person};
use crate::store::{Flags, Folder, Folders, Message};

/// How many characters `bodyPreview` has at most.
const PREVIEW: usize = 255;

/// What a message shows unless it is asked for more or less.
const PROPERTIES: [&str; 27] = [
    "createdDateTime",
    "lastModifiedDateTime",
    "changeKey",
    "categories",
    "receivedDateTime",
    "sentDateTime",
    "hasAttachments",
    "internetMessageId",
    "subject",
    "bodyPreview",
    "importance",
    "parentFolderId",
    "conversationId",
    "isDeliveryReceiptRequested",
    "isReadReceiptRequested",
    "isRead",
    "isDraft",
    "webLink",
    "body",
    "sender",
    "from",
    "toRecipients",
    "ccRecipients",
    "bccRecipients",
    "replyTo",
    "inferenceClassification",
    "flag",
];

/// The folders that have a name of their own in paths.
const WELL_KNOWN: [(&str, &str); 6] = [
    ("inbox", "INBOX"),
    ("sentitems", "Sent Items"),
    ("drafts", "Drafts"),
    ("deleteditems", "Deleted Items"),
    ("junkemail", "Junk Email"),
    ("archive", "Archive"),
];

/// How identifiers of one mailbox are written and read.
#[derive(Clone, Copy)]
pub(super) struct Naming<'a> {
    /// The mailbox's object id.
    pub(super) mailbox: &'a str,
    /// The client prefers immutable identifiers.
    pub(super) immutable: bool,
}

impl Naming<'_> {
    pub(super) fn message(&self, folder: u32, uid: u32, message: &Message) -> String {
        let id = if self.immutable { ItemId::Immutable(message.identity) } else { ItemId::Place { folder, uid } };
        id.write(self.mailbox, Alphabet::UrlSafe)
    }

    pub(super) fn folder(&self, folder: u32) -> String {
        ItemId::Folder(folder).write(self.mailbox, Alphabet::UrlSafe)
    }

    pub(super) fn read(&self, id: &str) -> Option<ItemId> {
        ItemId::read(id, self.mailbox, Alphabet::UrlSafe)
    }

    /// The name in the store of a folder that a path names by identifier or well-known name.
    pub(super) fn find_folder(&self, folders: &Folders, id: &str) -> Option<String> {
        if let Some((_, name)) = WELL_KNOWN.iter().find(|(known, _)| known.eq_ignore_ascii_case(id)) {
            return Some((*name).to_owned());
        }
        let Some(ItemId::Folder(validity)) = self.read(id) else { return None };
        folders.iter().find(|(_, folder)| folder.uid_validity == validity).map(|(name, _)| name.to_owned())
    }

    /// The folder above those that a person sees.
    fn top(&self) -> String {
        self.folder(0)
    }
}

/// What is shown of a message; names in lower case.
pub(super) struct SelectedProperties<'a> {
    pub(super) select: &'a [String],
    pub(super) expand: &'a [String],
}

/// A message in its folder.
pub(super) fn message(
    naming: Naming<'_>,
    (folder, uid, message): (u32, u32, &Message),
    wanted: &SelectedProperties<'_>,
) -> Value {
    let change_key = change_key(message);
    let mut shown = Map::new();
    shown.insert("@odata.etag".to_owned(), json!(format!("W/\"{change_key}\"")));
    let id = naming.message(folder, uid, message);
    shown.insert("id".to_owned(), json!(id));
    let view = View { naming, folder, message, id, letter: OnceCell::new() };
    let is_wanted = |name: &str| {
        wanted.select.is_empty() && name != "internetMessageHeaders"
            || wanted.select.iter().any(|selected| selected.eq_ignore_ascii_case(name))
    };
    for name in PROPERTIES.into_iter().chain(["internetMessageHeaders"]).filter(|name| is_wanted(name)) {
        shown.insert(name.to_owned(), view.property(name));
    }
    let extended: Vec<Value> = wanted.expand.iter().filter_map(|name| extended(name, uid, message)).collect();
    if !extended.is_empty() {
        shown.insert("singleValueExtendedProperties".to_owned(), Value::Array(extended));
    }
    Value::Object(shown)
}

struct View<'a> {
    naming: Naming<'a>,
    folder: u32,
    message: &'a Message,
    id: String,
    /// The message, read only when it is needed, because lists of thousands show identifiers alone.
    letter: OnceCell<Letter<'a>>,
}

impl View<'_> {
    fn property(&self, name: &str) -> Value {
        let letter = || self.letter.get_or_init(|| Letter::read(&self.message.content));
        let flags = self.message.flags;
        let received = || json!(calendar::iso(self.message.received_at));
        match name {
            "createdDateTime" | "lastModifiedDateTime" | "receivedDateTime" => received(),
            "sentDateTime" => letter().sent_at().map_or_else(received, |at| json!(calendar::iso(at))),
            "changeKey" => json!(change_key(self.message)),
            "categories" => json!([]),
            "hasAttachments" => json!(!letter().attachments().is_empty()),
            "internetMessageId" => json!(letter().field("message-id")),
            "subject" => json!(letter().subject()),
            "bodyPreview" => json!(letter().body().1.chars().take(PREVIEW).collect::<String>()),
            "importance" => json!("normal"),
            "parentFolderId" => json!(self.naming.folder(self.folder)),
            "conversationId" => json!(ItemId::Immutable(0).write(self.naming.mailbox, Alphabet::UrlSafe)),
            "isDeliveryReceiptRequested" | "isReadReceiptRequested" => json!(false),
            "isRead" => json!(flags.intersects(Flags::SEEN)),
            "isDraft" => json!(flags.intersects(Flags::DRAFT)),
            "webLink" => json!(format!("https://outlook.office365.com/owa/?ItemID={}", self.id)),
            "body" => {
                let (html, content) = letter().body();
                json!({"contentType": if html { "html" } else { "text" }, "content": content})
            }
            "sender" | "from" => letter().people("from").first().map_or(Value::Null, person),
            "toRecipients" => people(letter(), "to"),
            "ccRecipients" => people(letter(), "cc"),
            "bccRecipients" => people(letter(), "bcc"),
            "replyTo" => people(letter(), "reply-to"),
            "inferenceClassification" => json!("focused"),
            "flag" => {
                json!({"flagStatus": if flags.intersects(Flags::FLAGGED) { "flagged" } else { "notFlagged" }})
            }
            _ => {
                let fields = letter().fields().into_iter();
                fields.map(|(name, value)| json!({"name": name, "value": value})).collect()
            }
        }
    }
}

fn person(person: &Person) -> Value {
    json!({"emailAddress": {"name": person.name, "address": person.address}})
}

fn people(letter: &Letter<'_>, field: &str) -> Value {
    letter.people(field).iter().map(person).collect()
}

fn change_key(message: &Message) -> String {
    STANDARD.encode(format!("{:016x}{}", message.identity, message.flags))
}

/// An extended property, for the few that mail programs ask for.
fn extended(name: &str, uid: u32, message: &Message) -> Option<Value> {
    let tag = name.strip_prefix("Integer 0x")?;
    let value = match u32::from_str_radix(tag, 16).ok()? {
        // PR_MESSAGE_SIZE: what the store spends on the message, which is not the length of its
        // MIME form.
        0x0e08 => (message.content.len() / 4 * 3 + 2_048).to_string(),
        // PR_INTERNET_ARTICLE_NUMBER.
        0x0e23 => uid.to_string(),
        _ => return None,
    };
    // Graph writes the tag in its own way.
    let id = format!("Integer 0x{}", tag.trim_start_matches('0').to_ascii_lowercase());
    Some(json!({"id": id, "value": value}))
}

/// A folder.
pub(super) fn folder(naming: Naming<'_>, folders: &Folders, (name, folder): (&str, &Folder)) -> Value {
    let (parent, display) = name.rsplit_once('/').map_or((None, name), |(parent, last)| (Some(parent), last));
    let parent = parent.and_then(|parent| folders.get(parent)).map(|parent| naming.folder(parent.uid_validity));
    let below = format!("{name}/");
    let is_child = |other: &str| other.strip_prefix(&below).is_some_and(|rest| !rest.contains('/'));
    json!({
        "id": naming.folder(folder.uid_validity),
        "displayName": if display == "INBOX" { "Inbox" } else { display },
        "parentFolderId": parent.unwrap_or_else(|| naming.top()),
        "childFolderCount": folders.iter().filter(|(name, _)| is_child(name)).count(),
        "unreadItemCount": folder.unseen(),
        "totalItemCount": folder.len(),
        "sizeInBytes": folder.messages().map(|message| message.content.len()).sum::<usize>(),
        "isHidden": false,
    })
}
