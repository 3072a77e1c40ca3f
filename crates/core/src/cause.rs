//! Why a login was refused, a connection ended, a message was not sent or the service did not do as it was told: one fixed
//! word each, the same in the log, the metrics, the audit log and the status page.
//!
//! Each word stands here once. The table in `docs/operations.md` repeats the comments of this list; a test holds the two
//! against each other.

use std::fmt;

use serde::{Serialize, Serializer};

/// Makes the enum, [`Cause::ALL`] and [`Cause::name`] of one list; the comments are also what the documentation says.
macro_rules! causes {
    ($($group:literal { $(#[doc = $when:literal] $cause:ident = $name:literal,)+ })+) => {
        /// Why something did not go on: a fixed word for logs and counters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Cause {
            $($(#[doc = $when] $cause,)+)+
        }

        impl Cause {
            /// All of them. As labels of a metric they make no more series than this.
            pub const ALL: &[Self] = &[$($(Self::$cause,)+)+];

            /// The word, as logs and metrics have it.
            pub fn name(self) -> &'static str {
                match self {
                    $($(Self::$cause => $name,)+)+
                }
            }
        }

        #[cfg(test)]
        const GROUPS: &[(&str, &[(Cause, &str)])] = &[$(($group, &[$((Cause::$cause, $when),)+]),)+];
    };
}

causes! {
    "login" {
        /// The account was changed or removed since the client logged in.
        AccountChanged = "account-changed",
        /// Entra has locked the account.
        AccountLocked = "account-locked",
        /// Entra does not let the account sign in.
        AccountNotAllowed = "account-not-allowed",
        /// The client asks for a mailbox that its account may not open.
        ActingAsNotAllowed = "acting-as-not-allowed",
        /// A server's certificate is not accepted.
        BadCertificate = "bad-certificate",
        /// The user name cannot be one.
        BadName = "bad-name",
        /// The password cannot be one: it is empty, too long, or has a control character.
        BadPassword = "bad-password",
        /// The client's XOAUTH2 or OAUTHBEARER message is malformed.
        BadToken = "bad-token",
        /// The certificate of the Entra application has expired, or is not valid yet.
        ClientCertificateOutOfDate = "client-certificate-out-of-date",
        /// The secret or certificate of the Entra application cannot be read or used.
        ClientCredentialUnusable = "client-credential-unusable",
        /// The client brought a token of its own, and the listener has `client_tokens: refuse`.
        ClientTokensRefused = "client-tokens-refused",
        /// Too many logins wait for a connection to the server (`limits.upstream_connects_per_second`).
        ConnectQueueFull = "connect-queue-full",
        /// The server refuses the name that Gatepost says in EHLO (`server_name`).
        EhloRefused = "ehlo-refused",
        /// The answer to the token request broke off, or is not one of Entra's.
        EntraAnswerUnclear = "entra-answer-unclear",
        /// The certificate of the token endpoint is not trusted.
        EntraCertificateRefused = "entra-certificate-refused",
        /// The registration of the application, or a policy in Entra, does not allow the sign-in.
        EntraConfiguration = "entra-configuration",
        /// Entra did not answer in time.
        EntraSlow = "entra-slow",
        /// Entra takes no more requests for now, or asked for a pause that is not over.
        EntraThrottles = "entra-throttles",
        /// Entra failed, or failed lately and is not asked for a moment.
        EntraUnavailable = "entra-unavailable",
        /// No connection to Entra.
        EntraUnreachable = "entra-unreachable",
        /// EWS is off for the organization or mailbox, or barred for the application.
        EwsBarred = "ews-barred",
        /// EWS would open the mailbox of the user who signed in, and not the account's.
        EwsOtherMailbox = "ews-other-mailbox",
        /// The federated token is missing, unreadable or out of date.
        FederatedTokenUnusable = "federated-token-unusable",
        /// Too many wrong passwords for the account: no new one is forwarded, so that Entra does not lock it.
        GuessBudgetSpent = "guess-budget-spent",
        /// The answer to `gatepost login` is not for this tenant, application or sign-in.
        IdTokenRefused = "id-token-refused",
        /// The login was not decided within `limits.login`.
        LoginTimeout = "login-timeout",
        /// Another POP3 session has the mailbox open.
        MaildropInUse = "maildrop-in-use",
        /// Microsoft Graph does not let the application, or the client's own token, read the mailbox.
        MailboxDenied = "mailbox-denied",
        /// The server accepted the token, but the mailbox does not answer.
        MailboxNotConnected = "mailbox-not-connected",
        /// The mailbox has as many sessions or requests as Gatepost lets it have.
        MailboxOccupied = "mailbox-occupied",
        /// The login command or SASL message is malformed.
        MalformedLogin = "malformed-login",
        /// The endpoint for managed identities is starting, being updated, or asked too often.
        ManagedIdentityBusy = "managed-identity-busy",
        /// Gatepost cannot read the key that the Azure Arc agent asks for.
        ManagedIdentityKey = "managed-identity-key",
        /// Azure gives the managed identity no token.
        ManagedIdentityRefused = "managed-identity-refused",
        /// Something else than Azure answers at the endpoint for managed identities.
        ManagedIdentityUnclear = "managed-identity-unclear",
        /// The endpoint for managed identities does not answer.
        ManagedIdentityUnreachable = "managed-identity-unreachable",
        /// The name of a server cannot be resolved.
        NameNotResolved = "name-not-resolved",
        /// A token is needed without a login, and the account has `grant: password`.
        NeedsPassword = "needs-password",
        /// Microsoft Graph finds no Inbox in the mailbox.
        NoInbox = "no-inbox",
        /// Microsoft Graph knows no mailbox of this name.
        NoMailbox = "no-mailbox",
        /// Entra gave no refresh token to `gatepost login`.
        NoRefreshToken = "no-refresh-token",
        /// The server does not offer STARTTLS.
        NoStarttls = "no-starttls",
        /// The trusted CA certificates cannot be read.
        TrustRootsUnreadable = "trust-roots-unreadable",
        /// The server does not offer XOAUTH2.
        NoXoauth2 = "no-xoauth2",
        /// A password was sent as a token.
        NotAToken = "not-a-token",
        /// Something else than Microsoft Graph answered in its place.
        NotGraph = "not-graph",
        /// The server cannot be asked over HTTPS.
        NotHttps = "not-https",
        /// The rule of `trusted_senders` for the client was changed or removed.
        NotTrusted = "not-trusted",
        /// The PAC script gave no usable answer.
        PacFailed = "pac-failed",
        /// Too many password checks are waiting (`limits.password_hashes`).
        PasswordChecksBusy = "password-checks-busy",
        /// The device password has expired, before the login or during the session.
        PasswordExpired = "password-expired",
        /// The device password is right, but not for this network.
        PasswordForOtherNetworks = "password-for-other-networks",
        /// The device password is right, but not for this protocol.
        PasswordForOtherProtocols = "password-for-other-protocols",
        /// The device password was revoked, before the login or during the session.
        PasswordRevoked = "password-revoked",
        /// A login came without TLS from a network that needs it.
        PlaintextLogin = "plaintext-login",
        /// The server greeted with PREAUTH, which would skip the login.
        Preauth = "preauth",
        /// The protocol is off for the mailbox, or barred by a policy.
        ProtocolDisabled = "protocol-disabled",
        /// The proxy wants other credentials before it passes the token request.
        ProxyAuthentication = "proxy-authentication",
        /// The proxy refused the connection.
        ProxyRefused = "proxy-refused",
        /// The TLS handshake with the proxy failed.
        ProxyTlsFailed = "proxy-tls-failed",
        /// No connection to the proxy, or the proxy broke it off.
        ProxyUnreachable = "proxy-unreachable",
        /// The server redirects to another one, which is not followed.
        Redirected = "redirected",
        /// Microsoft Graph did not understand the request.
        RequestRefused = "request-refused",
        /// The sign-in of `gatepost login` was declined in the browser.
        SignInDeclined = "sign-in-declined",
        /// Nobody signed in before the time of `gatepost login` was over.
        SignInExpired = "sign-in-expired",
        /// A person must sign in for the account, for the first time or again.
        SignInNeeded = "sign-in-needed",
        /// Bytes came from the server, or from a device in its place, before TLS had begun.
        DataBeforeTls = "data-before-tls",
        /// The store of sign-ins and device passwords does not answer.
        StoreUnavailable = "store-unavailable",
        /// The connection for token requests cannot be set up from `forward_proxy` and `trust`.
        TokenClientUnusable = "token-client-unusable",
        /// The token of the session has expired, and only a login brings another.
        TokenExpired = "token-expired",
        /// Entra gave a token for something else than Gatepost asked for.
        TokenForAnother = "token-for-another",
        /// The server did not understand the login with the token, as when the token is too long.
        TokenNotUnderstood = "token-not-understood",
        /// Too many token requests are waiting (`limits.token_requests`).
        TokenQueueFull = "token-queue-full",
        /// Microsoft did not accept the access token.
        TokenRefused = "token-refused",
        /// Entra did not understand the token request.
        TokenRequestMalformed = "token-request-malformed",
        /// Too many different passwords were tried for the account from there.
        TooManyGuesses = "too-many-guesses",
        /// Too many wrong passwords over all accounts: no new one is forwarded for now.
        TooManyRefusals = "too-many-refusals",
        /// Too many tokens that clients brought are being checked, from this address or for this mailbox.
        TooManyTokens = "too-many-tokens",
        /// No account or alias matches the user name.
        UnknownAccount = "unknown-account",
        /// The server closed the connection during the login.
        UpstreamClosed = "upstream-closed",
        /// The server, or a device in its place, does not speak the protocol.
        UpstreamGarbage = "upstream-garbage",
        /// Exchange Online has too many connections of the mailbox.
        UpstreamLimit = "upstream-limit",
        /// The server wants no logins of the mailbox for now, and said for how long.
        UpstreamThrottles = "upstream-throttles",
        /// The server did not answer in time.
        UpstreamTimeout = "upstream-timeout",
        /// The server is not available for now.
        UpstreamUnavailable = "upstream-unavailable",
        /// No connection to the server.
        UpstreamUnreachable = "upstream-unreachable",
        /// The user name or the password is wrong.
        WrongPassword = "wrong-password",
    }
    "connection" {
        /// The client used more accounts on one HTTP connection than are told apart; this was the oldest.
        AnotherAccount = "another-account",
        /// Bytes came behind STARTTLS, before the handshake.
        BytesBehindStarttls = "bytes-behind-starttls",
        /// The client's connection broke.
        ClientBroke = "client-broke",
        /// The client ended the session.
        ClientEnded = "client-ended",
        /// The client left without a login.
        ClientLeft = "client-left",
        /// Before the login, the client did not take what it was sent.
        ClientStalled = "client-stalled",
        /// The connection was closed in order.
        Closed = "closed",
        /// Gatepost stops: the relayed session was idle, and ended with a goodbye.
        Drained = "drained",
        /// Gatepost stops: the connection was idle, and ended.
        Draining = "draining",
        /// An administrator ended the session.
        EndedByOperator = "ended-by-operator",
        /// One side ended, and the other did not within `limits.half_closed`.
        HalfClosed = "half-closed",
        /// An HTTP request came to a mail port.
        Http = "http",
        /// Nothing passed for as long as the protocol's limit allows.
        Idle = "idle",
        /// The client said goodbye before a login.
        Logout = "logout",
        /// The load balancer sent no PROXY header.
        NoProxyHeader = "no-proxy-header",
        /// The client's address is not in `allow_from`.
        NotAllowed = "not-allowed",
        /// What the client sends has no clear meaning any longer.
        OutOfStep = "out-of-step",
        /// The device password was revoked or has expired, on an HTTP connection.
        PasswordEnded = "password-ended",
        /// The client's address is closed for wrong passwords, timeouts or garbage that came from there.
        Penalised = "penalised",
        /// A load balancer looked whether the port is open.
        Probe = "probe",
        /// The client said QUIT.
        Quit = "quit",
        /// A request was not of a form that is served, or too many logins failed, on an HTTP connection.
        Refused = "refused",
        /// One side did not take what it was sent within `limits.write_stall`.
        Stalled = "stalled",
        /// The client took too long to log in.
        Timeout = "timeout",
        /// The TLS handshake failed, with the client or with the server.
        TlsFailed = "tls-failed",
        /// The client began with TLS where the listener has none, or not yet.
        TlsOnPlainPort = "tls-on-plain-port",
        /// The client did not finish the TLS handshake in time.
        TlsTimeout = "tls-timeout",
        /// A line or literal was longer than `limits` allow.
        TooLong = "too-long",
        /// Too many failed logins on one connection.
        TooManyAttempts = "too-many-attempts",
        /// Too many commands before the login.
        TooManyCommands = "too-many-commands",
        /// A limit of connections is reached.
        TooManyConnections = "too-many-connections",
        /// Too many wrong commands in a session.
        TooManyErrors = "too-many-errors",
        /// Too many refusals are held back (`limits.delayed_failures`).
        TooManyFailures = "too-many-failures",
        /// The connection to the server broke.
        UpstreamBroke = "upstream-broke",
        /// The server ended the session.
        UpstreamEnded = "upstream-ended",
        /// The SMTP session was idle, and made room for another session of its mailbox that waited.
        Yielded = "yielded",
    }
    "message" {
        /// A recipient is not of the form local@domain.
        BadRecipient = "bad-recipient",
        /// The message has a bare CR or LF (`legacy: true` mends it).
        BareLineEnd = "bare-line-end",
        /// Microsoft Graph drops fields of the message, such as Auto-Submitted or List-Id.
        FieldsDropped = "fields-dropped",
        /// Microsoft Graph found no valid recipient, or an invalid one.
        InvalidRecipients = "invalid-recipients",
        /// The mailbox is full.
        MailboxFull = "mailbox-full",
        /// The message has a bare CR or LF, a NUL or a header of more than 256 KiB, and cannot go through Microsoft Graph.
        MalformedMessage = "malformed-message",
        /// A message that a POP3 client fetched broke off, and the connection was cut.
        MessageBroke = "message-broke",
        /// Microsoft Graph cannot read the message.
        MessageNotUnderstood = "message-not-understood",
        /// Microsoft Graph refused the message in other words.
        MessageRefused = "message-refused",
        /// The message is larger than `limits.message`, or than Microsoft Graph takes.
        MessageTooLarge = "message-too-large",
        /// The message has a NUL.
        Nul = "nul",
        /// Microsoft did not say whether it took the message: it may have been sent.
        OutcomeUnknown = "outcome-unknown",
        /// The mailbox may not send as the address in From.
        SendAsDenied = "send-as-denied",
        /// Microsoft Graph does not let the application send from the mailbox.
        SendDenied = "send-denied",
        /// Microsoft has barred the mailbox from sending.
        SenderBarred = "sender-barred",
        /// The sender is none of the account's (`sender`, `send_as`).
        SenderNotAllowed = "sender-not-allowed",
        /// The mailbox has sent as much as it may for now.
        SendingLimit = "sending-limit",
        /// Microsoft Graph takes no more requests for the mailbox for now.
        Throttled = "throttled",
        /// Microsoft Graph failed.
        UpstreamFailed = "upstream-failed",
    }
    "service" {
        /// The configuration was not read because of an error inside Gatepost.
        Broken = "broken",
        /// The changed configuration has mistakes, or an account without a password.
        Mistakes = "mistakes",
        /// The change needs a restart.
        NeedsRestart = "needs-restart",
        /// Gatepost was not started from a configuration that can be read again.
        NoSource = "no-source",
        /// The changed configuration cannot be carried out on this machine.
        NotPossible = "not-possible",
        /// An error inside Gatepost: report it, with the lines before it.
        InternalError = "internal-error",
        /// A request to Microsoft could not be made, which is an error inside Gatepost.
        RequestNotMade = "request-not-made",
        /// Gatepost is stopping, so the configuration is not read again.
        Stopping = "stopping",
    }
}

impl Cause {
    /// True if the word says that somebody is guessing, or has not corrected a program. A device password that is right but
    /// may not be used there counts too, so that its price does not tell a thief that it is right. Nothing that passes does.
    pub fn is_guess(self) -> bool {
        matches!(
            self,
            Self::WrongPassword
                | Self::UnknownAccount
                | Self::GuessBudgetSpent
                | Self::TooManyGuesses
                | Self::PasswordExpired
                | Self::PasswordRevoked
                | Self::PasswordForOtherProtocols
                | Self::PasswordForOtherNetworks
        )
    }

    /// True if it was a wrong password of an account, or came of too many of them: unlocking the account helps.
    pub fn spends_guesses(self) -> bool {
        matches!(self, Self::WrongPassword | Self::GuessBudgetSpent | Self::TooManyGuesses | Self::AccountLocked)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const OPERATIONS: &str = include_str!("../../../docs/operations.md");
    const README: &str = include_str!("../../../README.md");
    const RULES: &str = include_str!("../../../deploy/helm/gatepost/files/rules.yaml");

    fn is_known(word: &str) -> bool {
        Cause::ALL.iter().any(|cause| cause.name() == word)
    }

    #[test]
    fn each_word_is_lower_case_with_hyphens_and_stands_for_one_cause() {
        let names: HashSet<_> = Cause::ALL.iter().map(|cause| cause.name()).collect();
        assert_eq!(names.len(), Cause::ALL.len());
        for cause in Cause::ALL {
            let is_word = |part: &str| {
                !part.is_empty() && part.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit())
            };
            assert!(cause.name().split('-').all(is_word), "{cause}");
            assert_eq!(cause.to_string(), cause.name());
            // `WrongPassword` is `wrong-password`: who reads the log finds the code, and the other way round.
            assert_eq!(format!("{cause:?}").to_lowercase(), cause.name().replace('-', ""));
        }
    }

    #[test]
    fn the_operations_page_has_a_row_for_each_cause_and_no_other() {
        let (_, chapter) = OPERATIONS.split_once("\n### What each `cause` means\n").unwrap();
        let chapter = chapter.split("\n#").next().unwrap();
        let rows: Vec<&str> = chapter.lines().filter(|line| line.starts_with('|')).collect();
        let mut wanted = vec!["| `cause` | when |".to_owned(), "|---|---|".to_owned()];
        for (group, causes) in GROUPS {
            wanted.push(format!("| **{group}** | |"));
            wanted.extend(causes.iter().map(|(cause, when)| format!("| `{cause}` | {} |", when.trim())));
        }
        assert_eq!(rows, wanted, "\n{}", wanted.join("\n"));
    }

    #[test]
    fn every_word_that_the_documents_and_alerts_name_is_a_cause() {
        let mut found = 0;
        for text in [README, OPERATIONS] {
            for named in text.split("`cause` `").skip(1) {
                // A list goes on in the same sentence: `one`, `two` or `three`.
                let sentence = named.split(['.', ';', ':', ')', '\n']).next().unwrap();
                let mut parts = sentence.split('`');
                while let Some(word) = parts.next() {
                    assert!(is_known(word), "{word}");
                    found += 1;
                    if !matches!(parts.next().map(str::trim), Some("," | "or" | "and")) {
                        break;
                    }
                }
            }
        }
        for named in RULES.split("cause=").skip(1) {
            let words = named.trim_start_matches(['~', '"']).split(['"', ')']).next().unwrap();
            for word in words.split('|') {
                assert!(is_known(word), "{word}");
                found += 1;
            }
        }
        assert!(found >= 11, "{found}");
    }
}
