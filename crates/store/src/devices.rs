//! Clients that connected lately, for the administrator: from where, how, and with what outcome.
//! Nothing here decides about a login.

use std::net::IpAddr;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::plain::{self, NotARecord};
use gatepost_core::clock::UnixTime;
use gatepost_core::tuple_key::TupleKey;

/// The number of records that hold the devices, by listener and address.
pub const DEVICE_BUCKETS: u16 = 64;

/// The record of clients that never logged in. Strangers fill it, and only it.
pub const STRANGERS: u16 = DEVICE_BUCKETS;

/// Most envelope senders that are kept of a device.
pub const SENDERS: usize = 5;

/// A client: one address at one listener with one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The name of the listener.
    pub listener: String,
    /// The protocol of the listener, as in the configuration.
    pub protocol: String,
    /// The address.
    pub source: IpAddr,
    /// The account, or what may be shown of a user name without one; empty: no login was tried.
    pub login: String,
    /// The version of TLS, such as `TLS 1.3`; empty: none.
    pub tls: String,
    /// How it logged in, such as `PLAIN`; empty: it did not try.
    pub method: String,
    /// When it was first seen.
    pub first_seen: UnixTime,
    /// The last login.
    pub last_success: Option<UnixTime>,
    /// What failed last.
    pub last_failure: Option<DeviceFailure>,
    /// Logins that succeeded.
    pub logins: u64,
    /// What failed: logins, messages, requests.
    pub failures: u64,
    /// Messages that Microsoft accepted.
    pub messages: u64,
    /// Envelope senders of them, the latest first; [`SENDERS`] at most.
    pub senders: Vec<String>,
}

/// A failure of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceFailure {
    /// When.
    pub at: UnixTime,
    /// The cause, as in the log.
    pub cause: String,
    /// What happened, without the remedy.
    pub text: String,
}

impl Device {
    /// When it was seen last.
    pub fn last_seen(&self) -> UnixTime {
        let failed = self.last_failure.as_ref().map(|failure| failure.at);
        [self.last_success, failed].into_iter().flatten().fold(self.first_seen, UnixTime::max)
    }

    /// Whether this is about the same client.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.source, &self.listener, &self.login) == (other.source, &other.listener, &other.login)
    }

    /// Adds what `newer` counted since. How the client connects is taken from the later login, and
    /// from a failure only if none has succeeded.
    pub fn add(&mut self, newer: &Self) {
        if newer.last_success.is_some() || self.last_success.is_none() {
            (self.tls, self.method) = (newer.tls.clone(), newer.method.clone());
        }
        self.protocol.clone_from(&newer.protocol);
        self.first_seen = self.first_seen.min(newer.first_seen);
        self.last_success = self.last_success.max(newer.last_success);
        let at = |device: &Self| device.last_failure.as_ref().map(|failure| failure.at);
        if at(newer) >= at(self) {
            self.last_failure.clone_from(&newer.last_failure);
        }
        self.logins = self.logins.saturating_add(newer.logins);
        self.failures = self.failures.saturating_add(newer.failures);
        self.messages = self.messages.saturating_add(newer.messages);
        for sender in newer.senders.iter().rev() {
            self.sends_as(sender);
        }
    }

    /// Notes an envelope sender.
    pub fn sends_as(&mut self, sender: &str) {
        self.senders.retain(|known| known != sender);
        self.senders.insert(0, sender.to_owned());
        self.senders.truncate(SENDERS);
    }
}

/// Returns the record of devices at this listener and address. It is the same in every process.
pub fn device_bucket(listener: &str, source: IpAddr) -> u16 {
    let tuple = TupleKey::encode([listener, &source.to_string()]);
    let hash = digest::digest(&digest::SHA256, tuple.as_bytes());
    hash.as_ref().first().map_or(0, |octet| u16::from(*octet) % DEVICE_BUCKETS)
}

pub(super) fn write(devices: &[Device]) -> Result<Zeroizing<Vec<u8>>, NotARecord> {
    plain::write(&devices)
}

pub(super) fn read(plain: &[u8]) -> Result<Vec<Device>, NotARecord> {
    serde_json::from_slice(plain).map_err(|_| NotARecord)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::device;

    fn failure(at: u64, cause: &str) -> Option<DeviceFailure> {
        Some(DeviceFailure { at: UnixTime(at), cause: cause.into(), text: "refused".into() })
    }

    #[test]
    fn a_client_is_known_by_its_address_listener_and_account() {
        let one = device();
        let later = Device { tls: String::new(), logins: 9, first_seen: UnixTime(8), ..device() };
        assert!(one.is_same(&later));
        for other in [
            Device { source: [192, 0, 2, 8].into(), ..device() },
            Device { listener: "office".into(), ..device() },
            Device { login: String::new(), ..device() },
        ] {
            assert!(!one.is_same(&other), "{other:?}");
        }
    }

    #[test]
    fn how_a_client_connects_is_taken_from_the_later_login() {
        let failed = || Device { last_success: None, last_failure: failure(9, "bad_password"), ..device() };
        let plain = |device| Device { tls: String::new(), method: "LOGIN".into(), ..device };
        // What is known, what is newer, and whether the newer one counts.
        for (mut known, newer, counts) in [
            (device(), plain(device()), true),
            (device(), plain(failed()), false),
            (failed(), plain(failed()), true),
            (failed(), plain(device()), true),
        ] {
            known.add(&newer);
            let expected = if counts { ("", "LOGIN") } else { ("TLS 1.3", "PLAIN") };
            assert_eq!((known.tls.as_str(), known.method.as_str()), expected, "{newer:?}");
        }
    }

    #[test]
    fn what_was_counted_since_is_added() {
        let mut known = Device { failures: 2, messages: 3, last_failure: failure(7, "new"), ..device() };
        let newer = Device {
            first_seen: UnixTime(4),
            last_success: Some(UnixTime(6)),
            last_failure: failure(6, "old"),
            logins: u64::MAX,
            failures: 10,
            messages: 20,
            ..device()
        };
        known.add(&newer);
        assert_eq!((known.logins, known.failures, known.messages), (u64::MAX, 12, 23));
        assert_eq!((known.first_seen, known.last_success), (UnixTime(4), Some(UnixTime(6))));
        assert_eq!((known.last_failure.clone(), known.last_seen()), (failure(7, "new"), UnixTime(7)));
        known.add(&Device { last_failure: failure(8, "newest"), ..device() });
        assert_eq!((known.last_failure.clone(), known.last_seen()), (failure(8, "newest"), UnixTime(8)));
        // Nothing failed since.
        known.add(&device());
        assert_eq!(known.last_failure, failure(8, "newest"));
    }

    #[test]
    fn the_latest_senders_of_a_client_are_kept_once_each() {
        let mut known = device();
        for sender in ["a", "b", "c", "d", "e", "a"] {
            known.sends_as(sender);
        }
        assert_eq!(known.senders, ["a", "e", "d", "c", "b"]);
        known.add(&Device { senders: vec!["f".into(), "c".into()], ..device() });
        assert_eq!(known.senders, ["f", "c", "a", "e", "d"]);
    }

    #[test]
    fn every_process_finds_a_client_in_the_same_record() {
        // At another place than now, what is in the store would not be found any more.
        let buckets = |listener| [7, 8, 9, 10].map(|host| device_bucket(listener, [192, 0, 2, host].into()));
        assert_eq!((buckets("scanners"), buckets("office")), ([42, 26, 59, 20], [31, 60, 60, 2]));
        let all = (0..=255).map(|host| device_bucket("scanners", [192, 0, 2, host].into()));
        let all: std::collections::BTreeSet<_> = all.collect();
        assert!(all.len() > 50 && all.iter().all(|bucket| *bucket < STRANGERS), "{all:?}");
    }
}
