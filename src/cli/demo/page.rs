//! The output of the demonstration: plain lines for a person, on standard output.

use std::io::{IsTerminal, stdout};
use std::path::Path;

use super::scene::{Client, DEVICE, EWS_PATH, GRAPH_PATH, Ports};
use gatepost_sandbox::Sandbox;

/// Longest line of a conversation that is not shortened.
const SHOWN: usize = 108;

pub(super) fn opening() {
    println!("{}", bold("Gatepost: old mail programs keep working with Microsoft 365"));
    println!("This demonstration needs no tenant and no account, and nothing leaves this machine.\n");
}

pub(super) fn around(sandbox: &Sandbox, configuration: &Path) {
    println!("An embedded Microsoft 365 runs on loopback; its mail services take nothing but tokens:");
    println!("  token endpoint   {}", sandbox.authority());
    println!("  IMAP             localhost:{} (TLS)", sandbox.imap().port());
    println!("  POP3             localhost:{} (TLS)", sandbox.pop3().port());
    println!("  SMTP             localhost:{} (STARTTLS)", sandbox.smtp().port());
    println!("  EWS              localhost:{} (HTTPS)", sandbox.ews().port());
    println!("  Graph            localhost:{} (HTTPS)", sandbox.graph().port());
    println!("Gatepost stands in front of it, with {}\n", configuration.display());
}

pub(super) fn accounts(alice: &Client<'_>, scanner: &Client<'_>) {
    println!("{}", bold("Two accounts:"));
    println!("  {}    a person; Entra knows the password (grant: password)", alice.login);
    println!("  {}  a mailbox that an application opens (grant: client_credentials);", scanner.login);
    println!("                           its device \"{DEVICE}\" has a password of its own, for SMTP only\n");
}

pub(super) fn heading(protocol: &str, port: u16, what: &str) {
    println!("{}", bold(&format!("{protocol}, 127.0.0.1:{port}: {what}")));
}

pub(super) fn client(line: &str) {
    println!("  C: {}", cut(line));
}

pub(super) fn server(line: &str) {
    println!("  S: {}", cut(line));
}

pub(super) fn behind(requests: u64, done: u64, what: &str, protocol: &str) {
    let requests = if requests == 1 { "1 token request".to_owned() } else { format!("{requests} token requests") };
    println!("  → Microsoft's side saw: {requests} so far, {done} × {what} over {protocol}, no password there\n");
}

pub(super) fn closing(ports: &Ports, alice: &Client<'_>, scanner: &Client<'_>, ews_request: &Path) {
    let Ports { imap, pop3, smtp, ews, graph, device: trusted, admin: _ } = ports;
    let Client { login, password } = alice;
    let Client { login: device, password: devices } = scanner;
    println!("{}", bold("Now yours. In another terminal:"));
    println!("  curl -u '{login}:{password}' 'imap://127.0.0.1:{imap}/INBOX;MAILINDEX=1'");
    println!("  curl -u '{login}:{password}' 'pop3://127.0.0.1:{pop3}/1'");
    println!(
        "  printf 'Subject: Hello\\r\\n\\r\\nFrom curl.\\r\\n' | curl -u '{device}:{devices}' \
         'smtp://127.0.0.1:{smtp}' --mail-from {device} --mail-rcpt {login} -T -"
    );
    println!("  the same without a login, and through Graph:");
    println!(
        "  printf 'Subject: Alarm\\r\\n\\r\\nFrom curl.\\r\\n' | curl 'smtp://127.0.0.1:{trusted}' \
         --mail-from {device} --mail-rcpt {login} -T -"
    );
    println!("  EWS and Graph, over HTTP with a user name and a password:");
    println!(
        "  curl -u '{login}:{password}' -H 'Content-Type: text/xml' -d @{} http://127.0.0.1:{ews}{EWS_PATH}",
        ews_request.display()
    );
    println!("  curl -u '{login}:{password}' 'http://127.0.0.1:{graph}{GRAPH_PATH}'");
    println!("\n{}", bold("Or in a mail program:"));
    println!("  user name   {login}");
    println!("  password    {password}");
    println!("  IMAP        127.0.0.1, port {imap}, no encryption, normal password");
    println!("  POP3        127.0.0.1, port {pop3}, no encryption, normal password");
    println!("  SMTP        127.0.0.1, port {smtp}, no encryption, normal password");
    println!("or, as the device, SMTP alone:");
    println!("  user name   {device}");
    println!("  password    {devices}");
}

/// Shows how to see the service at work.
pub(super) fn status_page(socket: &Path, link: &str) {
    println!("\n{}", bold("Or see what it does:"));
    println!("  {}   (opens the status page once, within ten minutes)", link.trim());
    println!("  gatepost status --socket {}", socket.display());
}

pub(super) fn last() {
    println!("\nIt stays up until Ctrl-C; each login writes a line below.");
}

fn cut(line: &str) -> String {
    if line.chars().count() <= SHOWN {
        return line.to_owned();
    }
    let mut short: String = line.chars().take(SHOWN - 1).collect();
    short.push('…');
    short
}

fn bold(text: &str) -> String {
    if stdout().is_terminal() { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
}
