//! How a message comes into the queue and leaves it: what the client is told before its content,
//! and what is certain of a message whose connection breaks.

use gatepost_sandbox::{Service, SmtpFault, UpstreamMode};

use super::queue::{BY_SMTP, PRINTER, SCANNER, device, in_time, scan, scans, setup, told};
use crate::common::directory::Directory;
use crate::session::submission_trusted::{inbox, send};
use crate::session::support::{BOB, Client};

/// A header that comes in pieces is one header.
#[tokio::test]
async fn a_message_id_in_a_later_piece_of_the_header_is_the_only_one() {
    let directory = Directory::new();
    let world = setup(&directory, BY_SMTP, "").start().await;
    let mut scanner = device(&world).await;
    scanner.ask(&format!("MAIL FROM:<{SCANNER}>"), "250 ").await;
    scanner.ask(&format!("RCPT TO:<{BOB}>"), "250 ").await;
    let pieces = [format!("From: {SCANNER}\r\n"), "Message-ID: <7@scanner>\r\n".into(), "\r\nScan\r\n".into()];
    for (number, piece) in pieces.iter().enumerate() {
        let last = if number + 1 == pieces.len() { " LAST" } else { "" };
        let reply = scanner.ask(&format!("BDAT {}{last}\r\n{}", piece.len(), piece.trim_end_matches("\r\n")), "").await;
        assert!(reply.starts_with("250 "), "{reply}");
    }
    world.until("it has arrived", || inbox(&world).len() == 1).await;
    let arrived = inbox(&world).remove(0);
    assert_eq!(arrived.matches("Message-ID:").count(), 1, "{arrived}");
    assert!(arrived.ends_with(&pieces.concat()), "{arrived}");
}

/// What Graph does not take would only fail later.
#[tokio::test]
async fn a_message_that_is_too_large_for_graph_is_refused_where_it_would_go_there() {
    let directory = Directory::new();
    let auto = format!("deliver: auto, {BY_SMTP}");
    let world = setup(&directory, &auto, "").start().await;
    let size = async |client: &mut Client, octets: u32| {
        let reply = client.ask(&format!("MAIL FROM:<{PRINTER}> SIZE={octets}"), "").await;
        client.ask("RSET", "250 ").await;
        reply
    };
    let mut scanner = device(&world).await;
    assert!(size(&mut scanner, 3_000_001).await.starts_with("250 "), "SMTP takes it");
    world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::SmtpAuthDisabled);
    let queued = send(&mut scanner, PRINTER, BOB, &format!("From: {PRINTER}\r\n\r\nText")).await;
    assert_eq!(queued, "250 2.0.0 Queued as 1");
    in_time(&world, "it has left through Graph", || inbox(&world).len() == 1).await;
    let mut scanner = device(&world).await;
    assert!(size(&mut scanner, 3_000_000).await.starts_with("250 "));
    let refused = size(&mut scanner, 3_000_001).await;
    assert_eq!(refused, "552 5.3.4 The message is too large. Microsoft Graph takes at most 3000000 bytes");
}

/// Where the server has closed before the end of the message, it has none, and nobody need look.
#[tokio::test]
async fn a_connection_that_was_closed_before_the_end_of_a_short_message_leaves_no_doubt() {
    let directory = Directory::new();
    let world = setup(&directory, BY_SMTP, "").start().await;
    world.sandbox.fail_smtp(SmtpFault::CutBeforeContent, 1);
    scan(&mut device(&world).await, 1).await;
    in_time(&world, "it has arrived", || scans(&world) == [1]).await;
    assert_eq!((told(&world, "delayed").len(), told(&world, "looking").len()), (1, 0));
}
