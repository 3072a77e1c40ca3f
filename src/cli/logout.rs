//! `gatepost logout`: removes a sign-in.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::options::LogoutOptions;
use super::output::write;
use crate::cli::store_context::{StoreContext, with_store_context};
use gatepost_config::{Entra, Purpose};
use gatepost_core::account::MailAddress;
use gatepost_oauth::tokens::sign_ins;
use gatepost_store::SignInKey;

/// Removes the sign-in of a login, after asking on a terminal, and says what else to do. Returns
/// the exit code.
pub fn logout(options: &LogoutOptions) -> u8 {
    with_store_context(&options.settings, Purpose::Store, async |opened| try_logout(opened, options).await)
}

async fn try_logout(opened: &StoreContext, options: &LogoutOptions) -> anyhow::Result<String> {
    let StoreContext { config, store } = opened;
    let found = config.accounts.find(&options.login);
    let login = match &found {
        Some((_, login)) => login.clone(),
        // A sign-in may outlive its entry in the configuration.
        None => MailAddress::try_from(options.login.clone())
            .with_context(|| format!("no entry of `accounts` matches `{}`, and it is not an address", options.login))?,
    };
    let stored = store.sign_ins().await.context("the store cannot be read")?;
    let of_login: Vec<_> = stored.into_iter().filter(|(key, _)| key.login == login).collect();
    let persons: BTreeSet<&str> = of_login.iter().map(|(_, record)| record.username.as_str()).collect();
    let persons = persons.into_iter().collect::<Vec<_>>().join("` and `");
    let mut keys: BTreeSet<SignInKey> = of_login.iter().map(|(key, _)| key.clone()).collect();
    let is_personal = of_login.iter().any(|(_, record)| record.tenant_id == Entra::PERSONAL_ACCOUNTS);
    let provider = found.as_ref().and_then(|(account, _)| account.application.issuer.provider()).map(Arc::clone);
    keys.extend(found.map(|(account, login)| sign_ins::key(&account, &login)));
    if of_login.is_empty() {
        bail!("nobody has signed in for `{login}`");
    }
    if !options.yes
        && !confirmed(&format!(
            "Remove the sign-in of `{persons}` for `{login}`? Mail programs are then refused. [y/N] "
        ))?
    {
        bail!("nothing was changed");
    }
    for key in &keys {
        store.remove_sign_in(key).await.context("the sign-in was not removed")?;
    }
    opened.acted("signed-out", login.as_str(), "").await;
    let passwords =
        store.device_passwords().await.context("the sign-in is removed. The device passwords cannot be read")?;
    let left = passwords.iter().filter(|password| password.login == login).count();
    let revoke = match provider {
        Some(provider) => {
            format!("in the settings of `{persons}` at {}, remove the access of this application", provider.title)
        }
        None if is_personal => {
            format!(
                "as `{persons}`, open https://account.microsoft.com/privacy/app-access, and remove this application"
            )
        }
        None => format!("Entra admin center, Users, `{persons}`, Revoke sessions"),
    };
    Ok(told(&login, &persons, &revoke, left))
}

fn told(login: &MailAddress, persons: &str, revoke: &str, passwords: usize) -> String {
    let mut text = format!(
        "Removed the sign-in of `{persons}` for `{login}`. A running service stops using it within a minute. Open sessions \
         continue.\n\nThe refresh token stays valid until you revoke it: {revoke}.\n"
    );
    if passwords > 0 {
        let noun = if passwords == 1 { "device password" } else { "device passwords" };
        text.push_str(&format!(
            "`{login}` still has {passwords} {noun}, for a later sign-in. To list them, run `gatepost password list {login}`.\n"
        ));
    }
    text
}

fn confirmed(question: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("there is no terminal to ask on. To confirm, add `--yes`");
    }
    write(io::stdout().lock(), question)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}
