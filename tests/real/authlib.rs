//! Authlib as the authorization server of a provider that Gatepost knows by its configuration only.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::authority::Authority;
use super::process::{Directory, Server, free_port, run};

/// The password of everybody there.
pub(crate) const PASSWORD: &str = "pass word+&%20=";
/// The secret of the applications that have one.
pub(crate) const SECRET: &str = "secret~of-an.application";
/// The lifetime of the access tokens of the `brief` applications, in seconds.
const BRIEF: u32 = 2;

/// The server, in `authorization_server.py`.
pub(crate) struct Authlib {
    _server: Server,
    pub(crate) base: String,
    root: String,
}

/// A token that it has issued.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Issued {
    pub(crate) user: String,
    pub(crate) grant: String,
    pub(crate) access: String,
    pub(crate) refresh: Option<String>,
    /// Whether that was revoked, or replaced by a newer one.
    pub(crate) refresh_revoked: bool,
    /// How often the mail server asked for it while it was valid.
    pub(crate) used: usize,
}

impl Authlib {
    /// Starts it, for these people.
    pub(crate) fn start(directory: &Directory, authority: &Authority, people: &[&str]) -> Self {
        let port = free_port();
        let client = |secret: Option<&str>, authentication: &str, (rotates, signed): (bool, bool), lifetime: u32| {
            json!({
                "secret": secret, "authentication": authentication, "scope": "openid email mail offline_access",
                "grants": [
                    "authorization_code", "refresh_token", "password", "urn:ietf:params:oauth:grant-type:device_code",
                ],
                "rotates": rotates, "signed": signed, "lifetime": lifetime,
            })
        };
        let settings = json!({
            "port": port,
            "certificate": authority.certificate,
            "private_key": authority.private_key,
            "people": people.iter().map(|person| (*person, PASSWORD)).collect::<std::collections::BTreeMap<_, _>>(),
            "clients": {
                "public": client(None, "none", (true, false), 3600),
                "confidential": client(Some(SECRET), "client_secret_basic", (false, true), 3600),
                "signed": client(None, "none", (true, true), 3600),
                "brief-rotating": client(None, "none", (true, false), BRIEF),
                "brief-constant": client(Some(SECRET), "client_secret_post", (false, true), BRIEF),
                "dovecot": {
                    "secret": SECRET, "authentication": "client_secret_basic", "scope": "", "grants": ["introspection"],
                    "rotates": false, "signed": false, "lifetime": 0,
                },
            },
        });
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(repository.join("target/python/bin/python"));
        command.arg("-B").arg(repository.join("tests/real/authorization_server.py")).arg(settings.to_string());
        let mut server = Server::start("authorization_server.py", &mut command, directory.path().join("authlib.log"));
        server.wait_for_port(port);
        let root = authority.root.to_str().unwrap().to_owned();
        Self { _server: server, base: format!("https://localhost:{port}"), root }
    }

    /// The address at which Dovecot asks for tokens, with what it proves itself by.
    pub(crate) fn introspection(&self) -> String {
        format!("{}/introspect", self.base.replace("://", &format!("://dovecot:{SECRET}@")))
    }

    /// All tokens of a person, oldest first.
    pub(crate) fn issued_to(&self, person: &str) -> Vec<Issued> {
        let all = self.browse(&format!("{}/records", self.base), &[]);
        let all: Vec<Issued> = serde_json::from_str(body(&all)).unwrap();
        all.into_iter().filter(|token| token.user == person).collect()
    }

    /// How often a person's tokens were refreshed.
    pub(crate) fn refreshes(&self, person: &str) -> usize {
        self.issued_to(person).iter().filter(|token| token.grant == "refresh_token").count()
    }

    /// Revokes a token of a public application (RFC 7009).
    pub(crate) fn revoke(&self, token: &str) {
        let answer = self.browse(&format!("{}/revoke", self.base), &[("client_id", "public"), ("token", token)]);
        assert_eq!(body(&answer), "{}", "{answer}");
    }

    /// A token of an application by password (RFC 6749 §4.3).
    pub(crate) fn token_of(&self, person: &str, client_id: &str) -> String {
        let fields =
            [("client_id", client_id), ("grant_type", "password"), ("username", person), ("password", PASSWORD)];
        let answer = self.browse(&format!("{}/token", self.base), &fields);
        let answer: Value = serde_json::from_str(body(&answer)).unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// Signs a person in at the page of an authorization request, after a look at it; where the browser
    /// is sent then.
    pub(crate) fn sign_in(&self, address: &str, person: &str) -> String {
        assert!(self.browse(address, &[]).contains("name='password'"));
        let answer = self.browse(address, &[("username", person), ("password", PASSWORD), ("answer", "accept")]);
        let location = answer.lines().find_map(|line| line.strip_prefix("Location: "));
        location.unwrap_or_else(|| panic!("no redirect: {answer}")).to_owned()
    }

    /// Enters the code of a device, and signs in or declines.
    pub(crate) fn enter(&self, address: &str, user_code: &str, person: &str, answer: &str) {
        let fields = [("user_code", user_code), ("username", person), ("password", PASSWORD), ("answer", answer)];
        let shown = self.browse(address, &fields);
        assert!(shown.contains(if answer == "accept" { "Signed in." } else { "Declined." }), "{shown}");
    }

    /// A browser without scripts: gets a page, or sends it a form. The answer with its header.
    pub(crate) fn browse(&self, address: &str, form: &[(&str, &str)]) -> String {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "60", "--dump-header", "-"]);
        command.args(["--cacert", &self.root]);
        for (name, value) in form {
            command.args(["--data-urlencode", &format!("{name}={value}")]);
        }
        let answer = run(command.arg(address)).expect_success(address);
        String::from_utf8(answer.stdout).unwrap().replace('\r', "")
    }
}

fn body(answer: &str) -> &str {
    answer.split_once("\n\n").unwrap().1
}
