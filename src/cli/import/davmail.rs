//! Reads `davmail.properties` of DavMail.

use gatepost_config::{Cloud, Grant};
use zeroize::Zeroizing;

use super::answers::{Answers, Reach};
use super::endpoint::{TenantName, cloud_of, host, token_service};
use super::ini::Entry;
use super::mistake::Mistake;
use super::properties;
use crate::cli::draft::origin::{Found, Origin};
use crate::cli::draft::plan::{Account, Application, ForwardProxy, Label, Listener, Plan, Tls};
use crate::cli::draft::secrets::Kind;

/// The application that DavMail brings along. It has no rights for IMAP, POP3 and SMTP.
const OWN_APPLICATION: &str = "facd6cff-a294-4415-b59f-c5b01937d7bd";

/// The mail protocols: key of the port, protocol, key that switches TLS off.
const PORTS: [(&str, &str, &str); 3] = [
    ("imapPort", "imap", "ssl.nosecureimap"),
    ("popPort", "pop3", "ssl.nosecurepop"),
    ("smtpPort", "smtp", "ssl.nosecuresmtp"),
];

/// Keys that are read below, without `davmail.`.
const READ: [&str; 26] = [
    "imapPort",
    "popPort",
    "smtpPort",
    "ssl.nosecureimap",
    "ssl.nosecurepop",
    "ssl.nosecuresmtp",
    "bindAddress",
    "allowRemote",
    "mode",
    "enableEws",
    "url",
    "tld",
    "loginUrl",
    "outlookUrl",
    "oauth.clientId",
    "oauth.tenantId",
    "enableProxy",
    "useSystemProxies",
    "proxyHost",
    "proxyPort",
    "proxyUser",
    "proxyPassword",
    "noProxyFor",
    "ssl.keystoreFile",
    "userWhiteList",
    "server",
];

/// Keys without a counterpart, by their beginning without `davmail.`, and why.
const OTHERS: [(&str, &str); 27] = [
    ("caldav", CALENDAR),
    ("carddav", CALENDAR),
    ("forceActiveSyncUpdate", CALENDAR),
    ("excludePrivateEvents", CALENDAR),
    ("timezoneId", CALENDAR),
    ("ignoreNoneMatchStar", CALENDAR),
    ("deleteBroken", CALENDAR),
    ("dumpICS", CALENDAR),
    ("ssl.nosecurecaldav", CALENDAR),
    ("ldap", "Gatepost has no address book over LDAP"),
    ("ssl.nosecureldap", "Gatepost has no address book over LDAP"),
    (
        "oauth.redirectUri",
        "Gatepost waits at an address of its own. Add `http://localhost` to the application, as a redirect \
      of type mobile and desktop",
    ),
    ("oauth.scope", "it asks for EWS or Graph. Gatepost asks for what IMAP, POP3 and SMTP need"),
    ("oauth.", "Gatepost keeps sign-ins in its own encrypted store"),
    ("ssl.keystore", KEYSTORE_SECRET),
    ("ssl.keyPass", KEYSTORE_SECRET),
    ("ssl.", "Gatepost has no client certificates here, and takes its trust from `trust`"),
    ("server.certificate.hash", "Gatepost verifies every certificate. Name the authority in `trust.additional_ca`"),
    ("imap", MAILBOX),
    ("pop", MAILBOX),
    ("smtp", MAILBOX),
    ("keepDelay", MAILBOX),
    ("sentKeepDelay", MAILBOX),
    ("folder", MAILBOX),
    ("log", "Gatepost logs to standard error. `log.level` says how much"),
    ("clientSoTimeout", "`limits.imap_idle`, `limits.pop3_idle` and `limits.smtp_idle` are its counterparts"),
    ("exchange.", "`limits` has the times that Gatepost waits"),
];

const CALENDAR: &str =
    "Gatepost has no calendars, tasks and contacts. Keep DavMail for them, or use a client that knows EWS or Graph";
const MAILBOX: &str = "Exchange Online itself decides this";
const KEYSTORE_SECRET: &str = "Gatepost reads PEM files, without a password";
const REST: &str = "Gatepost has no such thing";

/// Makes a plan of a file.
///
/// # Errors
/// Damage; a server of one's own behind it; no mail protocol in it.
pub(super) fn plan(text: &str, answers: &Answers<'_>) -> Result<Plan, Mistake> {
    let entries = properties::read(text)?;
    let file = File { answers, entries: &entries };
    let mut plan = Plan::default();
    file.listeners(&mut plan)?;
    let cloud = file.cloud(&plan)?;
    file.accounts(&mut plan, cloud)?;
    file.forward_proxy(&mut plan)?;
    file.note_others(&mut plan);
    Ok(plan)
}

struct File<'a> {
    answers: &'a Answers<'a>,
    entries: &'a [Entry],
}

impl File<'_> {
    /// A key that has a value; `name` is without `davmail.`.
    fn get(&self, name: &str) -> Option<&Entry> {
        let is_it = |entry: &&Entry| entry.key.strip_prefix("davmail.") == Some(name) && !entry.value.trim().is_empty();
        self.entries.iter().find(is_it)
    }

    fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|entry| entry.value.trim().eq_ignore_ascii_case("true"))
    }

    fn listeners(&self, plan: &mut Plan) -> Result<(), Mistake> {
        let remote = self.get("allowRemote").filter(|_| self.is_on("allowRemote"));
        let address = self.get("bindAddress");
        for (key, protocol, plain) in PORTS {
            let Some(entry) = self.get(key) else { continue };
            let port: u16 = entry
                .value
                .trim()
                .parse()
                .map_err(|_| Mistake::at(entry.line, "this is not a port", "Write a number from 1 to 65535"))?;
            if port == 0 {
                continue;
            }
            let (reach, from) = match (address, remote) {
                (Some(address), _) => (Reach::of(&address.value), origin(address)),
                (None, Some(remote)) => (Reach::Everywhere, origin(remote)),
                (None, None) => (Reach::Loopback("localhost".to_owned()), origin(entry)),
            };
            let binding = self.answers.binding(plan, &reach, port, &from);
            let tls = if self.is_on(plain) { None } else { self.tls(plan) };
            let allow_plaintext_from = self.answers.plaintext(plan, &binding, tls.as_ref());
            plan.listeners.push(Listener {
                name: Found::new(protocol.to_owned(), &origin(entry)),
                protocol,
                bind: Found::new(binding.bind.value, &origin(entry)),
                allow_from: binding.allow_from,
                allow_plaintext_from,
                tls,
                upstream: None,
                upstream_tls: None,
                deliver: None,
            });
        }
        if plan.listeners.is_empty() {
            return Err(Mistake::whole(
                "the file has no port for IMAP, POP3 or SMTP, and Gatepost has no other protocols of DavMail",
                "Name the file that DavMail uses",
            ));
        }
        if let Some(smtp) = self.get("smtpPort").filter(|_| plan.listeners.iter().any(|it| it.protocol == "smtp")) {
            plan.remark(
                Label::Note,
                Some(origin(smtp)),
                "DavMail sends over EWS, Gatepost over SMTP AUTH. If the tenant has SMTP AUTH switched off, set `deliver: graph`",
            );
        }
        Ok(())
    }

    /// TLS of the listeners. DavMail's key store has to become PEM files first.
    fn tls(&self, plan: &mut Plan) -> Option<Tls> {
        let store = self.get("ssl.keystoreFile")?;
        let from = origin(store);
        let Some((certificate, private_key)) = self.answers.certificate() else {
            let path = super::answers::shell(&self.answers.path(&store.value));
            let is_pkcs12 = self.get("ssl.keystoreType").is_some_and(|kind| kind.value.to_uppercase().contains("12"));
            let convert = match is_pkcs12 {
                true => String::new(),
                false => format!(
                    "`keytool -importkeystore -srckeystore {path} -destkeystore server.p12 -deststoretype PKCS12`, then "
                ),
            };
            let path = if is_pkcs12 { path } else { "server.p12".to_owned() };
            plan.miss(
                Some(from),
                format!(
                    "Gatepost reads PEM files. Run {convert}`openssl pkcs12 -in {path} -nokeys -out server.pem` and `openssl \
                     pkcs12 -in {path} -nocerts -nodes -out server.key`. Then run the command again with `--certificate \
                     server.pem --private-key server.key`"
                ),
            );
            return None;
        };
        Some(Tls { mode: Found::new("implicit", &from), certificate, private_key })
    }

    /// The cloud, and the place that says so.
    fn cloud(&self, plan: &Plan) -> Result<Option<Found<Cloud>>, Mistake> {
        let found = |entry: &Entry, clouds: &[Cloud], servers: &[String]| {
            Some(Found::new(cloud_of(clouds, servers)?, &origin(entry)))
        };
        let servers: Vec<String> =
            ["url", "outlookUrl"].iter().filter_map(|key| self.get(key)).map(|entry| host(&entry.value)).collect();
        if let Some(url) = self.get("url")
            && Cloud::of_host(&host(&url.value)).is_empty()
            && !plan.listeners.is_empty()
        {
            return Err(Mistake::at(
                url.line,
                "DavMail talks to an Exchange Server of your own here",
                "Keep DavMail for it: Gatepost does not serve Exchange on your own servers",
            ));
        }
        let of_tld = |entry: &Entry| match entry.value.trim().trim_start_matches('.') {
            "us" => Some(vec![Cloud::UsGovGccHigh, Cloud::UsGovDod]),
            "cn" => Some(vec![Cloud::China]),
            _ => None,
        };
        if let Some(entry) = self.get("tld")
            && let Some(clouds) = of_tld(entry)
        {
            return Ok(found(entry, &clouds, &servers));
        }
        if let Some(entry) = self.get("loginUrl") {
            let endpoint = token_service(&entry.value).ok_or_else(|| {
                Mistake::at(
                    entry.line,
                    "this is not the token service of a cloud of Microsoft",
                    "Write `https://login.microsoftonline.com`, or remove the line",
                )
            })?;
            return Ok(found(entry, &endpoint.clouds, &servers));
        }
        let of_server = |entry: &Entry| found(entry, &Cloud::of_host(&host(&entry.value)), &servers);
        Ok(self.get("outlookUrl").and_then(of_server).or_else(|| self.get("url").and_then(of_server)))
    }

    fn accounts(&self, plan: &mut Plan, cloud: Option<Found<Cloud>>) -> Result<(), Mistake> {
        let grant = self.grant(plan)?;
        let (tenant, tenant_from) = match self.get("oauth.tenantId") {
            Some(entry) => (TenantName::of(entry.value.trim()), origin(entry)),
            None => (TenantName::Common, Origin::default_of("DavMail")),
        };
        let tenant = self.answers.tenant(plan, &tenant, &tenant_from, "");
        let own = self.get("oauth.clientId").filter(|entry| entry.value.trim() != OWN_APPLICATION);
        let about = self.get("oauth.clientId").map_or_else(|| Origin::default_of("DavMail"), origin);
        let named = own.map(|entry| Found::new(entry.value.trim().to_owned(), &origin(entry)));
        if let Some(entry) = own {
            plan.remark(
                Label::Note,
                Some(origin(entry)),
                "the application needs other rights now. Add the delegated permissions IMAP.AccessAsUser.All, \
                 POP.AccessAsUser.All and SMTP.Send of Office 365 Exchange Online, and grant admin consent",
            );
        }
        let client_id = self.answers.client_id(plan, named, &about);
        let cloud = cloud.filter(|cloud| cloud.value != Cloud::Worldwide);
        let application =
            Application { cloud, tenant, client_id, grant, credential: None, scope: None, token_expiry_margin: None };
        for login in self.logins() {
            let users = self.users(&login.value);
            if users.is_empty() {
                self.answers.first_use(plan, &login, application.grant.value);
            }
            for user in users {
                self.answers.first_use(plan, &user, application.grant.value);
            }
            plan.accounts.push(Account { login, aliases: None, send_as: None, application: application.clone() });
        }
        Ok(())
    }

    /// Who may log in: DavMail's list of users, or everybody.
    fn logins(&self) -> Vec<Found<String>> {
        let Some(entry) = self.get("userWhiteList") else {
            return vec![Found::new("*".to_owned(), &Origin::default_of("DavMail"))];
        };
        let names = entry.value.split(',').map(str::trim).filter(|name| !name.is_empty());
        let login = |name: &str| if name.starts_with('@') { format!("*{name}") } else { name.to_owned() };
        names.map(|name| Found::new(login(name), &origin(entry))).collect()
    }

    /// The users of a pattern who had signed in at DavMail, which keeps their tokens in its file.
    fn users(&self, pattern: &str) -> Vec<Found<String>> {
        let Some(domain) = pattern.strip_prefix('*') else { return Vec::new() };
        let user = |entry: &Entry| {
            let name = entry.key.strip_prefix("davmail.oauth.")?.strip_suffix(".refreshToken")?;
            (name.contains('@') && name.ends_with(domain)).then(|| Found::new(name.to_owned(), &origin(entry)))
        };
        self.entries.iter().filter_map(user).collect()
    }

    fn grant(&self, plan: &mut Plan) -> Result<Found<Grant>, Mistake> {
        let Some(entry) = self.get("mode") else {
            return Ok(Found::new(Grant::AuthorizationCode, &Origin::default_of("Gatepost")));
        };
        let grant = match entry.value.trim() {
            "O365Interactive" | "O365Manual" => Grant::AuthorizationCode,
            "O365DeviceCode" => Grant::DeviceCode,
            "O365Modern" | "O365" | "EWS" | "Auto" => {
                plan.remark(
                    Label::Note,
                    Some(origin(entry)),
                    "the password of the mailbox goes on working only for accounts without multi-factor authentication. For \
                     the others set `grant: device_code`",
                );
                Grant::Password
            }
            "WebDav" => {
                return Err(Mistake::at(
                    entry.line,
                    "DavMail talks to Exchange 2007 or older here",
                    "Keep DavMail for it: Gatepost does not serve Exchange on your own servers",
                ));
            }
            _ => {
                return Err(Mistake::at(
                    entry.line,
                    "this `davmail.mode` is not known, perhaps from a newer version",
                    "Write `O365Interactive`, `O365DeviceCode` or `O365Modern`",
                ));
            }
        };
        Ok(Found::new(grant, &origin(entry)))
    }

    fn forward_proxy(&self, plan: &mut Plan) -> Result<(), Mistake> {
        let enabled = self.is_on("enableProxy");
        if self.is_on("useSystemProxies")
            && let Some(entry) = self.get("useSystemProxies")
        {
            plan.ignore(
                origin(entry),
                "Gatepost takes the proxy from HTTPS_PROXY and NO_PROXY, or from `forward_proxy`",
            );
        }
        let Some((name, port)) = self.get("proxyHost").zip(self.get("proxyPort")).filter(|_| enabled) else {
            for key in ["proxyHost", "proxyPort", "proxyUser", "proxyPassword", "noProxyFor"] {
                if let Some(entry) = self.get(key) {
                    plan.ignore(origin(entry), "`davmail.enableProxy` is not `true`, or the host or port is missing");
                }
            }
            return Ok(());
        };
        let number: u16 = port
            .value
            .trim()
            .parse()
            .map_err(|_| Mistake::at(port.line, "this is not a port", "Write a number from 1 to 65535"))?;
        if name.value.contains(['@', '/']) {
            return Err(Mistake::at(
                name.line,
                "this is more than the name of the proxy",
                "Write the host alone, and the user name into `davmail.proxyUser`",
            ));
        }
        let user = self.get("proxyUser");
        if let (Some(entry), None) = (self.get("proxyPassword"), user) {
            plan.ignore(origin(entry), "`davmail.proxyUser` is missing, so the proxy was used without a login");
        }
        let secret = self.get("proxyPassword").filter(|_| user.is_some()).map(|entry| {
            let value = Zeroizing::new(entry.value.trim().to_owned());
            Found::new(plan.secrets.add(Kind::ProxyPassword, "", value, &origin(entry)), &origin(entry))
        });
        let authentication = user.filter(|_| secret.is_some()).map(|entry| {
            let word = if entry.value.contains('\\') { "ntlm" } else { "basic" };
            plan.remark(
                Label::Note,
                Some(origin(entry)),
                format!("`forward_proxy.authentication` is `{word}`. If the proxy asks for another kind, change it"),
            );
            Found::new(word, &origin(entry))
        });
        let entry_of = |host: &str| host.trim().trim_start_matches('*').to_owned();
        let no_proxy = self.get("noProxyFor").map(|entry| {
            let hosts = entry.value.split([',', '|', ';']).map(entry_of).filter(|host| !host.is_empty());
            Found::new(hosts.collect::<Vec<_>>(), &origin(entry))
        });
        plan.forward_proxy = Some(ForwardProxy {
            url: Found::new(format!("http://{}:{number}", name.value.trim()), &origin(name)),
            username: user
                .filter(|_| authentication.is_some())
                .map(|entry| Found::new(entry.value.trim().to_owned(), &origin(entry))),
            authentication,
            password: secret,
            no_proxy: no_proxy.filter(|hosts| !hosts.value.is_empty()),
        });
        Ok(())
    }

    /// Records the keys that have no counterpart.
    fn note_others(&self, plan: &mut Plan) {
        for entry in self.entries.iter().filter(|entry| !entry.value.trim().is_empty()) {
            let Some(name) = entry.key.strip_prefix("davmail.") else {
                let why = match entry.key.starts_with("log4j.") {
                    true => "Gatepost logs to standard error. `log.level` says how much",
                    false => REST,
                };
                plan.ignore(origin(entry), why);
                continue;
            };
            // DavMail keeps its sign-ins here, by user.
            if name.starts_with("oauth.") && name.ends_with(".refreshToken") {
                plan.ignore(origin(entry), "tokens are encrypted for the other proxy and are not taken over");
            } else if !READ.contains(&name) {
                let why = OTHERS.iter().find(|(beginning, _)| name.starts_with(beginning)).map_or(REST, |(_, why)| why);
                plan.ignore(origin(entry), why);
            }
        }
    }
}

fn origin(entry: &Entry) -> Origin {
    Origin::key("", &entry.key, entry.line)
}
