//! Sample data for tests.

use super::{DevicePassword, DevicePasswordId, SignIn, SignInKey, Verifier};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::UnixTime;
use gatepost_core::secret::RefreshToken;

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
