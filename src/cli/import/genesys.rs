//! Reads the options of Genesys E-mail Server, as Configuration Manager's `.cfg` export writes them.
//! Sections `[pop-client]`, `[pop-client-2]` and so on fetch from a mailbox, `[smtp-client]` sends.

use gatepost_config::{Cloud, Grant};
use zeroize::Zeroizing;

use super::answers::{Answers, Reach};
use super::endpoint::{TenantName, cloud_of, host, token_service};
use super::ini::{self, Dialect, Entry, Section};
use super::mistake::Mistake;
use crate::cli::draft::origin::{Found, Origin};
use crate::cli::draft::plan::{Account, Application, Credential, Label, Listener, Plan, Tls};
use crate::cli::draft::secrets::Kind;

/// Options that Gatepost takes over, so that Genesys no longer needs them.
const TAKEN_OVER: [&str; 7] =
    ["directory-id", "tenant-authority", "client-id", "scope", "grant-type", "token-expiry-margin-time", "secret"];

/// Options of the connection, which change in Genesys.
const CONNECTION: [&str; 12] = [
    "server",
    "port",
    "type",
    "server-type",
    "connect-security",
    "pop-connection-security",
    "smtp-connection-security",
    "enable-ssl",
    "endpoint",
    "exchange-version",
    "enable-authentication",
    "enable-client",
];

/// The options that name the mailbox, by the kind of the section.
const MAILBOX: [&str; 2] = ["mailbox", "user"];

/// Longest margin that Gatepost takes, in seconds.
const LONGEST_MARGIN: u64 = 50 * 60;

/// The ports of the listeners; Genesys' own configuration names no port for them.
const PORTS: [(&str, u16); 3] = [("imap", 1143), ("pop3", 1110), ("smtp", 1587)];

/// Makes a plan of a file.
///
/// # Errors
/// Damage; a file without a mailbox of Microsoft 365.
pub(super) fn plan(text: &str, answers: &Answers<'_>) -> Result<Plan, Mistake> {
    let sections = ini::read(text, Dialect::Genesys)?;
    let mut plan = Plan::default();
    for section in &sections {
        let is =
            |kind: &str| section.name.strip_prefix(kind).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        if is("pop-client") {
            client(&mut plan, answers, section, false)?;
        } else if is("smtp-client") {
            client(&mut plan, answers, section, true)?;
        } else if is("secret") {
            plan.ignore(
                section.place(),
                "it is for Google, which this import does not take over. docs/providers.md says how Gatepost serves it",
            );
        } else {
            plan.ignore(section.place(), "it stays in Genesys as it is");
        }
    }
    if plan.accounts.is_empty() {
        return Err(Mistake::whole(
            "the file has no `[pop-client]` or `[smtp-client]` with a mailbox of Microsoft 365",
            "Export the options of the E-mail Server application again",
        ));
    }
    Ok(plan)
}

/// Reads a section that connects to a mailbox.
fn client(plan: &mut Plan, answers: &Answers<'_>, section: &Section, sends: bool) -> Result<(), Mistake> {
    if let Some(entry) = section.get("enable-client").filter(|entry| is_false(&entry.value)) {
        plan.ignore(section.place(), format!("`enable-client` is off in line {}", entry.line));
        return Ok(());
    }
    let authority = section.get("tenant-authority");
    let endpoint = authority.map(|entry| (entry, token_service(&entry.value)));
    let Some(clouds) = clouds(endpoint.as_ref()) else {
        plan.ignore(
            section.place(),
            "this import takes over Microsoft 365 only. docs/providers.md says how Gatepost serves others",
        );
        return Ok(());
    };
    let servers: Vec<String> = section.get("server").map(|entry| host(&entry.value)).into_iter().collect();
    if authority.is_none()
        && section.get("directory-id").is_none()
        && servers.iter().all(|it| Cloud::of_host(it).is_empty())
    {
        plan.ignore(section.place(), "it connects to a server that is not Microsoft's");
        return Ok(());
    }
    let Some(mailbox) = MAILBOX.iter().find_map(|key| section.get(key)) else {
        let key = if sends { "user" } else { "mailbox" };
        return Err(Mistake::at(section.line, format!("the section has no `{key}`"), "Export the options again"));
    };
    let protocol = protocol(section, sends)?;
    let port = PORTS.iter().find(|(name, _)| *name == protocol).map_or(0, |(_, port)| *port);
    let target = listener(plan, answers, section, protocol, port);
    let cloud = cloud_of(&clouds, &servers).unwrap_or(Cloud::Worldwide);
    let cloud_from =
        authority.or_else(|| section.get("server")).map_or_else(|| section.place(), |it| section.origin(it));
    let login = Found::new(mailbox.value.trim().to_owned(), &section.origin(mailbox));
    let grant = grant(section)?;
    change(plan, section, &target, protocol, grant.value);
    note_others(plan, section);
    let cloud = (cloud != Cloud::Worldwide).then(|| Found::new(cloud, &cloud_from));
    let application = application(plan, answers, section, &login, grant, cloud)?;
    let same = |account: &&Account| account.login.value.eq_ignore_ascii_case(&login.value);
    if let Some(known) = plan.accounts.iter().find(same) {
        let is_same = known.application.client_id.as_ref().map(|it| &it.value)
            == application.client_id.as_ref().map(|it| &it.value)
            && known.application.grant.value == application.grant.value;
        if !is_same {
            let reason = format!("the mailbox has another application or grant here than at {}", known.login.from);
            plan.miss(Some(login.from), format!("{reason}. Gatepost has one for each user name: make both the same"));
        }
        return Ok(());
    }
    answers.first_use(plan, &login, application.grant.value);
    plan.accounts.push(Account { login, aliases: None, send_as: None, application });
    Ok(())
}

/// The clouds of the token service; Genesys' default is the worldwide one. `None` if it is not
/// Microsoft's.
fn clouds(endpoint: Option<&(&Entry, Option<super::endpoint::Endpoint>)>) -> Option<Vec<Cloud>> {
    match endpoint {
        None => Some(vec![Cloud::Worldwide]),
        Some((_, Some(endpoint))) => Some(endpoint.clouds.clone()),
        Some((_, None)) => None,
    }
}

/// The protocol that the section has to speak with Gatepost.
fn protocol(section: &Section, sends: bool) -> Result<&'static str, Mistake> {
    let Some(entry) = section.get(if sends { "server-type" } else { "type" }) else {
        return Ok(if sends { "smtp" } else { "pop3" });
    };
    match (entry.value.to_uppercase().as_str(), sends) {
        ("SMTP" | "EWS" | "GRAPH", true) => Ok("smtp"),
        ("POP3", false) => Ok("pop3"),
        // EWS and Graph clients of Genesys want tokens of their own.
        ("IMAP" | "EWS" | "GRAPH", false) => Ok("imap"),
        _ => Err(Mistake::at(
            entry.line,
            "this kind of server is not known, perhaps from a newer version",
            if sends { "Write `SMTP`, `EWS` or `GRAPH`" } else { "Write `IMAP`, `POP3`, `EWS` or `GRAPH`" },
        )),
    }
}

/// Where Genesys connects to from now on.
struct Target {
    /// None if it is not on the same machine.
    host: Option<&'static str>,
    port: u16,
    has_tls: bool,
}

/// Makes the listener of a protocol, unless another section did.
fn listener(plan: &mut Plan, answers: &Answers<'_>, section: &Section, protocol: &'static str, port: u16) -> Target {
    let host = answers.options.allow_from.is_empty().then_some("localhost");
    if let Some(known) = plan.listeners.iter().find(|listener| listener.protocol == protocol) {
        return Target { host, port, has_tls: known.tls.is_some() };
    }
    let place = section.place();
    let from =
        MAILBOX_KIND.iter().find_map(|key| section.get(key)).map_or_else(|| place.clone(), |it| section.origin(it));
    let security = ["connect-security", "smtp-connection-security", "pop-connection-security"];
    let security = security.iter().find_map(|key| section.get(key));
    let mode = match security.is_some_and(|entry| entry.value.to_lowercase().contains("start")) {
        true => "starttls",
        false => "implicit",
    };
    let tls = answers.certificate().map(|(certificate, private_key)| {
        let from = security.map_or_else(|| Origin::flag("--certificate"), |entry| section.origin(entry));
        Tls { mode: Found::new(mode, &from), certificate, private_key }
    });
    let binding = answers.binding(plan, &Reach::Everywhere, port, &place);
    let allow_plaintext_from = answers.plaintext(plan, &binding, tls.as_ref());
    let has_tls = tls.is_some();
    plan.listeners.push(Listener {
        name: Found::new(protocol.to_owned(), &from),
        protocol,
        bind: binding.bind,
        allow_from: binding.allow_from,
        allow_plaintext_from,
        tls,
        upstream: None,
        upstream_tls: None,
        deliver: None,
    });
    Target { host, port, has_tls }
}

/// The options that say which protocol a section speaks.
const MAILBOX_KIND: [&str; 2] = ["type", "server-type"];

fn grant(section: &Section) -> Result<Found<Grant>, Mistake> {
    let kind = MAILBOX_KIND.iter().find_map(|key| section.get(key));
    let is_graph = kind.filter(|entry| entry.value.eq_ignore_ascii_case("GRAPH"));
    match (section.get("grant-type"), is_graph) {
        (Some(entry), _) => match entry.value.to_lowercase().as_str() {
            "client_credentials" => Ok(Found::new(Grant::ClientCredentials, &section.origin(entry))),
            "password" => Ok(Found::new(Grant::Password, &section.origin(entry))),
            _ => Err(Mistake::at(
                entry.line,
                "this `grant-type` is not known, perhaps from a newer version",
                "Write `password` or `client_credentials`",
            )),
        },
        (None, Some(entry)) => Ok(Found::new(Grant::ClientCredentials, &section.origin(entry))),
        (None, None) => Ok(Found::new(Grant::Password, &Origin::default_of("Genesys"))),
    }
}

fn application(
    plan: &mut Plan,
    answers: &Answers<'_>,
    section: &Section,
    login: &Found<String>,
    grant: Found<Grant>,
    cloud: Option<Found<Cloud>>,
) -> Result<Application, Mistake> {
    let named = section.get("client-id").map(|it| Found::new(it.value.trim().to_owned(), &section.origin(it)));
    let place = section.place();
    let client_id = answers.client_id(plan, named, &place);
    let (tenant, tenant_from) = match section.get("directory-id") {
        Some(entry) => (TenantName::of(entry.value.trim()), section.origin(entry)),
        None => (TenantName::Common, place.clone()),
    };
    let tenant = answers.tenant(plan, &tenant, &tenant_from, &login.value);
    let scope = section.get("scope").and_then(|entry| {
        if Cloud::ALL.iter().any(|cloud| entry.value.starts_with(cloud.preset().graph)) {
            plan.ignore(
                section.origin(entry),
                "a token for Graph opens no mailbox over IMAP, POP3 and SMTP. Give the application IMAP.AccessAsApp, \
                 POP.AccessAsApp and SMTP.SendAsApp of Office 365 Exchange Online",
            );
            return None;
        }
        Some(Found::new(entry.value.trim().to_owned(), &section.origin(entry)))
    });
    let owner = client_id.as_ref().map_or("", |found| found.value.as_str());
    let credential = (grant.value == Grant::ClientCredentials).then(|| {
        let (id, from) = match section.get("password") {
            Some(entry) if entry.value.chars().any(|c| c != '*') => {
                let from = section.origin(entry);
                let value = Zeroizing::new(entry.value.trim().to_owned());
                (plan.secrets.add(Kind::ClientSecret, owner, value, &from), from)
            }
            other => {
                let from = other.map_or_else(|| place.clone(), |entry| section.origin(entry));
                let why = "the export hides it. Take the original, or make a new one in Entra";
                (plan.secrets.add_absent(Kind::ClientSecret, owner, why, &from), from)
            }
        };
        Found::new(Credential::Secret(id), &from)
    });
    let token_expiry_margin = match section.get("token-expiry-margin-time") {
        None => None,
        Some(entry) => margin(plan, section, entry)?,
    };
    Ok(Application { cloud, tenant, client_id, grant, credential, scope, token_expiry_margin })
}

/// The margin in seconds: a number, or `hh:mm:ss`.
fn margin(plan: &mut Plan, section: &Section, entry: &Entry) -> Result<Option<Found<u64>>, Mistake> {
    let parts: Option<Vec<u64>> = entry.value.trim().split(':').map(|part| part.parse().ok()).collect();
    let seconds = match parts.as_deref() {
        Some(&[seconds]) => Some(seconds),
        Some(&[hours, minutes, seconds]) if hours < 24 && minutes < 60 && seconds < 60 => {
            Some(hours * 3_600 + minutes * 60 + seconds)
        }
        _ => None,
    };
    let Some(seconds) = seconds else {
        return Err(Mistake::at(entry.line, "this is not a time", "Write seconds, or `hh:mm:ss`"));
    };
    if seconds > LONGEST_MARGIN {
        plan.ignore(section.origin(entry), "tokens live for an hour, so Gatepost takes 50 minutes at most");
        return Ok(None);
    }
    Ok(Some(Found::new(seconds, &section.origin(entry))))
}

/// Says what changes in Genesys, so that it logs in at Gatepost.
fn change(plan: &mut Plan, section: &Section, target: &Target, protocol: &str, grant: Grant) {
    let sends = protocol == "smtp";
    let security = ["connect-security", if sends { "smtp-connection-security" } else { "pop-connection-security" }];
    let written = security.into_iter().find(|key| section.get(key).is_some());
    let mut changes = vec![("server", target.host.map(str::to_owned)), ("port", Some(target.port.to_string()))];
    // Without the option it is this kind already.
    if let Some(kind) = MAILBOX_KIND.into_iter().find(|key| section.get(key).is_some()) {
        changes.push((kind, Some(protocol.to_uppercase())));
    }
    if !target.has_tls {
        changes.push((written.unwrap_or(security[1]), Some("none".to_owned())));
    }
    if sends {
        changes.push(("enable-authentication", Some("true".to_owned())));
    }
    for (key, value) in changes {
        let entry = section.get(key);
        if entry.zip(value.as_ref()).is_some_and(|(entry, value)| entry.value.eq_ignore_ascii_case(value)) {
            continue;
        }
        let about = entry.map_or_else(|| Origin::key(&section.name, key, section.line), |it| section.origin(it));
        let text = value.map_or("the name of the machine with Gatepost".to_owned(), |value| format!("`{value}`"));
        plan.remark(Label::Change, Some(about), text);
    }
    for entry in &section.entries {
        let (label, text) = match entry.key.as_str() {
            "password" if grant == Grant::ClientCredentials => {
                (Label::Change, "the device password that `gatepost password add` prints")
            }
            "password" => (Label::Note, "it stays as it is, because Entra checks it"),
            key if key.starts_with("mail.") && key.ends_with(".auth.mechanisms") => {
                (Label::Change, "`PLAIN LOGIN`, in the place of XOAUTH2")
            }
            key if TAKEN_OVER.contains(&key) => (Label::Change, "remove it, because Gatepost gets the tokens now"),
            _ => continue,
        };
        plan.remark(label, Some(section.origin(entry)), text);
    }
}

/// Records the options that stay in Genesys.
fn note_others(plan: &mut Plan, section: &Section) {
    let is_known = |entry: &Entry| {
        let key = entry.key.as_str();
        let is_mechanism = key.starts_with("mail.") && key.ends_with(".auth.mechanisms");
        TAKEN_OVER.contains(&key)
            || CONNECTION.contains(&key)
            || MAILBOX.contains(&key)
            || key == "password"
            || is_mechanism
    };
    for entry in section.entries.iter().filter(|entry| !is_known(entry) && !entry.value.is_empty()) {
        plan.ignore(section.origin(entry), "it stays in Genesys as it is");
    }
}

fn is_false(text: &str) -> bool {
    ["false", "no", "0", "off"].iter().any(|word| text.eq_ignore_ascii_case(word))
}
