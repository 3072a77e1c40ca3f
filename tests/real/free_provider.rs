//! A provider that nobody knows by name: Authlib as its authorization server, and Dovecot, which asks
//! Authlib for each token, as its mail server. Old clients read and send through Gatepost.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::{Builder, Runtime};

use super::authlib::{Authlib, Issued, SECRET};
use super::authority::Authority;
use super::common::running::Running;
use super::dovecot::Dovecot;
use super::message::{assert_same, assert_same_behind_trace, message};
use super::old_client::{Listeners, OldClient};
use super::process::{Directory, Finished, Server, run, wait_for};
use super::sink::Sink;

/// The provider's servers. The order of the fields is that of their end.
struct Campus {
    dovecot: Dovecot,
    authlib: Authlib,
    sink: Sink,
    authority: Authority,
    _runtime: Runtime,
    _directory: Directory,
}

/// Each test has persons of its own.
const PIA: &str = "pia@public.example";
const IDA: &str = "ida@confidential.example";
const ROY: &str = "roy@brief-rotating.example";
const CLEO: &str = "cleo@brief-constant.example";
const RUTH: &str = "ruth@public.example";
const VERA: &str = "vera@public.example";
const EVE: &str = "eve@public.example";
const MAX: &str = "max@public.example";
const NINA: &str = "nina@confidential.example";
const OTTO: &str = "otto@public.example";
const PEOPLE: [&str; 10] = [PIA, IDA, ROY, CLEO, RUTH, VERA, EVE, MAX, NINA, OTTO];

impl Campus {
    /// The running one, or a new one.
    fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Campus>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let campus = Arc::new(Self::start());
            *shared = Arc::downgrade(&campus);
            campus
        })
    }

    fn start() -> Self {
        let directory = Directory::new();
        let authority = Authority::new(&directory);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sink = Sink::start(&runtime);
        let authlib = Authlib::start(&directory, &authority, &PEOPLE);
        let dovecot = Dovecot::start(&directory, &authority, &authlib.introspection(), sink.port);
        for person in PEOPLE {
            dovecot.fill(person, [message(7)]);
        }
        Self { dovecot, authlib, sink, authority, _runtime: runtime, _directory: directory }
    }
}

/// What an application at Authlib needs in the configuration. Its name is that of the provider, and the
/// first part of the domain of its people.
const APPLICATIONS: [(&str, &str); 4] = [
    ("public", "sasl: xoauth2\n    issuer: '{base}'\n"),
    (
        "confidential",
        "sasl: oauthbearer\n    pop3_lines: 1\n    client_secret: {secret}\n    client_authentication: basic\n",
    ),
    ("brief-rotating", "sasl: oauthbearer\n    issuer: '{base}'\n"),
    ("brief-constant", "sasl: xoauth2\n    client_secret: {secret}\n"),
];

/// A Gatepost of one test. The service ends before its directory goes away.
struct Gatepost<'a> {
    service: Option<Server>,
    campus: &'a Campus,
    directory: Directory,
    listeners: Listeners,
}

impl<'a> Gatepost<'a> {
    fn new(campus: &'a Campus) -> Self {
        let (directory, listeners) = (Directory::new(), Listeners::new());
        let mut yaml = listeners.section(None);
        yaml.push_str("providers:\n");
        let base = &campus.authlib.base;
        for (name, keys) in APPLICATIONS {
            write!(
                yaml,
                "  {name}:\n    client_id: {name}\n    scope: openid email mail offline_access\n    \
                 authorize_url: {base}/authorize\n    token_url: {base}/token\n    device_url: {base}/device_authorization\n    \
                 hosts: {{imap: 'localhost:{}', pop3: 'localhost:{}', smtp: 'localhost:{}', smtp_tls: starttls}}\n    \
                 domains: {name}.example\n    {}",
                campus.dovecot.imap,
                campus.dovecot.pop3,
                campus.dovecot.submission,
                keys.replace("{base}", base).replace("{secret}", SECRET),
            )
            .unwrap();
        }
        write!(
            yaml,
            "trust: {{system_roots: false, additional_ca: '{}'}}\nstate: {{directory: state}}\nlog: {{level: debug}}\n\
             limits: {{failure_delay: 0s}}\n",
            campus.authority.root.display()
        )
        .unwrap();
        directory.write("proxy.yaml", yaml);
        Self { campus, directory, listeners, service: None }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.args(arguments).current_dir(self.directory.path()).env_clear();
        command
    }

    fn serving(mut self) -> Self {
        let mut command = self.command(&["run", "--set", "listeners.imap.client_tokens=announce"]);
        let mut service = Server::start("gatepost", &mut command, self.directory.path().join("gatepost.log"));
        service.wait_for_port(self.listeners.imap);
        self.service = Some(service);
        self
    }

    fn log(&self) -> String {
        self.service.as_ref().unwrap().log()
    }

    /// Ends the service; its log has no secret.
    fn stop(mut self, persons: &[&str]) {
        let mut service = self.service.take().unwrap();
        assert!(service.stop().success());
        let log = service.log();
        let tokens = persons.iter().flat_map(|person| self.campus.authlib.issued_to(person));
        let secrets = tokens.flat_map(|token| [Some(token.access), token.refresh]).flatten();
        for secret in secrets.chain([SECRET.to_owned()]) {
            assert!(!log.contains(&secret), "a secret is in the log: {}…", &secret[..6]);
        }
    }

    /// Signs `person` in for `login` on another device. The exit code, and all that was said.
    fn by_device_code(&self, login: &str, person: &str, answer: &str) -> (i32, String) {
        let mut running = Running::start(self.command(&["login", login, "--device-code"]));
        let (address, user_code) = (running.address(), running.line("  code  "));
        self.campus.authlib.enter(&address, &user_code, person, answer);
        running.end()
    }

    /// The same in a browser elsewhere, whose last address is pasted.
    fn by_paste(&self, login: &str, person: &str) -> (i32, String) {
        let mut running = Running::start(self.command(&["login", login, "--paste"]));
        let address = running.address();
        let redirect = self.campus.authlib.sign_in(&address, person);
        running.type_in(&redirect);
        running.end()
    }

    /// The same in a browser on this machine.
    fn by_browser(&self, login: &str, person: &str) -> (i32, String) {
        let mut running = Running::start(self.command(&["login", login]));
        let address = running.address();
        let redirect = self.campus.authlib.sign_in(&address, person);
        assert!(self.campus.authlib.browse(&redirect, &[]).contains("You may close this window"));
        running.end()
    }

    fn client<'b>(&self, login: &'b str, password: &'b str) -> OldClient<'b> {
        OldClient { listeners: self.listeners, login, password }
    }
}

/// The device password that a sign-in has made.
fn password((code, said): (i32, String)) -> String {
    assert_eq!(code, 0, "{said}");
    let line = said.lines().find_map(|line| line.strip_prefix("  password    "));
    line.unwrap_or_else(|| panic!("no password: {said}")).to_owned()
}

/// What a client is told that is refused.
fn refused(finished: &Finished) -> &str {
    assert_eq!(finished.status.code(), Some(67), "curl says `login denied`: {}", finished.stderr);
    &finished.stderr
}

#[test]
#[ignore = "needs Authlib, Dovecot and curl: run tests/run"]
fn a_client_reads_and_sends_with_each_mechanism_after_each_kind_of_sign_in() {
    let campus = Campus::shared();
    let gatepost = Gatepost::new(&campus).serving();
    for (login, password, mechanism, grant) in [
        (
            PIA,
            password(gatepost.by_device_code(PIA, PIA, "accept")),
            "XOAUTH2",
            "urn:ietf:params:oauth:grant-type:device_code",
        ),
        (IDA, password(gatepost.by_paste(IDA, IDA)), "OAUTHBEARER", "authorization_code"),
    ] {
        let client = gatepost.client(login, &password);
        for fetched in [client.fetch(), client.retrieve()] {
            assert_same(&fetched.expect_success(login).stdout, &message(7), login);
        }
        let file = gatepost.directory.write("message", message(8));
        client.send("recipient@example.org", &file).expect_success(login);
        let arrived = campus.sink.take(login);
        assert_eq!(arrived.recipients, ["recipient@example.org"]);
        assert_same_behind_trace(&arrived.data, &message(8), login);

        let logins = campus.dovecot.logins(login);
        let method = format!("method={mechanism},");
        assert!(logins.len() == 3 && logins.iter().all(|line| line.contains(&method)), "{logins:?}");
        let issued = campus.authlib.issued_to(login);
        assert_eq!(issued.iter().map(|token| &*token.grant).collect::<Vec<_>>(), [grant, "refresh_token"]);
        assert!(issued[1].used >= 3, "one token opens all: {issued:?}");
        run(&mut gatepost.command(&["doctor", login])).expect_success(login);
    }
    gatepost.stop(&[PIA, IDA]);
}

#[test]
#[ignore = "needs Authlib, Dovecot and curl: run tests/run"]
fn tokens_are_refreshed_after_they_expire_whether_or_not_refresh_tokens_rotate() {
    let campus = Campus::shared();
    let gatepost = Gatepost::new(&campus).serving();
    for (login, rotates) in [(ROY, true), (CLEO, false)] {
        let password = password(gatepost.by_browser(login, login));
        let client = gatepost.client(login, &password);
        wait_for(&format!("the third refresh for {login}"), || {
            assert_same(&client.fetch().expect_success(login).stdout, &message(7), login);
            (campus.authlib.refreshes(login) >= 3).then_some(())
        });
        let issued = campus.authlib.issued_to(login);
        let (last, before) = issued.split_last().unwrap();
        let valid = |token: &Issued| token.refresh.is_some() && !token.refresh_revoked;
        if rotates {
            assert!(valid(last) && !before.iter().any(valid), "each served once: {issued:?}");
        } else {
            assert!(valid(&issued[0]) && issued[1..].iter().all(|token| token.refresh.is_none()), "{issued:?}");
        }
    }
    gatepost.stop(&[ROY, CLEO]);
}

#[test]
#[ignore = "needs Authlib, Dovecot and curl: run tests/run"]
fn an_access_token_that_was_revoked_is_replaced_and_a_refresh_token_needs_a_sign_in() {
    let campus = Campus::shared();
    let gatepost = Gatepost::new(&campus).serving();
    let revoke = |login: &str, which: fn(Issued) -> String| {
        campus.authlib.revoke(&which(campus.authlib.issued_to(login).pop().unwrap()));
    };
    let of_ruth = password(gatepost.by_device_code(RUTH, RUTH, "accept"));
    let client = gatepost.client(RUTH, &of_ruth);
    client.fetch().expect_success("before");
    revoke(RUTH, |newest| newest.access);
    assert_same(&client.fetch().expect_success("with a new token").stdout, &message(7), RUTH);
    assert_eq!(campus.authlib.refreshes(RUTH), 2);

    let of_vera = password(gatepost.by_device_code(VERA, VERA, "accept"));
    let client = gatepost.client(VERA, &of_vera);
    client.fetch().expect_success("before");
    revoke(VERA, |newest| newest.refresh.unwrap());
    let told = client.fetch();
    assert!(refused(&told).contains("NO [CONTACTADMIN] "), "{}", told.stderr);
    let log = gatepost.log();
    for said in [
        "public refused the token request with `invalid_grant`: the sign-in has ended, or its consent was withdrawn",
        &format!("run `gatepost login {VERA}`"),
    ] {
        assert!(log.contains(said), "{said}: {log}");
    }
    // The same over the other protocols, which do not ask again.
    let told = client.retrieve();
    assert!(refused(&told).contains("-ERR [SYS/PERM] "), "{}", told.stderr);
    let file = gatepost.directory.write("message", message(8));
    let told = client.send("recipient@example.org", &file);
    assert!(refused(&told).contains("454 4.7.0 An administrator needs to fix this."), "{}", told.stderr);
    assert!(gatepost.log().contains(&format!("public has refused the sign-in of `{VERA}`")), "{}", gatepost.log());
    assert_eq!(campus.authlib.refreshes(VERA), 1);

    let (code, said) = gatepost.by_browser(VERA, VERA);
    assert!(code == 0 && said.contains("Its device passwords stay valid"), "{said}");
    client.fetch().expect_success("after a new sign-in");
    gatepost.stop(&[RUTH, VERA]);
}

#[test]
#[ignore = "needs Authlib, Dovecot and curl: run tests/run"]
fn only_the_person_of_the_account_opens_the_mailbox() {
    let campus = Campus::shared();
    let gatepost = Gatepost::new(&campus).serving();
    // The ID token names another person.
    let told = format!("nothing was saved: `{EVE}` signed in, but `{MAX}` needs `{MAX}`");
    for (code, said) in [gatepost.by_device_code(MAX, EVE, "accept"), gatepost.by_browser(MAX, EVE)] {
        assert!(code == 1 && said.contains(&told), "{said}");
    }
    let (code, said) = gatepost.by_device_code(MAX, MAX, "decline");
    assert!(code == 1 && said.contains("nothing was saved: the sign-in was declined"), "{said}");
    // Without ID tokens it is the mail server that refuses the token of another person.
    let password = password(gatepost.by_paste(NINA, IDA));
    let told = gatepost.client(NINA, &password).fetch();
    assert!(refused(&told).contains("NO ["), "{}", told.stderr);
    assert!(
        campus.dovecot.logins(NINA).is_empty() && gatepost.log().contains("cause=token-refused"),
        "{}",
        gatepost.log()
    );
    gatepost.stop(&[MAX, NINA, EVE]);
}

#[test]
#[ignore = "needs Authlib, Dovecot and curl: run tests/run"]
fn a_client_with_a_token_of_its_own_needs_no_sign_in() {
    let campus = Campus::shared();
    let gatepost = Gatepost::new(&campus).serving();
    let address = format!("imap://127.0.0.1:{}/INBOX;MAILINDEX=1", gatepost.listeners.imap);
    let fetch = |token: &str| {
        let mut client = Command::new("curl");
        client.args(["--silent", "--show-error", "--verbose", "--noproxy", "*", "--max-time", "60", "--user", OTTO]);
        run(client.args(["--oauth2-bearer", token, &address]))
    };
    let signed = campus.authlib.token_of(OTTO, "signed");
    assert_same(&fetch(&signed).expect_success(OTTO).stdout, &message(7), OTTO);
    let opaque = campus.authlib.token_of(OTTO, "public");
    assert_same(&fetch(&opaque).expect_success(OTTO).stdout, &message(7), OTTO);
    let used: Vec<_> = campus.authlib.issued_to(OTTO).iter().map(|token| token.used).collect();
    assert_eq!(used, [1, 1]);
    // What is as short as a password has not left this machine.
    assert!(refused(&fetch("hunter2-hunter2")).contains("NO [AUTHENTICATIONFAILED]"));
    assert!(gatepost.log().contains("cause=not-a-token"), "{}", gatepost.log());
    gatepost.stop(&[OTTO]);
}
