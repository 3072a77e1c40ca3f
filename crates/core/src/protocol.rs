//! The protocols of listeners.

/// A protocol of a listener, as named in the configuration, in device passwords and in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// RFC 3501, RFC 9051.
    Imap,
    /// RFC 1939.
    Pop3,
    /// Submission, RFC 6409.
    Smtp,
    /// Exchange Web Services: SOAP over HTTP.
    Ews,
    /// Microsoft Graph: REST over HTTP.
    Graph,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Imap, Self::Pop3, Self::Smtp, Self::Ews, Self::Graph];

    /// Lower-case name, as in the configuration and the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
            Self::Smtp => "smtp",
            Self::Ews => "ews",
            Self::Graph => "graph",
        }
    }

    /// Its name as people write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Imap => "IMAP",
            Self::Pop3 => "POP3",
            Self::Smtp => "SMTP",
            Self::Ews => "EWS",
            Self::Graph => "Graph",
        }
    }
}

/// A mail protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MailProtocol {
    /// RFC 3501, RFC 9051.
    Imap,
    /// RFC 1939.
    Pop3,
    /// Submission, RFC 6409.
    Smtp,
}

impl MailProtocol {
    /// Lower-case name, as in the configuration and the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
            Self::Smtp => "smtp",
        }
    }
}

impl From<MailProtocol> for Protocol {
    fn from(protocol: MailProtocol) -> Self {
        match protocol {
            MailProtocol::Imap => Self::Imap,
            MailProtocol::Pop3 => Self::Pop3,
            MailProtocol::Smtp => Self::Smtp,
        }
    }
}
