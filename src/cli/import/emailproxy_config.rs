//! The file `emailproxy.config` of email-oauth2-proxy as that program reads it: servers, accounts with
//! what they take from the catch-all account, and options of the whole.

use gatepost_config::{Cloud, Grant, ProviderPreset};
use zeroize::Zeroizing;

use super::answers::Answers;
use super::endpoint::{Elsewhere, token_service};
use super::ini::{Entry, Section};
use super::mistake::Mistake;
use crate::cli::draft::origin::{Found, Origin};
use crate::cli::draft::plan::{Credential, Plan};
use crate::cli::draft::secrets::Kind;

/// Begins a value of the sample file that nobody has filled in.
pub(super) const SAMPLE: &str = "***";

/// Keys of accounts without a counterpart, and why they need none.
const ACCOUNT_KEYS: [(&str, &str); 15] = [
    ("documentation", ""),
    (
        "redirect_uri",
        "Gatepost waits at an address of its own. Add `http://localhost` to the application, as a redirect of \
      type mobile and desktop",
    ),
    ("redirect_listen_address", "Gatepost waits at an address of its own"),
    ("use_pkce", "Gatepost always uses PKCE"),
    ("auth_code", TOKENS),
    ("token_salt", TOKENS),
    ("token_iterations", TOKENS),
    ("access_token", TOKENS),
    ("access_token_expiry", TOKENS),
    ("refresh_token", TOKENS),
    ("last_activity", TOKENS),
    ("id_token", TOKENS),
    ("username", "the name of the section is the user name"),
    ("jwt_key_path", ""),
    ("jwt_certificate_path", ""),
];

const TOKENS: &str = "tokens are encrypted for the other proxy and are not taken over";

/// Keys of accounts that are read below.
const READ: [&str; 8] = [
    "permission_url",
    "token_url",
    "oauth2_scope",
    "oauth2_resource",
    "oauth2_flow",
    "client_id",
    "client_secret",
    "client_secret_encrypted",
];

/// Why something is left out.
pub(super) const NO_COUNTERPART: &str = "Gatepost does not serve it, so there is no counterpart yet";

/// Options of the whole file.
pub(super) struct Options {
    pub(super) catch_all: bool,
    password_is_secret: bool,
}

impl Options {
    fn read(sections: &[Section]) -> Self {
        let section = sections.iter().find(|section| section.name == "emailproxy");
        let on =
            |key| section.and_then(|section| section.get(key)).is_some_and(|entry| truth(&entry.value) == Some(true));
        Self {
            catch_all: on("allow_catch_all_accounts"),
            password_is_secret: on("use_login_password_as_client_credentials_secret"),
        }
    }
}

/// The head of a server's section.
pub(super) struct Server {
    pub(super) protocol: &'static str,
    pub(super) port: u16,
}

/// Finds the sections of servers.
fn servers(sections: &[Section]) -> Result<Vec<(&Section, Server)>, Mistake> {
    let mut servers = Vec::new();
    for section in sections {
        let Some((kind, port)) = section.name.split_once('-') else { continue };
        let protocol = match kind {
            "IMAP" => "imap",
            "POP" => "pop3",
            "SMTP" => "smtp",
            _ => continue,
        };
        let Some(port) = port.parse::<u16>().ok().filter(|port| *port > 0) else {
            return Err(Mistake::at(
                section.line,
                "the section's name does not end in a port",
                "Write the port on which the other proxy listens, as in `[IMAP-1993]`",
            ));
        };
        servers.push((section, Server { protocol, port }));
    }
    Ok(servers)
}

/// The providers other than Microsoft that an account is filled in for.
fn elsewhere(sections: &[Section]) -> Vec<Elsewhere> {
    let mut found = Vec::new();
    for section in sections.iter().filter(|section| section.name.contains('@')) {
        let is_filled = section.get("client_id").is_some_and(|entry| !entry.value.starts_with(SAMPLE));
        let Some(entry) = section.get("token_url").filter(|_| is_filled) else { continue };
        let is_of_person = section
            .get("oauth2_flow")
            .is_none_or(|entry| matches!(entry.value.as_str(), "authorization_code" | "device"));
        if token_service(&entry.value).is_none() && is_of_person {
            found.extend(Elsewhere::of_token_url(&entry.value).filter(|provider| !found.contains(provider)));
        }
    }
    found
}

/// The parts of a file.
pub(super) struct File<'a> {
    pub(super) answers: &'a Answers<'a>,
    pub(super) options: Options,
    pub(super) servers: Vec<(&'a Section, Server)>,
    elsewhere: Vec<Elsewhere>,
    sections: &'a [Section],
}

impl<'a> File<'a> {
    /// Finds the parts of a file.
    ///
    /// # Errors
    /// A server without a port.
    pub(super) fn new(sections: &'a [Section], answers: &'a Answers<'a>) -> Result<Self, Mistake> {
        Ok(Self {
            answers,
            options: Options::read(sections),
            servers: servers(sections)?,
            elsewhere: elsewhere(sections),
            sections,
        })
    }

    /// Whether the server is reached by STARTTLS.
    pub(super) fn starttls(&self, section: &Section) -> bool {
        let entry = ["server_starttls", "starttls"].iter().find_map(|key| section.get(key));
        entry.is_some_and(|entry| truth(&entry.value) == Some(true))
    }

    /// The value of a key, or that of the catch-all account.
    pub(super) fn value<'s>(&'s self, section: &'s Section, key: &str) -> Option<(&'s Section, &'s Entry)> {
        let own = section.get(key).map(|entry| (section, entry));
        own.or_else(|| {
            let catch_all = self.catch_all_of(section)?;
            catch_all.get(key).map(|entry| (catch_all, entry))
        })
    }

    /// The catch-all account that covers an account.
    fn catch_all_of(&self, section: &Section) -> Option<&Section> {
        let (local, domain) = section.name.rsplit_once('@')?;
        if !self.options.catch_all || local.is_empty() {
            return None;
        }
        self.sections.iter().find(|other| other.name.strip_prefix('@') == Some(domain))
    }

    /// The login of an account. Says what it needs before a client can log in.
    pub(super) fn login_of(&self, plan: &mut Plan, section: &Section, grant: Grant) -> Found<String> {
        let login = Found::new(login(&section.name), &section.place());
        self.answers.first_use(plan, &login, grant);
        login
    }

    /// Whether the catch-all account has all that the section says. The other proxy makes such a
    /// section by itself for a user of the catch-all account.
    pub(super) fn is_covered(&self, section: &Section) -> bool {
        let is_own = section.entries.iter().any(|entry| READ.contains(&entry.key.as_str()));
        !is_own && self.catch_all_of(section).is_some()
    }

    /// Records the keys of an account that have no counterpart.
    pub(super) fn note_keys(&self, plan: &mut Plan, section: &Section) {
        for entry in section.entries.iter().filter(|entry| !READ.contains(&entry.key.as_str())) {
            match ACCOUNT_KEYS.iter().find(|(key, _)| *key == entry.key) {
                Some((_, "")) => {}
                Some((_, why)) => plan.ignore(section.origin(entry), *why),
                None => unknown(plan, section, entry),
            }
        }
    }

    pub(super) fn grant(&self, plan: &mut Plan, section: &Section) -> Result<Option<Found<Grant>>, Mistake> {
        let Some((owner, entry)) = self.value(section, "oauth2_flow") else {
            let from = Origin::default_of("email-oauth2-proxy");
            return Ok(Some(Found::new(Grant::AuthorizationCode, &from)));
        };
        let grant = match entry.value.as_str() {
            "authorization_code" => Grant::AuthorizationCode,
            "client_credentials" => Grant::ClientCredentials,
            "password" => Grant::Password,
            "device" => Grant::DeviceCode,
            "service_account" => {
                plan.ignore(
                    section.place(),
                    "it is for a service account, which this import does not take over. docs/providers.md says how \
                     Gatepost serves it",
                );
                return Ok(None);
            }
            _ => {
                return Err(Mistake::at(
                    entry.line,
                    "this `oauth2_flow` is not known, perhaps from a newer version",
                    "Write `authorization_code`, `device`, `client_credentials` or `password`",
                ));
            }
        };
        Ok(Some(Found::new(grant, &owner.origin(entry))))
    }

    /// The provider of a mail server that is not Microsoft's, if an account of it is filled in. The
    /// file does not say to whom a server belongs. One that is not known can be of one provider only.
    pub(super) fn owner_of(&self, server: &str) -> Option<&Elsewhere> {
        let owner = match ProviderPreset::of_host(server) {
            Some(preset) => self.elsewhere.iter().find(|known| known.name == preset.name),
            None => self.only_unknown(),
        };
        owner.filter(|_| Cloud::of_host(server).is_empty())
    }

    /// The provider whose addresses are not known, if there is exactly one.
    fn only_unknown(&self) -> Option<&Elsewhere> {
        let mut unknown = self.elsewhere.iter().filter(|known| !known.is_preset);
        unknown.next().filter(|_| unknown.next().is_none())
    }

    pub(super) fn credential(
        &self,
        plan: &mut Plan,
        section: &Section,
        grant: Grant,
        client_id: Option<&Found<String>>,
    ) -> Option<Found<Credential>> {
        let owner = client_id.map_or("", |found| found.value.as_str());
        if let Some(((certificate_of, certificate), (_, key))) =
            self.value(section, "jwt_certificate_path").zip(self.value(section, "jwt_key_path"))
        {
            let pair = Credential::Certificate(self.answers.path(&certificate.value), self.answers.path(&key.value));
            return Some(Found::new(pair, &certificate_of.origin(certificate)));
        }
        let is_filled = |found: &(&Section, &Entry)| !found.1.value.starts_with(SAMPLE);
        if let Some((of, entry)) = self.value(section, "client_secret").filter(is_filled) {
            let from = of.origin(entry);
            let secret = Zeroizing::new(entry.value.trim().to_owned());
            return Some(Found::new(
                Credential::Secret(plan.secrets.add(Kind::ClientSecret, owner, secret, &from)),
                &from,
            ));
        }
        let absent = |plan: &mut Plan, why, from: Origin| {
            let id = plan.secrets.add_absent(Kind::ClientSecret, owner, why, &from);
            Some(Found::new(Credential::Secret(id), &from))
        };
        if let Some((of, entry)) = self.value(section, "client_secret_encrypted") {
            let why = "the file has it encrypted with a client's password. Take the original, or make a new one where the application is registered";
            return absent(plan, why, of.origin(entry));
        }
        if grant == Grant::ClientCredentials {
            let why = match self.options.password_is_secret {
                true => "clients gave it as their password. From now on they give a device password",
                false => "the file has none. Make one in Entra",
            };
            return absent(plan, why, section.place());
        }
        None
    }
}

/// The login of an account: its address, or the pattern of a catch-all account.
fn login(name: &str) -> String {
    if name.starts_with('@') { format!("*{name}") } else { name.to_owned() }
}

/// Records a key that is not known.
pub(super) fn unknown(plan: &mut Plan, section: &Section, entry: &Entry) {
    plan.ignore(section.origin(entry), "the key is not known, perhaps from a newer version. Look up what it did");
}

/// A truth as Python's `configparser` reads it.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Some(true),
        "0" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}
