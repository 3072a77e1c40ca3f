//! Dovecot as the mailbox that takes nothing but OAuth: IMAP and POP3 with implicit TLS, submission
//! with STARTTLS.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::authority::Authority;
use super::process::{Directory, Server, free_port, is_root, run};

/// The server. Its mailboxes are Maildirs, so that a test can fill them by writing files.
pub(crate) struct Dovecot {
    server: Server,
    pub(crate) imap: u16,
    pub(crate) pop3: u16,
    pub(crate) submission: u16,
    homes: PathBuf,
    owner: Owner,
}

/// Whom the mailboxes belong to: ourselves, or as root somebody harmless, because Dovecot opens
/// none as root.
struct Owner {
    name: String,
    user: u32,
    group: u32,
    group_name: String,
}

impl Dovecot {
    /// Starts it. `introspection` is the address (RFC 7662) of who knows the tokens, `relay` the port
    /// on 127.0.0.1 of who takes the mail.
    pub(crate) fn start(directory: &Directory, authority: &Authority, introspection: &str, relay: u16) -> Self {
        let owner = Owner::find();
        let homes = directory.path().join("homes");
        fs::create_dir(&homes).unwrap();
        chown(&homes, Some(owner.user), Some(owner.group)).unwrap();
        let (imap, pop3, submission) = (free_port(), free_port(), free_port());
        // Who asks for tokens is not root.
        fs::set_permissions(&authority.root, fs::Permissions::from_mode(0o644)).unwrap();

        directory.write(
            "dovecot-oauth2.conf",
            format!(
                "introspection_mode = post\n\
                 introspection_url = {introspection}\n\
                 tls_ca_cert_file = {root}\n\
                 active_attribute = active\n\
                 active_value = true\n\
                 username_attribute = username\n",
                root = authority.root.display(),
            ),
        );
        // Without root there is nobody to switch to, and no directory to be confined to.
        let identity = if is_root() {
            String::new()
        } else {
            let services = ["anvil", "imap-login", "pop3-login", "submission-login", "imap-urlauth-login", "stats"];
            let unconfined: String = services.map(|service| format!("service {service} {{\n  chroot =\n}}\n")).concat();
            format!(
                "default_internal_user = {0}\ndefault_internal_group = {1}\ndefault_login_user = {0}\n{unconfined}",
                owner.name, owner.group_name
            )
        };
        let path = directory.path().display();
        let configuration = directory.write(
            "dovecot.conf",
            format!(
                "{identity}\
                 protocols = imap pop3 submission\n\
                 listen = 127.0.0.1\n\
                 base_dir = {path}/run\n\
                 state_dir = {path}/state\n\
                 log_path = /dev/stderr\n\
                 auth_mechanisms = xoauth2 oauthbearer\n\
                 passdb {{\n  driver = oauth2\n  mechanisms = xoauth2 oauthbearer\n  args = {path}/dovecot-oauth2.conf\n}}\n\
                 userdb {{\n  driver = static\n  args = uid={user} gid={group} home={homes}/%Lu\n}}\n\
                 first_valid_uid = 1\n\
                 first_valid_gid = 1\n\
                 mail_location = maildir:~/Maildir\n\
                 mail_max_userip_connections = 0\n\
                 auth_failure_delay = 0\n\
                 ssl = required\n\
                 ssl_cert = <{certificate}\n\
                 ssl_key = <{key}\n\
                 hostname = localhost\n\
                 submission_relay_host = 127.0.0.1\n\
                 submission_relay_port = {relay}\n\
                 submission_max_mail_size = 64 M\n\
                 service imap-login {{\n  inet_listener imap {{\n    port = 0\n  }}\n  inet_listener imaps {{\n    port = {imap}\n  }}\n}}\n\
                 service pop3-login {{\n  inet_listener pop3 {{\n    port = 0\n  }}\n  inet_listener pop3s {{\n    port = {pop3}\n  }}\n}}\n\
                 service submission-login {{\n  inet_listener submission {{\n    port = {submission}\n  }}\n}}\n\
                 # One address stands for all clients here: do not slow all of them down for the failures of one.\n\
                 service anvil {{\n  unix_listener anvil-auth-penalty {{\n    mode = 0\n  }}\n}}\n",
                user = owner.user,
                group = owner.group,
                homes = homes.display(),
                certificate = authority.certificate.display(),
                key = authority.private_key.display(),
            ),
        );
        let mut command = Command::new("dovecot");
        command.args(["-F", "-c"]).arg(configuration);
        let mut server = Server::start("dovecot", &mut command, directory.path().join("dovecot.log"));
        for port in [imap, pop3, submission] {
            server.wait_for_port(port);
        }
        Self { server, imap, pop3, submission, homes, owner }
    }

    /// Makes a mailbox whose inbox holds `messages`, oldest first, before anybody has opened it.
    pub(crate) fn fill(&self, address: &str, messages: impl IntoIterator<Item = Vec<u8>>) {
        let home = self.homes.join(address);
        let inbox = home.join("Maildir/cur");
        for directory in [&home, &home.join("Maildir"), &inbox, &home.join("Maildir/new"), &home.join("Maildir/tmp")] {
            fs::create_dir(directory).unwrap();
            self.give(directory, 0o700);
        }
        for (index, message) in messages.into_iter().enumerate() {
            let seconds = 1_700_000_000 + index;
            let file = inbox.join(format!("{seconds}.M1P1.localhost,S={}:2,", message.len()));
            fs::write(&file, message).unwrap();
            self.give(&file, 0o600);
        }
    }

    /// The files of the inbox, one per message.
    pub(crate) fn inbox(&self, address: &str) -> Vec<PathBuf> {
        let maildir = self.homes.join(address).join("Maildir");
        let parts = ["new", "cur"].map(|part| fs::read_dir(maildir.join(part)).unwrap());
        parts.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }

    fn give(&self, path: &Path, mode: u32) {
        chown(path, Some(self.owner.user), Some(self.owner.group)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The log lines that tell of a login of this mailbox.
    pub(crate) fn logins(&self, address: &str) -> Vec<String> {
        let user = format!("user=<{address}>");
        self.server
            .log()
            .lines()
            .filter(|line| line.contains("Login: ") && line.contains(&user))
            .map(str::to_owned)
            .collect()
    }
}

impl Owner {
    fn find() -> Self {
        let name = if is_root() { "nobody" } else { "" };
        let ask = |what: &str| {
            let mut command = Command::new("id");
            command.arg(what).args(Some(name).filter(|name| !name.is_empty()));
            let finished = run(&mut command).expect_success("id");
            String::from_utf8(finished.stdout).unwrap().trim().to_owned()
        };
        Self {
            name: ask("-un"),
            user: ask("-u").parse().unwrap(),
            group: ask("-g").parse().unwrap(),
            group_name: ask("-gn"),
        }
    }
}
