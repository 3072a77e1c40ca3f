//! What the mail servers of the providers say differently. Greetings, capabilities and refusals are
//! as they were seen.

use super::provider::Provider;

/// The words of one provider's IMAP service.
pub(super) struct ImapDialect {
    /// What it says first.
    pub(super) greeting: &'static str,
    /// The capabilities before login.
    pub(super) before: &'static str,
    /// The capabilities after login. Of Gmail's those are left out that the sandbox does not have:
    /// COMPRESS, CONDSTORE, ENABLE, ESEARCH and the extensions of LIST.
    pub(super) after: &'static str,
    /// Whether the capabilities come with a successful login.
    pub(super) announces: bool,
    /// The end of a refused AUTHENTICATE.
    pub(super) refused: &'static str,
    /// The end of a session whose token has expired.
    pub(super) expired: &'static str,
    /// The answer to ID.
    pub(super) id: &'static str,
}

/// The words of one provider's POP3 service.
pub(super) struct Pop3Dialect {
    pub(super) greeting: &'static str,
    pub(super) capabilities: &'static str,
    /// The answer to AUTH without a mechanism.
    pub(super) mechanisms: &'static str,
    pub(super) accepted: &'static str,
    pub(super) refused: &'static str,
    /// Whether AUTH takes an initial response on its line.
    pub(super) takes_initial: bool,
    /// Longest command, in octets.
    pub(super) command_octets: usize,
}

/// The words of one provider's SMTP service.
pub(super) struct SmtpDialect {
    pub(super) host: &'static str,
    /// What stands behind the host in the greeting, before the date if there is one.
    pub(super) greeting: &'static str,
    /// What stands behind the host in the answer to EHLO.
    pub(super) hello: &'static str,
    /// The keywords before STARTTLS or AUTH.
    pub(super) keywords: &'static [&'static str],
    /// The mechanisms under TLS.
    pub(super) auth: &'static str,
    /// The keywords behind it.
    pub(super) more: &'static [&'static str],
    /// Longest message, in octets; what SIZE announces.
    pub(super) message_octets: usize,
    /// Whether it knows the parameters of delivery status notifications (RFC 3461).
    pub(super) has_dsn: bool,
    pub(super) ready_for_tls: &'static str,
    pub(super) accepted: &'static str,
    pub(super) refused: &'static str,
    pub(super) unauthenticated: &'static str,
    pub(super) unknown_parameter: &'static str,
}

const EXCHANGE_IMAP: ImapDialect = ImapDialect {
    greeting: "* OK The Microsoft Exchange IMAP4 service is ready. [bABvAGMAYQBsAGgAbwBzAHQA]\r\n",
    before: "IMAP4 IMAP4rev1 AUTH=XOAUTH2 LOGINDISABLED SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+",
    after: "IMAP4 IMAP4rev1 AUTH=XOAUTH2 LOGINDISABLED SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+ CLIENTACCESSRULES CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE",
    announces: false,
    refused: "AUTHENTICATE failed.",
    expired: "* BYE Session invalidated - AccessTokenExpired\r\n",
    id: "* ID (\"name\" \"Microsoft.Exchange.Imap4.Imap4Server\" \"version\" \"15.20\")\r\n",
};

const GMAIL_IMAP: ImapDialect = ImapDialect {
    greeting: "* OK Gimap ready for requests from 127.0.0.1 ffacd0b85a97d-sandbox\r\n",
    before: "IMAP4rev1 UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN X-GM-EXT-1 XYZZY SASL-IR AUTH=XOAUTH2 AUTH=PLAIN AUTH=PLAIN-CLIENTTOKEN AUTH=OAUTHBEARER",
    after: "IMAP4rev1 UNSELECT IDLE NAMESPACE ID CHILDREN X-GM-EXT-1 UIDPLUS MOVE APPENDLIMIT=35651584",
    announces: true,
    refused: "[AUTHENTICATIONFAILED] Invalid credentials (Failure)",
    expired: "* BYE Session expired, please login again.\r\n",
    id: "* ID (\"name\" \"GImap\" \"vendor\" \"Google, Inc.\" \"support-url\" \"https://support.google.com/mail\" \"version\" \"gmail_imap_sandbox\" \"remote-host\" \"127.0.0.1\")\r\n",
};

const PLAIN_IMAP: ImapDialect = ImapDialect {
    greeting: "* OK [CAPABILITY IMAP4rev1 SASL-IR ID IDLE LITERAL+ AUTH=PLAIN AUTH=XOAUTH2 AUTH=OAUTHBEARER] IMAP4 ready\r\n",
    before: "IMAP4rev1 SASL-IR ID IDLE LITERAL+ AUTH=PLAIN AUTH=XOAUTH2 AUTH=OAUTHBEARER",
    after: "IMAP4rev1 SASL-IR ID IDLE LITERAL+ UIDPLUS MOVE UNSELECT CHILDREN NAMESPACE",
    announces: true,
    refused: "[AUTHENTICATIONFAILED] Authentication failed.",
    expired: "* BYE Authentication expired.\r\n",
    id: "* ID (\"name\" \"sandbox\")\r\n",
};

const EXCHANGE_POP3: Pop3Dialect = Pop3Dialect {
    // There is no APOP time stamp.
    greeting: "+OK The Microsoft Exchange POP3 service is ready. [bABvAGMAYQBsAGgAbwBzAHQA]\r\n",
    capabilities: "+OK\r\nTOP\r\nUIDL\r\nSASL XOAUTH2\r\n.\r\n",
    mechanisms: "+OK\r\nXOAUTH2\r\n.\r\n",
    accepted: "+OK User successfully authenticated.\r\n",
    refused: "-ERR Authentication failure: unknown user name or bad password.\r\n",
    takes_initial: false,
    // RFC 2449 §4: 255 octets with its end.
    command_octets: 253,
};

const GMAIL_POP3: Pop3Dialect = Pop3Dialect {
    greeting: "+OK Gpop ready for requests from 127.0.0.1 ffacd0b85a97d\r\n",
    capabilities: "+OK Capability list follows\r\nUSER\r\nRESP-CODES\r\nEXPIRE 0\r\nLOGIN-DELAY 300\r\nTOP\r\nUIDL\r\nX-GOOGLE-RICO\r\nSASL PLAIN XOAUTH2 OAUTHBEARER\r\n.\r\n",
    mechanisms: "+OK\r\nPLAIN\r\nXOAUTH2\r\nOAUTHBEARER\r\n.\r\n",
    accepted: "+OK Welcome.\r\n",
    refused: "-ERR [AUTH] Username and password not accepted.\r\n",
    takes_initial: true,
    command_octets: 8_192,
};

const PLAIN_POP3: Pop3Dialect = Pop3Dialect {
    greeting: "+OK POP3 ready\r\n",
    capabilities: "+OK\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nSASL PLAIN XOAUTH2 OAUTHBEARER\r\n.\r\n",
    mechanisms: "+OK\r\nPLAIN\r\nXOAUTH2\r\nOAUTHBEARER\r\n.\r\n",
    accepted: "+OK Logged in.\r\n",
    refused: "-ERR [AUTH] Authentication failed.\r\n",
    takes_initial: true,
    command_octets: 8_192,
};

const EXCHANGE_SMTP: SmtpDialect = SmtpDialect {
    host: "sandbox.outlook.office365.com",
    greeting: "Microsoft ESMTP MAIL Service ready at ",
    hello: "Hello [127.0.0.1]",
    keywords: &["SIZE 157286400", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES"],
    auth: "AUTH LOGIN XOAUTH2",
    more: &["8BITMIME", "BINARYMIME", "CHUNKING", "SMTPUTF8"],
    message_octets: 157_286_400,
    has_dsn: true,
    ready_for_tls: "220 2.0.0 SMTP server ready",
    accepted: "235 2.7.0 Authentication successful",
    refused: "535 5.7.3 Authentication unsuccessful [sandbox.outlook.office365.com]",
    unauthenticated: "530 5.7.57 Client not authenticated to send mail.",
    unknown_parameter: "501 5.5.4 Unrecognized parameter",
};

const GMAIL_SMTP: SmtpDialect = SmtpDialect {
    host: "smtp.gmail.com",
    greeting: "ESMTP ffacd0b85a97d-sandbox - gsmtp",
    hello: "at your service, [127.0.0.1]",
    keywords: &["SIZE 35882577", "8BITMIME"],
    auth: "AUTH LOGIN PLAIN XOAUTH2 PLAIN-CLIENTTOKEN OAUTHBEARER XOAUTH",
    more: &["ENHANCEDSTATUSCODES", "PIPELINING", "CHUNKING", "SMTPUTF8"],
    message_octets: 35_882_577,
    has_dsn: false,
    ready_for_tls: "220 2.0.0 Ready to start TLS",
    accepted: "235 2.7.0 Accepted",
    refused: "535-5.7.8 Username and Password not accepted. For more information, go to\r\n535 5.7.8  https://support.google.com/mail/?p=BadCredentials ffacd0b85a97d-sandbox - gsmtp",
    unauthenticated: "530-5.7.0 Authentication Required. For more information, go to\r\n530 5.7.0  https://support.google.com/mail/?p=WantAuthError ffacd0b85a97d-sandbox - gsmtp",
    unknown_parameter: "555 5.5.2 Syntax error, cannot decode response. ffacd0b85a97d-sandbox - gsmtp",
};

const PLAIN_SMTP: SmtpDialect = SmtpDialect {
    host: "smtp.plain.example",
    greeting: "ESMTP",
    hello: "",
    keywords: &["PIPELINING", "SIZE 70000000"],
    auth: "AUTH PLAIN XOAUTH2 OAUTHBEARER",
    more: &["ENHANCEDSTATUSCODES", "8BITMIME", "CHUNKING"],
    message_octets: 70_000_000,
    has_dsn: false,
    ready_for_tls: "220 2.0.0 Ready to start TLS",
    accepted: "235 2.7.0 Authentication successful",
    refused: "535 5.7.8 Error: authentication failed",
    unauthenticated: "530 5.7.0 Authentication required",
    unknown_parameter: "555 5.5.4 Unsupported option",
};

impl Provider {
    pub(super) fn imap(self) -> &'static ImapDialect {
        match self {
            Self::Microsoft => &EXCHANGE_IMAP,
            Self::Google => &GMAIL_IMAP,
            Self::Plain => &PLAIN_IMAP,
        }
    }

    pub(super) fn pop3(self) -> &'static Pop3Dialect {
        match self {
            Self::Microsoft => &EXCHANGE_POP3,
            Self::Google => &GMAIL_POP3,
            Self::Plain => &PLAIN_POP3,
        }
    }

    pub(super) fn smtp(self) -> &'static SmtpDialect {
        match self {
            Self::Microsoft => &EXCHANGE_SMTP,
            Self::Google => &GMAIL_SMTP,
            Self::Plain => &PLAIN_SMTP,
        }
    }
}
