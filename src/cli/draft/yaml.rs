//! Writes a [`Plan`] as `proxy.yaml`: a comment behind each value says where it came from, and no
//! secret is in it.

use std::fmt::Write as _;
use std::path::Path;

use gatepost_config::Grant;
use gatepost_core::account::is_guid;

use super::origin::{Found, Origin, is_odd};
use super::plan::{Account, Application, Credential, Listener, Plan, Provider, ProviderAccount, Tls};
use super::secrets::{SecretId, Secrets};

/// Where comments begin, if the line leaves room.
const COMMENT_COLUMN: usize = 50;

/// Words that YAML takes as something else than text.
const WORDS: [&str; 10] = ["true", "false", "yes", "no", "on", "off", "null", "none", "y", "n"];

/// Writes the file. `secrets` is the directory of the secrets' files; without it they come from
/// environment variables.
pub(in crate::cli) fn write(plan: &Plan, head: &str, secrets: Option<&Path>) -> String {
    let mut out = Writer { text: String::new(), secrets: &plan.secrets, directory: secrets };
    for line in head.lines() {
        out.text.push_str(format!("# {line}").trim_end());
        out.text.push('\n');
    }
    out.text.push_str("\nlisteners:\n");
    plan.listeners.iter().for_each(|listener| out.listener(listener));
    let applications: Vec<&Application> = plan.accounts.iter().map(|account| &account.application).collect();
    let shared = Shared::of(&applications);
    if let Some(first) = applications.first().filter(|_| shared.any()) {
        out.text.push_str("\nmicrosoft:\n");
        out.application("  ", first, &shared);
    }
    if !plan.providers.is_empty() {
        out.text.push_str("\nproviders:\n");
        plan.providers.iter().for_each(|provider| out.provider(provider));
    }
    out.text.push_str("\naccounts:\n");
    let own = shared.opposite();
    plan.accounts.iter().for_each(|account| out.account(account, &own));
    plan.provider_accounts.iter().for_each(|account| out.provider_account(account, &plan.providers));
    if let Some(proxy) = &plan.forward_proxy {
        out.text.push_str("\nforward_proxy:\n");
        out.found("  ", "url", &proxy.url, |url| scalar(url));
        out.maybe("  ", "authentication", proxy.authentication.as_ref(), |word| (*word).to_owned());
        out.maybe("  ", "username", proxy.username.as_ref(), |name| scalar(name));
        if let Some(password) = &proxy.password {
            let reference = out.reference(password.value);
            out.line("  ", "password", &reference, &password.from);
        }
        out.maybe("  ", "no_proxy", proxy.no_proxy.as_ref(), |hosts| list(hosts));
    }
    if let Some(directory) = &plan.state {
        out.text.push_str("\nstate:\n");
        out.found("  ", "directory", directory, |path| scalar(path));
    }
    out.text
}

/// The name of a grant in the configuration.
pub(in crate::cli) fn grant(grant: Grant) -> &'static str {
    match grant {
        Grant::Password => "password",
        Grant::ClientCredentials => "client_credentials",
        Grant::AuthorizationCode => "authorization_code",
        Grant::DeviceCode => "device_code",
    }
}

/// Which keys of an application are written in one place.
#[derive(Clone, Copy)]
struct Shared {
    cloud: bool,
    tenant: bool,
    client_id: bool,
    grant: bool,
    credential: bool,
    scope: bool,
    token_expiry_margin: bool,
}

impl Shared {
    /// The keys that are the same in all accounts, so that they may be under `microsoft`.
    fn of(all: &[&Application]) -> Self {
        fn same<T: PartialEq>(all: &[&Application], value: impl Fn(&Application) -> Option<T>) -> bool {
            let first = all.first().and_then(|application| value(application));
            first.is_some() && all.iter().all(|application| value(application) == first)
        }
        fn value<T: Clone>(found: Option<&Found<T>>) -> Option<T> {
            found.map(|found| found.value.clone())
        }
        Self {
            cloud: same(all, |one| value(one.cloud.as_ref())),
            tenant: same(all, |one| value(one.tenant.as_ref())),
            client_id: same(all, |one| value(one.client_id.as_ref())),
            grant: same(all, |one| Some(grant(one.grant.value))),
            credential: same(all, |one| value(one.credential.as_ref()))
                // Beside another client_id it would not count.
                && same(all, |one| value(one.client_id.as_ref())),
            scope: same(all, |one| value(one.scope.as_ref())),
            token_expiry_margin: same(all, |one| value(one.token_expiry_margin.as_ref())),
        }
    }

    /// The keys of an account of another provider that the provider does not have.
    fn beside(own: &Application, provider: Option<&Application>) -> Self {
        let id = |application: &Application| application.client_id.as_ref().map(|found| found.value.clone());
        let secret = |application: &Application| application.credential.as_ref().map(|found| found.value.clone());
        let client_id = provider.is_none_or(|provider| id(provider) != id(own));
        Self {
            cloud: false,
            tenant: false,
            client_id,
            grant: provider.is_none_or(|provider| grant(provider.grant.value) != grant(own.grant.value)),
            credential: client_id || provider.is_none_or(|provider| secret(provider) != secret(own)),
            scope: false,
            token_expiry_margin: false,
        }
    }

    fn any(&self) -> bool {
        self.cloud
            || self.tenant
            || self.client_id
            || self.grant
            || self.credential
            || self.scope
            || self.token_expiry_margin
    }

    fn opposite(self) -> Self {
        Self {
            cloud: !self.cloud,
            tenant: !self.tenant,
            client_id: !self.client_id,
            grant: !self.grant,
            credential: !self.credential,
            scope: !self.scope,
            token_expiry_margin: !self.token_expiry_margin,
        }
    }
}

struct Writer<'a> {
    text: String,
    secrets: &'a Secrets,
    directory: Option<&'a Path>,
}

impl Writer<'_> {
    fn listener(&mut self, listener: &Listener) {
        let name = format!("  {}:", listener.name.value);
        self.commented(&name, &listener.name.from);
        let indent = "    ";
        if listener.name.value != listener.protocol {
            self.line(indent, "protocol", listener.protocol, &listener.name.from);
        }
        self.found(indent, "bind", &listener.bind, |binds| one_or_list(binds));
        self.maybe(indent, "allow_from", listener.allow_from.as_ref(), |networks| list(networks));
        self.maybe(indent, "allow_plaintext_from", listener.allow_plaintext_from.as_ref(), |networks| list(networks));
        if let Some(Tls { mode, certificate, private_key }) = &listener.tls {
            self.found(indent, "tls", mode, |mode| (*mode).to_owned());
            self.found(indent, "certificate", certificate, |path| scalar(path));
            self.found(indent, "private_key", private_key, |path| scalar(path));
        }
        self.maybe(indent, "upstream", listener.upstream.as_ref(), |upstream| scalar(upstream));
        self.maybe(indent, "upstream_tls", listener.upstream_tls.as_ref(), |mode| (*mode).to_owned());
        self.maybe(indent, "deliver", listener.deliver.as_ref(), |word| (*word).to_owned());
    }

    fn account(&mut self, account: &Account, own: &Shared) {
        self.found("  - ", "login", &account.login, |login| scalar(login));
        let indent = "    ";
        self.maybe(indent, "aliases", account.aliases.as_ref(), |names| list(names));
        self.application(indent, &account.application, own);
        self.maybe(indent, "send_as", account.send_as.as_ref(), |senders| list(senders));
    }

    fn provider(&mut self, provider: &Provider) {
        let Provider { name, application, keys, hosts } = provider;
        self.commented(&format!("  {}:", scalar(&name.value)), &name.from);
        self.application("    ", application, &Shared::beside(application, None));
        for (key, found) in keys {
            self.found("    ", key, found, |text| scalar(text));
        }
        if !hosts.is_empty() {
            self.text.push_str("    hosts:\n");
        }
        for (key, found) in hosts {
            self.found("      ", key, found, |text| scalar(text));
        }
    }

    fn provider_account(&mut self, account: &ProviderAccount, providers: &[Provider]) {
        let ProviderAccount { login, provider, application } = account;
        self.found("  - ", "login", login, |login| scalar(login));
        self.found("    ", "provider", provider, |name| scalar(name));
        let of = providers.iter().find(|known| known.name.value == provider.value).map(|known| &known.application);
        self.application("    ", application, &Shared::beside(application, of));
    }

    fn application(&mut self, indent: &str, application: &Application, keys: &Shared) {
        let Application { cloud, tenant, client_id, grant: kind, credential, scope, token_expiry_margin } = application;
        self.maybe(indent, "cloud", cloud.as_ref().filter(|_| keys.cloud), |cloud| cloud.preset().name.to_owned());
        self.maybe(indent, "tenant", tenant.as_ref().filter(|_| keys.tenant), |tenant| scalar(tenant));
        self.maybe(indent, "client_id", client_id.as_ref().filter(|_| keys.client_id), |id| scalar(id));
        self.maybe(indent, "grant", Some(kind).filter(|_| keys.grant), |kind| grant(*kind).to_owned());
        match credential.as_ref().filter(|_| keys.credential) {
            Some(Found { value: Credential::Secret(id), from }) => {
                let reference = self.reference(*id);
                self.line(indent, "client_secret", &reference, from);
            }
            Some(Found { value: Credential::Certificate(certificate, key), from }) => {
                let value = format!("{{certificate: {}, private_key: {}}}", scalar(certificate), scalar(key));
                self.line(indent, "client_certificate", &value, from);
            }
            None => {}
        }
        self.maybe(indent, "scope", scope.as_ref().filter(|_| keys.scope), |scope| scalar(scope));
        let margin = token_expiry_margin.as_ref().filter(|_| keys.token_expiry_margin);
        self.maybe(indent, "token_expiry_margin", margin, |seconds| format!("{seconds}s"));
    }

    /// Where a secret comes from.
    fn reference(&self, id: SecretId) -> String {
        let Some(secret) = self.secrets.get(id) else { return String::new() };
        match self.directory {
            Some(directory) => format!("{{file: {}}}", scalar(&secret.path(directory).to_string_lossy())),
            None => format!("{{env: {}}}", secret.variable()),
        }
    }

    fn maybe<T>(&mut self, indent: &str, key: &str, found: Option<&Found<T>>, show: impl FnOnce(&T) -> String) {
        if let Some(found) = found {
            self.found(indent, key, found, show);
        }
    }

    fn found<T>(&mut self, indent: &str, key: &str, found: &Found<T>, show: impl FnOnce(&T) -> String) {
        self.line(indent, key, &show(&found.value), &found.from);
    }

    fn line(&mut self, indent: &str, key: &str, value: &str, from: &Origin) {
        self.commented(&format!("{indent}{key}: {value}"), from);
    }

    fn commented(&mut self, text: &str, from: &Origin) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{text:COMMENT_COLUMN$}  # {}", from.comment());
    }
}

fn one_or_list(items: &[String]) -> String {
    match items {
        [one] => scalar(one),
        _ => list(items),
    }
}

fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| scalar(item)).collect();
    format!("[{}]", items.join(", "))
}

/// A text as a YAML scalar, in quotes unless it can be nothing but text.
fn scalar(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '@' | ':' | '-' | '+');
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let is_word = WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_guid(text) || (begins && text.chars().all(is_plain) && !text.ends_with(':') && !is_word) {
        return text.to_owned();
    }
    if text.chars().any(is_odd) {
        let escaped = |c: char| match c {
            '"' | '\\' => format!("\\{c}"),
            c if is_odd(c) => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        };
        return format!("\"{}\"", text.chars().map(escaped).collect::<String>());
    }
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_read_back_as_the_same_text() {
        for text in [
            "localhost:1143",
            "/etc/a b.pem",
            "C:\\certs\\x",
            "it's",
            "*@contoso.com",
            "@x",
            "no",
            "TRUE",
            "12",
            "1e3",
            "2027-01-31",
            "",
            " x ",
            "a: b",
            "a #b",
            "[::]:25",
            "0.0.0.0:25",
            "{env: X}",
            "a\tb\u{7f}\"\\",
            "\u{feff}\u{2028}\u{85}",
            "x:",
            "~",
            "00000000-0000-0000-0000-000000000000",
            "https://outlook.office.com/.default offline_access",
            "é",
            "- a",
        ] {
            let yaml = format!("- k: {}\n- {}\n", scalar(text), list(&[text.to_owned(), text.to_owned()]));
            let read: Vec<serde_json::Value> = serde_saphyr::from_str(&yaml).unwrap();
            assert_eq!(read, [serde_json::json!({"k": text}), serde_json::json!([text, text])], "{yaml}");
        }
    }
}
