//! Hot paths of the connections and the protocols, for a count of their processor instructions.
//! `benches/instructions/run` counts and compares them.

use std::process::ExitCode;

use counted::Case;

mod counted;
mod login;
#[path = "../shared/machines.rs"]
mod machines;
mod records;
mod relay;
mod tunnel;

const CASES: &[Case] = &[
    ("imap-client-login", login::imap_client),
    ("imap-upstream-login", login::imap_upstream),
    ("pop3-client-login", login::pop3_client),
    ("pop3-upstream-login", login::pop3_upstream),
    ("smtp-client-login", login::smtp_client),
    ("smtp-upstream-login", login::smtp_upstream),
    ("record-seal-16k-tls13", records::seal_tls13),
    ("record-open-16k-tls13", records::open_tls13),
    ("record-seal-16k-tls12", records::seal_tls12),
    ("record-open-16k-tls12", records::open_tls12),
    ("record-open-line-tls13", records::open_line_tls13),
    ("relay-line-plain", relay::line_plain),
    ("relay-line-tls", relay::line_tls),
    ("relay-16k-tls", relay::block_tls),
    ("relay-smtp-command-tls", relay::smtp_command_tls),
    ("connect-open", tunnel::open),
    ("connect-basic", tunnel::basic),
    ("connect-digest", tunnel::digest),
];

fn main() -> ExitCode {
    counted::run(CASES)
}
