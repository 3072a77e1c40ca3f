//! A password that opens one account from one device, whoever else has others.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use gatepost_core::account::MailAddress;
use gatepost_core::clock::UnixTime;
use gatepost_core::protocol::Protocol;

/// Names a device password in lists, in the log and for `revoke`: eight characters that mean nothing.
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
    /// [`digest`](gatepost_config::password_hash::digest) of login and password: enough for a generated password of 100 bits,
    /// which nobody guesses.
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
    /// Where it may be used; empty: everywhere.
    pub protocols: Vec<Protocol>,
    /// From where it may be used; empty: from everywhere.
    pub from: Vec<IpNet>,
    /// When it was made.
    pub created_at: UnixTime,
    /// From when on it is refused.
    pub expires_at: Option<UnixTime>,
    /// What proves it.
    pub verifier: Verifier,
    /// `None`: never used.
    pub last_use: Option<LastUse>,
}
