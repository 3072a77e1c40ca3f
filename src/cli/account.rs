//! `gatepost account unlock`: restores an account's budget of wrong passwords.

use std::sync::Arc;

use super::options::UnlockOptions;
use super::output::{failed, report};
use crate::cli::store_context::{StoreContext, with_store_of};
use crate::login::unlock::unlock_in_store;
use gatepost_config::{Purpose, State};

/// Unlocks in the running service, or in the store when none runs. Returns the exit code.
pub fn unlock(options: &UnlockOptions) -> u8 {
    if let Some(code) = ask_service(options) {
        return code;
    }
    let config = match options.settings.load(Purpose::Store, std::env::vars_os()) {
        Ok(config) => Arc::new(config),
        Err(problems) => return report(&problems),
    };
    if let State::Memory = config.state {
        return failed(
            "no service is running here, and without `state` only a running service counts wrong passwords. If one runs, \
             name its socket with `--socket`",
        );
    }
    with_store_of(&config, async |opened| try_unlock(opened, options).await)
}

async fn try_unlock(opened: &StoreContext, options: &UnlockOptions) -> anyhow::Result<String> {
    let unlocked = unlock_in_store(&opened.config.accounts, Arc::clone(&opened.store), &options.login).await?;
    opened.acted("account-unlocked", unlocked.login.as_str(), "").await;
    Ok(format!("{unlocked}\n"))
}

/// Asks the running service; `None` when there is none.
#[cfg(unix)]
fn ask_service(options: &UnlockOptions) -> Option<u8> {
    use hyper::StatusCode;

    use super::output::result;
    use super::socket::command;

    let places = match &options.socket {
        Some(given) => vec![given.clone()],
        None => match options.settings.service_sockets(std::env::vars_os()) {
            Ok(places) => places,
            Err(problems) => return Some(report(&problems)),
        },
    };
    let runtime = match super::run::runtime() {
        Ok(runtime) => runtime,
        Err(code) => return Some(code),
    };
    let fields = [("login", options.login.as_str())];
    Some(match runtime.block_on(command(&places, "/unlock", &fields)) {
        Ok((StatusCode::OK, text)) => result(format_args!("{text}\n")),
        Ok((_, text)) => failed(text.trim_end()),
        Err(error) if options.socket.is_none() && error.is_absence() => return None,
        Err(error) => failed(error.told()),
    })
}

#[cfg(not(unix))]
fn ask_service(_options: &UnlockOptions) -> Option<u8> {
    None
}
