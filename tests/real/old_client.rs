//! curl as an old mail client: it knows user name and password only, and reads and sends through the
//! listeners of a Gatepost on this machine, which have no TLS.

use std::path::Path;
use std::process::Command;

use super::process::{Finished, free_port, run};

/// Where the listeners of a Gatepost are.
#[derive(Clone, Copy)]
pub(crate) struct Listeners {
    pub(crate) imap: u16,
    pop3: u16,
    smtp: u16,
}

impl Listeners {
    pub(crate) fn new() -> Self {
        Self { imap: free_port(), pop3: free_port(), smtp: free_port() }
    }

    /// The section of the configuration. `upstreams` are the ports of Microsoft's IMAP, POP3 and SMTP.
    pub(crate) fn section(self, upstreams: Option<[u16; 3]>) -> String {
        let of = |place: usize| {
            upstreams.map_or_else(String::new, |ports| format!(", upstream: 'localhost:{}'", ports[place]))
        };
        format!(
            "listeners:\n  imap: {{bind: '127.0.0.1:{}'{}}}\n  pop3: {{bind: '127.0.0.1:{}'{}}}\n  \
             smtp: {{bind: '127.0.0.1:{}'{}}}\n",
            self.imap,
            of(0),
            self.pop3,
            of(1),
            self.smtp,
            of(2)
        )
    }
}

/// The client of one account.
#[derive(Clone, Copy)]
pub(crate) struct OldClient<'a> {
    pub(crate) listeners: Listeners,
    pub(crate) login: &'a str,
    pub(crate) password: &'a str,
}

impl OldClient<'_> {
    /// The first message of the inbox over IMAP.
    pub(crate) fn fetch(&self) -> Finished {
        self.curl(&format!("imap://127.0.0.1:{}/INBOX;MAILINDEX=1", self.listeners.imap), &[])
    }

    /// The same over POP3.
    pub(crate) fn retrieve(&self) -> Finished {
        self.curl(&format!("pop3://127.0.0.1:{}/1", self.listeners.pop3), &[])
    }

    /// Sends what a file holds to `recipient`.
    pub(crate) fn send(&self, recipient: &str, message: &Path) -> Finished {
        let options = ["--mail-from", self.login, "--mail-rcpt", recipient, "--upload-file", message.to_str().unwrap()];
        self.curl(&format!("smtp://127.0.0.1:{}/client.example", self.listeners.smtp), &options)
    }

    fn curl(&self, address: &str, options: &[&str]) -> Finished {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--verbose", "--noproxy", "*", "--max-time", "120", "--user"]);
        run(command.arg(format!("{}:{}", self.login, self.password)).args(options).arg(address))
    }
}
