//! Checks what `renew` of a certificate needs of the rest of the configuration.

use std::path::Path;

use super::model::account::{Accounts, Application};
use super::model::credential::Credential;
use super::model::issuer::Tenant;
use super::model::state::State;
use super::reader::{Node, Section};

/// Reports each `renew` that could not be carried out safely.
pub(super) fn check(root: &Section<'_>, accounts: &Accounts, state: Option<&State>) {
    let entries = root.get("accounts").map(|node| node.items()).unwrap_or_default();
    let entries = entries.iter().filter(|item| item.is_table()).map(Node::section);
    for section in std::iter::once(root.section("microsoft")).chain(entries) {
        let Some(credential) = section.get("client_certificate") else { continue };
        let items = credential.items();
        for item in items.iter().filter(|item| item.is_table()) {
            let Some(node) = item.section().get("renew") else { continue };
            if matches!(state, Some(State::Redis { .. })) {
                node.problem(
                    "replicas share the store, but each has files of its own. After a renewal by one of them, the \
                     others would keep a certificate that is soon removed from the application",
                    "remove `renew`, and replace the certificate on all replicas before it expires",
                );
            } else if items.len() > 1 {
                node.problem(
                    "two certificates are listed, and a renewal needs one",
                    "list the one in use. Gatepost adds and removes the others",
                );
            } else if let Some(path) = item.section().get("certificate").and_then(|node| node.as_text()) {
                check_application(&node, &node.context().path(path), accounts);
            }
        }
    }
}

/// Reports a certificate that does not belong to one application of one tenant.
fn check_application(node: &Node<'_>, path: &Path, accounts: &Accounts) {
    let uses = |application: &&Application| match &*application.credential {
        Credential::Certificates(certificates) => certificates.iter().any(|one| one.certificate == path),
        _ => false,
    };
    let mut applications = accounts.entries().iter().map(|account| &*account.application).filter(uses);
    let Some(first) = applications.next() else { return };
    let is_first = |other: &Application| (&other.issuer, &other.client_id) == (&first.issuer, &first.client_id);
    if !applications.all(is_first) {
        node.problem(
            format!("accounts with another `client_id` or `tenant` use `{}` as well", path.display()),
            "give each application a certificate of its own",
        );
    } else if !first.issuer.entra().is_some_and(|entra| matches!(entra.tenant, Tenant::Named(_))) {
        node.problem(
            "the application signs in at its own tenant to renew the certificate, and no tenant is named",
            "write the directory id or a verified domain into `tenant`",
        );
    }
}
