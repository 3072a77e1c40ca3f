//! The script for Entra in bash, for the Azure CLI, and the one that undoes it. Exchange Online has no
//! other way than PowerShell.
//!
//! Everything that comes from answers is a literal in single quotes at the beginning.

use std::fmt::Write as _;

use super::answers::PLACEHOLDER;
use super::powershell::{self, CREATED, EXCHANGE_SETUP, EXCHANGE_UNDO};
use super::tenant::{Kind, Tenant};
use gatepost_config::Cloud;

/// The files of the scripts.
pub(super) const SETUP: &str = "tenant-setup.sh";
pub(super) const UNDO: &str = "tenant-undo.sh";

/// The functions of both scripts.
const FUNCTIONS: &str = include_str!("scripts/azure.sh");

/// The script for Entra. `configuration` is the name of the file that gets the application's id, if it
/// is beside the script.
pub(super) fn setup(tenant: &Tenant, configuration: &str) -> String {
    let mut script = begin("Sets up Entra for Gatepost", UNDO);
    set(&mut script, "configuration_name", configuration);
    set(&mut script, "placeholder", PLACEHOLDER);
    data(&mut script, tenant);
    script.push_str(FUNCTIONS);
    script.push_str(include_str!("scripts/azure-setup.sh"));
    script.push_str("check_tenant\nensure_application\nensure_certificate\nensure_principal\n");
    // Writing to a String cannot fail.
    for permission in &tenant.unwanted {
        let [id, value, harm] = [permission.id, permission.value, permission.harm()].map(literal);
        let _ = writeln!(script, "warn_of {id} {value} {harm}");
    }
    for permission in tenant.of(Kind::Role) {
        let [api, id, value] = [permission.api.app_id(), permission.id, permission.value].map(literal);
        let _ = writeln!(script, "ensure_role {api} {id} {value}");
    }
    for api in tenant.apis() {
        let scopes = tenant.scopes(api);
        let scopes: Vec<String> = scopes.split(' ').filter(|scope| !scope.is_empty()).map(literal).collect();
        if !scopes.is_empty() {
            let _ = writeln!(script, "ensure_scopes {} {}", literal(api.app_id()), scopes.join(" "));
        }
    }
    script.push_str("note_client_id\n");
    script.push_str("echo \"Application ID: $client_id\"\necho \"Object ID of the service principal: $principal\"\n");
    let parameters = if powershell::uses_ids(tenant) { " -Application $client_id -Principal $principal" } else { "" };
    let _ = writeln!(
        script,
        "echo \"Exchange Online has no other way than PowerShell. Run this next: pwsh {EXCHANGE_SETUP}{parameters}\""
    );
    script
}

/// The script that undoes [`setup`].
pub(super) fn undo(tenant: &Tenant) -> String {
    let mut script = begin("Removes from Entra what the script for Gatepost has created", SETUP);
    set(&mut script, "exchange_undo", if powershell::uses_ids(tenant) { EXCHANGE_UNDO } else { "" });
    data(&mut script, tenant);
    script.push_str(FUNCTIONS);
    script.push_str(include_str!("scripts/azure-undo.sh"));
    script.push_str("check_tenant\nremove_application\n");
    script
}

fn begin(what: &str, other: &str) -> String {
    let head = include_str!("scripts/azure-begin.sh");
    format!("#!/usr/bin/env bash\n# Created by `gatepost setup`. {what}. {other} is the reverse.\n{head}")
}

fn data(script: &mut String, tenant: &Tenant) {
    let azure_cloud = match tenant.cloud {
        Cloud::Worldwide => "AzureCloud",
        Cloud::UsGovGccHigh | Cloud::UsGovDod => "AzureUSGovernment",
        Cloud::China => "AzureChinaCloud",
    };
    for (name, value) in [
        ("azure_cloud", azure_cloud),
        ("tenant", tenant.tenant.as_str()),
        ("graph", tenant.cloud.preset().graph),
        ("client_id", tenant.client_id.as_deref().unwrap_or_default()),
        ("find_application", &tenant.find_application()),
        ("application_json", &tenant.application().to_string()),
        ("is_public", if tenant.is_public() { "yes" } else { "" }),
        ("certificate", tenant.certificate.as_deref().unwrap_or_default()),
        ("certificate_json", &tenant.key_credential().map(|credential| credential.to_string()).unwrap_or_default()),
    ] {
        set(script, name, value);
    }
    let _ = writeln!(script, "record=\"$(dirname -- \"$0\")/{CREATED}\"");
}

fn set(script: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(script, "{name}={}", literal(value));
}

/// A text as a literal of a shell.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_its_literal() {
        for (text, expected) in
            [("a b", "'a b'"), ("'; rm -rf /; '", "''\\''; rm -rf /; '\\'''"), ("$(x)`y`", "'$(x)`y`'")]
        {
            assert_eq!(literal(text), expected);
        }
    }
}
