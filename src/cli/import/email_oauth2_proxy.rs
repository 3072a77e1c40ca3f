//! Reads `emailproxy.config` of email-oauth2-proxy. Sections such as `[IMAP-1993]` are servers, those
//! with an `@` accounts, and `[emailproxy]` has options of the whole.

use gatepost_config::{Cloud, Grant};

use super::answers::{Answers, Reach};
use super::elsewhere;
use super::emailproxy_config::{File, NO_COUNTERPART, SAMPLE, Server, truth, unknown};
use super::endpoint::{Elsewhere, Endpoint, TenantName, cloud_of, host, token_service};
use super::ini::{self, Dialect, Entry, Section};
use super::mistake::Mistake;
use crate::cli::draft::origin::{Found, Origin};
use crate::cli::draft::plan::{Account, Application, Listener, Plan, Tls};

/// Keys of `[emailproxy]`, and why they need no counterpart.
const PROXY_KEYS: [(&str, &str); 5] = [
    ("documentation", ""),
    ("delete_account_token_on_password_error", "a wrong password never deletes a sign-in in Gatepost"),
    ("encrypt_client_secret_on_first_use", "Gatepost reads secrets from where you keep them, and stores none"),
    ("use_login_password_as_client_credentials_secret", ""),
    ("allow_catch_all_accounts", ""),
];

/// Why a server of another provider is left out.
const NO_ACCOUNT: &str = "the server is not Microsoft's, and the file has no account for it that Gatepost serves";

/// Makes a plan of a file.
///
/// # Errors
/// Damage; a file without a server or without an account that Gatepost serves.
pub(super) fn plan(text: &str, answers: &Answers<'_>) -> Result<Plan, Mistake> {
    let sections = ini::read(text, Dialect::Python)?;
    let mut plan = Plan::default();
    let file = File::new(&sections, answers)?;
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
            "the file has no server of an account that Gatepost serves, such as `[IMAP-1993]`",
            "Name the file that the other proxy uses",
        ));
    }
    if plan.accounts.is_empty() && plan.provider_accounts.is_empty() {
        return Err(Mistake::whole(
            "the file has no account that is filled in and that Gatepost serves",
            "Name the file that the other proxy uses",
        ));
    }
    Ok(plan)
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
        let is_elsewhere = Cloud::of_host(&upstream).is_empty();
        if is_elsewhere && self.owner_of(&upstream).is_none() {
            plan.ignore(place, NO_ACCOUNT);
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
            // The servers of other providers belong to these.
            upstream: (!is_elsewhere).then(|| Found::new(format!("{upstream}:{remote}"), &section.origin(address))),
            upstream_tls: Some(upstream_tls).filter(|_| !is_elsewhere),
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
        let is_sample = section.get("client_id").is_some_and(|entry| entry.value.starts_with(SAMPLE));
        if is_sample {
            plan.ignore(place, "the account is still that of the sample file");
            return Ok(());
        }
        let from = token_section.origin(token_url);
        let Some(endpoint) = token_service(&token_url.value) else {
            return match Elsewhere::of_token_url(&token_url.value) {
                Some(provider) => elsewhere::account(self, plan, section, &provider, &from),
                None => {
                    plan.ignore(place, NO_COUNTERPART);
                    Ok(())
                }
            };
        };
        let Some(grant) = self.grant(plan, section)? else { return Ok(()) };
        if endpoint.tenant == TenantName::Consumers && !grant.value.is_sign_in() {
            plan.ignore(place, "a person must sign in for a personal account, and this `oauth2_flow` has none");
            return Ok(());
        }
        self.note_keys(plan, section);
        let login = self.login_of(plan, section, grant.value);
        if self.is_covered(section) {
            return Ok(());
        }
        let application = self.application(plan, section, &login, grant, &endpoint, &from);
        plan.accounts.push(Account { login, aliases: None, send_as: None, application });
        Ok(())
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
        let signs_in = grant.value.is_sign_in() && cloud == Cloud::Worldwide;
        let tenant = self.answers.tenant_of_person(&endpoint.tenant, from).filter(|_| signs_in);
        Application {
            cloud: (cloud != Cloud::Worldwide).then(|| Found::new(cloud, from)),
            tenant: tenant.or_else(|| self.answers.tenant(plan, &endpoint.tenant, from, &login.value)),
            client_id,
            grant,
            credential,
            scope,
            token_expiry_margin: None,
        }
    }
}
