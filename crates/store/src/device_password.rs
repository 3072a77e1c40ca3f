//! A password that opens one account from one device.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use gatepost_core::account::MailAddress;
use gatepost_core::clock::UnixTime;
use gatepost_core::protocol::Protocol;

/// The id of a device password in lists, in the log and for `revoke`: eight characters without a
/// meaning.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DevicePasswordId(pub String);

impl fmt::Display for DevicePasswordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a presented password is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verifier {
    /// [`digest`](gatepost_config::password_hash::digest) of login and password: enough for a
    /// generated password of 100 bits, which nobody guesses.
    Generated([u8; 32]),
    /// An Argon2id PHC string, for a password that a person chose.
    Chosen(String),
}

/// When and from where a device password was used last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastUse {
    /// When.
    pub at: UnixTime,
    /// The client's address.
    pub from: IpAddr,
}

/// A device password, without the password itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePassword {
    /// Its id.
    pub id: DevicePasswordId,
    /// The address that it opens.
    pub login: MailAddress,
    /// What the operator calls it, such as `Scanner, 3rd floor`.
    pub name: String,
    /// The protocols that it may be used with; empty: all.
    pub protocols: Vec<Protocol>,
    /// The networks that it may be used from; empty: all.
    pub from: Vec<IpNet>,
    /// When it was created.
    pub created_at: UnixTime,
    /// The time from which it is refused.
    pub expires_at: Option<UnixTime>,
    /// What a presented password is compared with.
    pub verifier: Verifier,
    /// The last use; `None`: never used.
    pub last_use: Option<LastUse>,
}
