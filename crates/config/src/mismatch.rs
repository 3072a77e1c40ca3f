//! Reports what belongs to two providers at once: a token of one opens nothing at the servers of
//! another, and is not sent there.

use std::collections::HashMap;

use url::Url;

use super::finding::Severity;
use super::model::account::{Account, Accounts, LoginPattern};
use super::model::issuer::Cloud;
use super::model::preset::ProviderPreset;
use super::reader::{Node, Section};
use super::value::{self, quoted};

/// Reports what does not fit together, over all sections.
pub(super) fn check(root: &Section<'_>, accounts: &Accounts) {
    for (_, node) in root.section("listeners").entries().iter().filter(|(_, node)| node.is_table()) {
        for key in ["upstream", "graph"] {
            if let Some(node) = node.section().get(key) {
                check_listener(&node);
            }
        }
    }
    let microsoft = root.section("microsoft");
    check_microsoft(&microsoft);
    for (name, node) in root.section("providers").entries().iter().filter(|(_, node)| node.is_table()) {
        check_provider(name, &node.section());
    }
    let entries = root.get("accounts").and_then(|node| node.list()).unwrap_or_default();
    let of_login: HashMap<String, &Account> =
        accounts.entries().iter().map(|account| (account.pattern.to_string(), &**account)).collect();
    for section in entries.iter().filter(|node| node.is_table()).map(Node::section) {
        let login = section.get("login");
        let login = login.as_ref().and_then(|node| node.as_text()).unwrap_or_default().to_lowercase();
        if let Some(account) = of_login.get(&login) {
            check_account(&section, root, account);
        }
    }
}

fn check_listener(node: &Node<'_>) {
    let Some(Ok((host, _))) = node.as_text().map(value::host_and_port) else { return };
    let Some(preset) = ProviderPreset::of_host(&host) else { return };
    node.problem(
        format!("{} is a server of {}, to which no token of Microsoft's is sent", quoted(&host), preset.title),
        format!(
            "remove the key, and add `providers: {{{}: {{client_id: …}}}}`, which has the servers already",
            preset.name
        ),
    );
}

fn check_microsoft(section: &Section<'_>) {
    if let Some(node) = section.get("scope") {
        check_scope(&node, None);
    }
    let Some(node) = section.get("authority") else { return };
    let host = host_of(&node).unwrap_or_default();
    if let Some(preset) = ProviderPreset::of_host(&host) {
        node.problem(
            format!("{} is a token service of {}, not of Microsoft", quoted(&host), preset.title),
            format!("remove the key, and add `providers: {{{}: {{client_id: …}}}}`", preset.name),
        );
    }
}

fn check_provider(name: &str, section: &Section<'_>) {
    for key in ["authorize_url", "token_url", "device_url", "revoke_url"] {
        let Some(node) = section.get(key) else { continue };
        let host = host_of(&node).unwrap_or_default();
        check_owner(&node, name, &host);
    }
    let hosts = section.section("hosts");
    for key in ["imap", "pop3", "smtp"] {
        let Some(node) = hosts.get(key) else { continue };
        if let Some(Ok((host, _))) = node.as_text().map(value::host_and_port) {
            check_owner(&node, name, &host);
        }
    }
    if let Some(node) = section.get("scope") {
        check_scope(&node, Some(name));
    }
}

/// Reports a host that belongs to another provider.
fn check_owner(node: &Node<'_>, name: &str, host: &str) {
    let owner = match ProviderPreset::of_host(host) {
        Some(preset) if preset.name == name => return,
        Some(preset) => preset.title,
        None if !Cloud::of_host(host).is_empty() || !Cloud::of_authority(host).is_empty() => "Microsoft",
        None => return,
    };
    node.problem(
        format!("{} belongs to {owner}, and this is the provider {}", quoted(host), quoted(name)),
        match ProviderPreset::of_host(host) {
            Some(preset) => format!("call the provider `{}`, which has the addresses already", preset.name),
            None => "write the keys of its accounts under `microsoft`".to_owned(),
        },
    );
}

/// Reports a scope of another provider. `name` is the provider; `None`: Microsoft.
fn check_scope(node: &Node<'_>, name: Option<&str>) {
    let text = node.as_text().unwrap_or_default();
    for host in text.split(' ').filter_map(|scope| Some(Url::parse(scope).ok()?.host_str()?.to_owned())) {
        let owner = match ProviderPreset::of_host(&host) {
            Some(preset) if Some(preset.name) == name => continue,
            Some(preset) => preset.title,
            None if name.is_some() && (!Cloud::of_host(&host).is_empty() || host == "graph.microsoft.com") => {
                "Microsoft"
            }
            None => continue,
        };
        return node.problem(
            format!("the scope is one of {owner}, and opens no mailbox at {}", name.unwrap_or("Microsoft")),
            "remove the key, so that the right one is asked for, or correct the provider",
        );
    }
}

fn check_account(section: &Section<'_>, root: &Section<'_>, account: &Account) {
    let provider = account.application.issuer.provider();
    if let Some(node) = section.get("scope") {
        check_scope(&node, provider.map(|provider| provider.name.as_str()));
    }
    let domain = match &account.pattern {
        LoginPattern::Address(address) => address.domain(),
        LoginPattern::Domain(domain) => domain,
        LoginPattern::Any => return,
    };
    // One who says `microsoft` has a mailbox there under a foreign address.
    if let (None, Some(preset), false) = (provider, ProviderPreset::of_domain(domain), section.has("provider")) {
        let is_configured = root.section("providers").has(preset.name);
        section.find(
            Severity::Warning,
            format!("addresses of {} are {}'s, and Microsoft has no mailbox for them", quoted(domain), preset.title),
            match is_configured {
                true => format!("write `provider: {}`, or `provider: microsoft` if it has", preset.name),
                false => {
                    format!("add `providers: {{{}: {{client_id: …}}}}`, or write `provider: microsoft`", preset.name)
                }
            },
        );
    }
}

fn host_of(node: &Node<'_>) -> Option<String> {
    Url::parse(node.as_text()?).ok()?.host_str().map(str::to_owned)
}
