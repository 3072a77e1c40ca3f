//! The catalogue of failures: why a login was refused, a connection ended, a message was not sent or the service did not do
//! as it was told. Each has one fixed word, the same in the log, the metrics, the audit log and the status page, and one row:
//! what the client hears, who must act, and the general remedy. A [`Failure`](crate::failure::Failure) starts from its row.
//!
//! Each word stands here once. `docs/reference/log-causes.md` is generated from this list.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::actor::Actor;
use crate::refusal::Refusal;

/// The catalogue's row of a cause.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What it is about, as a heading.
    pub group: &'static str,
    /// What happened, in one sentence.
    pub meaning: &'static str,
    /// How the client is answered. `None` if it hears nothing of the cause.
    pub refusal: Option<Refusal>,
    /// Who must act.
    pub actor: Actor,
    /// The general remedy, an imperative in lower case without full stop; empty if there is nothing to do.
    pub remedy: &'static str,
}

macro_rules! refusal {
    (Nothing) => {
        None
    };
    ($refusal:ident) => {
        Some(Refusal::$refusal)
    };
}

/// Makes the enum, [`Cause::ALL`], [`Cause::name`] and [`Cause::row`] of one list; the comments are also what the
/// documentation says.
macro_rules! causes {
    ($($group:literal { $(#[doc = $meaning:literal]
        $cause:ident = $name:literal: $refusal:ident, $actor:ident, $remedy:literal,)+ })+) => {
        /// Why something did not go on: a fixed word for logs and counters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Cause {
            $($(#[doc = $meaning] $cause,)+)+
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

            /// Returns its row in the catalogue.
            pub fn row(self) -> Row {
                match self {
                    $($(Self::$cause => Row {
                        group: $group,
                        meaning: $meaning.trim_ascii(),
                        refusal: refusal!($refusal),
                        actor: Actor::$actor,
                        remedy: $remedy,
                    },)+)+
                }
            }
        }
    };
}

causes! {
    "Logins" {
        /// The account was changed or removed since the client logged in.
        AccountChanged = "account-changed": InvalidCredentials, ClientOwner,
            "log in again with the account's present settings",
        /// Entra has locked the account.
        AccountLocked = "account-locked": Unavailable, M365Admin,
            "find the device that still has an old password, or reset the password to unlock the account at once",
        /// Entra does not let the account sign in.
        AccountNotAllowed = "account-not-allowed": NotAuthorized, M365Admin,
            "look up the sign-in in Entra's sign-in log",
        /// The client asks for a mailbox that its account may not open.
        ActingAsNotAllowed = "acting-as-not-allowed": NotAuthorized, GatepostAdmin,
            "list the mailbox under `mailboxes` of the account, or correct the user name in the client",
        /// A server's certificate is not accepted.
        BadCertificate = "bad-certificate": Unavailable, GatepostAdmin,
            "if a proxy inspects TLS, add its root certificate to `trust.additional_ca`. If not, find out which \
             device answers in the server's place",
        /// The user name cannot be one.
        BadName = "bad-name": InvalidCredentials, ClientOwner, "set the full mail address as the user name",
        /// The password cannot be one: it is empty, too long, or has a control character.
        BadPassword = "bad-password": InvalidCredentials, ClientOwner, "enter the password of the account again",
        /// The client's XOAUTH2 or OAUTHBEARER message is malformed.
        BadToken = "bad-token": InvalidCredentials, ClientOwner, "correct the token settings of the client",
        /// The certificate of the Entra application has expired, or is not valid yet.
        ClientCertificateOutOfDate = "client-certificate-out-of-date": Unavailable, GatepostAdmin,
            "create a certificate, upload it to the application in Entra, and set `client_certificate`",
        /// The secret or certificate of the Entra application cannot be read or used.
        ClientCredentialUnusable = "client-credential-unusable": Unavailable, GatepostAdmin,
            "correct the key of `microsoft` or of the account that names the credential",
        /// The client brought a token of its own, and the listener has `client_tokens: refuse`.
        ClientTokensRefused = "client-tokens-refused": InvalidCredentials, ClientOwner,
            "log in with the password for this account",
        /// Too many logins wait for a connection to the server (`limits.upstream_connects_per_second`).
        ConnectQueueFull = "connect-queue-full": Unavailable, Nobody,
            "clients retry. If this lasts, raise `limits.upstream_connects_per_second`",
        /// The server refuses the name that Gatepost says in EHLO (`server_name`).
        EhloRefused = "ehlo-refused": ContactAdmin, GatepostAdmin,
            "set `server_name` to a host name of this machine, such as `gatepost.contoso.com`, and restart Gatepost",
        /// The answer to the token request broke off, or is not one of Entra's.
        EntraAnswerUnclear = "entra-answer-unclear": Unavailable, NetworkAdmin,
            "find the portal or filter that answers in Entra's place, and let requests to it pass unchanged",
        /// The certificate of the token endpoint is not trusted.
        EntraCertificateRefused = "entra-certificate-refused": Unavailable, GatepostAdmin,
            "if a proxy inspects TLS, add its root certificate to `trust.additional_ca`. If not, find out which \
             device answers in Entra's place",
        /// The registration of the application, or a policy in Entra, does not allow the sign-in.
        EntraConfiguration = "entra-configuration": ContactAdmin, M365Admin,
            "look up the sign-in in Entra's sign-in log, and check the registration of the application",
        /// The user's password in Entra has expired, or must be changed.
        EntraPasswordExpired = "entra-password-expired": ContactAdmin, M365Admin,
            "change the user's password, and enter the new one in the client",
        /// Entra did not answer in time.
        EntraSlow = "entra-slow": Unavailable, NetworkAdmin,
            "check the connection from this machine to the host of `microsoft.authority`, port 443",
        /// Entra takes no more requests for now, or asked for a pause that is not over.
        EntraThrottles = "entra-throttles": Unavailable, Nobody,
            "clients retry. If this lasts, look for other programs of the tenant that request many tokens",
        /// Entra failed, or failed lately and is not asked for a moment.
        EntraUnavailable = "entra-unavailable": Unavailable, Nobody,
            "clients retry. If this lasts over 10 minutes, check Microsoft 365 service health",
        /// No connection to Entra.
        EntraUnreachable = "entra-unreachable": Unavailable, NetworkAdmin,
            "allow connections from this machine to the host of `microsoft.authority`, port 443",
        /// EWS is off for the organization or mailbox, or barred for the application.
        EwsBarred = "ews-barred": Unavailable, M365Admin,
            "set `EwsEnabled` and add the application to `EwsAllowedAppIDs`. EWS ends on 1 April 2027, so plan a move \
             to Graph, IMAP or POP3",
        /// EWS would open the mailbox of the user who signed in, and not the account's.
        EwsOtherMailbox = "ews-other-mailbox": NotAuthorized, GatepostAdmin,
            "serve this mailbox with `protocol: graph`, IMAP or POP3, or with `grant: client_credentials`",
        /// The federated token is missing, unreadable or out of date.
        FederatedTokenUnusable = "federated-token-unusable": Unavailable, GatepostAdmin,
            "check that the platform renews the file of `federated_token_file`, and that Gatepost can read it",
        /// Too many wrong passwords for the account: no new one is forwarded, so that Entra does not lock it.
        GuessBudgetSpent = "guess-budget-spent": Unavailable, GatepostAdmin,
            "fix the device that has a wrong password, then run `gatepost account unlock`",
        /// The answer to `gatepost login` is not for this tenant, application or sign-in.
        IdTokenRefused = "id-token-refused": ContactAdmin, GatepostAdmin,
            "check `microsoft.tenant` and `microsoft.client_id`, then sign in again",
        /// The login was not decided within `limits.login`.
        LoginTimeout = "login-timeout": Unavailable, Nobody,
            "clients retry. If this lasts, check the connections to Entra and Exchange Online with `gatepost doctor`",
        /// Another POP3 session has the mailbox open.
        MaildropInUse = "maildrop-in-use": Limit, ClientOwner,
            "let one client at a time read the mailbox by POP3, and let it end with QUIT",
        /// Microsoft Graph does not let the application, or the client's own token, read the mailbox.
        MailboxDenied = "mailbox-denied": ContactAdmin, M365Admin,
            "give the application `Mail.ReadWrite` for Microsoft Graph with consent, and include the mailbox in its \
             RBAC scope",
        /// The server accepted the token, but did not open the mailbox.
        MailboxNotConnected = "mailbox-not-connected": ContactAdmin, M365Admin,
            "check that the mailbox exists, has a license, and can be opened by this identity",
        /// The mailbox has as many sessions or requests as Gatepost lets it have.
        MailboxOccupied = "mailbox-occupied": Limit, ClientOwner, "let fewer programs use this mailbox at once",
        /// The login command or SASL message is malformed.
        MalformedLogin = "malformed-login": InvalidCredentials, ClientOwner,
            "check the login method in the settings of the client",
        /// The endpoint for managed identities is starting, being updated, or asked too often.
        ManagedIdentityBusy = "managed-identity-busy": Unavailable, Nobody,
            "Gatepost retries. If this lasts over 10 minutes, check the machine's identity in Azure",
        /// Gatepost cannot read the key that the Azure Arc agent asks for.
        ManagedIdentityKey = "managed-identity-key": Unavailable, GatepostAdmin,
            "add the user that runs Gatepost to the group `himds`",
        /// Azure gives the managed identity no token.
        ManagedIdentityRefused = "managed-identity-refused": ContactAdmin, M365Admin,
            "assign the identity to this machine or service in Azure, and check `managed_identity`",
        /// Something else than Azure answers at the endpoint for managed identities.
        ManagedIdentityUnclear = "managed-identity-unclear": Unavailable, GatepostAdmin,
            "find out what answers at the address in Azure's place",
        /// The endpoint for managed identities does not answer.
        ManagedIdentityUnreachable = "managed-identity-unreachable": Unavailable, GatepostAdmin,
            "use `managed_identity` only on Azure or with the Azure Arc agent. Elsewhere set `client_certificate`",
        /// The name of a server cannot be resolved.
        NameNotResolved = "name-not-resolved": Unavailable, NetworkAdmin,
            "check the name and this machine's DNS. If only a proxy knows Internet names, set `forward_proxy`",
        /// A token is needed without a login, and the account has `grant: password`.
        NeedsPassword = "needs-password": ContactAdmin, GatepostAdmin,
            "give the account a grant other than `password`, or let the device log in",
        /// Microsoft Graph finds no Inbox in the mailbox.
        NoInbox = "no-inbox": ContactAdmin, M365Admin, "check that the mailbox is in Exchange Online and has a license",
        /// Microsoft Graph knows no mailbox of this name.
        NoMailbox = "no-mailbox": ContactAdmin, M365Admin,
            "check that the address is the user principal name of a licensed mailbox in Exchange Online, or set \
             `mailbox` of the account",
        /// Entra gave no refresh token to `gatepost login`.
        NoRefreshToken = "no-refresh-token": ContactAdmin, M365Admin,
            "allow the application the scope `offline_access`, then sign in again",
        /// The server does not offer STARTTLS.
        NoStarttls = "no-starttls": Unavailable, NetworkAdmin,
            "check that port and `upstream_tls` fit the server, and that no device on the path removes STARTTLS",
        /// The trusted CA certificates cannot be read.
        TrustRootsUnreadable = "trust-roots-unreadable": Unavailable, GatepostAdmin,
            "check `trust.additional_ca`, `trust.destinations` and the system's certificate store",
        /// The server does not offer XOAUTH2.
        NoXoauth2 = "no-xoauth2": ContactAdmin, GatepostAdmin, "check that `upstream` is Microsoft's server",
        /// A password was sent as a token.
        NotAToken = "not-a-token": InvalidCredentials, ClientOwner,
            "choose the login method for normal passwords in the client",
        /// Something else than Microsoft Graph answered in its place.
        NotGraph = "not-graph": Unavailable, NetworkAdmin,
            "find out which device on the path answers in Microsoft Graph's place, and let requests to it pass \
             unchanged",
        /// The server cannot be asked over HTTPS.
        NotHttps = "not-https": Unavailable, GatepostAdmin,
            "check `upstream` of the listener, and that no device on the path answers in its place",
        /// The rule of `trusted_senders` for the client was changed or removed.
        NotTrusted = "not-trusted": InvalidCredentials, GatepostAdmin,
            "restore the rule of `trusted_senders` if the device must still send without a login",
        /// The PAC script gave no usable answer.
        PacFailed = "pac-failed": Unavailable, GatepostAdmin,
            "check `forward_proxy.pac`, and let the maintainer of the script look at its answer",
        /// Too many password checks are waiting (`limits.password_hashes`).
        PasswordChecksBusy = "password-checks-busy": Unavailable, GatepostAdmin,
            "find out which clients try so many passwords, or raise `limits.password_hashes`",
        /// The device password has expired, before the login or during the session.
        PasswordExpired = "password-expired": InvalidCredentials, GatepostAdmin,
            "create a new password with `gatepost password add`",
        /// The access token lacks the permission that the protocol needs.
        PermissionMissing = "permission-missing": ContactAdmin, M365Admin,
            "add the permission to the registration of the application, and grant consent",
        /// The device password is right, but not for this network.
        PasswordForOtherNetworks = "password-for-other-networks": InvalidCredentials, GatepostAdmin,
            "revoke the password if it may have leaked, or create one for this network with `gatepost password add \
             --from`",
        /// The device password is right, but not for this protocol.
        PasswordForOtherProtocols = "password-for-other-protocols": InvalidCredentials, GatepostAdmin,
            "set up the device for the password's protocol, or create one with `gatepost password add --protocol`",
        /// The device password was revoked, before the login or during the session.
        PasswordRevoked = "password-revoked": InvalidCredentials, GatepostAdmin,
            "create a new password with `gatepost password add` if the device is still in use",
        /// A login came without TLS from a network that needs it.
        PlaintextLogin = "plaintext-login": InvalidCredentials, GatepostAdmin,
            "turn on TLS in the client and change the password. For a network that you trust, set \
             `allow_plaintext_from`",
        /// The server greeted with PREAUTH, which would skip the login.
        Preauth = "preauth": Unavailable, GatepostAdmin, "check that `upstream` is Microsoft's server",
        /// The protocol is off for the mailbox, or barred by a policy.
        ProtocolDisabled = "protocol-disabled": ContactAdmin, M365Admin,
            "turn the protocol on for the mailbox with `Set-CASMailbox`",
        /// The provider of the account does not have the service of the listener.
        ProviderLacksService = "provider-lacks-service": ContactAdmin, GatepostAdmin,
            "use a listener for IMAP, POP3 or SMTP, whose server `providers` names in `hosts`",
        /// Another provider than Microsoft does not take the application, its secret or its scope.
        ProviderRefused = "provider-refused": ContactAdmin, GatepostAdmin,
            "compare the provider's keys in `providers` with its console",
        /// Another provider than Microsoft failed, did not answer, or asked for a pause.
        ProviderUnavailable = "provider-unavailable": Unavailable, Nobody,
            "clients retry. If this lasts over 10 minutes, look at the status page of the provider",
        /// The proxy wants other credentials, or another kind of authentication.
        ProxyAuthentication = "proxy-authentication": Unavailable, GatepostAdmin,
            "correct the credentials under `forward_proxy`",
        /// The proxy refused the connection.
        ProxyRefused = "proxy-refused": Unavailable, NetworkAdmin,
            "allow the connection from this machine in the proxy",
        /// The TLS handshake with the proxy failed.
        ProxyTlsFailed = "proxy-tls-failed": Unavailable, GatepostAdmin,
            "check `forward_proxy.url`, and that `trust` covers the issuer of the proxy's certificate",
        /// No connection to the proxy, or the proxy broke it off.
        ProxyUnreachable = "proxy-unreachable": Unavailable, NetworkAdmin,
            "check that the proxy runs, and that `forward_proxy.url` is its address",
        /// The server redirects to another one, which is not followed.
        Redirected = "redirected": Unavailable, NetworkAdmin,
            "check that `upstream` is Microsoft's server, and that no device on the path answers in its place",
        /// Microsoft Graph did not understand the request.
        RequestRefused = "request-refused": ServerBug, Bug, "report it with this line of the log",
        /// The sign-in of `gatepost login` was declined in the browser.
        SignInDeclined = "sign-in-declined": ContactAdmin, ClientOwner, "sign in again and choose Accept",
        /// Nobody signed in before the time of `gatepost login` was over.
        SignInExpired = "sign-in-expired": ContactAdmin, ClientOwner, "sign in again",
        /// A person must sign in for the account, for the first time or again.
        SignInNeeded = "sign-in-needed": ContactAdmin, GatepostAdmin, "run `gatepost login` for the account",
        /// Bytes came from the server, or from a device in its place, before TLS had begun.
        DataBeforeTls = "data-before-tls": Unavailable, NetworkAdmin,
            "check that port and `upstream_tls` fit the server, and that no device on the path answers in its place",
        /// The store of sign-ins and device passwords does not answer.
        StoreUnavailable = "store-unavailable": Unavailable, GatepostAdmin,
            "repair the store under `state`. Passwords known so far keep working",
        /// The connection for token requests cannot be set up from `forward_proxy` and `trust`.
        TokenClientUnusable = "token-client-unusable": Unavailable, GatepostAdmin, "check `forward_proxy` and `trust`",
        /// The token of the session has expired, and only a login brings another.
        TokenExpired = "token-expired": Unavailable, ClientOwner,
            "log in again, because this session's token has expired",
        /// Entra gave a token for something else than Gatepost asked for.
        TokenForAnother = "token-for-another": ContactAdmin, GatepostAdmin,
            "check `scope`, `cloud`, `authority`, `tenant` and `client_id` of `microsoft`",
        /// The server did not understand the login with the token, as when the token is too long.
        TokenNotUnderstood = "token-not-understood": ContactAdmin, M365Admin,
            "check that `upstream` is the server for this account and that `scope` is for it",
        /// Too many token requests are waiting (`limits.token_requests`).
        TokenQueueFull = "token-queue-full": Unavailable, GatepostAdmin, "raise `limits.token_requests` if this lasts",
        /// Microsoft did not accept the access token.
        TokenRefused = "token-refused": ContactAdmin, M365Admin,
            "give the identity of the token its rights in Exchange Online, and turn the protocol on for the mailbox",
        /// Entra did not understand the token request.
        TokenRequestMalformed = "token-request-malformed": ServerBug, Bug, "report it with this line of the log",
        /// Too many different passwords were tried for the account from there.
        TooManyGuesses = "too-many-guesses": Unavailable, ClientOwner,
            "correct the password in the client, and try again in a minute",
        /// Too many wrong passwords over all accounts: no new one is forwarded for now.
        TooManyRefusals = "too-many-refusals": Unavailable, GatepostAdmin,
            "find out which clients try passwords, and narrow `allow_from`",
        /// Too many tokens that clients brought are being checked, from this address or for this mailbox.
        TooManyTokens = "too-many-tokens": Unavailable, ClientOwner,
            "try again. If this lasts, find out which program tries tokens",
        /// No account or alias matches the user name.
        UnknownAccount = "unknown-account": InvalidCredentials, GatepostAdmin,
            "add the user name to `accounts`, or correct it in the client",
        /// The server closed the connection during the login.
        UpstreamClosed = "upstream-closed": Unavailable, Nobody,
            "clients retry. If this lasts, check that the protocol is turned on for the mailbox",
        /// The server, or a device in its place, does not speak the protocol.
        UpstreamGarbage = "upstream-garbage": Unavailable, NetworkAdmin,
            "check that `upstream` and `upstream_tls` fit the server, and that no device on the path answers in its \
             place",
        /// Exchange Online has too many connections of the mailbox.
        UpstreamLimit = "upstream-limit": Limit, ClientOwner, "let fewer programs use this mailbox at once",
        /// The server wants no logins of the mailbox for now, and said for how long.
        UpstreamThrottles = "upstream-throttles": Unavailable, Nobody,
            "clients retry after the pause. If this recurs, let fewer programs read this mailbox, or let them check \
             less often",
        /// The server did not answer in time.
        UpstreamTimeout = "upstream-timeout": Unavailable, Nobody,
            "clients retry. If this lasts over 10 minutes, check the network between this machine and Microsoft 365",
        /// The TLS handshake with the server failed, or the server does not begin with TLS.
        UpstreamTlsFailed = "upstream-tls-failed": Unavailable, NetworkAdmin,
            "let this machine speak TLS 1.2 or 1.3 with the server, and check that the port fits `upstream_tls`",
        /// The server is not available for now.
        UpstreamUnavailable = "upstream-unavailable": Unavailable, Nobody,
            "clients retry. If this lasts over 10 minutes, check Microsoft 365 service health",
        /// No connection to the server.
        UpstreamUnreachable = "upstream-unreachable": Unavailable, NetworkAdmin,
            "allow connections from this machine to the server. If only a proxy may connect, set `forward_proxy`",
        /// The user name or the password is wrong.
        WrongPassword = "wrong-password": InvalidCredentials, ClientOwner, "enter the password in the client again",
    }
    "Connections and sessions" {
        /// The client used more accounts on one HTTP connection than are told apart; this was the oldest.
        AnotherAccount = "another-account": Nothing, Nobody, "",
        /// Bytes came behind STARTTLS, before the handshake.
        BytesBehindStarttls = "bytes-behind-starttls": Nothing, Nobody, "",
        /// The client rejects the listener's certificate.
        CertificateRejected = "certificate-rejected": Nothing, GatepostAdmin,
            "install the CA of `gatepost cert` on the client, or use a certificate with the host name that it connects to",
        /// The client's connection broke.
        ClientBroke = "client-broke": Nothing, Nobody, "",
        /// The client ended the session.
        ClientEnded = "client-ended": Nothing, Nobody, "",
        /// The client left without a login.
        ClientLeft = "client-left": Nothing, Nobody, "",
        /// Before the login, the client did not take what it was sent.
        ClientStalled = "client-stalled": Nothing, Nobody, "",
        /// The connection was closed in order.
        Closed = "closed": Nothing, Nobody, "",
        /// Gatepost stops: the relayed session was idle, and ended with a goodbye.
        Drained = "drained": Nothing, Nobody, "",
        /// Gatepost stops: the connection was idle, and ended.
        Draining = "draining": Nothing, Nobody, "",
        /// An administrator ended the session.
        EndedByOperator = "ended-by-operator": Nothing, Nobody, "",
        /// One side ended, and the other did not within `limits.half_closed`.
        HalfClosed = "half-closed": Nothing, Nobody, "",
        /// An HTTP request came to a mail port.
        Http = "http": Nothing, ClientOwner, "set the client to the HTTP port of Gatepost",
        /// Nothing passed for as long as the protocol's limit allows.
        Idle = "idle": Nothing, Nobody, "",
        /// The client ended the connection before a login.
        Logout = "logout": Nothing, Nobody, "",
        /// The load balancer sent no PROXY header.
        NoProxyHeader = "no-proxy-header": Nothing, GatepostAdmin,
            "let the load balancer send the PROXY header, or remove its address from `proxy_protocol_from`",
        /// The client's address is not in `allow_from`.
        NotAllowed = "not-allowed": Nothing, GatepostAdmin,
            "add the client's network to `allow_from` of the listener if it may connect",
        /// What the client sends has no clear meaning any longer.
        OutOfStep = "out-of-step": Nothing, Nobody, "",
        /// The device password was revoked or has expired, on an HTTP connection.
        PasswordEnded = "password-ended": Nothing, GatepostAdmin,
            "create a new password with `gatepost password add` if the device is still in use",
        /// The client's address is closed for wrong passwords, timeouts or garbage that came from there.
        Penalised = "penalised": Nothing, GatepostAdmin,
            "fix the client at this address, then wait until the block ends",
        /// The client began without TLS where the listener needs it from the first byte.
        PlaintextOnTlsPort = "plaintext-on-tls-port": Nothing, ClientOwner, "turn on TLS in the client",
        /// A load balancer looked whether the port is open.
        Probe = "probe": Nothing, Nobody, "",
        /// The client said QUIT.
        Quit = "quit": Nothing, Nobody, "",
        /// A request was not of a form that is served, or too many logins failed, on an HTTP connection.
        Refused = "refused": Nothing, ClientOwner, "correct the settings of the client",
        /// One side did not take what it was sent within `limits.write_stall`.
        Stalled = "stalled": Nothing, Nobody, "",
        /// The client took too long to log in.
        Timeout = "timeout": Nothing, Nobody, "",
        /// The TLS handshake with the client failed.
        TlsFailed = "tls-failed": Nothing, ClientOwner,
            "check the TLS settings of the client, and that it trusts Gatepost's certificate",
        /// The client began with TLS where the listener has none, or not yet.
        TlsOnPlainPort = "tls-on-plain-port": Nothing, ClientOwner,
            "turn TLS off in the client, or choose the listener's TLS port",
        /// The client did not finish the TLS handshake in time.
        TlsTimeout = "tls-timeout": Nothing, Nobody, "",
        /// The client's TLS has no version, cipher or signature that the listener takes.
        TlsTooOld = "tls-too-old": Nothing, ClientOwner, "turn on TLS 1.2 or newer in the client, or update it",
        /// A line or literal was longer than `limits` allow.
        TooLong = "too-long": Nothing, Nobody, "",
        /// Too many failed logins on one connection.
        TooManyAttempts = "too-many-attempts": Nothing, Nobody, "",
        /// Too many commands before the login.
        TooManyCommands = "too-many-commands": Nothing, Nobody, "",
        /// A limit of connections is reached.
        TooManyConnections = "too-many-connections": Nothing, GatepostAdmin,
            "let the client close its connections, or raise the limit under `limits`",
        /// Too many wrong commands in a session.
        TooManyErrors = "too-many-errors": Nothing, Nobody, "",
        /// Too many refusals are held back (`limits.delayed_failures`).
        TooManyFailures = "too-many-failures": Nothing, Nobody, "",
        /// The connection to the server broke.
        UpstreamBroke = "upstream-broke": Unavailable, Nobody,
            "clients retry. If this lasts, check the network between this machine and Microsoft 365",
        /// The server ended the session.
        UpstreamEnded = "upstream-ended": Nothing, Nobody, "",
        /// The SMTP session was idle, and made room for another session of its mailbox that waited.
        Yielded = "yielded": Nothing, Nobody, "",
    }
    "Messages" {
        /// A recipient is not of the form local@domain.
        BadRecipient = "bad-recipient": NotAuthorized, ClientOwner, "correct the address of the recipient",
        /// The message has a bare CR or LF (`legacy: true` mends it).
        BareLineEnd = "bare-line-end": NotAuthorized, GatepostAdmin,
            "set `legacy: true` on the listener, so that Gatepost converts line ends to CRLF",
        /// Microsoft Graph drops fields of the message, such as Auto-Submitted or List-Id.
        FieldsDropped = "fields-dropped": NotAuthorized, GatepostAdmin,
            "if a recipient needs these fields, send with `deliver: smtp`",
        /// Microsoft Graph found no valid recipient, or an invalid one.
        InvalidRecipients = "invalid-recipients": NotAuthorized, ClientOwner, "correct the addresses of the recipients",
        /// A message of the queue has a listener that is no longer configured, and no other has a queue.
        ListenerRemoved = "listener-removed": Nothing, GatepostAdmin,
            "configure a listener with `queue: true`, then run `gatepost reload`",
        /// The mailbox is full.
        MailboxFull = "mailbox-full": Unavailable, ClientOwner,
            "make room in the mailbox, whose Sent Items keep a copy of each message",
        /// The message has a bare CR or LF, a NUL or a header of more than 256 KiB, and cannot go through Microsoft Graph.
        MalformedMessage = "malformed-message": NotAuthorized, ClientOwner,
            "correct the message, or send it over a listener with `deliver: smtp`",
        /// A message that a POP3 client fetched broke off, and the connection was cut.
        MessageBroke = "message-broke": Unavailable, Nobody, "clients retry",
        /// Microsoft Graph cannot read the message.
        MessageNotUnderstood = "message-not-understood": ServerBug, Bug,
            "report it with the message's header, and set `deliver: smtp` on this listener meanwhile",
        /// Microsoft refused the message in other words.
        MessageRefused = "message-refused": NotAuthorized, ClientOwner,
            "read Microsoft's words. If they do not help, set `deliver: smtp` on this listener",
        /// The message is larger than `limits.message`, or than Microsoft Graph takes.
        MessageTooLarge = "message-too-large": NotAuthorized, ClientOwner,
            "send smaller messages. For Microsoft Graph, set `graph_large: draft` or `deliver: smtp` on the listener",
        /// The message is too large for Microsoft Graph as it is, and a draft would lose parts of it.
        NotADraft = "not-a-draft": NotAuthorized, ClientOwner,
            "send it as text with attached files and without a signature, or set `deliver: smtp` on this listener",
        /// The message has a NUL.
        Nul = "nul": NotAuthorized, ClientOwner, "remove the NUL byte from the message",
        /// Microsoft did not say whether it took the message: it may have been sent.
        OutcomeUnknown = "outcome-unknown": Unavailable, Nobody,
            "the client retries, so the message may arrive twice. Look for it in Sent Items",
        /// The queue, or the disk that it is on, has no room for a message.
        QueueFull = "queue-full": Unavailable, GatepostAdmin,
            "make room on the disk, or raise `queue.size`. `gatepost queue list` shows what waits",
        /// The queue cannot be read or written.
        QueueUnavailable = "queue-unavailable": Unavailable, GatepostAdmin,
            "check the disk of the queue, and the log of the system",
        /// A recipient is outside `recipient_domains` of the rule that trusts the device.
        RecipientNotAllowed = "recipient-not-allowed": NotAuthorized, GatepostAdmin,
            "if the device may send there, add the domain to `recipient_domains` of its rule",
        /// Exchange Online refused a recipient.
        RecipientRefused = "recipient-refused": NotAuthorized, ClientOwner, "correct the address of the recipient",
        /// A message of the queue could not be delivered within `queue.retry_for`.
        RetryOver = "retry-over": Nothing, GatepostAdmin,
            "correct what the message says, then run `gatepost queue retry`",
        /// The mailbox may not send as the address in From.
        SendAsDenied = "send-as-denied": ContactAdmin, M365Admin,
            "grant the mailbox Send As for this address with `Add-RecipientPermission`, or send as the mailbox itself",
        /// Microsoft Graph does not let the application send from the mailbox.
        SendDenied = "send-denied": ContactAdmin, M365Admin,
            "give the application `Mail.Send` for Microsoft Graph with consent, and include the mailbox in its RBAC \
             scope",
        /// Microsoft has blocked the mailbox from sending.
        SenderBarred = "sender-barred": ContactAdmin, M365Admin,
            "find out what was sent from it, and take it off the restricted entities in Microsoft Defender",
        /// The sender is none of the account's (`sender`, `send_as`).
        SenderNotAllowed = "sender-not-allowed": NotAuthorized, GatepostAdmin,
            "list the address in `send_as` of the account, or set `sender: forced` on the listener",
        /// The mailbox has sent as much as it may for now.
        SendingLimit = "sending-limit": Unavailable, ClientOwner,
            "send less, or wait. A mailbox can address 10,000 recipients in 24 hours",
        /// The temporary file of a message cannot be written or read.
        SpoolFailed = "spool-failed": Unavailable, GatepostAdmin,
            "make room in the state directory, and check its disk",
        /// Microsoft Graph takes no more requests for the mailbox for now.
        Throttled = "throttled": Unavailable, Nobody,
            "clients retry after the pause. If this recurs, let the client check less often",
        /// Microsoft Graph failed.
        UpstreamFailed = "upstream-failed": Unavailable, Nobody,
            "clients retry. If this lasts over 10 minutes, check Microsoft 365 service health",
    }
    "Requests over HTTP" {
        /// Microsoft does not let the account do what an HTTP request asks for.
        RequestDenied = "request-denied": Nothing, M365Admin,
            "give the application the permission that the request needs, with admin consent, and include the mailbox \
             in its RBAC scope",
        /// An HTTP request is for a host that the listener does not know.
        UnknownHost = "unknown-host": Nothing, GatepostAdmin, "add the name to `hosts` of the listener",
    }
    "The service itself" {
        /// The configuration was not read because of an error inside Gatepost.
        Broken = "broken": Nothing, Bug, "report it with the lines of the log before it",
        /// The replaced certificate of the Entra application is still registered, although nothing uses it.
        CertificateNotRemoved = "certificate-not-removed": Nothing, M365Admin,
            "remove it in Entra: App registrations > Certificates & secrets",
        /// The certificate of the Entra application was not renewed. The one before stays in use.
        CertificateNotRenewed = "certificate-not-renewed": Nothing, GatepostAdmin,
            "correct what the log names. Gatepost tries again within hours",
        /// A certificate or secret expires soon, or has expired.
        CredentialExpires = "credential-expires": Nothing, GatepostAdmin,
            "replace it before it expires. Gatepost reads changed files by itself",
        /// The changed configuration has mistakes, or an account without a password.
        Mistakes = "mistakes": Nothing, GatepostAdmin, "correct the configuration, then run `gatepost reload`",
        /// The change needs a restart.
        NeedsRestart = "needs-restart": Nothing, GatepostAdmin, "restart Gatepost",
        /// Gatepost was not started from a configuration that can be read again.
        NoSource = "no-source": Nothing, GatepostAdmin, "restart Gatepost",
        /// The changed configuration cannot be carried out on this machine.
        NotPossible = "not-possible": Nothing, GatepostAdmin, "correct the configuration, then run `gatepost reload`",
        /// An error inside Gatepost: report it, with the lines before it.
        InternalError = "internal-error": ServerBug, Bug, "report it with the lines of the log before it",
        /// A request to Microsoft could not be made, which is an error inside Gatepost.
        RequestNotMade = "request-not-made": ServerBug, Bug, "report it with this line of the log",
        /// Gatepost is stopping, so the configuration is not read again.
        Stopping = "stopping": Nothing, Nobody, "",
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

    const DOCUMENTS: [&str; 5] = [
        include_str!("../../../README.md"),
        include_str!("../../../docs/messages.md"),
        include_str!("../../../docs/operate/logs-and-audit.md"),
        include_str!("../../../docs/operate/monitor.md"),
        include_str!("../../../docs/troubleshoot/wrong-password.md"),
    ];
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
    fn every_word_that_the_documents_and_alerts_name_is_a_cause() {
        let mut found = 0;
        for text in DOCUMENTS {
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
