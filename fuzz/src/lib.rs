//! What the fuzz targets do with their input: one function each, which panics when the product
//! breaks a rule.
//!
//! `fuzz/run` feeds them from libFuzzer; `tests/protocol/fuzz_corpus.rs` replays `fuzz/corpus`
//! through the same functions in a plain `cargo test`, and includes this file for that. The first
//! octets of an input choose settings ([`recipe::Recipe`]).

mod autodiscover;
mod client;
mod connect;
mod http_basic;
mod http_head;
mod id_token;
mod jwt;
mod maildrop;
mod mime_head;
mod mime_parts;
mod mime_recipients;
mod ntlm_challenge;
mod proxy_header;
mod queue_index;
pub mod recipe;
mod record;
mod sasl;
mod session;
mod soap_head;
mod socks;
mod submission;
mod token_answer;
mod upstream;
mod yaml;

use gatepost_core::protocol::MailProtocol;

/// A target: its name, which is also its corpus's, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 27] = [
    ("imap_client", imap_client),
    ("pop3_client", pop3_client),
    ("smtp_client", smtp_client),
    ("smtp_submission", smtp_submission),
    ("smtp_session", smtp_session),
    ("pop3_transaction", pop3_transaction),
    ("imap_upstream", imap_upstream),
    ("pop3_upstream", pop3_upstream),
    ("smtp_upstream", smtp_upstream),
    ("sasl", sasl),
    ("connect", connect),
    ("ntlm_challenge", ntlm_challenge),
    ("socks", socks),
    ("proxy_header", proxy_header),
    ("token_answer", token_answer),
    ("jwt", jwt),
    ("id_token", id_token),
    ("mime_head", mime_head),
    ("mime_parts", mime_parts),
    ("mime_recipients", mime_recipients),
    ("http_head", http_head),
    ("http_basic", http_basic),
    ("soap_head", soap_head),
    ("autodiscover", autodiscover),
    ("record", record),
    ("yaml", yaml),
    ("queue_index", queue_index),
];

/// A client's octets towards the IMAP machine.
pub fn imap_client(data: &[u8]) {
    client::check(MailProtocol::Imap, data);
}

/// A client's octets towards the POP3 machine.
pub fn pop3_client(data: &[u8]) {
    client::check(MailProtocol::Pop3, data);
}

/// A client's octets towards the SMTP machine.
pub fn smtp_client(data: &[u8]) {
    client::check(MailProtocol::Smtp, data);
}

/// What a client sends that may send mail.
pub fn smtp_submission(data: &[u8]) {
    submission::check(data);
}

/// Both sides of a relayed SMTP session.
pub fn smtp_session(data: &[u8]) {
    session::check(data);
}

/// A client's octets, and those of a message, towards the POP3 machine behind the login.
pub fn pop3_transaction(data: &[u8]) {
    maildrop::check(data);
}

/// An upstream's octets towards the IMAP machine.
pub fn imap_upstream(data: &[u8]) {
    upstream::check(MailProtocol::Imap, data);
}

/// An upstream's octets towards the POP3 machine.
pub fn pop3_upstream(data: &[u8]) {
    upstream::check(MailProtocol::Pop3, data);
}

/// An upstream's octets towards the SMTP machine.
pub fn smtp_upstream(data: &[u8]) {
    upstream::check(MailProtocol::Smtp, data);
}

/// A client's SASL messages.
pub fn sasl(data: &[u8]) {
    sasl::check(data);
}

/// The claims of an ID token and of an access token.
pub fn jwt(data: &[u8]) {
    jwt::check(data);
}

/// The claims of an ID token, of every kind of server.
pub fn id_token(data: &[u8]) {
    id_token::check(data);
}

/// A proxy's NTLM challenge.
pub fn ntlm_challenge(data: &[u8]) {
    ntlm_challenge::check(data);
}

/// A proxy's octets in answer to CONNECT.
pub fn connect(data: &[u8]) {
    connect::check(data);
}

/// A SOCKS proxy's messages.
pub fn socks(data: &[u8]) {
    socks::check(data);
}

/// A load balancer's octets in front of a connection.
pub fn proxy_header(data: &[u8]) {
    proxy_header::check(data);
}

/// An answer of the token endpoint.
pub fn token_answer(data: &[u8]) {
    token_answer::check(data);
}

/// A submitted message.
pub fn mime_head(data: &[u8]) {
    mime_head::check(data);
}

/// A submitted message that is taken apart.
pub fn mime_parts(data: &[u8]) {
    mime_parts::check(data);
}

/// The recipients in the header of a message.
pub fn mime_recipients(data: &[u8]) {
    mime_recipients::check(data);
}

/// An HTTP/1 client's octets towards the judge of heads.
pub fn http_head(data: &[u8]) {
    http_head::check(data);
}

/// The value of a client's `Authorization` field.
pub fn http_basic(data: &[u8]) {
    http_basic::check(data);
}

/// The beginning of an EWS request.
pub fn soap_head(data: &[u8]) {
    soap_head::check(data);
}

/// A question of an EWS client for the address of EWS.
pub fn autodiscover(data: &[u8]) {
    autodiscover::check(data);
}

/// The records of a TLS peer, once a connection stands.
pub fn record(data: &[u8]) {
    record::check(data);
}

/// A configuration file.
pub fn yaml(data: &[u8]) {
    yaml::check(data);
}

/// A damaged message of the queue.
pub fn queue_index(data: &[u8]) {
    queue_index::check(data);
}
