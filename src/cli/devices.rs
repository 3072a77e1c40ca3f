//! `gatepost devices`: shows which clients connected lately, how, and with what outcome.

use std::fmt::Write as _;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::cli::options::DevicesOptions;
use crate::cli::parse::Expiry;
use crate::cli::store_context::{StoreContext, with_store_context};
use gatepost_config::{Config, Grant, Purpose, value};
use gatepost_core::account::LoginName;
use gatepost_core::clock::{Clock, UnixTime};
use gatepost_store::{Device, STRANGERS, Store, StoreError};

/// Lists devices on standard output. Returns the exit code.
pub fn devices(options: &DevicesOptions) -> u8 {
    with_store_context(&options.settings, Purpose::Store, async |opened| try_list(opened, options).await)
}

async fn try_list(opened: &StoreContext, options: &DevicesOptions) -> anyhow::Result<String> {
    let Some(life) = opened.config.devices else {
        anyhow::bail!("devices are not noted, because `state.devices` is `off`. Remove the key and restart Gatepost");
    };
    let now = Clock::system().unix_time();
    let since = match options.since {
        Some(Expiry::At(day)) => day,
        Some(Expiry::After(time)) => now.before(time),
        None => UnixTime(0),
    };
    let mut devices = read(&*opened.store).await?;
    devices.retain(|device| device.last_seen() > now.before(life).max(since));
    if let Some(address) = options.trusted_sender {
        return rule(&opened.config, address, &devices);
    }
    Ok(match (options.json, options.csv, devices.is_empty()) {
        (true, ..) => format!("{:#}\n", Value::from_iter(devices.iter().map(as_json))),
        (_, true, _) => csv(&devices),
        (.., true) => {
            format!("No client has connected. The list has what connects, for {}.\n", value::show_duration(life))
        }
        (.., false) => table(&devices),
    })
}

/// All devices, those that have logged in first.
async fn read(store: &dyn Store) -> Result<Vec<Device>, StoreError> {
    let mut devices: Vec<Device> = Vec::new();
    // Strangers come last. One that has logged in meanwhile is listed as what it is now.
    for bucket in 0..=STRANGERS {
        for device in store.devices(bucket).await?.0 {
            if !devices.iter().any(|known| known.is_same(&device)) {
                devices.push(device);
            }
        }
    }
    devices.sort_by(|a, b| {
        let key = |device: &Device| (device.last_success.is_none(), device.listener.clone(), device.source);
        key(a).cmp(&key(b)).then_with(|| a.login.cmp(&b.login))
    });
    Ok(devices)
}

const HEAD: [&str; 11] = [
    "ADDRESS",
    "LISTENER",
    "PROTOCOL",
    "LOGIN",
    "METHOD",
    "TLS",
    "LAST SUCCESS (UTC)",
    "LAST FAILURE (UTC)",
    "CAUSE",
    "MESSAGES",
    "SENDERS",
];

fn table(devices: &[Device]) -> String {
    let rows: Vec<[String; 11]> = std::iter::once(HEAD.map(str::to_owned)).chain(devices.iter().map(row)).collect();
    let mut widths = [0; HEAD.len()];
    for row in &rows {
        row.iter().zip(&mut widths).for_each(|(cell, width)| *width = cell.chars().count().max(*width));
    }
    let line = |row: &[String; 11]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn row(device: &Device) -> [String; 11] {
    let minute = |at: UnixTime| at.to_string().trim_end_matches(" UTC").to_owned();
    let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let (failed_at, cause) = match &device.last_failure {
        Some(failure) => (minute(failure.at), failure.cause.clone()),
        None => ("-".to_owned(), "-".to_owned()),
    };
    [
        device.source.to_string(),
        device.listener.clone(),
        device.protocol.clone(),
        or_none(&device.login),
        or_none(&device.method),
        if device.tls.is_empty() { "none".to_owned() } else { device.tls.clone() },
        device.last_success.map_or_else(|| "never".to_owned(), minute),
        failed_at,
        cause,
        device.messages.to_string(),
        or_none(&device.senders.join(" ")),
    ]
}

fn as_json(device: &Device) -> Value {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let Device { listener, protocol, source, login, tls, method, .. } = device;
    json!({
        "address": source.to_string(),
        "listener": listener,
        "protocol": protocol,
        "login": text(login),
        "method": text(method),
        "tls": text(tls),
        "first_seen_at": device.first_seen.rfc3339(),
        "last_success_at": device.last_success.map(UnixTime::rfc3339),
        "last_failure": device.last_failure.as_ref().map(|failure| json!({
            "at": failure.at.rfc3339(), "cause": failure.cause, "message": failure.text,
        })),
        "logins": device.logins,
        "failures": device.failures,
        "messages": device.messages,
        "senders": device.senders,
    })
}

/// The list in the form of RFC 4180.
fn csv(devices: &[Device]) -> String {
    const COLUMNS: &str = "address,listener,protocol,login,method,tls,first_seen_at,last_success_at,last_failure_at,\
                           last_failure_cause,last_failure_message,logins,failures,messages,senders";
    let mut text = format!("{COLUMNS}\r\n");
    for device in devices {
        let time = |at: Option<UnixTime>| at.map(UnixTime::rfc3339).unwrap_or_default();
        let failure = device.last_failure.as_ref();
        let cells = [
            device.source.to_string(),
            device.listener.clone(),
            device.protocol.clone(),
            device.login.clone(),
            device.method.clone(),
            device.tls.clone(),
            time(Some(device.first_seen)),
            time(device.last_success),
            time(failure.map(|failure| failure.at)),
            failure.map(|failure| failure.cause.clone()).unwrap_or_default(),
            failure.map(|failure| failure.text.clone()).unwrap_or_default(),
            device.logins.to_string(),
            device.failures.to_string(),
            device.messages.to_string(),
            device.senders.join(" "),
        ];
        text.push_str(&cells.map(|cell| quoted(&cell)).join(","));
        text.push_str("\r\n");
    }
    text
}

/// A cell. A stranger chooses names, so that none may be a formula to a spreadsheet.
fn quoted(cell: &str) -> String {
    let harmless = if cell.starts_with(['=', '+', '-', '@', '\t']) { format!("'{cell}") } else { cell.to_owned() };
    match harmless.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", harmless.replace('"', "\"\"")),
        false => harmless,
    }
}

/// A rule of `trusted_senders` for the device at an address, to paste.
fn rule(config: &Config, address: IpAddr, devices: &[Device]) -> anyhow::Result<String> {
    let here = || devices.iter().filter(|device| device.protocol == "smtp" && device.source == address);
    let with_login = here().filter(|device| device.last_success.is_some()).max_by_key(|device| device.last_success);
    // The account that logged in counts more than what it wrote as the sender.
    let senders = here().flat_map(|device| &device.senders);
    let mut names = with_login.map(|device| &device.login).into_iter().chain(senders);
    let account = |name: &String| config.accounts.find(&LoginName::parse(name).ok()?);
    let Some((account, login)) = names.find_map(account) else {
        anyhow::bail!(
            "no client at {address} has sent a message or logged in over SMTP as a configured account. Let it try, and \
             run this again after a minute"
        );
    };
    let mut text = String::from("# For an SMTP listener that only such devices reach:\n");
    if account.grant == Grant::Password {
        let _ = writeln!(text, "# First give {login} a grant that needs no password, such as `client_credentials`.");
    }
    let _ = write!(text, "trusted_senders:\n  - from: {address}\n    login: {login}\n    sender: forced\n");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_store::DeviceFailure;

    fn devices() -> [Device; 2] {
        let scanner = Device {
            listener: "devices".into(),
            protocol: "smtp".into(),
            source: "192.168.7.21".parse().unwrap(),
            login: "scanner@contoso.com".into(),
            tls: "TLS 1.2".into(),
            method: "LOGIN".into(),
            first_seen: UnixTime(1_801_353_600),
            last_success: Some(UnixTime(1_801_440_000)),
            last_failure: None,
            logins: 3,
            failures: 0,
            messages: 7,
            senders: vec!["scan@contoso.com".into(), "root@localhost".into()],
        };
        let stranger = Device {
            source: "2001:db8::7".parse().unwrap(),
            login: "=1+1".into(),
            tls: String::new(),
            last_success: None,
            last_failure: Some(DeviceFailure {
                at: UnixTime(1_801_353_660),
                cause: "unknown-account".into(),
                text: "no account or alias matches \"=1+1\", or none".into(),
            }),
            logins: 0,
            failures: 2,
            messages: 0,
            senders: Vec::new(),
            ..scanner.clone()
        };
        [scanner, stranger]
    }

    #[test]
    fn the_table_is_aligned() {
        assert_eq!(
            table(&devices()),
            "ADDRESS       LISTENER  PROTOCOL  LOGIN                METHOD  TLS      LAST SUCCESS (UTC)  LAST FAILURE (UTC)  CAUSE            MESSAGES  SENDERS\n\
             192.168.7.21  devices   smtp      scanner@contoso.com  LOGIN   TLS 1.2  2027-02-01 00:00    -                   -                7         scan@contoso.com root@localhost\n\
             2001:db8::7   devices   smtp      =1+1                 LOGIN   none     never               2027-01-31 00:01    unknown-account  0         -\n"
        );
    }

    #[test]
    fn json_has_everything() {
        let [scanner, stranger] = devices();
        assert_eq!(
            as_json(&scanner),
            json!({
                "address": "192.168.7.21", "listener": "devices", "protocol": "smtp", "login": "scanner@contoso.com",
                "method": "LOGIN", "tls": "TLS 1.2", "first_seen_at": "2027-01-31T00:00:00Z",
                "last_success_at": "2027-02-01T00:00:00Z", "last_failure": null, "logins": 3, "failures": 0, "messages": 7,
                "senders": ["scan@contoso.com", "root@localhost"],
            })
        );
        let stranger = as_json(&stranger);
        assert_eq!((&stranger["tls"], &stranger["last_success_at"]), (&Value::Null, &Value::Null));
        assert_eq!(stranger["last_failure"]["cause"], "unknown-account");
    }

    #[test]
    fn a_cell_is_quoted_and_no_formula() {
        let text = csv(&devices());
        let lines: Vec<&str> = text.split_terminator("\r\n").collect();
        assert!(lines[0].starts_with("address,listener,protocol,login,method,tls,"), "{}", lines[0]);
        assert_eq!(
            lines[1],
            "192.168.7.21,devices,smtp,scanner@contoso.com,LOGIN,TLS 1.2,2027-01-31T00:00:00Z,2027-02-01T00:00:00Z,,,,3,0,7,\
             scan@contoso.com root@localhost"
        );
        assert!(lines[2].contains(",'=1+1,"), "{}", lines[2]);
        assert!(lines[2].contains(",\"no account or alias matches \"\"=1+1\"\", or none\","), "{}", lines[2]);
        assert!(lines.iter().all(|line| !line.contains('\n')) && lines.len() == 3);
    }
}
