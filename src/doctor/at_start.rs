//! Says at the start which accounts fail at once, from what is known without asking anybody.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::login::Authenticator;
use crate::login::overview::SignInView;
use gatepost_config::Application;
use gatepost_core::clock::UnixTime;
use gatepost_oauth::expiry::CredentialEnd;

/// Time limit of the store and of the files.
const LIMIT: Duration = Duration::from_secs(10);
/// Most accounts that are named.
const NAMED: usize = 5;

/// Logs one line if accounts would fail at once: nobody has signed in, or the application's
/// credential has expired. A store that does not answer is told elsewhere.
pub(crate) async fn at_start(authenticator: Arc<Authenticator>) {
    let Ok(Ok((views, _))) = timeout(LIMIT, authenticator.overview([])).await else { return };
    let over = timeout(LIMIT, over(&authenticator)).await.unwrap_or_default();
    let is_over = |application: &Arc<Application>| over.contains(application);
    let mut failing: BTreeSet<String> = BTreeSet::new();
    for view in &views {
        let unsigned = matches!(view.sign_in, Some(SignInView::Missing | SignInView::Refused { .. }));
        if unsigned || is_over(&view.account.application) {
            failing.insert(view.login.to_string());
        }
    }
    // Patterns have no address of their own.
    for account in authenticator.config().accounts.entries() {
        if is_over(&account.application) && !views.iter().any(|view| view.account == *account) {
            failing.insert(account.pattern.to_string());
        }
    }
    if let Some(text) = told(&failing) {
        tracing::error!(accounts = failing.len(), "{text}");
    }
}

/// The applications whose credentials have all expired.
async fn over(authenticator: &Authenticator) -> Vec<Arc<Application>> {
    let now = authenticator.clock().unix_time();
    let config = authenticator.config();
    let mut applications: Vec<_> = config.accounts.entries().iter().map(|of| Arc::clone(&of.application)).collect();
    // Neighbors mostly share an application.
    applications.dedup_by(|one, other| Arc::ptr_eq(one, other));
    let mut over = Vec::new();
    for application in applications {
        if are_over(&authenticator.ends(&application).await, now) {
            over.push(application);
        }
    }
    over
}

/// Whether all credentials of an application have expired. One whose end is not known may work.
pub(super) fn are_over(ends: &[CredentialEnd], now: UnixTime) -> bool {
    !ends.is_empty() && ends.iter().all(|end| end.expires.is_some_and(|expires| expires <= now))
}

fn told(failing: &BTreeSet<String>) -> Option<String> {
    let named = failing.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = match failing.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let remedy = "Gatepost admin: run `gatepost doctor`";
    match failing.len() {
        0 => None,
        1 => Some(format!("clients of {named} cannot log in. {remedy}")),
        number => Some(format!("clients of {number} accounts cannot log in: {named}{more}. {remedy}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_names_the_accounts_and_the_command() {
        let told = |names: &[&str]| told(&names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(told(&[]), None);
        assert_eq!(told(&["a@x"]).unwrap(), "clients of a@x cannot log in. Gatepost admin: run `gatepost doctor`");
        assert_eq!(
            told(&["a", "b", "c", "d", "e", "f", "g"]).unwrap(),
            "clients of 7 accounts cannot log in: a, b, c, d, e and 2 more. Gatepost admin: run `gatepost doctor`"
        );
    }

    #[test]
    fn an_application_is_over_when_the_end_of_each_credential_is_known_and_past() {
        let end =
            |expires: Option<u64>| CredentialEnd { what: String::new(), expires: expires.map(UnixTime), renewal: None };
        let over = |ends: &[Option<u64>]| are_over(&ends.iter().copied().map(end).collect::<Vec<_>>(), UnixTime(100));
        assert!(over(&[Some(100)]) && over(&[Some(1), Some(99)]));
        assert!(!over(&[]) && !over(&[Some(101)]) && !over(&[Some(1), Some(101)]));
        assert!(!over(&[None]) && !over(&[Some(1), None]));
    }
}
