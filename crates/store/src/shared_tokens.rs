//! Access tokens that replicas share, as records of a database.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plain::{self, NotARecord};
use super::records::PassingRecords;
use super::seal::{Kind, Place};
use super::sealed::{Ring, Sealed, own_fault};
use super::{Lease, SharedKey, SharedToken, SharedTokens, StoreError, Stored};
use gatepost_core::clock::UnixTime;
use gatepost_core::secret::AccessToken;

#[derive(Serialize)]
struct TokenOut<'a> {
    access_token: &'a str,
    requested_at: u64,
    expires_at: u64,
}

#[derive(Deserialize)]
struct TokenIn {
    access_token: String,
    requested_at: u64,
    expires_at: u64,
}

impl SharedKey<'_> {
    fn place(self, ring: &Ring, kind: Kind) -> Place {
        ring.index.place(kind, self.token, self.password.map_or(b"", |password| password.expose().as_bytes()))
    }
}

impl Sealed {
    fn passing(&self) -> Result<&dyn PassingRecords, StoreError> {
        // Called only where replicas share tokens: see `Store::shared_tokens`.
        self.records().passing().ok_or_else(own_fault)
    }

    async fn read_token(&self, key: SharedKey<'_>) -> Result<Option<SharedToken>, StoreError> {
        let ring = self.ring().await?;
        let place = key.place(&ring, Kind::AccessToken);
        let record = self.passing()?.get(place).await.map_err(|fault| self.told(fault))?;
        // A record that cannot be opened counts as none: its key was rotated away, or Gatepost did
        // not write it.
        let opened = record.and_then(|record| ring.open(&place, &record).ok());
        let token = opened.and_then(|plain| serde_json::from_slice::<TokenIn>(&plain).ok());
        Ok(token.map(|token| SharedToken {
            access_token: Arc::new(AccessToken::new(token.access_token)),
            requested_at: UnixTime(token.requested_at),
            expires_at: UnixTime(token.expires_at),
        }))
    }

    async fn leave_token(&self, key: SharedKey<'_>, token: &SharedToken, life: Duration) -> Result<(), StoreError> {
        let ring = self.ring().await?;
        let place = key.place(&ring, Kind::AccessToken);
        let plain = plain::write(&TokenOut {
            access_token: token.access_token.expose(),
            requested_at: token.requested_at.0,
            expires_at: token.expires_at.0,
        });
        let record = ring.seal(&place, plain.map_err(|NotARecord| own_fault())?)?;
        self.passing()?.keep(place, record, life).await.map_err(|fault| self.told(fault))
    }
}

impl SharedTokens for Sealed {
    fn token<'a>(&'a self, key: SharedKey<'a>) -> Stored<'a, Option<SharedToken>> {
        Box::pin(self.read_token(key))
    }

    fn leave<'a>(&'a self, key: SharedKey<'a>, token: &'a SharedToken, life: Duration) -> Stored<'a, ()> {
        Box::pin(self.leave_token(key, token, life))
    }

    fn forget<'a>(&'a self, key: SharedKey<'a>) -> Stored<'a, ()> {
        Box::pin(async move {
            let place = key.place(&*self.ring().await?, Kind::AccessToken);
            self.passing()?.forget(place).await.map_err(|fault| self.told(fault))
        })
    }

    fn lease_request<'a>(&'a self, key: SharedKey<'a>, life: Duration) -> Stored<'a, Option<Lease>> {
        Box::pin(async move {
            let place = key.place(&*self.ring().await?, Kind::Lease);
            self.lease(place.name, life).await
        })
    }

    fn prolong<'a>(&'a self, lease: &'a Lease, life: Duration) -> Stored<'a, bool> {
        Box::pin(async move {
            let prolonged = self.records().take_lease(lease.place(), lease.holder, life).await;
            prolonged.map_err(|fault| self.told(fault))
        })
    }
}
