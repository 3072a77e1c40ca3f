//! What a path names: whose mailbox, and what in it.

use hyper::Method;

/// Whose mailbox a call is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Me,
    /// The user that the path names by address or object id.
    User(String),
}

/// What in the mailbox a call is for. Identifiers are those of the path, percent-decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Profile,
    SendMail,
    /// The messages of the whole mailbox, or of a folder.
    Messages(Option<String>),
    Message(String),
    /// The octets of a message.
    Value(String),
    /// The attachments of a message, or the one of this identifier.
    Attachments(String, Option<String>),
    /// A session for the upload of an attachment.
    UploadSession(String),
    /// The octets of an attachment.
    AttachmentValue(String, String),
    /// `move`, `copy`, `send` or `permanentDelete`.
    Action(String, Action),
    /// The folders at the top, or below one.
    Folders(Option<String>),
    Folder(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Move,
    Copy,
    Send,
    DeleteForGood,
}

impl Target {
    /// The name of a call: method and path, with `{id}` for identifiers.
    pub(super) fn name(&self, method: &Method) -> String {
        let path = match self {
            Self::Profile => "/",
            Self::SendMail => "/sendMail",
            Self::Messages(None) => "/messages",
            Self::Messages(Some(_)) => "/mailFolders/{id}/messages",
            Self::Message(_) => "/messages/{id}",
            Self::Value(_) => "/messages/{id}/$value",
            Self::Attachments(_, None) => "/messages/{id}/attachments",
            Self::Attachments(_, Some(_)) => "/messages/{id}/attachments/{id}",
            Self::UploadSession(_) => "/messages/{id}/attachments/createUploadSession",
            Self::AttachmentValue(..) => "/messages/{id}/attachments/{id}/$value",
            Self::Action(_, Action::Move) => "/messages/{id}/move",
            Self::Action(_, Action::Copy) => "/messages/{id}/copy",
            Self::Action(_, Action::Send) => "/messages/{id}/send",
            Self::Action(_, Action::DeleteForGood) => "/messages/{id}/permanentDelete",
            Self::Folders(None) => "/mailFolders",
            Self::Folders(Some(_)) => "/mailFolders/{id}/childFolders",
            Self::Folder(_) => "/mailFolders/{id}",
        };
        format!("{method} {path}")
    }
}

/// Reads a path: whose mailbox, and what in it. The error is the first segment that is not known.
pub(super) fn route(path: &str) -> Result<(Who, Target), String> {
    let decode = |segment: &str| percent_decoded(segment);
    let segments: Vec<String> = path.strip_prefix('/').unwrap_or(path).split('/').map(decode).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let unknown = |segment: Option<&&str>| Err(segment.map_or_else(String::new, |segment| (*segment).to_owned()));
    let is = |segment: &str, known: &str| segment.eq_ignore_ascii_case(known);
    let (who, rest) = match segments.as_slice() {
        ["v1.0" | "beta", me, rest @ ..] if is(me, "me") => (Who::Me, rest),
        ["v1.0" | "beta", users, user, rest @ ..] if is(users, "users") && !user.is_empty() => {
            (Who::User((*user).to_owned()), rest)
        }
        ["v1.0" | "beta", other @ ..] => return unknown(other.first()),
        other => return unknown(other.first()),
    };
    let id = |id: &str| id.to_owned();
    let target = match rest {
        [] => Target::Profile,
        [send] if is(send, "sendMail") || is(send, "microsoft.graph.sendMail") => Target::SendMail,
        [messages] if is(messages, "messages") => Target::Messages(None),
        [folders] if is(folders, "mailFolders") => Target::Folders(None),
        [folders, folder] if is(folders, "mailFolders") => Target::Folder(id(folder)),
        [folders, folder, below] if is(folders, "mailFolders") && is(below, "childFolders") => {
            Target::Folders(Some(id(folder)))
        }
        [folders, folder, messages] if is(folders, "mailFolders") && is(messages, "messages") => {
            Target::Messages(Some(id(folder)))
        }
        [messages, rest @ ..] if is(messages, "messages") => match in_message(rest) {
            Some(target) => target,
            None => return unknown(rest.last()),
        },
        [folders, _, messages, rest @ ..] if is(folders, "mailFolders") && is(messages, "messages") => {
            match in_message(rest) {
                Some(target) => target,
                None => return unknown(rest.last()),
            }
        }
        rest => return unknown(rest.first()),
    };
    Ok((who, target))
}

fn in_message(rest: &[&str]) -> Option<Target> {
    let id = (*rest.first()?).to_owned();
    let action = match rest.get(1..)? {
        [] => return Some(Target::Message(id)),
        ["$value"] => return Some(Target::Value(id)),
        [attachments, rest @ ..] if attachments.eq_ignore_ascii_case("attachments") => {
            return match rest {
                [] => Some(Target::Attachments(id, None)),
                [session] if session.eq_ignore_ascii_case("createUploadSession") => Some(Target::UploadSession(id)),
                [attachment] => Some(Target::Attachments(id, Some((*attachment).to_owned()))),
                [attachment, "$value"] => Some(Target::AttachmentValue(id, (*attachment).to_owned())),
                _ => None,
            };
        }
        [action] if action.eq_ignore_ascii_case("move") => Action::Move,
        [action] if action.eq_ignore_ascii_case("copy") => Action::Copy,
        [action] if action.eq_ignore_ascii_case("send") => Action::Send,
        [action] if action.eq_ignore_ascii_case("permanentDelete") => Action::DeleteForGood,
        _ => return None,
    };
    Some(Target::Action(id, action))
}

fn percent_decoded(segment: &str) -> String {
    // A path keeps its `+`, unlike a form.
    let form = format!("v={}", segment.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(form.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_mailboxes_and_what_is_in_them() {
        let user = |name: &str| Who::User(name.to_owned());
        for (path, who, target) in [
            ("/v1.0/me", Who::Me, Target::Profile),
            ("/beta/me/sendMail", Who::Me, Target::SendMail),
            ("/v1.0/users/a%40b.example/SENDMAIL", user("a@b.example"), Target::SendMail),
            ("/v1.0/me/messages", Who::Me, Target::Messages(None)),
            ("/v1.0/me/mailFolders/inbox/messages", Who::Me, Target::Messages(Some("inbox".into()))),
            ("/v1.0/me/messages/AAMk%3D", Who::Me, Target::Message("AAMk=".into())),
            ("/v1.0/me/messages/a+b=/$value", Who::Me, Target::Value("a+b=".into())),
            ("/v1.0/me/messages/a/%24value", Who::Me, Target::Value("a".into())),
            ("/v1.0/me/mailFolders/inbox/messages/x/move", Who::Me, Target::Action("x".into(), Action::Move)),
            ("/v1.0/me/messages/x/attachments", Who::Me, Target::Attachments("x".into(), None)),
            ("/v1.0/me/messages/x/attachments/y/$value", Who::Me, Target::AttachmentValue("x".into(), "y".into())),
            ("/v1.0/me/mailFolders/x/childFolders", Who::Me, Target::Folders(Some("x".into()))),
        ] {
            assert_eq!(route(path), Ok((who, target)), "{path}");
        }
        for (path, segment) in [
            ("/v2.0/me", "v2.0"),
            ("/", ""),
            ("/v1.0/groups", "groups"),
            ("/v1.0/users/", "users"),
            ("/v1.0/me/drive/root", "drive"),
            ("/v1.0/me/messages/a/forward", "forward"),
        ] {
            assert_eq!(route(path), Err(segment.to_owned()), "{path}");
        }
        let delete = Target::Message("x".into()).name(&Method::DELETE);
        assert_eq!(delete, "DELETE /messages/{id}");
    }
}
