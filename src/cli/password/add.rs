//! `gatepost password add`: creates a device password, shown once.

use std::sync::Arc;

use anyhow::{Context, bail};
use ipnet::IpNet;

use crate::cli::options::AddOptions;
use crate::cli::parse::Expiry;
use crate::cli::store_context::{StoreContext, with_store_context};
use crate::client_settings::{Scope, client_settings, fitting, lets_in};
use crate::login::issue::{self, Order};
use gatepost_config::password_hash::{CHARACTERS_FROM_NETWORKS, is_short};
use gatepost_config::{Account, Config, Grant, Listener, Purpose, suggestion};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::Clock;
use gatepost_store::DevicePassword;

/// Creates a device password, or takes one that is read from the terminal or standard input. Prints
/// it with the settings for the device, and returns the exit code.
pub fn add(options: &AddOptions) -> u8 {
    with_store_context(&options.settings, Purpose::Store, async |opened| try_add(opened, options).await)
}

async fn try_add(opened: &StoreContext, options: &AddOptions) -> anyhow::Result<String> {
    let StoreContext { config, store } = opened;
    let (account, login) = account(config, options)?;
    let now = Clock::system().unix_time();
    let expires_at = options.expires.map(|expiry| match expiry {
        Expiry::At(at) => at,
        Expiry::After(after) => now.after(after),
    });
    let order = Order {
        login: login.clone(),
        name: options.name.trim().to_owned(),
        protocols: options.protocols.clone(),
        from: options.from.clone(),
        expires_at,
    };
    let (made, generated, is_short) = if options.chosen {
        let password = super::hash::read(CHARACTERS_FROM_NETWORKS)?;
        (issue::choose(&**store, order, &password, &account.passwords, now).await?, None, is_short(&password))
    } else {
        let (made, password) = issue::generate(&**store, order, now).await?;
        (made, Some(password), false)
    };
    opened.acted("password-made", login.as_str(), &format!("{} ({})", made.id, made.name)).await;
    let (once, typed) = match &generated {
        Some(password) => (" Copy it now. It will not be shown again.", password.expose()),
        None => ("", "the one that you chose"),
    };
    let settings = client_settings(config, &login, typed, Scope { protocols: &made.protocols, from: &made.from });
    let DevicePassword { id, name, .. } = &made;
    let (scope, hindrance) = (scope(&made), hindrance(config, &made));
    let warning = if is_short {
        "Warning: a password of fewer than 12 characters is easier to guess. Use a longer one when the device allows it.\n"
    } else {
        ""
    };
    Ok(format!(
        "Created device password \"{name}\" for {login} (ID {id}).{once}\n\n{settings}\n{scope}{warning}{hindrance}"
    ))
}

/// Returns the account that the password is for, if Gatepost itself verifies its passwords.
fn account(config: &Config, options: &AddOptions) -> anyhow::Result<(Arc<Account>, MailAddress)> {
    let login = &options.login;
    let found = config.accounts.find(login);
    let (account, address) = found.with_context(|| {
        format!("no entry of `accounts` matches `{login}`. Correct the name, or add an entry with `login: {login}`")
    })?;
    if account.grant == Grant::Password {
        bail!(
            "`{address}` has `grant: password`, so Entra checks its password and would refuse a device password. Use another \
             grant for device passwords"
        );
    }
    Ok((account, address))
}

/// Returns the limits of the password, in words.
fn scope(made: &DevicePassword) -> String {
    let protocols: Vec<&str> = made.protocols.iter().map(|protocol| protocol.title()).collect();
    let networks: Vec<String> = made.from.iter().map(ToString::to_string).collect();
    let or_all = |text: String| if text.is_empty() { "all".to_owned() } else { text };
    let mut text = match (protocols.join(" and "), networks.join(" and ")) {
        (protocols, networks) if protocols.is_empty() && networks.is_empty() => {
            "Valid for all protocols and networks".to_owned()
        }
        (protocols, networks) => {
            format!("Protocols: {}. Networks: {}. Valid", or_all(protocols), or_all(networks))
        }
    };
    match made.expires_at {
        Some(at) => text.push_str(&format!(" until {at}.\n")),
        None if text.ends_with("Valid") => text.push_str(" until you revoke it.\n"),
        None => text.push_str(".\n"),
    }
    let revoke = suggestion::command(&format!("gatepost password revoke {}", made.id));
    text.push_str(&format!("To revoke it: {revoke}\n"));
    text
}

/// Returns what in the configuration makes the password useless; empty if nothing does.
fn hindrance(config: &Config, made: &DevicePassword) -> String {
    let listeners: Vec<&Listener> = fitting(config, &made.protocols).collect();
    if listeners.is_empty() {
        return "Note: no listener has that protocol. Add one to `listeners`.\n".to_owned();
    }
    let is_let_in = |network: &IpNet| listeners.iter().any(|listener| lets_in(listener, &[*network]));
    let shut_out = made.from.iter().filter(|network| !is_let_in(network));
    shut_out.map(|network| format!("Note: no listener lets {network} connect. Add it to `allow_from`.\n")).collect()
}
