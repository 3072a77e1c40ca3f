//! Which service a listener has over HTTP, and what of Microsoft Graph it serves.

use http::Method;

/// What a Graph listener serves below the mailbox, unless it is written: mail.
const MAIL: [&str; 4] = ["messages", "mailfolders", "sendmail", "outlook/mastercategories"];

/// What a Graph listener serves.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphRules {
    /// Paths below the mailbox, by lower-case segments; one without segments is the user itself.
    pub paths: Vec<Vec<String>>,
    /// Methods.
    pub methods: Vec<Method>,
    /// Also mailboxes that are not those of the credentials, as far as the token opens them.
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
