//! The services over HTTP, and what a listener serves of Microsoft Graph.

use http::Method;

/// Paths below the mailbox that a Graph listener serves by default: mail.
const MAIL: [&str; 4] = ["messages", "mailfolders", "sendmail", "outlook/mastercategories"];

/// What a Graph listener serves.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphRules {
    /// Paths below the mailbox, in lower-case segments. A path without segments is the user itself.
    pub paths: Vec<Vec<String>>,
    /// The allowed methods.
    pub methods: Vec<Method>,
    /// Whether mailboxes other than that of the credentials are served, if the token allows it.
    pub other_mailboxes: bool,
}

impl Default for GraphRules {
    fn default() -> Self {
        Self {
            paths: MAIL.iter().map(|path| path.split('/').map(str::to_owned).collect()).collect(),
            methods: vec![Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE],
            other_mailboxes: false,
        }
    }
}

/// Services over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpService {
    /// Exchange Web Services.
    Ews,
    /// Microsoft Graph.
    Graph,
}
