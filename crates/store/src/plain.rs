//! The plain form of records: JSON, because it can be extended. A new field needs a default. A
//! field with a new meaning needs a higher format of the store.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{DevicePassword, DevicePasswordId, LastUse, SignIn, SignInKey, SignInRefused, Verifier};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::UnixTime;
use gatepost_core::protocol::Protocol;
use gatepost_core::secret::RefreshToken;

/// The octets do not hold a record of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotARecord;

/// The list of device passwords: see [`super::register`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct DevicePasswordList {
    /// Grows with every change, also when the store was emptied and is filled again, because it is
    /// at least the time in milliseconds.
    pub(super) count: u64,
    pub(super) ids: BTreeSet<String>,
}

/// The texts are borrowed, so that a secret is not copied on its way into the record.
#[derive(Serialize)]
struct SignInOut<'a> {
    login: &'a str,
    authority: &'a str,
    tenant: &'a str,
    client_id: &'a str,
    refresh_token: &'a str,
    tenant_id: &'a str,
    object_id: &'a str,
    username: &'a str,
    scope: &'a str,
    signed_in_at: u64,
    rotated_at: u64,
    refused: Option<RefusedRecord>,
}

#[derive(Deserialize)]
struct SignInIn {
    login: String,
    authority: String,
    tenant: String,
    client_id: String,
    refresh_token: String,
    tenant_id: String,
    object_id: String,
    username: String,
    scope: String,
    signed_in_at: u64,
    rotated_at: u64,
    refused: Option<RefusedRecord>,
}

#[derive(Serialize, Deserialize)]
struct RefusedRecord {
    at: u64,
    code: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct DevicePasswordRecord {
    id: String,
    login: String,
    name: String,
    protocols: Vec<String>,
    from: Vec<String>,
    created_at: u64,
    expires_at: Option<u64>,
    verifier: VerifierRecord,
    last_use: Option<LastUseRecord>,
    /// Whether it is in the register, which earlier versions did not have.
    #[serde(default)]
    registered: bool,
}

#[derive(Serialize, Deserialize)]
enum VerifierRecord {
    #[serde(rename = "generated")]
    Generated([u8; 32]),
    #[serde(rename = "chosen")]
    Chosen(String),
}

#[derive(Serialize, Deserialize)]
struct LastUseRecord {
    at: u64,
    from: IpAddr,
}

pub(super) fn of_sign_in(key: &SignInKey, sign_in: &SignIn) -> Result<Zeroizing<Vec<u8>>, NotARecord> {
    write(&SignInOut {
        login: key.login.as_str(),
        authority: &key.authority,
        tenant: &key.tenant,
        client_id: &key.client_id,
        refresh_token: sign_in.refresh_token.expose(),
        tenant_id: &sign_in.tenant_id,
        object_id: &sign_in.object_id,
        username: &sign_in.username,
        scope: &sign_in.scope,
        signed_in_at: sign_in.signed_in_at.0,
        rotated_at: sign_in.rotated_at.0,
        refused: sign_in.refused.map(|refused| RefusedRecord { at: refused.at.0, code: refused.code }),
    })
}

pub(super) fn to_sign_in(plain: &[u8]) -> Result<(SignInKey, SignIn), NotARecord> {
    let record: SignInIn = serde_json::from_slice(plain).map_err(|_| NotARecord)?;
    let key = SignInKey {
        login: MailAddress::parse(&record.login).map_err(|_| NotARecord)?,
        authority: record.authority,
        tenant: record.tenant,
        client_id: record.client_id,
    };
    let sign_in = SignIn {
        refresh_token: RefreshToken::new(record.refresh_token),
        tenant_id: record.tenant_id,
        object_id: record.object_id,
        username: record.username,
        scope: record.scope,
        signed_in_at: UnixTime(record.signed_in_at),
        rotated_at: UnixTime(record.rotated_at),
        refused: record.refused.map(|refused| SignInRefused { at: UnixTime(refused.at), code: refused.code }),
    };
    Ok((key, sign_in))
}

pub(super) fn of_device_password(
    password: &DevicePassword,
    registered: bool,
) -> Result<Zeroizing<Vec<u8>>, NotARecord> {
    write(&DevicePasswordRecord {
        id: password.id.0.clone(),
        login: password.login.as_str().to_owned(),
        name: password.name.clone(),
        protocols: password.protocols.iter().map(|protocol| protocol.name().to_owned()).collect(),
        from: password.from.iter().map(ToString::to_string).collect(),
        created_at: password.created_at.0,
        expires_at: password.expires_at.map(|at| at.0),
        verifier: match &password.verifier {
            Verifier::Generated(hash) => VerifierRecord::Generated(*hash),
            Verifier::Chosen(phc) => VerifierRecord::Chosen(phc.clone()),
        },
        last_use: password.last_use.map(|used| LastUseRecord { at: used.at.0, from: used.from }),
        registered,
    })
}

/// The password, and whether it was registered when it was made.
pub(super) fn to_device_password(plain: &[u8]) -> Result<(DevicePassword, bool), NotARecord> {
    let record: DevicePasswordRecord = serde_json::from_slice(plain).map_err(|_| NotARecord)?;
    // An unknown protocol makes the record unreadable: without that protocol it would allow more
    // than it should.
    let protocol = |name: &String| Protocol::ALL.into_iter().find(|known| known.name() == name).ok_or(NotARecord);
    let password = DevicePassword {
        id: DevicePasswordId(record.id),
        login: MailAddress::parse(&record.login).map_err(|_| NotARecord)?,
        name: record.name,
        protocols: record.protocols.iter().map(protocol).collect::<Result<_, _>>()?,
        from: record
            .from
            .iter()
            .map(|network| network.parse::<IpNet>().map_err(|_| NotARecord))
            .collect::<Result<_, _>>()?,
        created_at: UnixTime(record.created_at),
        expires_at: record.expires_at.map(UnixTime),
        verifier: match record.verifier {
            VerifierRecord::Generated(hash) => Verifier::Generated(hash),
            VerifierRecord::Chosen(phc) => Verifier::Chosen(phc),
        },
        last_use: record.last_use.map(|used| LastUse { at: UnixTime(used.at), from: used.from }),
    };
    Ok((password, record.registered))
}

pub(super) fn write(record: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, NotARecord> {
    // Reserves room for everything at once, because a buffer that grows leaves copies behind.
    let mut size = Counter(0);
    serde_json::to_writer(&mut size, record).map_err(|_| NotARecord)?;
    let mut plain = Zeroizing::new(Vec::with_capacity(size.0));
    serde_json::to_writer(&mut *plain, record).map_err(|_| NotARecord)?;
    Ok(plain)
}

/// Counts what is written.
struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0 += octets.len();
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::device_password;

    #[test]
    fn a_device_password_is_read_with_all_its_limits() {
        let limited = DevicePassword {
            protocols: vec![Protocol::ALL[1]],
            from: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            expires_at: Some(UnixTime(9)),
            verifier: Verifier::Chosen("$argon2id$".into()),
            last_use: Some(LastUse { at: UnixTime(8), from: "192.0.2.7".parse().unwrap() }),
            ..device_password("aaaaaaaa")
        };
        for password in [limited.clone(), device_password("bbbbbbbb")] {
            for registered in [true, false] {
                let plain = of_device_password(&password, registered).unwrap();
                assert_eq!(to_device_password(&plain).unwrap(), (password.clone(), registered));
            }
        }
        // Without a limit that is not understood it would open more than it should.
        let plain = String::from_utf8(of_device_password(&limited, true).unwrap().to_vec()).unwrap();
        let protocol = format!("\"{}\"", Protocol::ALL[1].name());
        for (known, unknown) in [(protocol.as_str(), "\"unknown\""), ("192.0.2.0/24", "192.0.2.0/33")] {
            let altered = plain.replace(known, unknown);
            assert_ne!(altered, plain);
            assert!(to_device_password(altered.as_bytes()).is_err(), "{altered}");
        }
    }

    #[test]
    fn a_record_is_written_into_a_buffer_that_never_grew() {
        for length in [0, 1, 100, 10_000] {
            let plain = write(&("a".repeat(length), length)).unwrap();
            assert_eq!(plain.capacity(), plain.len(), "a buffer that grows leaves copies of a secret behind");
        }
    }
}
