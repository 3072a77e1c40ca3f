//! Messages that are too large for `sendMail` and go through Graph as drafts: their files arrive as
//! they were, and whatever fails in between leaves no draft and gives an honest answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_core::protocol::MailProtocol::Smtp;
use gatepost_sandbox::{HttpFault, SandboxAccount, SandboxConfig, Service, UpstreamMode};
use parking_lot::Mutex;

use crate::common::directory::Directory;
use crate::session::proxy::proxy;
use crate::session::support::{ALICE, ALICES, BOB, BOBS, Setup, World};

const BY_GRAPH: &str = "deliver: graph, graph: 'localhost:{graph}', graph_large: draft";
const AUTO: &str = "deliver: auto, upstream: 'localhost:{smtp}', graph: 'localhost:{graph}', graph_large: draft";
const REFUSED: &str = "deliver: graph, graph: 'localhost:{graph}'";

/// Bytes of a file that goes in one request, and of one that goes in two ranges.
const SMALL: usize = 100_000;
const LARGE: usize = 5_000_000;

async fn start(keys: &str, directory: &Directory) -> World {
    let users = vec![SandboxAccount::new(ALICE, ALICES), SandboxAccount::new(BOB, BOBS)];
    let setup = Setup {
        listeners: format!("\n  smtp: {{bind: '127.0.0.1:0', {keys}}}"),
        sandbox: SandboxConfig { accounts: users, ..SandboxConfig::default() },
        sections: format!("state: {{directory: '{}'}}", directory.path().display()),
        ..Setup::default()
    };
    let world = setup.start().await;
    world.sandbox.empty(BOB);
    world
}

/// A file as a scanner writes one: no two bytes in the same place are the same in two files.
fn file(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut file = b"%PDF-1.7\n".to_vec();
    file.extend((file.len()..length).map(|_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    }));
    file
}

fn part(head: &str, content: &[u8]) -> Vec<u8> {
    let mut part = format!("--scan\r\n{head}\r\nContent-Transfer-Encoding: base64\r\n\r\n").into_bytes();
    for line in content.chunks(57) {
        part.extend_from_slice(STANDARD.encode(line).as_bytes());
        part.extend_from_slice(b"\r\n");
    }
    part
}

/// A message with a text and these files.
fn scan(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut message =
        b"From: Scanner <alice@contoso.example>\r\nTo: Bob <bob@contoso.example>\r\nMessage-ID: <scan-7@x>\r\n\
        Subject: =?utf-8?B?w5xiZXJzaWNodA==?=\r\nX-Device: 7\r\nContent-Type: multipart/mixed; boundary=scan\r\n\r\n\
        --scan\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nGr\xFC\xDFe\r\n"
            .to_vec();
    for (name, content) in files {
        let head = format!("Content-Type: application/pdf\r\nContent-Disposition: attachment; {name}");
        message.extend(part(&head, content));
    }
    message.extend_from_slice(b"--scan--\r\n");
    message
}

/// The message of most tests: each step of a draft is needed for it.
fn usual() -> Vec<u8> {
    scan(&[("filename=small.pdf", &file(1, SMALL)), ("filename=large.pdf", &file(2, LARGE))])
}

/// The reply to a message from Alice to Bob.
async fn send(world: &World, content: &[u8]) -> String {
    let mut client = world.session(Smtp, ALICE, ALICES).await;
    client.ask(&format!("MAIL FROM:<{ALICE}>"), "250 ").await;
    client.ask(&format!("RCPT TO:<{BOB}>"), "250 ").await;
    client.ask("DATA", "354 ").await;
    client.send([content, b".\r\n"].concat()).await;
    client.hear("").await
}

/// The header, the text, and the files of a message that has arrived: each with its header.
fn arrived(message: &[u8]) -> (String, Vec<(String, Vec<u8>)>) {
    let end = memchr::memmem::find(message, b"\r\n\r\n").unwrap();
    let header = String::from_utf8(message[..end].to_vec()).unwrap();
    let boundary = header.split_once("boundary=\"").unwrap().1.split('"').next().unwrap();
    let delimiter = format!("--{boundary}");
    let finder = memchr::memmem::Finder::new(delimiter.as_bytes());
    let starts: Vec<_> = finder.find_iter(message).collect();
    let parts = starts.windows(2).map(|at| {
        let part = &message[at[0] + delimiter.len() + 2..at[1]];
        let end = memchr::memmem::find(part, b"\r\n\r\n").unwrap();
        let dense: Vec<u8> = part[end..].iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
        (String::from_utf8(part[..end].to_vec()).unwrap(), STANDARD.decode(dense).unwrap())
    });
    let parts = parts.collect();
    (header, parts)
}

/// Nothing of a message is left in the mailbox of the sender, and nobody got it.
fn nothing_is_left(world: &World, what: &str) {
    for folder in ["Drafts", "Deleted Items", "Sent Items"] {
        assert_eq!(world.sandbox.messages(ALICE, folder).len(), 0, "{what}: {folder}");
    }
    assert_eq!(world.sandbox.messages(BOB, "INBOX").len(), 0, "{what}");
}

#[tokio::test]
async fn a_scan_of_40_mb_arrives_as_it_was() {
    let directory = Directory::new();
    let world = start(BY_GRAPH, &directory).await;
    let content = file(7, 40_000_000);
    let reply = send(&world, &scan(&[("filename*=utf-8''%C3%9Cbersicht%20M%C3%A4rz.pdf", &content)])).await;
    assert!(reply.starts_with("250 2.0.0 Accepted by Microsoft Graph, request "), "{reply}");
    let inbox = world.sandbox.messages(BOB, "INBOX");
    let (header, parts) = arrived(&inbox[0]);
    for line in ["Subject: =?utf-8?B?w5xiZXJzaWNodA==?=", "Message-ID: <scan-7@x>", "X-Device: 7"] {
        assert!(header.lines().any(|found| found.eq_ignore_ascii_case(line)), "{line}: {header}");
    }
    let [(text_head, text), (file_head, file)] = parts.as_slice() else { panic!("{} parts", parts.len()) };
    assert!(text_head.contains("text/plain") && text == "Gr\u{fc}\u{df}e".as_bytes(), "{text_head}");
    assert!(file_head.contains("application/pdf") && file_head.contains("attachment; filename="), "{file_head}");
    assert!(
        file_head.contains("=?utf-8?B?w5xiZXJzaWNodCBNw6Ryei5wZGY=?="),
        "\u{dc}bersicht M\u{e4}rz.pdf: {file_head}"
    );
    assert!(*file == content, "the file is another");
    assert_eq!(
        (world.sandbox.messages(ALICE, "Drafts").len(), world.sandbox.messages(ALICE, "Sent Items").len()),
        (0, 1)
    );
    let lines = world.log.lines(|line| line.contains("way=graph outcome=sent"));
    assert!(lines[0].contains("as a draft with 1 file"), "{lines:?}");
    assert!(!world.log.has("fields-dropped"), "X-Device is kept");
    // The file in between had no name.
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["gatepost.sock"]);
}

#[tokio::test]
async fn a_message_of_an_account_without_smtp_goes_the_same_way() {
    let directory = Directory::new();
    let world = start(AUTO, &directory).await;
    world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::SmtpAuthDisabled);
    let reply = send(&world, &usual()).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let (_, parts) = arrived(&world.sandbox.messages(BOB, "INBOX")[0]);
    assert!(parts[1].1 == file(1, SMALL) && parts[2].1 == file(2, LARGE));
}

/// What may happen to each request, and what the client may hear then.
fn faults() -> Vec<(HttpFault, bool)> {
    let refuse = |status, retry_after| HttpFault::Refuse { status, code: None, retry_after };
    vec![
        (refuse(429, None), false),
        (refuse(503, None), false),
        (refuse(500, None), false),
        (refuse(504, None), false),
        (refuse(403, None), false),
        (refuse(409, None), false),
        (HttpFault::Refuse { status: 404, code: Some("ErrorItemNotFound"), retry_after: None }, false),
        (HttpFault::RefuseWhenDone(504), true),
        (HttpFault::Cut, false),
        (HttpFault::CutWhenDone, true),
        (HttpFault::CutInAnswer, true),
        (HttpFault::Html, false),
        (HttpFault::Redirect, false),
    ]
}

#[tokio::test]
async fn whatever_fails_before_the_draft_is_sent_leaves_nothing() {
    let directory = Directory::new();
    let world = start(BY_GRAPH, &directory).await;
    let message = usual();
    for call in ["POST /messages", "POST /messages/{id}/attachments", "createUploadSession"] {
        for (fault, _) in faults() {
            let what = format!("{call}: {fault:?}");
            world.sandbox.fail_http(Service::Graph, call, fault, 1);
            let reply = send(&world, &message).await;
            let expected = if what.contains("403") { "550 5.7.1 " } else { "451 4." };
            assert!(reply.starts_with(expected) && !reply.starts_with("451 4.4.2"), "{what}: {reply}");
            nothing_is_left(&world, &what);
        }
    }
    // What no further attempt at a range mends: a session that is gone, a stranger, a refusal.
    for fault in [HttpFault::code(404, "ErrorItemNotFound"), HttpFault::Redirect, HttpFault::status(403)] {
        let what = format!("{fault:?}");
        world.sandbox.fail_http(Service::Graph, "PUT /upload", fault, 1);
        let reply = send(&world, &message).await;
        let expected = if what.contains("403") { "550 5.7.1 " } else { "451 4.3.0 " };
        assert!(reply.starts_with(expected), "{what}: {reply}");
        nothing_is_left(&world, &what);
    }
    // Nothing of all that stands in the way of the next message.
    let reply = send(&world, &message).await;
    assert!(reply.starts_with("250 "), "{reply}");
}

/// Calls of Alice with this name.
fn calls(world: &World, call: &str) -> u64 {
    world.sandbox.counters().calls_of(Service::Graph, ALICE, call)
}

#[tokio::test]
async fn an_upload_that_breaks_goes_on_where_it_stopped() {
    let directory = Directory::new();
    let world = start(BY_GRAPH, &directory).await;
    let message = usual();
    let passing =
        |fault: &HttpFault| !matches!(fault, HttpFault::Redirect | HttpFault::Refuse { status: 403 | 404, .. });
    // The first range breaks, or the second one, which is the last.
    for before in [0, 1] {
        for (fault, is_done) in faults().into_iter().filter(|(fault, _)| passing(fault)) {
            let what = format!("{fault:?} after {before} ranges");
            world.sandbox.empty(BOB);
            let (puts, opened) = (calls(&world, "PUT /upload/{id}"), calls(&world, "POST /messages"));
            world.sandbox.fail_http(Service::Graph, "PUT /upload", HttpFault::Slow(Duration::ZERO), before);
            world.sandbox.fail_http(Service::Graph, "PUT /upload", fault, 1);
            let reply = send(&world, &message).await;
            assert!(reply.starts_with("250 "), "{what}: {reply}");
            let inbox = world.sandbox.messages(BOB, "INBOX");
            let (_, parts) = arrived(&inbox[0]);
            assert!(inbox.len() == 1 && parts.len() == 3, "{what}");
            assert!(parts[1].1 == file(1, SMALL) && parts[2].1 == file(2, LARGE), "{what}: the file is another");
            // What the server has is not sent again.
            assert_eq!(calls(&world, "PUT /upload/{id}") - puts, 2 + u64::from(!is_done), "{what}");
            assert_eq!(calls(&world, "POST /messages") - opened, 1, "{what}");
            assert_eq!(world.sandbox.messages(ALICE, "Drafts").len(), 0, "{what}");
        }
    }
}

#[tokio::test]
async fn an_upload_that_breaks_again_and_again_is_given_up() {
    let directory = Directory::new();
    let world = start(BY_GRAPH, &directory).await;
    world.sandbox.fail_http(Service::Graph, "PUT /upload", HttpFault::Slow(Duration::ZERO), 1);
    world.sandbox.fail_http(Service::Graph, "/upload/", HttpFault::Cut, usize::MAX);
    let reply = send(&world, &usual()).await;
    assert!(reply.starts_with("451 4.3.0 "), "{reply}");
    assert!(world.log.has("The upload could not be resumed"));
    nothing_is_left(&world, "given up");
    // A connection that is idle is tried once more by itself.
    assert!((1..=10).contains(&calls(&world, "GET /upload/{id}")), "{}", calls(&world, "GET /upload/{id}"));
}

/// A proxy in front of everything, which leads to the sandbox for Microsoft's server of uploads; the
/// names that it was asked for.
async fn with_upload_host(host: &str) -> (World, Arc<Mutex<Vec<String>>>, Directory) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let graph = Arc::new(AtomicU16::new(0));
    let (names, port) = (Arc::clone(&asked), Arc::clone(&graph));
    let proxy = proxy(move |request| {
        names.lock().push(request.target().to_owned());
        let at = format!("127.0.0.1:{}", port.load(Ordering::Relaxed));
        async move {
            let is_local = request.target().starts_with("localhost:");
            let request = if is_local { request } else { request.leading_to(at) };
            request.tunnel(false).await;
        }
    })
    .await;
    let directory = Directory::new();
    let users = vec![SandboxAccount::new(ALICE, ALICES), SandboxAccount::new(BOB, BOBS)];
    let setup = Setup {
        listeners: format!("\n  smtp: {{bind: '127.0.0.1:0', {BY_GRAPH}}}"),
        sandbox: SandboxConfig { accounts: users, ..SandboxConfig::default() },
        sections: format!(
            "state: {{directory: '{}'}}\nforward_proxy: {{url: 'http://127.0.0.1:{proxy}', no_proxy: [127.0.0.1]}}",
            directory.path().display()
        ),
        ..Setup::default()
    };
    let world = setup.start().await;
    graph.store(world.sandbox.graph().port(), Ordering::Relaxed);
    world.sandbox.empty(BOB);
    world.sandbox.set_upload_host(Some(host));
    (world, asked, directory)
}

#[tokio::test]
async fn the_server_of_uploads_is_another_one_and_gets_no_token() {
    let (world, asked, _directory) = with_upload_host("outlook.office.com").await;
    // The sandbox refuses a range, and a question where to go on, that come with a token.
    world.sandbox.fail_http(Service::Graph, "PUT /upload", HttpFault::Cut, 1);
    let reply = send(&world, &usual()).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let (_, parts) = arrived(&world.sandbox.messages(BOB, "INBOX")[0]);
    assert!(parts[2].1 == file(2, LARGE));
    assert!(calls(&world, "PUT /upload/{id}") == 3 && calls(&world, "GET /upload/{id}") == 1);
    assert!(asked.lock().iter().any(|target| target == "outlook.office.com:443"));

    // A redirection from there is not followed.
    world.sandbox.fail_http(Service::Graph, "PUT /upload", HttpFault::Redirect, 1);
    let reply = send(&world, &usual()).await;
    assert!(reply.starts_with("451 4.3.0 "), "{reply}");
    let asked = asked.lock();
    assert!(asked.iter().all(|target| !target.contains("elsewhere")), "{asked:?}");
    assert_eq!(world.sandbox.messages(BOB, "INBOX").len(), 1);
}

#[tokio::test]
async fn files_go_to_no_server_that_is_not_microsofts() {
    for host in ["files.elsewhere.example", "outlook.office.com.elsewhere.example", "outlook.office.com:8443"] {
        let (world, asked, _directory) = with_upload_host(host).await;
        let reply = send(&world, &usual()).await;
        assert!(reply.starts_with("451 4.3.0 "), "{host}: {reply}");
        assert!(world.log.has("neither at this Graph nor at Microsoft"), "{host}");
        let asked = asked.lock().clone();
        assert!(asked.iter().all(|target| target.starts_with("localhost:")), "{asked:?}");
        assert_eq!(calls(&world, "PUT /upload/{id}"), 0, "{host}");
        nothing_is_left(&world, host);
    }
}

#[tokio::test]
async fn a_draft_that_is_sent_is_sent_once_whatever_graph_says() {
    let directory = Directory::new();
    let world = start(BY_GRAPH, &directory).await;
    let message = usual();
    for (fault, is_done) in faults() {
        let what = format!("{fault:?}");
        let is_open =
            is_done || ["404", "409", "500", "504"].iter().any(|status| what.contains(status)) || what == "Cut";
        world.sandbox.empty(BOB);
        let before = world.sandbox.messages(ALICE, "Sent Items").len();
        let requests = calls(&world, "POST /messages/{id}/send");
        world.sandbox.fail_http(Service::Graph, "POST /messages/{id}/send", fault, 1);
        let reply = send(&world, &message).await;
        let sent = world.sandbox.messages(ALICE, "Sent Items").len() - before;
        let expected = match is_open {
            // A draft that is found unsent is sent again.
            true => "250 ",
            false if what.contains("403") => "550 5.7.1 ",
            false => "451 4.3.",
        };
        assert!(reply.starts_with(expected), "{what}: {reply}");
        assert_eq!(
            (sent, world.sandbox.messages(BOB, "INBOX").len()),
            (usize::from(is_open), usize::from(is_open)),
            "{what}"
        );
        let requests = calls(&world, "POST /messages/{id}/send") - requests;
        assert_eq!(requests, 1 + u64::from(is_open && !is_done), "{what}");
        assert_eq!(world.sandbox.messages(ALICE, "Drafts").len(), 0, "{what}");
    }
}

#[tokio::test]
async fn a_draft_that_stays_unsent_is_removed_and_the_client_may_try_again() {
    let directory = Directory::new();
    let world = start(BY_GRAPH, &directory).await;
    world.sandbox.fail_http(Service::Graph, "POST /messages/{id}/send", HttpFault::status(504), 2);
    let reply = send(&world, &usual()).await;
    assert!(reply.starts_with("451 4.3.0 ") && reply.contains("Nothing was sent"), "{reply}");
    assert_eq!(calls(&world, "POST /messages/{id}/send"), 2);
    nothing_is_left(&world, "unsent");
    assert!(world.log.has("its draft was still unsent") && !world.log.has("cause=outcome-unknown"));
    let reply = send(&world, &usual()).await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(world.sandbox.messages(BOB, "INBOX").len(), 1);
}

#[tokio::test]
async fn a_second_request_to_send_that_is_late_to_answer_sends_once() {
    let directory = Directory::new();
    let world = start(BY_GRAPH, &directory).await;
    world.sandbox.fail_http(Service::Graph, "POST /messages/{id}/send", HttpFault::status(500), 1);
    world.sandbox.fail_http(Service::Graph, "POST /messages/{id}/send", HttpFault::RefuseWhenDone(504), 1);
    let reply = send(&world, &usual()).await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!((world.sandbox.messages(BOB, "INBOX").len(), world.sandbox.messages(ALICE, "Sent Items").len()), (1, 1));
}

#[tokio::test]
async fn graphs_short_waits_are_waited_for_at_each_step() {
    let directory = Directory::new();
    let world = start(BY_GRAPH, &directory).await;
    for call in ["POST /messages", "/attachments", "createUploadSession", "PUT /upload", "/send"] {
        world.sandbox.fail_http(Service::Graph, call, HttpFault::throttled(Duration::from_secs(1)), 1);
    }
    let reply = send(&world, &usual()).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let (_, parts) = arrived(&world.sandbox.messages(BOB, "INBOX")[0]);
    assert!(parts[1].1 == file(1, SMALL) && parts[2].1 == file(2, LARGE));
}

#[tokio::test]
async fn a_draft_that_cannot_be_removed_is_named_and_goes_later() {
    let directory = Directory::new();
    let world = start(BY_GRAPH, &directory).await;
    world.sandbox.fail_http(Service::Graph, "PUT /upload", HttpFault::code(404, "ErrorItemNotFound"), 1);
    world.sandbox.fail_http(Service::Graph, "permanentDelete", HttpFault::status(403), 2);
    world.sandbox.fail_http(Service::Graph, "DELETE /messages/{id}", HttpFault::status(403), 2);
    let reply = send(&world, &usual()).await;
    assert!(reply.starts_with("451 4.3.0 "), "{reply}");
    assert!(world.log.has("is still in the mailbox, and is removed later"));
    world
        .until("it is named", || world.log.has("a draft of a message that was not sent is still in the mailbox"))
        .await;
    assert!(world.log.lines(|line| line.contains("Gatepost tries again"))[0].contains("draft="));
    world.until("it is gone", || world.sandbox.messages(ALICE, "Drafts").is_empty()).await;
}

#[tokio::test]
async fn a_token_that_is_refused_on_the_way_is_replaced_and_leaves_no_draft() {
    let directory = Directory::new();
    let world = start(BY_GRAPH, &directory).await;
    for call in ["createUploadSession", "permanentDelete", "DELETE /messages/{id}"] {
        world.sandbox.fail_http(Service::Graph, call, HttpFault::status(401), 1);
    }
    let reply = send(&world, &usual()).await;
    assert!(reply.starts_with("250 "), "{reply}");
    world.until("the first draft is gone", || world.sandbox.messages(ALICE, "Drafts").is_empty()).await;
    assert_eq!(world.sandbox.messages(BOB, "INBOX").len(), 1);
    for call in ["POST /messages", "POST /messages/{id}/attachments", "createUploadSession", "/send"] {
        // A second new token within a moment is not asked for.
        let directory = Directory::new();
        let world = start(BY_GRAPH, &directory).await;
        world.sandbox.fail_http(Service::Graph, call, HttpFault::status(401), 1);
        let reply = send(&world, &usual()).await;
        assert!(reply.starts_with("250 "), "{call}: {reply}");
        assert_eq!(world.sandbox.messages(BOB, "INBOX").len(), 1, "{call}");
        assert_eq!(world.sandbox.messages(ALICE, "Drafts").len(), 0, "{call}");
    }
}

#[tokio::test]
async fn a_file_that_no_text_shows_is_no_hidden_one() {
    let directory = Directory::new();
    let world = start(BY_GRAPH, &directory).await;
    let inline = |name: &str| {
        part(
            &format!(
                "Content-Type: application/pdf\r\nContent-ID: <1@x>\r\nContent-Disposition: inline; filename={name}"
            ),
            &file(4, 3_500_000),
        )
    };
    for (text, disposition) in [
        ("text/plain\r\n\r\ncid:1@x", "attachment;"),
        ("text/html\r\n\r\n<p>", "attachment;"),
        ("text/html\r\n\r\n<img src='cid:1@x'>", "inline;"),
    ] {
        world.sandbox.empty(BOB);
        let head = "Subject: s\r\nContent-Type: multipart/mixed; boundary=scan\r\n\r\n--scan\r\nContent-Type: ";
        let message = [head.as_bytes(), text.as_bytes(), b"\r\n", &inline("scan(2).pdf"), b"--scan--\r\n"].concat();
        let reply = send(&world, &message).await;
        assert!(reply.starts_with("250 "), "{text}: {reply}");
        let (_, parts) = arrived(&world.sandbox.messages(BOB, "INBOX")[0]);
        assert!(parts[1].0.contains(disposition) && parts[1].0.contains("scan(2).pdf"), "{text}: {}", parts[1].0);
    }
}

#[tokio::test]
async fn text_in_another_charset_than_it_says_arrives_or_is_refused() {
    let directory = Directory::new();
    let world = start(BY_GRAPH, &directory).await;
    let usual = usual();
    let labelled = |charset: &str| {
        let at = memchr::memmem::find(&usual, b"iso-8859-1").unwrap();
        [&usual[..at], charset.as_bytes(), &usual[at + 10..]].concat()
    };
    for (charset, why) in
        [("iso-2022-kr", "in the charset `iso-2022-kr`"), ("shift_jis", "not in its charset `shift_jis`")]
    {
        let reply = send(&world, &labelled(charset)).await;
        assert!(reply.starts_with("554 5.6.1 ") && reply.contains(why), "{charset}: {reply}");
        nothing_is_left(&world, charset);
    }
    let reply = send(&world, &labelled("utf-8")).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let (_, parts) = arrived(&world.sandbox.messages(BOB, "INBOX")[0]);
    assert_eq!(parts[0].1, "Gr\u{fc}\u{df}e".as_bytes());
}

#[tokio::test]
async fn a_session_that_is_cut_leaves_no_draft() {
    let directory = Directory::new();
    let world = start(BY_GRAPH, &directory).await;
    world.sandbox.fail_http(Service::Graph, "PUT /upload", HttpFault::Hang, 1);
    let mut client = world.session(Smtp, ALICE, ALICES).await;
    client.ask(&format!("MAIL FROM:<{ALICE}>"), "250 ").await;
    client.ask(&format!("RCPT TO:<{BOB}>"), "250 ").await;
    client.ask("DATA", "354 ").await;
    client.send([usual(), b".\r\n".to_vec()].concat()).await;
    world
        .until("the upload begins", || world.sandbox.counters().calls_of(Service::Graph, ALICE, "PUT /upload/{id}") > 0)
        .await;
    assert_eq!(world.sandbox.messages(ALICE, "Drafts").len(), 1);
    world.stop.now();
    world.until("the draft is gone", || world.sandbox.messages(ALICE, "Drafts").is_empty()).await;
    assert_eq!(world.sandbox.messages(BOB, "INBOX").len(), 0);
}

#[tokio::test]
async fn what_a_draft_cannot_hold_is_refused_with_the_reason() {
    let directory = Directory::new();
    let world = start(BY_GRAPH, &directory).await;
    let padding = String::from_utf8(part("Content-Type: application/pdf", &file(3, 3_000_000))).unwrap();
    let mixed = |part: &str| {
        format!(
            "Subject: s\r\nContent-Type: multipart/mixed; boundary=scan\r\n\r\n--scan\r\n{part}\r\n{padding}--scan--\r\n"
        )
    };
    let signed =
        format!("Content-Type: multipart/signed; boundary=scan\r\n\r\n--scan\r\n\r\ntext\r\n{padding}--scan--\r\n");
    let alternative = "Content-Type: multipart/alternative; boundary=a\r\n\r\n--a\r\n\r\nplain\r\n--a\r\nContent-Type: \
        text/html\r\n\r\n<p>\r\n--a--";
    let long = format!("Subject: s\r\n\r\n{}", "a line of a long text\r\n".repeat(200_000));
    for (message, why) in [
        (signed, "is signed or encrypted"),
        (mixed(alternative), "has its text in several forms"),
        (mixed("Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ntext"), "has another message in it"),
        (mixed("Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR"), "has an invitation"),
        (mixed("Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1"), "is encrypted"),
        (mixed("Content-Transfer-Encoding: base64\r\n\r\nno base64!"), "has a text that is not valid base64"),
        (
            mixed("Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nYQ"),
            "has a file that is not valid base64",
        ),
        (mixed("\r\ntext").replace("--scan--\r\n", ""), "has a multipart part without its end"),
        (long, "has a text of more than 1000000 bytes"),
    ] {
        let reply = send(&world, message.as_bytes()).await;
        assert!(reply.starts_with("554 5.6.1 ") && reply.contains(why), "{why}: {reply}");
        nothing_is_left(&world, why);
    }
    assert_eq!(world.sandbox.counters().calls_of(Service::Graph, ALICE, "POST /messages"), 0);
    assert!(world.log.has("cause=not-a-draft"));
}

#[tokio::test]
async fn without_the_key_the_refusal_names_it() {
    let directory = Directory::new();
    let world = start(REFUSED, &directory).await;
    let reply = send(&world, &usual()).await;
    assert!(reply.starts_with("552 5.3.4 "), "{reply}");
    assert!(world.log.has("`graph_large: draft`"), "the log names the key");
    nothing_is_left(&world, "refused");
    let mut client = world.session(Smtp, ALICE, ALICES).await;
    client.ask("EHLO client.example", "250 ").await;
    assert!(String::from_utf8_lossy(&client.heard).contains("SIZE 3000000"));
    client.ask(&format!("MAIL FROM:<{ALICE}> SIZE=3000001"), "552 5.3.4 ").await;

    let world = start(BY_GRAPH, &directory).await;
    let mut client = world.session(Smtp, ALICE, ALICES).await;
    client.ask("EHLO client.example", "250 ").await;
    assert!(String::from_utf8_lossy(&client.heard).contains("SIZE 150000000"));
    client.ask(&format!("MAIL FROM:<{ALICE}> SIZE=150000001"), "552 5.3.4 ").await;
}

#[tokio::test]
async fn the_missing_permission_is_named() {
    let directory = Directory::new();
    let world = start(BY_GRAPH, &directory).await;
    world.sandbox.set_graph_consent(Some(&["Mail.Send"]));
    let reply = send(&world, &usual()).await;
    assert!(reply.starts_with("550 5.7.1 "), "{reply}");
    assert!(world.log.has("Mail.ReadWrite"), "the log names the permission");
    nothing_is_left(&world, "without the permission");
}
