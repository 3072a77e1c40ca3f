//! Accounts and servers of providers other than Microsoft in the file of email-oauth2-proxy.

use gatepost_config::Grant;

use super::emailproxy_config::File;
use super::endpoint::{Elsewhere, host};
use super::ini::Section;
use super::mistake::Mistake;
use crate::cli::draft::origin::{Found, Origin};
use crate::cli::draft::plan::{Application, Credential, Label, Plan, Provider, ProviderAccount};

const OF_PERSON: &str = "Gatepost serves this provider where a person signs in, so there is no counterpart yet";

/// Takes an account of another provider over.
pub(super) fn account(
    file: &File<'_>,
    plan: &mut Plan,
    section: &Section,
    of: &Elsewhere,
    from: &Origin,
) -> Result<(), Mistake> {
    let place = section.place();
    let Some(mut grant) = file.grant(plan, section)? else { return Ok(()) };
    if !grant.value.is_sign_in() {
        plan.ignore(place, OF_PERSON);
        return Ok(());
    }
    let found = |key: &str| {
        let (owner, entry) = file.value(section, key)?;
        Some(Found::new(entry.value.split_whitespace().collect::<Vec<_>>().join(" "), &owner.origin(entry)))
    };
    let Some(client_id) = found("client_id") else {
        plan.ignore(place, "the account has no `client_id`");
        return Ok(());
    };
    if of.is_preset && grant.value == Grant::DeviceCode {
        plan.remark(
            Label::Note,
            Some(grant.from.clone()),
            "the provider gives no device codes for mail, so the person signs in with a browser",
        );
        grant = Found::new(Grant::AuthorizationCode, &grant.from);
    }
    let keys = match of.is_preset {
        true => Vec::new(),
        false => {
            let endpoint = if grant.value == Grant::DeviceCode { "device_url" } else { "authorize_url" };
            let keys = [
                (endpoint, found("permission_url")),
                ("token_url", found("token_url")),
                ("scope", found("oauth2_scope")),
            ];
            keys.into_iter().filter_map(|(key, found)| Some((key, found?))).collect()
        }
    };
    let hosts = if of.is_preset { Vec::new() } else { hosts_of(file, of) };
    if !of.is_preset && (keys.len() < 3 || hosts.is_empty()) {
        plan.ignore(
            place,
            "the file does not say enough about its provider: a `permission_url`, a `token_url`, an `oauth2_scope`, and \
             servers that belong to no other one. Write it under `providers` by hand",
        );
        return Ok(());
    }
    file.note_keys(plan, section);
    let login = file.login_of(plan, section, grant.value);
    if file.is_covered(section) {
        return Ok(());
    }
    let credential = file.credential(plan, section, grant.value, Some(&client_id));
    let credential = credential.filter(|found| matches!(found.value, Credential::Secret(_)));
    let application = Application {
        cloud: None,
        tenant: None,
        client_id: Some(client_id),
        grant,
        credential,
        scope: None,
        token_expiry_margin: None,
    };
    if !plan.providers.iter().any(|known| known.name.value == of.name) {
        let name = Found::new(of.name.clone(), from);
        plan.providers.push(Provider { name, application: application.clone(), keys, hosts });
    }
    plan.provider_accounts.push(ProviderAccount { login, provider: Found::new(of.name.clone(), from), application });
    Ok(())
}

/// The mail servers of a provider whose addresses are not known, one of a protocol.
fn hosts_of(file: &File<'_>, of: &Elsewhere) -> Vec<(&'static str, Found<String>)> {
    let mut hosts: Vec<(&'static str, Found<String>)> = Vec::new();
    for (section, server) in &file.servers {
        let Some((address, port)) = section.get("server_address").zip(section.get("server_port")) else { continue };
        let name = host(&address.value);
        let is_known = hosts.iter().any(|(key, _)| *key == server.protocol);
        if is_known || file.owner_of(&name) != Some(of) {
            continue;
        }
        let mode = match file.starttls(section) {
            true => "starttls",
            false => "implicit",
        };
        let tls_key = match server.protocol {
            "imap" => "imap_tls",
            "pop3" => "pop3_tls",
            _ => "smtp_tls",
        };
        let from = section.origin(address);
        hosts.push((server.protocol, Found::new(format!("{name}:{}", port.value.trim()), &from)));
        hosts.push((tls_key, Found::new(mode.to_owned(), &from)));
    }
    hosts
}
