//! Reads the values of the command line.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use gatepost_config::{Cloud, value};
use gatepost_core::account::{LoginName, MailAddress};
use gatepost_core::clock::UnixTime;
use gatepost_core::protocol::Protocol;

/// A name or an address in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A DNS name, in ASCII; a first label `*` stands for any.
    Name(String),
    /// An address.
    Address(IpAddr),
}

pub(super) fn host(text: &str) -> Result<Host, String> {
    if let Ok(address) = text.parse() {
        return Ok(Host::Address(address));
    }
    let name = text.strip_prefix("*.").unwrap_or(text);
    match rustls::pki_types::DnsName::try_from(name) {
        Ok(_) => Ok(Host::Name(text.to_ascii_lowercase())),
        Err(_) => Err("write a DNS name in ASCII, or an IP address".to_owned()),
    }
}

/// When something ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// At this time.
    At(UnixTime),
    /// So long from now.
    After(Duration),
}

pub(super) fn login(text: &str) -> Result<LoginName, String> {
    LoginName::parse(text).map_err(|error| error.to_string())
}

pub(super) fn address(text: &str) -> Result<MailAddress, String> {
    MailAddress::parse(text).map_err(|error| error.to_string())
}

pub(super) fn protocol(text: &str) -> Result<Protocol, String> {
    let protocols = Protocol::ALL.map(|protocol| (protocol.name(), protocol));
    value::choice(text, &protocols).map_err(|wrong| wrong.to_string())
}

pub(super) fn cloud(text: &str) -> Result<Cloud, String> {
    value::choice(text, &Cloud::ALL.map(|cloud| (cloud.preset().name, cloud))).map_err(|wrong| wrong.to_string())
}

pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "y" | "true" => Ok(true),
        "no" | "n" | "false" => Ok(false),
        _ => Err("write yes or no".to_owned()),
    }
}

pub(super) fn network(text: &str) -> Result<IpNet, String> {
    value::network(text).map_err(|wrong| wrong.to_string())
}

pub(super) fn expiry(text: &str) -> Result<Expiry, String> {
    const LONGEST: Duration = Duration::from_secs(3_650 * 24 * 3_600);
    if let Some(day) = UnixTime::parse_day(text) {
        return Ok(Expiry::At(day));
    }
    let after = value::duration(text, &(Duration::from_secs(1)..=LONGEST));
    after
        .map(Expiry::After)
        .map_err(|_| "write a day such as 2027-01-31, or a time up to ten years such as 90d".to_owned())
}
