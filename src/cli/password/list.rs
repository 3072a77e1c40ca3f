//! `gatepost password list`: shows the device passwords, and which are in use.

use serde_json::{Value, json};

use crate::cli::options::ListOptions;
use crate::cli::store_context::{StoreContext, with_store_context};
use gatepost_config::{Config, Purpose};
use gatepost_core::account::LoginName;
use gatepost_core::clock::UnixTime;
use gatepost_store::{DevicePassword, Verifier};

/// Lists device passwords on standard output, as a table or as JSON. Returns the exit code.
pub fn list(options: &ListOptions) -> u8 {
    with_store_context(&options.settings, Purpose::Store, async |opened| try_list(opened, options).await)
}

async fn try_list(opened: &StoreContext, options: &ListOptions) -> anyhow::Result<String> {
    let mut passwords = opened.store.device_passwords().await?;
    if let Some(login) = &options.login {
        let address = address(&opened.config, login);
        passwords.retain(|password| password.login.as_str() == address);
    }
    passwords.sort_by(|a, b| (&a.login, a.created_at, &a.name).cmp(&(&b.login, b.created_at, &b.name)));
    Ok(match (options.json, passwords.is_empty()) {
        (true, _) => format!("{:#}\n", Value::from_iter(passwords.iter().map(as_json))),
        (false, true) => {
            "There are no device passwords. To create one, run `gatepost password add LOGIN --name …`.\n".to_owned()
        }
        (false, false) => table(&passwords),
    })
}

/// Returns the address behind an alias. An account that is no longer configured may still have
/// passwords to revoke.
pub(super) fn address(config: &Config, login: &LoginName) -> String {
    config.accounts.find(login).map_or_else(|| login.to_string(), |(_, address)| address.to_string())
}

const HEAD: [&str; 9] =
    ["ID", "LOGIN", "NAME", "PROTOCOLS", "NETWORKS", "CREATED (UTC)", "EXPIRES (UTC)", "LAST USED (UTC)", "FROM"];

fn table(passwords: &[DevicePassword]) -> String {
    let rows: Vec<[String; 9]> = std::iter::once(HEAD.map(str::to_owned)).chain(passwords.iter().map(row)).collect();
    let mut widths = [0; HEAD.len()];
    for row in &rows {
        row.iter().zip(&mut widths).for_each(|(cell, width)| *width = cell.chars().count().max(*width));
    }
    let line = |row: &[String; 9]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn row(password: &DevicePassword) -> [String; 9] {
    let DevicePassword { id, login, name, protocols, from, created_at, expires_at, last_use, .. } = password;
    let any_or = |list: Vec<String>| if list.is_empty() { "any".to_owned() } else { list.join(",") };
    let minute = |at: UnixTime| at.to_string().trim_end_matches(" UTC").to_owned();
    [
        id.to_string(),
        login.to_string(),
        name.clone(),
        any_or(protocols.iter().map(|protocol| protocol.name().to_owned()).collect()),
        any_or(from.iter().map(ToString::to_string).collect()),
        minute(*created_at),
        expires_at.map_or_else(|| "never".to_owned(), minute),
        last_use.map_or_else(|| "never".to_owned(), |last_use| minute(last_use.at)),
        last_use.map_or_else(String::new, |last_use| last_use.from.to_string()),
    ]
}

fn as_json(password: &DevicePassword) -> Value {
    let DevicePassword { id, login, name, protocols, from, created_at, expires_at, verifier, last_use } = password;
    json!({
        "id": id.0,
        "login": login.as_str(),
        "name": name,
        "kind": match verifier {
            Verifier::Generated(_) => "generated",
            Verifier::Chosen(_) => "chosen",
        },
        "protocols": protocols.iter().map(|protocol| protocol.name()).collect::<Vec<_>>(),
        "from": from.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "created_at": created_at.rfc3339(),
        "expires_at": expires_at.map(UnixTime::rfc3339),
        "last_used_at": last_use.map(|last_use| last_use.at.rfc3339()),
        "last_used_from": last_use.map(|last_use| last_use.from.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_core::account::MailAddress;
    use gatepost_core::protocol::Protocol;
    use gatepost_store::{DevicePasswordId, LastUse};

    fn passwords() -> [DevicePassword; 2] {
        let plain = DevicePassword {
            id: DevicePasswordId("k7m2p4xq".into()),
            login: MailAddress::parse("fax@contoso.com").unwrap(),
            name: "Fax".into(),
            protocols: Vec::new(),
            from: Vec::new(),
            created_at: UnixTime(1_801_353_600),
            expires_at: None,
            verifier: Verifier::Chosen("$argon2id$…".into()),
            last_use: None,
        };
        let scoped = DevicePassword {
            id: DevicePasswordId("abcdefgh".into()),
            name: "Scänner, 3rd floor".into(),
            protocols: vec![Protocol::Imap, Protocol::Smtp],
            from: vec!["192.168.7.0/24".parse().unwrap()],
            expires_at: Some(UnixTime(1_801_440_000)),
            verifier: Verifier::Generated([7; 32]),
            last_use: Some(LastUse { at: UnixTime(1_801_353_660), from: "192.168.7.9".parse().unwrap() }),
            ..plain.clone()
        };
        [plain, scoped]
    }

    #[test]
    fn the_table_is_aligned() {
        assert_eq!(
            table(&passwords()),
            "ID        LOGIN            NAME                PROTOCOLS  NETWORKS        CREATED (UTC)     EXPIRES (UTC)     LAST USED (UTC)   FROM\n\
             k7m2p4xq  fax@contoso.com  Fax                 any        any             2027-01-31 00:00  never             never\n\
             abcdefgh  fax@contoso.com  Scänner, 3rd floor  imap,smtp  192.168.7.0/24  2027-01-31 00:00  2027-02-01 00:00  2027-01-31 00:01  192.168.7.9\n"
        );
    }

    #[test]
    fn json_has_everything_but_what_proves_the_password() {
        let [_, scoped] = passwords();
        assert_eq!(
            as_json(&scoped),
            json!({
                "id": "abcdefgh", "login": "fax@contoso.com", "name": "Scänner, 3rd floor", "kind": "generated",
                "protocols": ["imap", "smtp"], "from": ["192.168.7.0/24"], "created_at": "2027-01-31T00:00:00Z",
                "expires_at": "2027-02-01T00:00:00Z", "last_used_at": "2027-01-31T00:01:00Z",
                "last_used_from": "192.168.7.9",
            })
        );
    }
}
