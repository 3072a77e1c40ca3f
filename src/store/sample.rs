//! What tests keep.

use super::{SignIn, SignInKey};
use crate::account::MailAddress;
use crate::clock::UnixTime;
use crate::secret::RefreshToken;

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
