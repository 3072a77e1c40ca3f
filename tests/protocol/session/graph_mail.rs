//! Messages through Graph's sendMail: what goes out is what came in, to the people of the envelope.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use gatepost::graph::GraphClient;
use gatepost_config::Origin;
use gatepost_core::account::MailAddress;
use gatepost_core::protocol::MailProtocol;
use gatepost_net::dial::Dialer;
use gatepost_net::tls::client::UpstreamTrust;
use gatepost_proto::mail::smtp::Envelope;
use gatepost_proto::sasl::Bearer;
use gatepost_sandbox::{Attempts, Sandbox, Service, UpstreamMode};

use crate::session::support::{ALICE, ALICES, BOB, Client, Setup};

/// A message of the corpus, and what is to become of it.
struct Sample {
    file: String,
    envelope: Envelope,
    content: Vec<u8>,
    /// What goes out, or the code of the refusal.
    expected: Result<Vec<u8>, u16>,
}

/// All of `tests/corpus`.
fn corpus() -> Vec<Sample> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let manifest = std::fs::read_to_string(folder.join("manifest.tsv")).unwrap();
    let names = |column: &str| -> Vec<String> {
        column.split(" | ").filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let read = |line: &str| {
        let columns: Vec<_> = line.split('\t').collect();
        let [file, verdict, envelope, blind, _] = columns[..] else { panic!("{line}") };
        let content = std::fs::read(folder.join("messages").join(file)).unwrap();
        let expected = match verdict {
            "identical" => Ok(content.clone()),
            "bcc" => Ok([format!("Bcc: {}\r\n", names(blind).join(",\r\n ")).as_bytes(), &content].concat()),
            "changed" => Ok(std::fs::read(folder.join("changed").join(file)).unwrap()),
            refused => Err(refused.strip_prefix("refused ").unwrap().parse().unwrap()),
        };
        Sample {
            file: file.to_owned(),
            envelope: Envelope { sender: Some(ALICE.to_owned()), recipients: names(envelope), ..Envelope::default() },
            content,
            expected,
        }
    };
    manifest.lines().skip(1).map(read).collect()
}

pub(crate) fn client(sandbox: &Sandbox, limits: &'static str) -> GraphClient {
    let config = Arc::new(Setup::limits(limits).config(sandbox));
    let trust = Arc::new(UpstreamTrust::new(config.trust.clone()));
    let dialer = Arc::new(Dialer::new(Arc::clone(&config), Arc::clone(&trust)));
    let origin = Origin { host: "localhost".into(), port: sandbox.graph().port(), name: "localhost".into() };
    GraphClient::new(origin, dialer, trust, &config.limits)
}

pub(crate) fn bearer(sandbox: &Sandbox, mailbox: &str) -> Bearer {
    let token = sandbox.issue_graph_token(Some(mailbox)).unwrap();
    Bearer { user: MailAddress::parse(mailbox).unwrap(), token: Arc::new(token) }
}

pub(crate) async fn sandbox() -> Sandbox {
    Sandbox::start(Setup::default().sandbox).await.unwrap()
}

fn has_field(message: &[u8], name: &str) -> bool {
    let head = message.windows(4).position(|octets| octets == b"\r\n\r\n").map_or(message, |at| &message[..at]);
    let named = |line: &[u8]| line.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()));
    head.split(|octet| *octet == b'\n').any(named)
}

/// The message without the Message-ID that it was given.
fn without_new_id(message: &[u8]) -> Vec<u8> {
    let is_id = |line: &&[u8]| line.starts_with(b"Message-ID: <") && line.ends_with(b"@contoso.example>\r\n");
    let lines = message.split_inclusive(|octet| *octet == b'\n').collect::<Vec<_>>();
    let at = lines.iter().position(is_id).unwrap_or_else(|| panic!("no id: {}", message.escape_ascii()));
    [&lines[..at], &lines[at + 1..]].concat().concat()
}

/// Without regard to case and to quotes that are not needed.
fn set<'a>(recipients: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
    let fold = |recipient: &String| match recipient.rsplit_once('@') {
        Some((local, domain)) => format!("{}@{domain}", local.trim_matches('"')).to_lowercase(),
        None => recipient.to_lowercase(),
    };
    recipients.into_iter().map(fold).collect()
}

/// Compares what became of each sample with what was to become of it.
#[derive(Default)]
struct Audit {
    sent: usize,
    wrong: Vec<String>,
}

impl Audit {
    /// `refused` is the code that the client heard, unless its message was taken.
    fn check(&mut self, sandbox: &Sandbox, sample: &Sample, refused: Option<u16>) {
        let Sample { file, envelope, expected, .. } = sample;
        let (outbox, copies) = (sandbox.outbox(), sandbox.messages(ALICE, "Sent Items"));
        self.sent += usize::from(refused.is_none());
        assert_eq!((outbox.len(), copies.len()), (self.sent, self.sent), "{file}");
        let Some(code) = refused else {
            let copy = copies.last().unwrap().to_vec();
            let has_id = expected.as_ref().is_ok_and(|expected| has_field(expected, "message-id:"));
            let copy = if has_id { copy } else { without_new_id(&copy) };
            let arrived = outbox.last().unwrap();
            assert_eq!(set(&arrived.recipients), set(&envelope.recipients), "{file}");
            assert!(!has_field(&arrived.content, "bcc"), "{file}");
            if expected.as_ref() != Ok(&copy) {
                self.wrong.push(format!("{file}: became {}", copy[..copy.len().min(500)].escape_ascii()));
            }
            return;
        };
        if *expected != Err(code) {
            self.wrong.push(format!("{file}: was refused with {code}"));
        }
    }

    /// How many messages went out.
    fn finish(self) -> usize {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        self.sent
    }
}

#[tokio::test]
async fn every_awkward_message_goes_out_to_its_envelope() {
    let sandbox = sandbox().await;
    let (graph, bearer) = (client(&sandbox, ""), bearer(&sandbox, ALICE));
    let samples = corpus();
    assert!(samples.len() >= 200);
    let mut audit = Audit::default();
    for sample in samples {
        let result = graph.send_mail(&bearer, &sample.envelope, sample.content.clone()).await;
        audit.check(&sandbox, &sample, result.err().map(|not_sent| not_sent.reply.code()));
    }
    assert!(audit.finish() > 200);
}

/// The code of the reply to a whole transaction; `None` when the message was taken.
async fn submitted(client: &mut Client, envelope: &Envelope, content: Vec<u8>) -> Option<u16> {
    let international = !envelope.recipients.iter().all(|recipient| recipient.is_ascii());
    let mut said = format!("MAIL FROM:<{ALICE}>{}\r\n", if international { " SMTPUTF8" } else { "" });
    for recipient in &envelope.recipients {
        said.push_str(&format!("RCPT TO:<{recipient}>\r\n"));
    }
    client.send(said).await;
    for _ in 0..=envelope.recipients.len() {
        client.hear("250 ").await;
    }
    client.send(content).await;
    let reply = client.hear("").await;
    let reply = if reply.starts_with("354 ") { client.hear("").await } else { reply };
    let code = reply[..3].parse().unwrap();
    (code != 250).then_some(code)
}

#[tokio::test]
async fn every_awkward_message_passes_the_listener_to_its_envelope() {
    let listeners = "\n  smtp: {bind: '127.0.0.1:0', deliver: graph, graph: 'localhost:{graph}'}";
    let world = Setup { listeners: listeners.to_owned(), ..Setup::default() }.start().await;
    let mut client = world.session(MailProtocol::Smtp, ALICE, ALICES).await;
    let mut audit = Audit::default();
    for sample in corpus() {
        let Sample { envelope, content, .. } = &sample;
        let chunk = [format!("BDAT {} LAST\r\n", content.len()).as_bytes(), content].concat();
        let refused = submitted(&mut client, envelope, chunk).await;
        audit.check(&world.sandbox, &sample, refused);
        // By DATA a message ends with a line, and has no line ends but CRLF.
        if refused.is_none() && content.ends_with(b"\r\n") {
            let data = [b"DATA\r\n", &stuff(content)[..], b".\r\n"].concat();
            let refused = submitted(&mut client, envelope, data).await;
            audit.check(&world.sandbox, &sample, refused);
        }
    }
    assert!(audit.finish() > 400);
}

/// Doubles the dots at the beginning of lines (RFC 5321 §4.5.2).
fn stuff(content: &[u8]) -> Vec<u8> {
    content.split_inclusive(|octet| *octet == b'\n').fold(Vec::new(), |mut stuffed, line| {
        stuffed.extend_from_slice(if line.starts_with(b".") { b"." } else { b"" });
        stuffed.extend_from_slice(line);
        stuffed
    })
}

#[tokio::test]
async fn a_blind_copy_arrives_and_stays_blind() {
    let sandbox = sandbox().await;
    let message = b"From: alice@contoso.example\r\nTo: anna@fabrikam.example\r\nMessage-ID: <1@x>\r\n\r\nText\r\n";
    let recipients = vec!["anna@fabrikam.example".to_owned(), BOB.to_owned()];
    let envelope = Envelope { recipients, ..Envelope::default() };
    let before = sandbox.messages(BOB, "INBOX").len();
    let sent = client(&sandbox, "").send_mail(&bearer(&sandbox, ALICE), &envelope, message.to_vec()).await.unwrap();
    let (begin, id) =
        sent.reply.to_string().split_once(", request ").map(|(begin, id)| (begin.to_owned(), id.len())).unwrap();
    assert_eq!((begin.as_str(), id), ("250 2.0.0 Accepted by Microsoft Graph", 36));
    let inbox = sandbox.messages(BOB, "INBOX");
    assert_eq!((inbox.len(), &**inbox.last().unwrap()), (before + 1, &message[..]));
}

#[tokio::test]
async fn microsofts_refusals_reach_the_client() {
    let sandbox = sandbox().await;
    let graph = client(&sandbox, "");
    let envelope = Envelope { recipients: vec!["anna@fabrikam.example".into()], ..Envelope::default() };
    let send = async |bearer: &Bearer, from: &str| {
        let message = format!("From: {from}\r\nTo: anna@fabrikam.example\r\n\r\n");
        graph
            .send_mail(bearer, &envelope, message.into_bytes())
            .await
            .map(drop)
            .map_err(|not_sent| (not_sent.reply.code(), not_sent.failure.cause.name(), not_sent.token_refused))
    };
    let alice = bearer(&sandbox, ALICE);
    assert_eq!(send(&alice, BOB).await, Err((550, "send-as-denied", false)));
    let others = Bearer { user: MailAddress::parse(BOB).unwrap(), token: Arc::clone(&alice.token) };
    assert_eq!(send(&others, BOB).await, Err((550, "send-denied", false)));
    let exchange = Arc::new(sandbox.issue_token(ALICE).unwrap());
    let wrong_audience = Bearer { user: alice.user.clone(), token: exchange };
    assert_eq!(send(&wrong_audience, ALICE).await, Err((451, "token-refused", true)));
    sandbox.set_upstream_mode(Service::Graph, UpstreamMode::Refuse);
    let message = format!("From: {ALICE}\r\nTo: anna@fabrikam.example\r\n\r\n").into_bytes();
    let not_sent = client(&sandbox, "").send_mail(&alice, &envelope, message).await.unwrap_err();
    assert!(not_sent.reply.to_string().starts_with("451 4.4.1 "), "{not_sent:?}");
    sandbox.set_upstream_mode(Service::Graph, UpstreamMode::Normal);
    assert!(send(&alice, ALICE).await.is_ok());
    assert_eq!(sandbox.outbox().len(), 1);
    let all = sandbox.counters().submissions_of(Service::Graph, ALICE);
    assert_eq!(all, Attempts { succeeded: 1, refused: 1 });
}

#[tokio::test]
async fn a_token_of_the_application_sends_from_the_mailbox_that_is_named() {
    let sandbox = sandbox().await;
    let token = Arc::new(sandbox.issue_graph_token(None).unwrap());
    let bearer = Bearer { user: MailAddress::parse(BOB).unwrap(), token };
    let envelope = Envelope { recipients: vec!["anna@fabrikam.example".into()], ..Envelope::default() };
    let message = format!("From: {BOB}\r\nTo: anna@fabrikam.example\r\n\r\n").into_bytes();
    client(&sandbox, "").send_mail(&bearer, &envelope, message).await.unwrap();
    assert_eq!(sandbox.outbox()[0].sender, BOB);
}
