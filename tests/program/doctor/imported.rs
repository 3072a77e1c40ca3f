//! All files of other proxies, imported and put in front of an embedded Microsoft 365 that plays the
//! tenant which the file names. Hosts, ports and the authority are replaced, and nothing else.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use gatepost_core::secret::{ClientSecret, ProxyPassword};
use gatepost_proto::tunnel::credentials::NtlmCredentials;
use gatepost_sandbox::{Sandbox, SandboxAccount, SandboxConfig};
use serde_json::Value;

use super::ntlm_proxy::NtlmProxy;
use super::support::Report;
use crate::cli::import::{CASES, Case, read};
use crate::common::directory::Directory;
use crate::common::port::free_port;
use crate::common::running::Running;
use crate::sign_in::browser::{Answer, Browser};

/// Of every user.
const PASSWORD: &str = "correct-horse-battery";
const PROXY_PASSWORD: &str = "hunter2é#";

/// How an account is examined alone.
#[derive(Clone, Copy)]
enum Alone {
    /// As it is.
    Ready(&'static str),
    /// With its password.
    Password(&'static str),
    /// After its sign-in, in a browser or with a device code.
    SignedIn(&'static str),
}

/// The tenant that a file names.
struct Tenant {
    file: &'static str,
    id: &'static str,
    domain: &'static str,
    /// The application without a credential.
    public: &'static str,
    /// The application with a secret.
    confidential: (&'static str, &'static str),
    /// Its accounts, with what opens their mailboxes.
    accounts: &'static [(Alone, &'static [&'static str])],
}

const NONE: &str = "00000000-0000-0000-0000-000000000000";
const CONTOSO: &str = "7d3e9f10-aaaa-4bbb-8ccc-0123456789ab";
const FIRST: &str = "6f1d2c3b-0a9b-4c8d-b7e6-5a4f3e2d1c0b";
const SECOND: &str = "0b1c2d3e-4f50-4162-8374-95a6b7c8d9e0";
const THIRD: &str = "0f1e2d3c-4b5a-4968-8776-655443322110";
const RELAYED: (&str, &str) = (THIRD, "hunter2-relay");

use Alone::{Password, Ready, SignedIn};

/// Contoso's tenant, as a file names it: its applications, and its accounts.
const fn contoso(
    file: &'static str,
    public: &'static str,
    confidential: (&'static str, &'static str),
    accounts: &'static [(Alone, &'static [&'static str])],
) -> Tenant {
    Tenant { file, id: CONTOSO, domain: "contoso.com", public, confidential, accounts }
}

const TENANTS: [Tenant; 12] = [
    Tenant {
        file: "email-oauth2-proxy/desktop.config",
        id: "2b5c1a40-91d8-4d0c-a6f5-1f2e3d4c5b6a",
        domain: "contoso.com",
        public: NONE,
        confidential: (FIRST, "Qx8~hunter2-desktop"),
        accounts: &[
            (SignedIn("anna@contoso.com"), &["IMAP", "POP3", "SMTP"]),
            (SignedIn("office@contoso.com"), &["IMAP", "POP3", "SMTP"]),
        ],
    },
    contoso(
        "email-oauth2-proxy/server.config",
        NONE,
        (FIRST, "hunter2%server"),
        &[(Ready("scanner@contoso.com"), &["IMAP", "SMTP"]), (Ready("archive@fabrikam.com"), &["IMAP", "SMTP"])],
    ),
    Tenant {
        file: "email-oauth2-proxy/government.config",
        id: CONTOSO,
        domain: "adatum.com",
        public: FIRST,
        confidential: (SECOND, "hunter2-fax"),
        accounts: &[(SignedIn("clerk@adatum.com"), &["POP3", "SMTP"]), (Password("fax@adatum.com"), &["SMTP"])],
    },
    contoso(
        "davmail/workstation.properties",
        FIRST,
        (NONE, ""),
        &[(SignedIn("anna@contoso.com"), &["IMAP", "POP3", "SMTP"])],
    ),
    contoso(
        "davmail/server.properties",
        THIRD,
        (NONE, ""),
        &[(Password("anna@contoso.com"), &["IMAP", "SMTP"]), (Password("scanner@fabrikam.com"), &["IMAP", "SMTP"])],
    ),
    Tenant {
        file: "davmail/china.properties",
        id: CONTOSO,
        domain: "contoso.cn",
        public: FIRST,
        confidential: (NONE, ""),
        accounts: &[(SignedIn("li@contoso.cn"), &["IMAP", "SMTP"])],
    },
    contoso(
        "genesys/imap.cfg",
        FIRST,
        (NONE, ""),
        &[(Password("info@contoso.com"), &["IMAP", "SMTP"]), (Password("sales@contoso.com"), &["IMAP", "SMTP"])],
    ),
    contoso("genesys/graph.cfg", NONE, (FIRST, "hunter2~graph"), &[(Ready("support@contoso.com"), &["IMAP", "SMTP"])]),
    contoso(
        "genesys/mixed.cfg",
        SECOND,
        (FIRST, "hunter2-hotline"),
        &[(Ready("hotline@contoso.com"), &["POP3", "IMAP"]), (Password("orders@fabrikam.com"), &["POP3", "IMAP"])],
    ),
    contoso(
        "smtp-oauth-relay/production.env",
        NONE,
        RELAYED,
        &[(Ready("scanner@contoso.com"), &["sending through Graph"])],
    ),
    contoso(
        "smtp-oauth-relay/keyvault.env",
        NONE,
        RELAYED,
        &[(Ready("scanner@contoso.com"), &["sending through Graph"])],
    ),
    contoso(
        "smtp-oauth-relay/development.env",
        NONE,
        RELAYED,
        &[(Ready("scanner@contoso.com"), &["sending through Graph"])],
    ),
];

impl Alone {
    fn login(self) -> &'static str {
        match self {
            Ready(login) | Password(login) | SignedIn(login) => login,
        }
    }
}

/// An imported configuration, and the tenant that it names.
struct World<'a> {
    tenant: &'a Tenant,
    directory: Directory,
    sandbox: Sandbox,
    /// Hosts, ports and the authority, as flags.
    settings: Vec<String>,
}

impl<'a> World<'a> {
    async fn new(tenant: &'a Tenant) -> Self {
        let accounts = tenant.accounts.iter().map(|(alone, _)| SandboxAccount::new(alone.login(), PASSWORD));
        let sandbox = SandboxConfig {
            tenant_id: tenant.id.to_owned(),
            tenant_domain: tenant.domain.to_owned(),
            public_client_id: tenant.public.to_owned(),
            confidential_client_id: tenant.confidential.0.to_owned(),
            client_secret: ClientSecret::new(tenant.confidential.1.to_owned()),
            accounts: accounts.collect(),
            device_code_interval: Duration::from_secs(1),
            ..SandboxConfig::default()
        };
        let sandbox = Sandbox::start(sandbox).await.unwrap();
        let directory = Directory::new();
        directory.write("ca.pem", sandbox.ca_pem());
        Self { tenant, directory, sandbox, settings: Vec::new() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        let secrets =
            [("GATEPOST_CLIENT_SECRET", self.tenant.confidential.1), ("GATEPOST_PROXY_PASSWORD", PROXY_PASSWORD)];
        let settings = self.settings.iter().flat_map(|setting| ["--set", setting]);
        command.args(arguments).args(settings).current_dir(self.directory.path()).env_clear().envs(secrets);
        command
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        self.directory.write("input", input);
        let input = std::fs::File::open(self.directory.file("input")).unwrap();
        self.command(arguments).stdin(Stdio::from(input)).output().unwrap()
    }

    fn succeed(&self, arguments: &[&str]) {
        let output = self.run(arguments, "");
        assert!(output.status.success(), "{}: {}", self.tenant.file, String::from_utf8_lossy(&output.stderr));
    }

    /// Imports the file, and lets what it names lead to the sandbox.
    fn import(&mut self, case: &Case, proxy: Option<u16>) {
        let (name, text) = (case.file.rsplit_once('/').unwrap().1, read(case.file));
        // An RSA key takes a while.
        if text.contains("certs/") || case.flags.contains(&"--certificate") {
            self.succeed(&["cert", "--directory", "certs", "--key", "rsa"]);
        }
        self.directory.write(name, text);
        self.succeed(&[&["import", name, "-o", "proxy.yaml"], case.flags].concat());
        let yaml: Value =
            serde_saphyr::from_str(&std::fs::read_to_string(self.directory.file("proxy.yaml")).unwrap()).unwrap();
        self.settings = vec![
            format!("microsoft.authority={}", self.sandbox.authority()),
            "trust.system_roots=false".to_owned(),
            "trust.additional_ca=ca.pem".to_owned(),
            "state.directory=state".to_owned(),
        ];
        for (name, listener) in yaml["listeners"].as_object().unwrap() {
            let (key, port) = match (listener["protocol"].as_str().unwrap_or(name), listener["deliver"].as_str()) {
                (_, Some("graph")) => ("graph", self.sandbox.graph().port()),
                ("imap", _) => ("upstream", self.sandbox.imap().port()),
                ("pop3", _) => ("upstream", self.sandbox.pop3().port()),
                _ => ("upstream", self.sandbox.smtp().port()),
            };
            self.settings.push(format!("listeners.{name}.{key}=localhost:{port}"));
            self.settings.push(format!("listeners.{name}.bind=127.0.0.1:{}", free_port()));
        }
        assert_eq!(yaml.get("forward_proxy").is_some(), proxy.is_some());
        self.settings.extend(proxy.map(|port| format!("forward_proxy.url=http://127.0.0.1:{port}")));
    }

    /// Signs a person in, as the import says.
    async fn sign_in(&self, login: &str) {
        let (browser, answer) = (Browser::new(&self.sandbox), Answer::SignIn(login, PASSWORD));
        let mut running = Running::start(self.command(&["login", login]));
        let address = running.address();
        if address.ends_with("/devicelogin") {
            let code = running.line("  code  ");
            browser.enter(&address, &code, answer).await;
        } else {
            let redirect = browser.answer(&address, answer).await.unwrap();
            browser.get(redirect.as_str()).await;
        }
        let (code, told) = running.end();
        assert_eq!(code, 0, "{} {login}: {told}", self.tenant.file);
    }

    /// Examines. Returns what is open, after nothing but `expected` has failed.
    fn examine(&self, arguments: &[&str], input: &str, expected: &[&str]) -> Vec<String> {
        let report = Report::read(&self.run(&[&["doctor", "--json"], arguments].concat(), input));
        let failed: Vec<&str> = report.with("failed").iter().filter_map(|step| step["text"].as_str()).collect();
        let what = format!("{} {arguments:?}: {:#?}", self.tenant.file, report.steps());
        assert_eq!((failed.as_slice(), report.code), (expected, i32::from(!expected.is_empty())), "{what}");
        let visited = report.with("ok").into_iter().filter(|step| step["section"] == "mailboxes");
        let kind = |step: &Value| step["text"].as_str().unwrap().split(':').next().unwrap().to_owned();
        visited.map(kind).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_imported_works_against_microsoft_365() {
    for (case, tenant) in CASES.iter().zip(&TENANTS) {
        assert_eq!(case.file, tenant.file);
        let mut world = World::new(tenant).await;
        let user = NtlmCredentials {
            username: "svc-mail".to_owned(),
            domain: "CONTOSO".to_owned(),
            password: ProxyPassword::new(PROXY_PASSWORD.to_owned()),
        };
        let proxy = match case.file {
            "davmail/server.properties" => Some(NtlmProxy::start(user).await),
            _ => None,
        };
        world.import(case, proxy.as_ref().map(|proxy| proxy.port));
        if case.file == "email-oauth2-proxy/server.config" {
            let certificate = std::fs::read_to_string(world.directory.file("certs/server.pem")).unwrap();
            world.sandbox.add_application(SECOND, &certificate).unwrap();
        }
        for login in case.passwords {
            world.succeed(&["password", "add", login, "--name", "Test"]);
        }
        world.succeed(&["check"]);
        for (alone, _) in tenant.accounts {
            if let SignedIn(login) = alone {
                world.sign_in(login).await;
            }
        }
        world.examine(&[], "", &[]);
        for (alone, open) in tenant.accounts {
            let found = match alone {
                Password(login) => {
                    // Its own scope sends only, and another account's listener is for reading.
                    let lacks = "POP.AccessAsUser.All is not in the token (it has SMTP.Send), listener `pop3` needs it";
                    let expected = if *login == "fax@adatum.com" { &[lacks][..] } else { &[] };
                    world.examine(&["--login", login], &format!("{PASSWORD}\n"), expected)
                }
                Ready(login) | SignedIn(login) => world.examine(&[login], "", &[]),
            };
            assert_eq!(found, *open, "{} {}", case.file, alone.login());
        }
        assert!(proxy.is_none_or(|proxy| proxy.tunnels() > 0));
    }
}
