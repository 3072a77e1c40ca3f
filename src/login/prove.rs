//! The proof of a password that Entra never sees: a device password, or one of the configuration.
//!
//! A generated device password is found by its hash, without a queue and however much others guess. Everything else costs
//! an Argon2id hash at least, also for a name that nobody has, and is counted as a guess when it is wrong.

use std::sync::Arc;

use crate::account::MailAddress;
use crate::config::Account;
use crate::failure::Failure;
use crate::login::device::{KnownPassword, OfLogin};
use crate::login::forwarding::Source;
use crate::login::local::{Claim, NotProved};
use crate::login::{Gatekeeper, LoginRequest, explain};
use crate::oauth::grant::TokenKey;
use crate::store::StoreError;

/// The device password that was presented; `None` for one of the configuration.
type Proved = Option<Arc<KnownPassword>>;

impl Gatekeeper {
    /// Proves that the client may use `account`, of which it is `address`.
    pub(super) async fn prove_here(
        &self,
        account: &Account,
        address: &MailAddress,
        request: LoginRequest<'_>,
    ) -> Result<Proved, Failure> {
        let before = self.devices.mark();
        let refused = match self.try_passwords(account, address, request).await? {
            Ok(proved) => return Ok(self.note(proved, request)),
            Err(refused) => refused,
        };
        // It may be a device password that was made a moment ago.
        match self.devices.look_since(before).await {
            Ok(true) => match self.try_passwords(account, address, request).await? {
                Ok(proved) => Ok(self.note(proved, request)),
                Err(refused) => Err(not_proved(refused)),
            },
            Ok(false) => Err(not_proved(refused)),
            Err(error) => Err(not_looked_up(refused, &error)),
        }
    }

    /// Does for a name that no account fits what is done for a wrong password.
    pub(super) async fn refuse_unknown(&self, request: LoginRequest<'_>) -> Failure {
        let before = self.devices.mark();
        let who = TokenKey::encode(["unknown", request.login.as_str()]);
        let refused = match self.try_hashes(who.clone(), who, request, Vec::new).await {
            Ok(Err(refused)) => refused,
            // Nothing fits no hashes.
            Ok(Ok(_)) => NotProved::Wrong,
            Err(failure) => return failure,
        };
        match (self.devices.look_since(before).await, refused) {
            (Err(error), refused) => not_looked_up(refused, &error),
            (Ok(_), NotProved::Wrong) => explain::unknown_account(),
            (Ok(_), refused) => not_proved(refused),
        }
    }

    /// Tries what is known now. A right password that may not be used here and now is a failure of its own.
    async fn try_passwords(
        &self,
        account: &Account,
        address: &MailAddress,
        request: LoginRequest<'_>,
    ) -> Result<Result<Proved, NotProved>, Failure> {
        let known = self.devices.of(address);
        let admits = |device: &Arc<KnownPassword>| {
            let admitted = device.admits(request.protocol, request.source, self.clock.unix_time());
            admitted.map(|()| Arc::clone(device)).map_err(|outside| explain::outside(device, outside, request))
        };
        if let Some(device) = known.generated(address, request.password) {
            let admitted = admits(device);
            if admitted.is_err() {
                // Whoever presents it here takes as long as with a wrong one, and learns nothing.
                let _wrong = self.try_chosen(account, address, &known, request).await?;
            }
            return admitted.map(|device| Ok(Some(device)));
        }
        Ok(match self.try_chosen(account, address, &known, request).await? {
            Ok(place) => match known.chosen().get(place) {
                Some((device, _)) => Ok(Some(admits(device)?)),
                None => Ok(None),
            },
            Err(refused) => Err(refused),
        })
    }

    /// Tries the hashes of the login: those of its chosen device passwords, then those of the configuration.
    async fn try_chosen(
        &self,
        account: &Account,
        address: &MailAddress,
        known: &OfLogin,
        request: LoginRequest<'_>,
    ) -> Result<Result<usize, NotProved>, Failure> {
        // With other hashes it is another question, to which no answer is remembered.
        let ids: String = known.chosen().iter().map(|(device, _)| device.password().id.0.as_str()).collect();
        let who = who(address);
        let question = TokenKey::encode(["account", address.as_str(), &ids, &account.passwords.join(" ")]);
        let hashes = || {
            let chosen = known.chosen().iter().map(|(_, phc)| phc);
            chosen.chain(&account.passwords).cloned().collect()
        };
        self.try_hashes(who, question, request, hashes).await
    }

    async fn try_hashes(
        &self,
        who: TokenKey,
        question: TokenKey,
        request: LoginRequest<'_>,
        hashes: impl FnOnce() -> Vec<String>,
    ) -> Result<Result<usize, NotProved>, Failure> {
        let LoginRequest { password, source, .. } = request;
        let proof = self.prove(&question, password)?;
        Ok(self.local.prove(Claim { who, proof, password, source: Source::of(source) }, hashes).await)
    }

    fn note(&self, proved: Proved, request: LoginRequest<'_>) -> Proved {
        proved.inspect(|device| self.devices.note_use(device, request.source))
    }
}

/// Whose wrong passwords here are counted together.
pub(super) fn who(login: &MailAddress) -> TokenKey {
    TokenKey::encode(["account", login.as_str()])
}

fn not_proved(refused: NotProved) -> Failure {
    match refused {
        NotProved::Wrong => explain::wrong_local_password(),
        NotProved::Throttled => explain::guessed_too_often(),
        NotProved::Busy => explain::hashing_busy(),
        NotProved::Broken => explain::own_fault(),
    }
}

/// A password that could not be looked up is not a wrong one.
fn not_looked_up(refused: NotProved, error: &StoreError) -> Failure {
    match refused {
        NotProved::Wrong => explain::store_unavailable(error),
        refused => not_proved(refused),
    }
}
