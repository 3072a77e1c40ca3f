//! State directories that go away with their test, and what is kept in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gatepost_config::{State, StateKey};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::UnixTime;
use gatepost_core::protocol::Protocol;
use gatepost_core::secret::RefreshToken;
use gatepost_store::{DevicePassword, DevicePasswordId, OpenError, SignIn, SignInKey, Store, Verifier};

use crate::common::directory;

/// A directory in memory, where there is one: what is tested is the order of writes, not the disk.
pub(crate) struct Directory {
    /// It is for the store to make it.
    path: PathBuf,
    _around: directory::Directory,
}

impl Directory {
    pub(crate) fn new() -> Self {
        let around = directory::Directory::in_memory();
        Self { path: around.file("state"), _around: around }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn state(&self) -> State {
        state(&self.path)
    }

    pub(crate) async fn open(&self) -> Result<Arc<dyn Store>, OpenError> {
        gatepost_store::open(&self.state()).await
    }
}

/// SQLite in the directory, with its key beside it.
pub(crate) fn state(directory: &Path) -> State {
    State::Sqlite { directory: directory.to_path_buf(), key: StateKey::File(directory.join("state.key")) }
}

pub(crate) fn key(user: &str) -> SignInKey {
    SignInKey {
        login: MailAddress::parse(&format!("{user}@contoso.example")).unwrap(),
        authority: "https://login.example/".into(),
        tenant: "contoso.example".into(),
        client_id: "app".into(),
    }
}

pub(crate) fn sign_in(token: &str) -> SignIn {
    SignIn {
        refresh_token: RefreshToken::new(token.into()),
        tenant_id: "tid".into(),
        object_id: "oid".into(),
        username: "alice@contoso.example".into(),
        scope: "https://outlook.office.com/.default offline_access".into(),
        signed_in_at: UnixTime(1_767_225_600),
        rotated_at: UnixTime(1_767_225_601),
        refused: None,
    }
}

pub(crate) fn password(id: &str) -> DevicePassword {
    DevicePassword {
        id: DevicePasswordId(id.into()),
        login: MailAddress::parse("scanner@contoso.example").unwrap(),
        name: "Scanner, 3rd floor".into(),
        protocols: vec![Protocol::Smtp],
        from: vec!["192.168.7.0/24".parse().unwrap()],
        created_at: UnixTime(1_767_225_600),
        expires_at: Some(UnixTime(1_798_761_600)),
        verifier: Verifier::Generated([7; 32]),
        last_use: None,
    }
}

/// The refresh token that is kept for a user.
pub(crate) async fn token_of(store: &dyn Store, user: &str) -> Option<String> {
    store.sign_in(&key(user)).await.unwrap().map(|(sign_in, _)| sign_in.refresh_token.expose().to_owned())
}

/// The refresh token of a sign-in, as the number that some tests keep there.
pub(crate) fn counter_of(sign_in: &SignIn) -> u64 {
    sign_in.refresh_token.expose().parse().unwrap()
}
