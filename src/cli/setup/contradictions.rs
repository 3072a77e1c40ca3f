//! Answers that do not fit together, each with the remedy.

use clap::ValueEnum;

use crate::cli::setup_options::{ClientTls, GraphUse, SetupAnswers};
use gatepost_config::Cloud;
use gatepost_core::account::is_guid;
use gatepost_core::protocol::Protocol;

/// Most characters of the application's name. Exchange takes 64 for names that are made of it.
const NAME_LENGTH: usize = 30;

/// Stands for the application until its id is known. `gatepost check` refuses it.
pub(super) const PLACEHOLDER: &str = "00000000-0000-0000-0000-000000000000";

/// Words that stand for many tenants.
const MANY_TENANTS: [&str; 4] = ["common", "organizations", "consumers", "auto"];

/// Endings of domains that exist in one cloud only.
const DOMAINS: [(&str, &[Cloud]); 3] = [
    (".onmicrosoft.com", &[Cloud::Worldwide]),
    (".onmicrosoft.us", &[Cloud::UsGovGccHigh, Cloud::UsGovDod]),
    (".partner.onmschina.cn", &[Cloud::China]),
];

/// The word of a choice on the command line.
pub(super) fn word(choice: impl ValueEnum) -> String {
    choice.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Checks what is given so far.
///
/// # Errors
/// Each contradiction with the remedy.
pub(super) fn contradictions(given: &SetupAnswers) -> Result<(), Vec<String>> {
    let mut found = Vec::new();
    let has = |protocol| given.protocols.contains(&protocol);
    if let Some(tenant) = &given.tenant {
        found.extend(tenant_flaw(tenant, given.cloud));
    }
    for protocol in [Protocol::Imap, Protocol::Pop3] {
        if given.send_only == Some(true) && has(protocol) {
            let name = protocol.name();
            found.push(format!(
                "`--send-only` and `--protocol {name}` contradict each other: {} is for reading. Remove one of them",
                name.to_uppercase()
            ));
        }
    }
    if given.send_only == Some(true) && has(Protocol::Ews) {
        found.push(
            "`--send-only` and `--protocol ews` contradict each other: EWS has no permission for sending alone. Use \
             `--protocol graph` or `--protocol smtp`, or remove `--send-only`"
                .to_owned(),
        );
    }
    if given.send_only == Some(false) && given.protocols == [Protocol::Smtp] {
        found.push(
            "`--send-only=no` and `--protocol smtp` alone contradict each other: SMTP cannot read. Add `--protocol imap` \
             or `--protocol pop3`, or remove `--send-only=no`"
                .to_owned(),
        );
    }
    if let Some(used) = given.graph_for {
        if !given.protocols.is_empty() && !has(Protocol::Graph) {
            found.push("`--graph-for` needs `--protocol graph`. Add it, or remove `--graph-for`".to_owned());
        }
        if given.send_only == Some(true) && used != GraphUse::Send {
            let used = word(used);
            found.push(format!(
                "`--send-only` and `--graph-for {used}` contradict each other: reading needs another permission. Remove one \
                 of them"
            ));
        }
    }
    for protocol in [Protocol::Ews, Protocol::Graph] {
        if given.tls == Some(ClientTls::Starttls) && has(protocol) {
            found.push(format!(
                "`--tls starttls` and `--protocol {}` contradict each other: HTTP has no STARTTLS. Use `--tls implicit`",
                protocol.name()
            ));
        }
    }
    if !given.hosts.is_empty() && given.tls.is_none_or(|tls| tls == ClientTls::None) {
        found.push(
            "`--host` names a certificate, but there is no `--tls`. Add `--tls implicit`, or remove it".to_owned(),
        );
    }
    if let Some(name) = &given.name
        && !is_name(name)
    {
        found.push(format!(
            "`--name` has at most {NAME_LENGTH} letters, digits, spaces, `.`, `_` and `-`, because names in Exchange are made of it"
        ));
    }
    if given.client_id.as_ref().is_some_and(|id| !is_guid(id) || id == PLACEHOLDER) {
        found
            .push("`--client-id` is not an application ID. Copy it from Entra: App registrations, Overview".to_owned());
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

fn tenant_flaw(tenant: &str, cloud: Option<Cloud>) -> Option<String> {
    let tenant = tenant.to_lowercase();
    if MANY_TENANTS.contains(&tenant.as_str()) {
        return Some(format!("`--tenant {tenant}` names no tenant. Use the directory ID or a verified domain"));
    }
    let is_domain = tenant.contains('.')
        && tenant.split('.').all(|label| {
            !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-') && !label.starts_with('-')
        });
    if !is_guid(&tenant) && !is_domain {
        return Some(
            "`--tenant` is neither a directory ID nor a domain. Use one of them, such as `--tenant contoso.com`"
                .to_owned(),
        );
    }
    let (cloud, clouds) = (cloud?, clouds_of(&tenant)?);
    if clouds.contains(&cloud) {
        return None;
    }
    let name = |cloud: Cloud| cloud.preset().name;
    let remedy: Vec<String> = clouds.iter().map(|cloud| format!("`--cloud {}`", name(*cloud))).collect();
    Some(format!(
        "`--tenant {tenant}` and the cloud {} contradict each other: the tenant is in another cloud. Use {}",
        name(cloud),
        remedy.join(" or ")
    ))
}

/// The clouds in which a tenant can be, if its name says so.
pub(super) fn clouds_of(tenant: &str) -> Option<&'static [Cloud]> {
    let (_, clouds) = DOMAINS.into_iter().find(|(ending, _)| tenant.to_lowercase().ends_with(ending))?;
    Some(clouds)
}

/// Whether it may be the application's name, and part of names in Exchange.
fn is_name(name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '.' | '_' | '-');
    !name.is_empty()
        && name.chars().count() <= NAME_LENGTH
        && name.chars().all(is_part)
        && name.starts_with(char::is_alphanumeric)
        && !name.ends_with(' ')
}
