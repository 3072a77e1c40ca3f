//! The scripts for the tenant in PowerShell, and those that undo them: one for Entra and one for Exchange
//! Online, because the modules of both often do not load in one process.
//!
//! Everything that comes from answers is a literal in single quotes at the beginning. Nothing else of
//! the script depends on it, except which parts there are.

use std::fmt::Write as _;

use super::answers::PLACEHOLDER;
use super::tenant::{Api, Kind, Tenant};
use gatepost_config::Cloud;
use gatepost_core::protocol::Protocol;

/// The files of the scripts for Entra.
pub(super) const SETUP: &str = "tenant-setup.ps1";
pub(super) const UNDO: &str = "tenant-undo.ps1";
/// Those for Exchange.
pub(super) const EXCHANGE_SETUP: &str = "exchange-setup.ps1";
pub(super) const EXCHANGE_UNDO: &str = "exchange-undo.ps1";
/// What the scripts note as created, so that nothing else is removed.
pub(super) const CREATED: &str = "tenant-created.txt";
const EXCHANGE_CREATED: &str = "exchange-created.txt";

/// The client id of an application, and the object id of its service principal. Without them, a
/// script takes them as parameters.
pub(super) type Ids<'a> = Option<(&'a str, &'a str)>;

/// The script for Entra. `configuration` is the name of the file that gets the application's id, if it
/// is beside the script.
pub(super) fn setup(tenant: &Tenant, configuration: &str) -> String {
    let mut script = Script::begin("Sets up Entra for Gatepost", UNDO);
    script.needs_of_entra();
    script.text.push_str(include_str!("scripts/begin.ps1"));
    script.set("configurationName", &literal(configuration));
    script.set("placeholder", &literal(PLACEHOLDER));
    script.entra(tenant);
    for part in [
        include_str!("scripts/created.ps1"),
        include_str!("scripts/entra.ps1"),
        include_str!("scripts/application.ps1"),
        include_str!("scripts/end.ps1"),
    ] {
        script.text.push_str(part);
    }
    let parameters = if uses_ids(tenant) { " -Application $clientId -Principal $objectId" } else { "" };
    script.told(&format!("Run this next, in a new PowerShell window: ./{EXCHANGE_SETUP}{parameters}"));
    script.finish()
}

/// The script that undoes [`setup`].
pub(super) fn undo(tenant: &Tenant) -> String {
    let mut script = Script::begin("Removes from Entra what the script for Gatepost has created", SETUP);
    script.needs_of_entra();
    script.text.push_str(include_str!("scripts/begin.ps1"));
    script.sign_in(tenant, &["Application.ReadWrite.All"]);
    script.text.push_str(include_str!("scripts/undo-created.ps1"));
    script.text.push_str(include_str!("scripts/undo-entra.ps1"));
    if uses_ids(tenant) {
        script.text.push_str("if (-not $clientId) { $clientId = 'ID' }\n");
        script.told(&format!(
            "Run this as well, in a new PowerShell window: ./{EXCHANGE_UNDO} -Application $clientId ({EXCHANGE_CREATED} has the ID, too)"
        ));
    }
    script.finish()
}

/// The script for Exchange alone.
pub(super) fn exchange_setup(tenant: &Tenant, ids: Ids<'_>) -> String {
    let mut script = Script::begin("Sets up Exchange Online for Gatepost", EXCHANGE_UNDO);
    let known = ids.map(|(client_id, object_id)| vec![("clientId", client_id), ("objectId", object_id)]);
    let switch = tenant.exchange.protocols.contains(&Protocol::Ews).then_some("[switch] $TurnOnEws");
    script.exchange_begin(tenant, known, &[("Application", "clientId"), ("Principal", "objectId")], switch);
    script.text.push_str(include_str!("scripts/created.ps1"));
    script.exchange_steps(tenant);
    script
        .text
        .push_str("\n'Exchange may need up to two hours before it sees a new right. Then run gatepost doctor.'\n");
    script.finish()
}

/// The script that undoes [`exchange_setup`].
pub(super) fn exchange_undo(tenant: &Tenant, ids: Ids<'_>) -> String {
    let mut script =
        Script::begin("Removes from Exchange Online what the script for Gatepost has created", EXCHANGE_SETUP);
    let known = ids.map(|(client_id, _)| vec![("clientId", client_id)]);
    script.exchange_begin(tenant, known, &[("Application", "clientId")], None);
    script.text.push_str(include_str!("scripts/undo-created.ps1"));
    script.exchange_undo(tenant);
    script.text.push_str(include_str!("scripts/undo-end.ps1"));
    script.finish()
}

struct Script {
    text: String,
}

impl Script {
    fn begin(what: &str, other: &str) -> Self {
        Self { text: format!("# Created by `gatepost setup`. {what}. {other} is the reverse.\n") }
    }

    fn needs_of_entra(&mut self) {
        self.text.push_str("# Module: Microsoft.Graph.Authentication (Install-Module gets it).\n");
        self.text.push_str("# Role: Cloud Application Administrator or Privileged Role Administrator.\n");
    }

    /// The beginning of a script for Exchange. The ids that are not known are parameters, each a name and
    /// the variable for its text.
    fn exchange_begin(
        &mut self,
        tenant: &Tenant,
        known: Option<Vec<(&str, &str)>>,
        parameters: &[(&str, &str)],
        switch: Option<&str>,
    ) {
        let parameters = if known.is_none() && uses_ids(tenant) { parameters } else { &[] };
        let mut declared: Vec<String> =
            parameters.iter().map(|(name, _)| format!("[Parameter(Mandatory)] [guid] ${name}")).collect();
        declared.extend(switch.map(str::to_owned));
        if !declared.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(self.text, "param({})", declared.join(", "));
        }
        let more = if tenant.exchange.roles.is_empty() { "" } else { ", Organization Management" };
        self.text.push_str("# Module: ExchangeOnlineManagement (Install-Module gets it).\n");
        let _ = writeln!(self.text, "# Roles: Exchange Administrator{more}.");
        self.text.push_str(include_str!("scripts/begin.ps1"));
        for (variable, id) in known.into_iter().flatten() {
            self.set(variable, &literal(id));
        }
        for (name, variable) in parameters {
            self.set(variable, &format!("${name}.ToString()"));
        }
        self.set("tenant", &literal(&tenant.tenant));
        self.set("recordName", &literal(EXCHANGE_CREATED));
        self.exchange(tenant);
    }

    /// Prints a text with the values of its variables.
    fn told(&mut self, text: &str) {
        let _ = writeln!(self.text, "\"{text}\"");
    }

    fn set(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.text, "${name} = {value}");
    }

    /// The data of both scripts for Entra.
    fn sign_in(&mut self, tenant: &Tenant, scopes: &[&str]) {
        let environment = match tenant.cloud {
            Cloud::Worldwide => "Global",
            Cloud::UsGovGccHigh => "USGov",
            Cloud::UsGovDod => "USGovDoD",
            Cloud::China => "China",
        };
        self.set("tenant", &literal(&tenant.tenant));
        self.set("recordName", &literal(CREATED));
        self.set("graphEnvironment", &literal(environment));
        self.set("graphScopes", &list(scopes.iter().map(|scope| literal(scope))));
        self.set("clientId", &literal(tenant.client_id.as_deref().unwrap_or_default()));
        self.set("findApplication", &literal(&tenant.find_application()));
    }

    /// The data of Entra's part.
    fn entra(&mut self, tenant: &Tenant) {
        let mut scopes = vec!["Application.ReadWrite.All"];
        if tenant.of(Kind::Role).next().is_some() {
            scopes.push("AppRoleAssignment.ReadWrite.All");
        }
        if tenant.of(Kind::Scope).next().is_some() {
            scopes.push("DelegatedPermissionGrant.ReadWrite.All");
        }
        self.sign_in(tenant, &scopes);
        self.set("applicationJson", &literal(&tenant.application().to_string()));
        self.set("isPublic", if tenant.is_public() { "$true" } else { "$false" });
        self.set("certificate", &literal(tenant.certificate.as_deref().unwrap_or_default()));
        let credential = tenant.key_credential().map(|credential| credential.to_string()).unwrap_or_default();
        self.set("certificateJson", &literal(&credential));
        let apis = tenant.apis().into_iter().map(|api: Api| {
            format!("@{{ AppId = {}; Scopes = {} }}", literal(api.app_id()), literal(&tenant.scopes(api)))
        });
        self.set("apis", &lines(apis));
        let permissions = tenant.permissions.iter().map(|permission| {
            format!(
                "@{{ AppId = {}; Kind = {}; Value = {}; Id = {} }}",
                literal(permission.api.app_id()),
                literal(if permission.kind == Kind::Role { "Role" } else { "Scope" }),
                literal(permission.value),
                literal(permission.id)
            )
        });
        self.set("permissions", &lines(permissions));
        let unwanted = tenant.unwanted.iter().map(|permission| {
            let [value, id, harm] = [permission.value, permission.id, permission.harm()].map(literal);
            format!("@{{ Value = {value}; Id = {id}; Harm = {harm} }}")
        });
        self.set("unwanted", &lines(unwanted));
    }

    /// The data of Exchange's part.
    fn exchange(&mut self, tenant: &Tenant) {
        let exchange = &tenant.exchange;
        self.set("name", &literal(&tenant.name));
        self.set("mailboxes", &lines(exchange.mailboxes.iter().map(|mailbox| literal(&mailbox.to_string()))));
        self.set("protocols", &list(exchange.protocols.iter().map(|protocol| literal(protocol.name()))));
        if !exchange.roles.is_empty() {
            self.set("groupName", &literal(&tenant.group()));
            self.set("scopeName", &literal(&tenant.scope()));
            let roles = exchange
                .roles
                .iter()
                .map(|role| format!("@{{ Role = {}; Name = {} }}", literal(role), literal(&tenant.assignment(role))));
            self.set("roles", &lines(roles));
        }
    }

    fn connect(&mut self, cloud: Cloud) {
        self.text.push_str(include_str!("scripts/connect-exchange.ps1"));
        self.text.push_str(match cloud {
            Cloud::Worldwide => "Connect-ExchangeOnline\n",
            Cloud::UsGovGccHigh => "Connect-ExchangeOnline -ExchangeEnvironmentName O365USGovGCCHigh\n",
            Cloud::UsGovDod => "Connect-ExchangeOnline -ExchangeEnvironmentName O365USGovDoD\n",
            Cloud::China => "Connect-ExchangeOnline -ExchangeEnvironmentName O365China\n",
        });
        self.text.push_str(include_str!("scripts/organization.ps1"));
    }

    fn exchange_steps(&mut self, tenant: &Tenant) {
        let exchange = &tenant.exchange;
        let uses_ews = exchange.protocols.contains(&Protocol::Ews);
        self.connect(tenant.cloud);
        self.text.push_str(include_str!("scripts/mailboxes.ps1"));
        for (needed, part) in [
            (exchange.needs_principal(), include_str!("scripts/principal.ps1")),
            (exchange.full_access, include_str!("scripts/full-access.ps1")),
            (exchange.send_as, include_str!("scripts/send-as.ps1")),
            (!exchange.roles.is_empty(), include_str!("scripts/roles.ps1")),
            (!exchange.protocols.is_empty(), include_str!("scripts/switches.ps1")),
            (uses_ews, include_str!("scripts/ews.ps1")),
        ] {
            if needed {
                self.text.push_str(part);
            }
        }
    }

    fn exchange_undo(&mut self, tenant: &Tenant) {
        let exchange = &tenant.exchange;
        if !uses_ids(tenant) {
            return;
        }
        self.connect(tenant.cloud);
        for (needed, part) in [
            (exchange.needs_principal(), include_str!("scripts/undo-exchange.ps1")),
            (exchange.full_access || exchange.send_as, include_str!("scripts/undo-rights.ps1")),
            (!exchange.roles.is_empty(), include_str!("scripts/undo-roles.ps1")),
            (exchange.protocols.contains(&Protocol::Ews), include_str!("scripts/undo-ews.ps1")),
            (exchange.needs_principal(), include_str!("scripts/undo-principal.ps1")),
        ] {
            if needed {
                self.text.push_str(part);
            }
        }
    }

    /// Windows PowerShell 5.1 takes a script for one of an older encoding unless it begins with a mark.
    fn finish(self) -> String {
        if self.text.is_ascii() { self.text } else { format!("\u{feff}{}", self.text) }
    }
}

/// Whether Exchange's part names the application.
pub(super) fn uses_ids(tenant: &Tenant) -> bool {
    tenant.exchange.needs_principal() || tenant.exchange.protocols.contains(&Protocol::Ews)
}

/// A text as a literal: in single quotes, of which PowerShell knows several kinds.
pub(super) fn literal(text: &str) -> String {
    let mut literal = String::from("'");
    for c in text.chars() {
        literal.push(c);
        if matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}') {
            literal.push(c);
        }
    }
    literal.push('\'');
    literal
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("@({})", items.collect::<Vec<_>>().join(", "))
}

fn lines(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    match items.is_empty() {
        true => "@()".to_owned(),
        false => format!("@(\n    {}\n)", items.join(",\n    ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_its_literal() {
        for (text, expected) in [
            ("a", "'a'"),
            ("o'neil@contoso.com", "'o''neil@contoso.com'"),
            ("'; Remove-Item /; '", "'''; Remove-Item /; '''"),
            ("\u{2019}; x", "'\u{2019}\u{2019}; x'"),
            ("$(x) `n", "'$(x) `n'"),
        ] {
            assert_eq!(literal(text), expected);
        }
    }
}
