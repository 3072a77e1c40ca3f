//! Sample data for tests.

use tempfile::TempDir;

use super::{Device, DevicePassword, DevicePasswordId, SignIn, SignInKey, Verifier};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::UnixTime;
use gatepost_core::secret::RefreshToken;

/// A directory of this user alone, which goes away with the value.
pub(crate) fn directory() -> TempDir {
    let mut directory = tempfile::Builder::new();
    #[cfg(unix)]
    directory.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    directory.tempdir().unwrap()
}

pub(crate) fn key(login: &str) -> SignInKey {
    SignInKey {
        login: MailAddress::parse(login).unwrap(),
        authority: "https://login.example/".into(),
        tenant: "t".into(),
        client_id: "c".into(),
    }
}

pub(crate) fn sign_in(token: &str) -> SignIn {
    SignIn {
        refresh_token: RefreshToken::new(token.into()),
        tenant_id: "tid".into(),
        object_id: "oid".into(),
        username: "a@b".into(),
        scope: "s".into(),
        signed_in_at: UnixTime(1),
        rotated_at: UnixTime(1),
        refused: None,
    }
}

pub(crate) fn device_password(id: &str) -> DevicePassword {
    DevicePassword {
        id: DevicePasswordId(id.into()),
        login: MailAddress::parse("scanner@contoso.example").unwrap(),
        name: format!("Scanner {id}"),
        protocols: Vec::new(),
        from: Vec::new(),
        created_at: UnixTime(1),
        expires_at: None,
        verifier: Verifier::Generated([7; 32]),
        last_use: None,
    }
}

pub(crate) fn device() -> Device {
    Device {
        listener: "scanners".into(),
        protocol: "smtp".into(),
        source: [192, 0, 2, 7].into(),
        login: "scanner@contoso.example".into(),
        tls: "TLS 1.3".into(),
        method: "PLAIN".into(),
        first_seen: UnixTime(5),
        last_success: Some(UnixTime(5)),
        last_failure: None,
        logins: 1,
        failures: 0,
        messages: 0,
        senders: Vec::new(),
    }
}
