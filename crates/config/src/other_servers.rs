//! The mail servers of accounts that a listener's own does not serve.

use super::model::account::Accounts;
use super::model::issuer::Issuer;
use super::model::listener::{ListenerBackend, OtherAccounts, OtherServer};
use super::model::server::Upstream;
use super::model::submission::Submission;
use super::reader::Section;

/// The mail servers of providers, and of personal Microsoft accounts, for the protocol of a listener.
pub(super) fn of(section: &Section<'_>, serves: &ListenerBackend, accounts: &Accounts) -> Vec<OtherServer> {
    let own = match serves {
        ListenerBackend::Relay(upstream) | ListenerBackend::Submission(Submission { smtp: Some(upstream), .. }) => {
            upstream
        }
        _ => return Vec::new(),
    };
    let mut others: Vec<OtherServer> = Vec::new();
    for account in accounts.entries() {
        let (of, upstream) = match &account.application.issuer {
            Issuer::Provider(provider) => match provider.mail_server(own.protocol) {
                Some(upstream) => (OtherAccounts::Provider(provider.name.clone()), upstream.clone()),
                None => continue,
            },
            // An operator who names the server means it for all accounts.
            Issuer::Entra(entra) if entra.tenant.takes_personal_accounts() && !section.has("upstream") => {
                let Some(host) = entra.cloud.preset().personal(own.protocol) else { continue };
                let (host, name) = (host.to_owned(), host.to_owned());
                (OtherAccounts::Personal, Upstream { host, name, ..own.clone() })
            }
            Issuer::Entra(_) => continue,
        };
        if !others.iter().any(|other| other.of == of) {
            others.push(OtherServer { of, upstream });
        }
    }
    others
}

/// Makes the server of a provider the listener's own, unless an account is Microsoft's or the operator
/// names a server: then clients are told before their login what their server announces.
pub(super) fn adopt(
    section: &Section<'_>,
    serves: ListenerBackend,
    others: &[OtherServer],
    accounts: &Accounts,
) -> ListenerBackend {
    let is_microsofts = accounts.entries().iter().any(|account| account.application.issuer.entra().is_some());
    let Some(first) = others.first().filter(|_| !is_microsofts && !section.has("upstream")) else { return serves };
    match serves {
        ListenerBackend::Relay(_) => ListenerBackend::Relay(first.upstream.clone()),
        ListenerBackend::Submission(submission) if submission.smtp.is_some() => {
            ListenerBackend::Submission(Submission { smtp: Some(first.upstream.clone()), ..submission })
        }
        serves => serves,
    }
}
