//! Says at the start which accounts fail at once, from what is known without asking anybody.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::login::Authenticator;
use crate::login::overview::SignInView;
use gatepost_core::clock::UnixTime;

/// Time limit of the store and of the files.
const LIMIT: Duration = Duration::from_secs(10);
/// Most accounts that are named.
const NAMED: usize = 5;

/// Logs one line if accounts would fail at once: nobody has signed in, or the application's
/// credential has expired. A store that does not answer is told elsewhere.
pub(crate) async fn at_start(authenticator: Arc<Authenticator>) {
    let Ok(Ok((views, _))) = timeout(LIMIT, authenticator.overview([])).await else { return };
    let expiries = timeout(LIMIT, authenticator.expiries()).await.unwrap_or_default();
    let now = authenticator.clock().unix_time();
    let is_over = |client_id: &str| {
        let mut of_application = expiries.iter().filter(|expiry| expiry.client_id == client_id).peekable();
        of_application.peek().is_some() && of_application.all(|expiry| expiry.expires <= now)
    };
    let mut failing: BTreeSet<String> = BTreeSet::new();
    for view in &views {
        let unsigned = matches!(view.sign_in, Some(SignInView::Missing | SignInView::Refused { .. }));
        if unsigned || is_over(&view.account.application.client_id) {
            failing.insert(view.login.to_string());
        }
    }
    // Patterns have no address of their own.
    for account in authenticator.config().accounts.entries() {
        if is_over(&account.application.client_id) && !views.iter().any(|view| view.account == *account) {
            failing.insert(account.pattern.to_string());
        }
    }
    if let Some(text) = told(&failing, now) {
        tracing::error!(accounts = failing.len(), "{text}");
    }
}

fn told(failing: &BTreeSet<String>, _now: UnixTime) -> Option<String> {
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
        let told = |names: &[&str]| told(&names.iter().map(|name| (*name).to_owned()).collect(), UnixTime(0));
        assert_eq!(told(&[]), None);
        assert_eq!(told(&["a@x"]).unwrap(), "clients of a@x cannot log in. Gatepost admin: run `gatepost doctor`");
        assert_eq!(
            told(&["a", "b", "c", "d", "e", "f", "g"]).unwrap(),
            "clients of 7 accounts cannot log in: a, b, c, d, e and 2 more. Gatepost admin: run `gatepost doctor`"
        );
    }
}
