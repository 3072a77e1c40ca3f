//! A system of which the test decides everything, and short ways to write a configuration.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use gatepost_config::environment::Environment;
use gatepost_config::load::{load_text, load_text_for};
use gatepost_config::problem::Problems;
use gatepost_config::{Config, DirectoryState, Finding, Holder, Purpose};

pub(crate) const HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$4IfZJ2nU2ZRHrYYvlzcKcSSuTKW0pCHaqw9Y5ZpVHjw";

/// A system of which the test decides everything.
#[derive(Default)]
pub(crate) struct Outside {
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) world_readable: bool,
    pub(crate) machine: Machine,
}

/// The machine, where it differs from one that has and allows everything.
#[derive(Default)]
pub(crate) struct Machine {
    pub(crate) user: u32,
    pub(crate) service: Option<u32>,
    pub(crate) directories: BTreeMap<PathBuf, DirectoryState>,
    pub(crate) nothing_can_be_created: bool,
    pub(crate) addresses_missing: Vec<IpAddr>,
    pub(crate) first_port: u16,
    pub(crate) holders: BTreeMap<SocketAddr, Holder>,
}

impl Outside {
    pub(crate) fn with_files(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec())).collect();
        Self { files, ..Self::default() }
    }

    pub(crate) fn with_variables(variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { variables, ..Self::default() }
    }

    pub(crate) fn load(&self, yaml: &str) -> Result<Config, Problems> {
        self.load_with(yaml, &[])
    }

    /// What a check finds in a configuration of this path, each as `severity key: reason; hint`.
    pub(crate) fn findings_of(&self, file: &str, yaml: &str) -> Vec<String> {
        let file = Some((Path::new(file), yaml));
        let config = load_text_for(Purpose::Check, file, &[], &self.variables, self);
        let config = config.unwrap_or_else(|problems| panic!("{yaml}\n{problems}"));
        let told = |Finding { severity, problem }: &Finding| {
            format!("{severity:?} {}: {}; {}", problem.key, problem.reason, problem.hint)
        };
        config.findings.iter().map(told).collect()
    }

    pub(crate) fn findings(&self, yaml: &str) -> Vec<String> {
        self.findings_of("proxy.yaml", yaml)
    }

    pub(crate) fn load_with(&self, yaml: &str, set: &[(&str, &str)]) -> Result<Config, Problems> {
        let set: Vec<_> = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let read = load_text(Some((Path::new("proxy.yaml"), yaml)), &set, &self.variables, self);
        if set.is_empty() && self.variables.is_empty() {
            crate::schema::compare(yaml, read.as_ref().err());
        }
        read
    }
}

impl Environment for Outside {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn world_readable(&self, _path: &Path) -> bool {
        self.world_readable
    }

    fn directory(&self, path: &Path) -> Option<DirectoryState> {
        self.machine.directories.get(path).cloned()
    }

    fn may_create(&self, _path: &Path) -> bool {
        !self.machine.nothing_can_be_created
    }

    fn own_user(&self) -> u32 {
        self.machine.user
    }

    fn user_of_service(&self) -> Option<u32> {
        self.machine.service
    }

    fn user(&self, id: u32) -> String {
        match id {
            0 => "root".to_owned(),
            997 => "gatepost".to_owned(),
            1000 => "bob".to_owned(),
            id => format!("#{id}"),
        }
    }

    fn has_address(&self, address: IpAddr) -> bool {
        !self.machine.addresses_missing.contains(&address)
    }

    fn may_bind(&self, port: u16) -> bool {
        port >= self.machine.first_port
    }

    fn holder(&self, address: SocketAddr, _service: &[PathBuf]) -> Option<Holder> {
        self.machine.holders.get(&address).cloned()
    }

    fn run(&self, command: &[String], hidden: &[String]) -> Result<Vec<u8>, String> {
        match command.first().map(String::as_str) {
            Some("print") => Ok(b"from-command\n".to_vec()),
            Some("hidden") => Ok(hidden.join(",").into_bytes()),
            _ => Err("it failed (exit status: 1)".into()),
        }
    }
}

/// The given lines, with a tenant, a client id and a listener where they say nothing about them.
pub(crate) fn complete(yaml: &str) -> String {
    let mut text = format!("{}\n", yaml.trim_end());
    for (section, lines) in [
        ("listeners:", "listeners: {smtp: {bind: 127.0.0.1:1587}}\n"),
        ("microsoft:", "microsoft: {tenant: contoso.com, client_id: 00000000-0000-0000-0000-000000000000}\n"),
    ] {
        if !yaml.lines().any(|line| line.starts_with(section)) {
            text.push_str(lines);
        }
    }
    text
}

pub(crate) fn config(yaml: &str) -> Config {
    Outside::default().load(&complete(yaml)).unwrap_or_else(|problems| panic!("{yaml}\n{problems}"))
}

/// Each mistake as `key: reason; hint`.
pub(crate) fn told(problems: &Problems) -> Vec<String> {
    problems.iter().map(|problem| format!("{}: {}; {}", problem.key, problem.reason, problem.hint)).collect()
}

pub(crate) fn mistakes(yaml: &str) -> Vec<String> {
    match Outside::default().load(&complete(yaml)) {
        Ok(_) => panic!("accepted:\n{yaml}"),
        Err(problems) => told(&problems),
    }
}

pub(crate) fn listener(lines: &str) -> String {
    format!("listeners:\n  imap:\n    bind: 127.0.0.1:1143\n{}", indent(lines))
}

pub(crate) fn indent(lines: &str) -> String {
    lines.lines().map(|line| format!("    {line}\n")).collect()
}

pub(crate) fn microsoft(lines: &str) -> String {
    let needed = "    tenant: contoso.com\n    client_id: 00000000-0000-0000-0000-000000000000\n";
    format!("microsoft:\n{needed}{}", indent(lines))
}

pub(crate) fn account(lines: &str) -> String {
    format!("accounts:\n  - login: scanner@contoso.com\n{}", indent(lines))
}

/// A self-signed certificate and its key, as PEM.
pub(crate) fn pair(name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// The same with an RSA key, as an application needs it.
pub(crate) fn rsa_pair() -> (String, String) {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let made = rcgen::CertificateParams::new(["gatepost.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    (made.pem(), key.serialize_pem())
}

/// The JSON key file of a service account of Google.
pub(crate) fn key_file(email: &str) -> String {
    let (_, key) = rsa_pair();
    let key = key.replace('\n', "\\n");
    format!(
        r#"{{"type": "service_account", "project_id": "p", "private_key_id": "0123", "private_key": "{key}",
        "client_email": "{email}", "client_id": "1122", "token_uri": "https://oauth2.googleapis.com/token"}}"#
    )
}
