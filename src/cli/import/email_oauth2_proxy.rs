//! Reads `emailproxy.config` of email-oauth2-proxy. Sections such as `[IMAP-1993]` are servers, those
//! with an `@` accounts, and `[emailproxy]` has options of the whole.

use gatepost_config::{Cloud, Grant};
use zeroize::Zeroizing;

use super::answers::{Answers, Reach};
use super::endpoint::{Endpoint, TenantName, cloud_of, host, token_service};
use super::ini::{self, Dialect, Entry, Section};
use super::mistake::Mistake;
use crate::cli::draft::origin::{Found, Origin};
use crate::cli::draft::plan::{Account, Application, Credential, Listener, Plan, Tls};
use crate::cli::draft::secrets::Kind;

/// Begins a value of the sample file that nobody has filled in.
const SAMPLE: &str = "***";

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

/// Keys of `[emailproxy]`, and why they need no counterpart.
const PROXY_KEYS: [(&str, &str); 5] = [
    ("documentation", ""),
    ("delete_account_token_on_password_error", "a wrong password never deletes a sign-in in Gatepost"),
    ("encrypt_client_secret_on_first_use", "Gatepost reads secrets from where you keep them, and stores none"),
    ("use_login_password_as_client_credentials_secret", ""),
    ("allow_catch_all_accounts", ""),
];

const NO_COUNTERPART: &str = "Gatepost serves Microsoft 365 only, so there is no counterpart yet";

/// Makes a plan of a file.
///
/// # Errors
/// Damage; a file without a server or without an account of Microsoft 365.
pub(super) fn plan(text: &str, answers: &Answers<'_>) -> Result<Plan, Mistake> {
    let sections = ini::read(text, Dialect::Python)?;
    let mut plan = Plan::default();
    let file = File { answers, options: Options::read(&sections), servers: servers(&sections)?, sections: &sections };
    for (section, server) in &file.servers {
        file.listener(&mut plan, section, server)?;
    }
    for section in &sections {
        if section.name.contains('@') {
            file.account(&mut plan, section)?;
        } else if section.name == "emailproxy" {
            for entry in &section.entries {
                match PROXY_KEYS.iter().find(|(key, _)| *key == entry.key) {
                    Some((_, "")) => {}
                    Some((_, why)) => plan.ignore(section.origin(entry), *why),
                    None => unknown(&mut plan, section, entry),
                }
            }
        } else if !file.servers.iter().any(|(server, _)| server.name == section.name) {
            let is_prose = |entry: &Entry| matches!(entry.key.as_str(), "documentation" | "format");
            let others: Vec<&Entry> = section.entries.iter().filter(|entry| !is_prose(entry)).collect();
            for entry in others {
                plan.ignore(section.origin(entry), "the other proxy does not read this section either");
            }
        }
    }
    if plan.listeners.is_empty() {
        return Err(Mistake::whole(
            "the file has no server of Microsoft 365, such as `[IMAP-1993]`",
            "Name the file that the other proxy uses",
        ));
    }
    if plan.accounts.is_empty() {
        return Err(Mistake::whole(
            "the file has no account of Microsoft 365 that is filled in",
            "Name the file that the other proxy uses",
        ));
    }
    Ok(plan)
}

/// Options of the whole file.
struct Options {
    catch_all: bool,
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
struct Server {
    protocol: &'static str,
    port: u16,
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

struct File<'a> {
    answers: &'a Answers<'a>,
    options: Options,
    servers: Vec<(&'a Section, Server)>,
    sections: &'a [Section],
}

impl File<'_> {
    fn listener(&self, plan: &mut Plan, section: &Section, server: &Server) -> Result<(), Mistake> {
        let place = section.place();
        let Some(address) = section.get("server_address") else {
            return Err(Mistake::at(
                section.line,
                "the server has no `server_address`",
                "Add it, or remove the section",
            ));
        };
        let upstream = host(&address.value);
        if Cloud::of_host(&upstream).is_empty() {
            plan.ignore(place, NO_COUNTERPART);
            return Ok(());
        }
        let Some(port) = section.get("server_port") else {
            return Err(Mistake::at(section.line, "the server has no `server_port`", "Add it, or remove the section"));
        };
        let remote: u16 = port
            .value
            .parse()
            .map_err(|_| Mistake::at(port.line, "`server_port` is not a port", "Write a number from 1 to 65535"))?;
        let switch = |keys: &[&str]| -> Result<Option<Found<bool>>, Mistake> {
            let Some(entry) = keys.iter().find_map(|key| section.get(key)) else { return Ok(None) };
            let value = truth(&entry.value)
                .ok_or_else(|| Mistake::at(entry.line, "this is neither `True` nor `False`", "Write one of the two"))?;
            Ok(Some(Found::new(value, &section.origin(entry))))
        };
        let starttls = switch(&["server_starttls", "starttls"])?;
        let local_starttls = switch(&["local_starttls"])?;
        for entry in &section.entries {
            match entry.key.as_str() {
                "server_address"
                | "server_port"
                | "server_starttls"
                | "starttls"
                | "local_starttls"
                | "local_address"
                | "local_certificate_path"
                | "local_key_path"
                | "documentation" => {}
                "plugins" => plan.ignore(section.origin(entry), "Gatepost has no plug-ins"),
                _ => unknown(plan, section, entry),
            }
        }
        let (reach, from) = match section.get("local_address") {
            Some(entry) => (Reach::of(&entry.value), section.origin(entry)),
            None => (Reach::Everywhere, place.clone()),
        };
        let binding = self.answers.binding(plan, &reach, server.port, &from);
        let tls = self.tls(section, local_starttls);
        let allow_plaintext_from = self.answers.plaintext(plan, &binding, tls.as_ref());
        let upstream_tls = starttls.map_or_else(
            || Found::new("implicit", &Origin::default_of("email-oauth2-proxy")),
            |found| Found::new(if found.value { "starttls" } else { "implicit" }, &found.from),
        );
        plan.listeners.push(Listener {
            name: Found::new(plan.listener_name(server.protocol, server.port), &place),
            protocol: server.protocol,
            bind: binding.bind,
            allow_from: binding.allow_from,
            allow_plaintext_from,
            tls,
            upstream: Some(Found::new(format!("{upstream}:{remote}"), &section.origin(address))),
            upstream_tls: Some(upstream_tls),
            deliver: None,
        });
        Ok(())
    }

    fn tls(&self, section: &Section, starttls: Option<Found<bool>>) -> Option<Tls> {
        let (certificate, key) = section.get("local_certificate_path").zip(section.get("local_key_path"))?;
        let path = |entry: &Entry| Found::new(self.answers.path(&entry.value), &section.origin(entry));
        let mode = match starttls {
            Some(Found { value: true, from }) => Found::new("starttls", &from),
            Some(Found { value: false, from }) => Found::new("implicit", &from),
            None => Found::new("implicit", &section.origin(certificate)),
        };
        let (certificate, private_key) = self.answers.certificate().unwrap_or_else(|| (path(certificate), path(key)));
        Some(Tls { mode, certificate, private_key })
    }

    /// The value of a key, or that of the catch-all account.
    fn value<'s>(&'s self, section: &'s Section, key: &str) -> Option<(&'s Section, &'s Entry)> {
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

    fn account(&self, plan: &mut Plan, section: &Section) -> Result<(), Mistake> {
        let place = section.place();
        let is_catch_all = section.name.starts_with('@');
        if is_catch_all && !self.options.catch_all {
            plan.ignore(place, "`allow_catch_all_accounts` is not `True`, so the other proxy does not use it either");
            return Ok(());
        }
        let Some((token_section, token_url)) = self.value(section, "token_url") else {
            return Err(Mistake::at(section.line, "the account has no `token_url`", "Add it, or remove the section"));
        };
        let Some(endpoint) = token_service(&token_url.value) else {
            plan.ignore(place, NO_COUNTERPART);
            return Ok(());
        };
        let is_sample = section.get("client_id").is_some_and(|entry| entry.value.starts_with(SAMPLE));
        if is_sample {
            plan.ignore(place, "the account is still that of the sample file");
            return Ok(());
        }
        if endpoint.tenant == TenantName::Consumers {
            plan.ignore(place, "Gatepost serves work and school accounts, not personal ones");
            return Ok(());
        }
        let Some(grant) = self.grant(plan, section)? else { return Ok(()) };
        self.note_keys(plan, section);
        // The other proxy makes such a section by itself for a user of the catch-all account.
        let is_own = section.entries.iter().any(|entry| READ.contains(&entry.key.as_str()));
        let login = Found::new(login(&section.name), &place);
        self.answers.first_use(plan, &login, grant.value);
        if !is_own && self.catch_all_of(section).is_some() {
            return Ok(());
        }
        let from = token_section.origin(token_url);
        let application = self.application(plan, section, &login, grant, &endpoint, &from);
        plan.accounts.push(Account { login, aliases: None, send_as: None, application });
        Ok(())
    }

    /// Records the keys of an account that have no counterpart.
    fn note_keys(&self, plan: &mut Plan, section: &Section) {
        for entry in section.entries.iter().filter(|entry| !READ.contains(&entry.key.as_str())) {
            match ACCOUNT_KEYS.iter().find(|(key, _)| *key == entry.key) {
                Some((_, "")) => {}
                Some((_, why)) => plan.ignore(section.origin(entry), *why),
                None => unknown(plan, section, entry),
            }
        }
    }

    fn grant(&self, plan: &mut Plan, section: &Section) -> Result<Option<Found<Grant>>, Mistake> {
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
                plan.ignore(section.place(), NO_COUNTERPART);
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

    fn application(
        &self,
        plan: &mut Plan,
        section: &Section,
        login: &Found<String>,
        grant: Found<Grant>,
        endpoint: &Endpoint,
        from: &Origin,
    ) -> Application {
        let servers = self.servers.iter().filter_map(|(section, _)| section.get("server_address"));
        let servers: Vec<String> = servers.map(|entry| host(&entry.value)).collect();
        let cloud = cloud_of(&endpoint.clouds, &servers).unwrap_or(Cloud::Worldwide);
        let found = |key: &str| {
            let (owner, entry) = self.value(section, key)?;
            Some(Found::new(entry.value.split_whitespace().collect::<Vec<_>>().join(" "), &owner.origin(entry)))
        };
        let client_id = self.answers.client_id(plan, found("client_id"), &login.from);
        // China's token service takes a resource in the place of a scope.
        let scope = if cloud == Cloud::China { found("oauth2_resource") } else { found("oauth2_scope") };
        if cloud != Cloud::China
            && let Some((owner, entry)) = self.value(section, "oauth2_resource")
        {
            plan.ignore(owner.origin(entry), "the scope names the resource");
        }
        let credential = self.credential(plan, section, grant.value, client_id.as_ref());
        Application {
            cloud: (cloud != Cloud::Worldwide).then(|| Found::new(cloud, from)),
            tenant: self.answers.tenant(plan, &endpoint.tenant, from, &login.value),
            client_id,
            grant,
            credential,
            scope,
            token_expiry_margin: None,
        }
    }

    fn credential(
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
            let why =
                "the file has it encrypted with a client's password. Take the original, or make a new one in Entra";
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

fn unknown(plan: &mut Plan, section: &Section, entry: &Entry) {
    plan.ignore(section.origin(entry), "the key is not known, perhaps from a newer version. Look up what it did");
}

/// A truth as Python's `configparser` reads it.
fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Some(true),
        "0" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}
