//! `gatepost logout`: revokes the refresh token of a sign-in, where the provider takes it back, and
//! removes the sign-in.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::options::LogoutOptions;
use super::output::write;
use super::settings::Settings;
use crate::cli::store_context::{StoreContext, with_store_context};
use gatepost_config::{Application, Config, Entra, Provider, Purpose};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::Clock;
use gatepost_net::dial::Dialer;
use gatepost_net::tls::client::UpstreamTrust;
use gatepost_oauth::HttpEndpoint;
use gatepost_oauth::source::TokenSource;
use gatepost_oauth::tokens::{explain, sign_ins};
use gatepost_store::{SignIn, SignInKey};

/// Revokes and removes the sign-in of a login, after asking on a terminal, and says what else to do.
/// Returns the exit code.
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
    let of_login: Vec<(SignInKey, SignIn)> = stored.into_iter().filter(|(key, _)| key.login == login).collect();
    let persons: BTreeSet<&str> = of_login.iter().map(|(_, record)| record.username.as_str()).collect();
    let persons = persons.into_iter().collect::<Vec<_>>().join("` and `");
    let mut keys: BTreeSet<SignInKey> = of_login.iter().map(|(key, _)| key.clone()).collect();
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
    // Before the removal, after which nobody has the token any more.
    let mut tokens: Vec<String> = Vec::new();
    for (key, record) in &of_login {
        let told = revoke_newest(opened, &options.settings, key, record).await;
        if !tokens.contains(&told) {
            tokens.push(told);
        }
    }
    for key in &keys {
        let removed = store.remove_sign_in(key).await;
        removed.with_context(|| format!("the sign-in was not removed. {}", tokens.join(" ")))?;
    }
    opened.acted("signed-out", login.as_str(), "").await;
    let passwords =
        store.device_passwords().await.context("the sign-in is removed. The device passwords cannot be read")?;
    let left = passwords.iter().filter(|password| password.login == login).count();
    Ok(told(&login, &persons, &tokens.join("\n"), left))
}

/// Like [`revoke`], also if a running service has exchanged the token for a newer one meanwhile.
async fn revoke_newest(opened: &StoreContext, settings: &Settings, key: &SignInKey, record: &SignIn) -> String {
    let told = revoke(&opened.config, settings, key, record).await;
    match opened.store.sign_in(key).await {
        Ok(Some((newest, _))) if newest.refresh_token.expose() != record.refresh_token.expose() => {
            revoke(&opened.config, settings, key, &newest).await
        }
        _ => told,
    }
}

/// Revokes the refresh token of a sign-in, if its provider takes it back. Says what became of the
/// token, and what to do if it is still valid.
async fn revoke(config: &Config, settings: &Settings, key: &SignInKey, record: &SignIn) -> String {
    let person = &record.username;
    let of_authority =
        applications(config).find(|application| application.issuer.authority().as_str() == key.authority);
    let provider = of_authority.and_then(|application| application.issuer.provider());
    let still_valid = |remedy: &str| format!("The refresh token stays valid until you revoke it: {remedy}.");
    let by_hand = match provider {
        Some(provider) => {
            format!("in the settings of `{person}` at {}, remove the access of this application", provider.title)
        }
        // Only Microsoft has directories.
        None if record.tenant_id.is_empty() => {
            format!("in the settings of `{person}` at the mail provider, remove the access of this application")
        }
        None if record.tenant_id == Entra::PERSONAL_ACCOUNTS => {
            format!("as `{person}`, open https://account.microsoft.com/privacy/app-access, and remove this application")
        }
        None => format!("Entra admin center, Users, `{person}`, Revoke sessions"),
    };
    let Some(provider) = provider.filter(|provider| provider.revoke_url.is_some()) else {
        return still_valid(&by_hand);
    };
    match revoke_at(provider, settings, key, record).await {
        Ok(()) => format!("{} has revoked the refresh token.", provider.title),
        Err(why) => format!("{} Gatepost could not revoke it: {why}.", still_valid(&by_hand)),
    }
}

/// Sends the refresh token to the revocation endpoint of the provider that gave it.
///
/// # Errors
/// Why it is not revoked, a clause.
async fn revoke_at(provider: &Provider, settings: &Settings, key: &SignInKey, record: &SignIn) -> Result<(), String> {
    // The secrets of applications and of the forward proxy are read only now, because nothing else
    // here needs them.
    let config = settings.load(Purpose::SignIn, std::env::vars_os()).map_err(|problems| {
        let first = problems.iter().next().map_or("it has changed", |problem| &problem.reason);
        format!("the configuration cannot be read with its secrets: {first}")
    })?;
    let config = Arc::new(config);
    let application = applications(&config)
        .find(|application| {
            application.issuer.authority().as_str() == key.authority && application.client_id == key.client_id
        })
        .ok_or_else(|| {
            format!(
                "the application `{}`, which it belongs to, is not `client_id` of `providers.{}` any more",
                key.client_id, provider.name
            )
        })?;
    let trust = Arc::new(UpstreamTrust::new(config.trust.clone()));
    let dialer = Arc::new(Dialer::new(Arc::clone(&config), Arc::clone(&trust)));
    let endpoint = Arc::new(HttpEndpoint::new(dialer, trust, config.limits.token_request));
    let source = TokenSource::new(endpoint, Clock::system(), &config.limits);
    let revoked = source.revoke(application, &record.refresh_token).await;
    revoked.map_err(|error| explain::revocation(&error, application).message)
}

fn applications(config: &Config) -> impl Iterator<Item = &Arc<Application>> {
    config.accounts.entries().iter().map(|account| &account.application)
}

/// `tokens`: what became of the refresh tokens.
fn told(login: &MailAddress, persons: &str, tokens: &str, passwords: usize) -> String {
    let mut text = format!(
        "Removed the sign-in of `{persons}` for `{login}`. A running service stops using it within a minute. Open sessions \
         continue.\n\n{tokens}\n"
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
