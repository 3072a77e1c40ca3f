//! The output of the demonstration: plain lines for a person, on standard output.

use std::io::{IsTerminal, stdout};
use std::path::Path;

use super::scene::{Client, DEVICE, EWS_PATH, GRAPH_PATH, Ports};
#[cfg(unix)]
use super::tenant::Tenant;
use crate::cli::output::show;
use gatepost_sandbox::Sandbox;

/// Longest line of a conversation that is not shortened.
const SHOWN: usize = 108;

pub(super) fn opening() {
    show(bold("Gatepost: old mail programs keep working with Microsoft 365"));
    show("This demonstration needs no tenant and no account, and nothing leaves this machine.\n");
}

pub(super) fn around(sandbox: &Sandbox, configuration: &Path) {
    show("An embedded Microsoft 365 runs on loopback. Its mail services take nothing but tokens:");
    show(format_args!("  token endpoint   {}", sandbox.authority()));
    show(format_args!("  IMAP             localhost:{} (TLS)", sandbox.imap().port()));
    show(format_args!("  POP3             localhost:{} (TLS)", sandbox.pop3().port()));
    show(format_args!("  SMTP             localhost:{} (STARTTLS)", sandbox.smtp().port()));
    show(format_args!("  EWS              localhost:{} (HTTPS)", sandbox.ews().port()));
    show(format_args!("  Graph            localhost:{} (HTTPS)", sandbox.graph().port()));
    show(format_args!("Gatepost stands in front of it, with {}\n", configuration.display()));
}

pub(super) fn accounts(alice: &Client<'_>, scanner: &Client<'_>, personal: &str) {
    show(bold("Three accounts:"));
    show(format_args!("  {}    a person. Entra knows the password (grant: password)", alice.login));
    show(format_args!("  {}  a mailbox that an application opens (grant: client_credentials);", scanner.login));
    show(format_args!("                           its device \"{DEVICE}\" has a password of its own, for SMTP only"));
    show(format_args!("  {personal}      a personal Microsoft account (tenant: consumers), which signs in once\n"));
}

pub(super) fn heading(protocol: &str, port: u16, what: &str) {
    show(bold(&format!("{protocol}, 127.0.0.1:{port}: {what}")));
}

pub(super) fn client(line: &str) {
    show(format_args!("  C: {}", cut(line)));
}

pub(super) fn server(line: &str) {
    show(format_args!("  S: {}", cut(line)));
}

pub(super) fn behind(requests: u64, done: u64, what: &str, protocol: &str) {
    let requests = if requests == 1 { "1 token request".to_owned() } else { format!("{requests} token requests") };
    show(format_args!(
        "  → Microsoft's side saw: {requests} so far, {done} × {what} over {protocol}, no password there\n"
    ));
}

pub(super) fn step(what: &str) {
    show(format_args!("  → {what}"));
}

pub(super) fn closing(ports: &Ports, alice: &Client<'_>, scanner: &Client<'_>, ews_request: &Path) {
    let Ports { imap, pop3, smtp, ews, graph, device: trusted, queue: _, admin: _ } = ports;
    let Client { login, password } = alice;
    let Client { login: device, password: devices } = scanner;
    show(bold("Now yours. In another terminal:"));
    show(format_args!("  curl -u '{login}:{password}' 'imap://127.0.0.1:{imap}/INBOX;MAILINDEX=1'"));
    show(format_args!("  curl -u '{login}:{password}' 'pop3://127.0.0.1:{pop3}/1'"));
    show(format_args!(
        "  printf 'Subject: Hello\\r\\n\\r\\nFrom curl.\\r\\n' | curl -u '{device}:{devices}' \
         'smtp://127.0.0.1:{smtp}' --mail-from {device} --mail-rcpt {login} -T -"
    ));
    show("  the same without a login, and through Graph:");
    show(format_args!(
        "  printf 'Subject: Alarm\\r\\n\\r\\nFrom curl.\\r\\n' | curl 'smtp://127.0.0.1:{trusted}' \
         --mail-from {device} --mail-rcpt {login} -T -"
    ));
    show("  EWS and Graph, over HTTP with a user name and a password:");
    show(format_args!(
        "  curl -u '{login}:{password}' -H 'Content-Type: text/xml' -d @{} http://127.0.0.1:{ews}{EWS_PATH}",
        ews_request.display()
    ));
    show(format_args!("  curl -u '{login}:{password}' 'http://127.0.0.1:{graph}{GRAPH_PATH}'"));
    show(format_args!("\n{}", bold("Or in a mail program:")));
    show(format_args!("  user name   {login}"));
    show(format_args!("  password    {password}"));
    show(format_args!("  IMAP        127.0.0.1, port {imap}, no encryption, normal password"));
    show(format_args!("  POP3        127.0.0.1, port {pop3}, no encryption, normal password"));
    show(format_args!("  SMTP        127.0.0.1, port {smtp}, no encryption, normal password"));
    show("or, as the device, SMTP alone:");
    show(format_args!("  user name   {device}"));
    show(format_args!("  password    {devices}"));
}

/// Shows how to set up another Gatepost for this Microsoft 365, as for a tenant of one's own.
#[cfg(unix)]
pub(super) fn tenant(sandbox: &Sandbox, tenant: &Tenant, mailbox: &str) {
    let Tenant { settings, token } = tenant;
    show(format_args!("\n{}", bold("Or set up a tenant from nothing, in an empty directory:")));
    show(format_args!("  . {}", settings.display()));
    show(format_args!(
        "  gatepost setup --tenant {} --protocol imap --protocol smtp --mailbox {mailbox} --sign-in nobody \
         --state state --graph localhost:{} --graph-token '/bin/cat {}'",
        sandbox.tenant_id(),
        sandbox.graph().port(),
        token.display()
    ));
    show(format_args!("  gatepost password add {mailbox} --name scanner"));
    show("  the second line again: it finds what is there, and tests the way to the mailbox");
}

/// Shows how to see the service at work.
pub(super) fn status_page(socket: &Path, link: &str) {
    show(format_args!("\n{}", bold("Or see what it does:")));
    show(format_args!("  {}   (opens the status page once, within ten minutes)", link.trim()));
    show(format_args!("  gatepost status --socket {}", socket.display()));
}

/// Shows how to sign the personal account in.
pub(super) fn sign_in(personal: &Client<'_>, configuration: &Path) {
    let Client { login, password } = personal;
    show(format_args!("\n{}", bold("Or sign the personal account in, which gives it a first device password:")));
    show(format_args!("  gatepost login {login} -c {}   (password {password})", configuration.display()));
    show("  The browser warns of the sign-in page, because its certificate is the embedded Microsoft 365's.");
}

pub(super) fn last() {
    show(format_args!("\nIt stays up until Ctrl-C. Each login writes a line below."));
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
