//! `gatepost password revoke`: ends a device password and its sessions.

use super::list::address;
use crate::cli::options::RevokeOptions;
use crate::cli::store_context::{StoreContext, with_store_context};
use gatepost_config::Purpose;
use gatepost_store::DevicePassword;

/// Revokes a device password, named by its id or by login and name. Returns the exit code.
pub fn revoke(options: &RevokeOptions) -> u8 {
    with_store_context(&options.settings, Purpose::Store, async |opened| try_revoke(opened, options).await)
}

async fn try_revoke(opened: &StoreContext, options: &RevokeOptions) -> anyhow::Result<String> {
    let StoreContext { config, store } = opened;
    let login = options.login.as_ref().map(|login| address(config, login));
    let is_meant = |password: &DevicePassword| match (&options.id, &login, &options.name) {
        (Some(id), ..) => password.id.0 == id.trim(),
        (None, Some(login), Some(name)) => password.login.as_str() == login && password.name == name.trim(),
        _ => false,
    };
    let mut text = String::new();
    let (meant, others): (Vec<_>, Vec<_>) = store.device_passwords().await?.into_iter().partition(is_meant);
    for DevicePassword { id, login, name, .. } in &meant {
        if store.revoke_device_password(id).await? {
            opened.acted("password-revoked", login.as_str(), &format!("{id} ({name})")).await;
            text.push_str(&format!(
                "Revoked device password \"{name}\" of {login} (ID {id}). Its sessions end within seconds.\n"
            ));
        }
    }
    anyhow::ensure!(!text.is_empty(), "there is no such device password. To list them, run `gatepost password list`");
    if let Some(problems) = config.unproved_accounts(others.iter().map(|password| &password.login)) {
        for problem in problems.iter() {
            text.push_str(&format!("Note: the service will not start like this: {problem}"));
        }
    }
    Ok(text)
}
