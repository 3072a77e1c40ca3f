//! Commands on folders: LIST, STATUS, CREATE and their kin.

use super::command::StatusItem;
use super::envelope::string;
use super::reply::Reply;
use crate::store::{Folder, Mailbox, StoreError, canonical};

/// Longest pattern that is looked at. The time to match grows with the product of pattern and name.
const PATTERN_OCTETS: usize = 1_024;

/// Executes LIST, or LSUB with `subscribed_only`.
pub(super) fn list(
    out: &mut Vec<u8>,
    mailbox: &Mailbox,
    reference: &str,
    pattern: &str,
    subscribed_only: bool,
) -> Reply {
    let name = if subscribed_only { "LSUB" } else { "LIST" };
    if pattern.is_empty() {
        // The client asks for the hierarchy delimiter.
        out.extend(format!("* {name} (\\Noselect) \"/\" \"\"\r\n").into_bytes());
        return Reply::completed(name);
    }
    let pattern = canonical(&format!("{reference}{pattern}"));
    mailbox.read(|folders| {
        for (folder_name, folder) in folders.iter() {
            if subscribed_only && !folder.subscribed || !matches(pattern.as_bytes(), folder_name.as_bytes()) {
                continue;
            }
            let children = if folders.has_children(folder_name) { "\\HasChildren" } else { "\\HasNoChildren" };
            let special_use = folder.special_use.map(|attribute| format!(" {attribute}")).unwrap_or_default();
            out.extend(format!("* {name} ({children}{special_use}) \"/\" ").into_bytes());
            write_name(out, folder_name);
            out.extend_from_slice(b"\r\n");
        }
    });
    Reply::completed(name)
}

/// Whether a pattern matches: `*` stands for anything, `%` for anything within one level.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if pattern.len() > PATTERN_OCTETS {
        return false;
    }
    // reached[n]: the pattern so far can match the first n octets of the name.
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for &wanted in pattern {
        if wanted == b'*' || wanted == b'%' {
            for at in 0..name.len() {
                reached[at + 1] |= reached[at] && (wanted == b'*' || name[at] != b'/');
            }
        } else {
            for at in (0..name.len()).rev() {
                reached[at + 1] = reached[at] && name[at] == wanted;
            }
            reached[0] = false;
        }
    }
    reached[name.len()]
}

fn write_name(out: &mut Vec<u8>, name: &str) {
    if !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"/-_.&+,".contains(&octet)) {
        out.extend_from_slice(name.as_bytes());
    } else {
        string(out, name.as_bytes());
    }
}

/// Executes STATUS.
pub(super) fn status(out: &mut Vec<u8>, mailbox: &Mailbox, name: &str, items: &[StatusItem]) -> Reply {
    mailbox.read(|folders| {
        let Some(folder) = folders.get(name) else { return no_such_folder("STATUS") };
        let values: Vec<String> = items.iter().map(|&item| status_value(folder, item)).collect();
        out.extend_from_slice(b"* STATUS ");
        write_name(out, &canonical(name));
        out.extend(format!(" ({})\r\n", values.join(" ")).into_bytes());
        Reply::completed("STATUS")
    })
}

fn status_value(folder: &Folder, item: StatusItem) -> String {
    match item {
        StatusItem::Messages => format!("MESSAGES {}", folder.len()),
        StatusItem::Recent => "RECENT 0".to_owned(),
        StatusItem::UidNext => format!("UIDNEXT {}", folder.uid_next),
        StatusItem::UidValidity => format!("UIDVALIDITY {}", folder.uid_validity),
        StatusItem::Unseen => format!("UNSEEN {}", folder.unseen()),
    }
}

/// Executes CREATE.
pub(super) fn create(mailbox: &Mailbox, name: &str) -> Reply {
    result("CREATE", mailbox.change(|folders| folders.create(name)))
}

/// Executes DELETE.
pub(super) fn delete(mailbox: &Mailbox, name: &str) -> Reply {
    result("DELETE", mailbox.change(|folders| folders.delete(name)))
}

/// Executes RENAME.
pub(super) fn rename(mailbox: &Mailbox, from: &str, to: &str) -> Reply {
    result("RENAME", mailbox.change(|folders| folders.rename(from, to)))
}

/// Executes SUBSCRIBE or UNSUBSCRIBE.
pub(super) fn subscribe(mailbox: &Mailbox, name: &str, subscribed: bool) -> Reply {
    let found = mailbox.change(|folders| folders.get_mut(name).map(|folder| folder.subscribed = subscribed));
    let command = if subscribed { "SUBSCRIBE" } else { "UNSUBSCRIBE" };
    match found {
        Some(()) => Reply::completed(command),
        None => no_such_folder(command),
    }
}

/// What a folder that does not exist is answered with. The name is not repeated: it may hold
/// anything.
pub(super) fn no_such_folder(command: &str) -> Reply {
    match command {
        // The client may create the folder and try again (RFC 9051 §7.1).
        "APPEND" | "COPY" | "MOVE" => Reply::no(format!("[TRYCREATE] {command} failed. Folder doesn't exist.")),
        _ => Reply::no(format!("{command} failed. Folder doesn't exist.")),
    }
}

/// What a command on the store is answered with.
pub(super) fn result(command: &str, result: Result<(), StoreError>) -> Reply {
    match result {
        Ok(()) => Reply::completed(command),
        Err(StoreError::NoSuchFolder) => no_such_folder(command),
        Err(StoreError::FolderExists) => Reply::no(format!("[ALREADYEXISTS] {command} failed. Folder already exists.")),
        Err(StoreError::NotPossible) => Reply::no(format!("[CANNOT] {command} failed.")),
        Err(StoreError::Full) => Reply::no(format!("[OVERQUOTA] {command} failed. The mailbox is full.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_know_levels() {
        for (pattern, name) in [("*", "a/b"), ("%", "a"), ("a/%", "a/b"), ("a*c", "a/b/c"), ("%/%", "a/b"), ("a%", "a")]
        {
            assert!(matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in [("%", "a/b"), ("a", "b"), ("a/%", "a/b/c"), ("", "a"), ("a", "aa")] {
            assert!(!matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
    }

    #[test]
    fn folders_are_listed_with_their_attributes() {
        let mailbox = Mailbox::new(1);
        create(&mailbox, "Projects/2026");
        let mut out = Vec::new();
        list(&mut out, &mailbox, "", "%", false);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("* LIST (\\HasNoChildren \\Sent) \"/\" \"Sent Items\"\r\n"), "{text}");
        assert!(text.contains("* LIST (\\HasChildren) \"/\" Projects\r\n"), "{text}");
        assert!(!text.contains("2026"), "{text}");
        let mut out = Vec::new();
        list(&mut out, &mailbox, "", "inbox", false);
        assert_eq!(out, b"* LIST (\\HasNoChildren) \"/\" INBOX\r\n");
        subscribe(&mailbox, "INBOX", false);
        let mut out = Vec::new();
        list(&mut out, &mailbox, "", "INBOX", true);
        assert_eq!(out, b"");
    }

    #[test]
    fn status_counts() {
        let mailbox = Mailbox::new(5);
        let mut out = Vec::new();
        status(&mut out, &mailbox, "inbox", &[StatusItem::Messages, StatusItem::UidNext, StatusItem::UidValidity]);
        assert_eq!(out, b"* STATUS INBOX (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 5)\r\n");
        assert_eq!(status(&mut out, &mailbox, "none", &[]), Reply::no("STATUS failed. Folder doesn't exist."));
    }
}
