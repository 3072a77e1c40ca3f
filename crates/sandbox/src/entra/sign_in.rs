//! Sign-ins of persons: authorization codes, device codes and refresh tokens, with the life that
//! each has.
//!
//! As at Entra, a code is good once and its second use revokes what the first gave; a refresh token
//! is answered with a newer one, and the older ones stay valid; all of a sign-in's tokens end
//! together.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;

use super::refusal::Refusal;
use super::request::{Consent, Person, Request, RequestedScope, TokenFailure};
use crate::random;
use gatepost_core::clock::Moment;

/// How long a code is good (Microsoft, "OAuth 2.0 authorization code flow": about ten minutes).
const CODE_LIFETIME: Duration = Duration::from_secs(600);
/// How long a refresh token is good after its last use (Microsoft, "Refresh tokens": 90 days).
const REFRESH_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3_600);
/// How many refresh tokens of one sign-in stay valid; older ones are no longer known.
const GENERATIONS: usize = 16;
/// How many sign-ins, codes and device codes are remembered, each.
const ENTRIES: usize = 10_000;
/// How much longer a device must wait after it polled too early (RFC 8628 §3.5).
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// The parts of an authorization request that the redemption must fit.
#[derive(Clone)]
pub(super) struct Binding {
    pub(super) redirect_uri: String,
    /// The PKCE challenge by the method `S256` (RFC 7636 §4.2).
    pub(super) challenge: String,
}

struct Code {
    request: Request,
    binding: Binding,
    person: Person,
    expires_at: Moment,
    /// The sign-in that it became.
    redeemed: Option<u64>,
}

enum DeviceState {
    Pending,
    Signed(Person),
    Declined,
}

struct Device {
    request: Request,
    user_code: String,
    state: DeviceState,
    expires_at: Moment,
    interval: Duration,
    polled_at: Option<Moment>,
}

struct SignIn {
    client_id: String,
    person: Person,
    /// What the person consented to: resource and permissions.
    consented: RequestedScope,
    tokens: VecDeque<String>,
    used_at: Moment,
    /// The AADSTS code that refuses its tokens, once it has ended.
    ended: Option<u32>,
}

#[derive(Default)]
struct SignInRecords {
    codes: HashMap<String, Code>,
    devices: HashMap<String, Device>,
    sign_ins: HashMap<u64, SignIn>,
    by_token: HashMap<String, u64>,
    number: u64,
}

/// All sign-ins, codes and device codes.
pub(crate) struct SignIns {
    kept: Mutex<SignInRecords>,
    device_lifetime: Duration,
    device_interval: Duration,
}

/// What a device shows, and polls with.
pub(super) struct DeviceCodes {
    pub(super) device_code: String,
    pub(super) user_code: String,
    pub(super) lifetime: Duration,
    pub(super) interval: Duration,
}

impl SignIns {
    pub(crate) fn new(device_lifetime: Duration, device_interval: Duration) -> Self {
        Self { kept: Mutex::default(), device_lifetime, device_interval }
    }

    /// A code for a person who signed in and consented.
    pub(super) fn consented(
        &self,
        request: Request,
        binding: Binding,
        person: Person,
        now: Moment,
    ) -> io::Result<String> {
        // So they begin at Microsoft.
        let form = if person.is_personal { "M.C540_BAY.2.U." } else { "1." };
        let code = format!("{form}{}", secret()?);
        let expires_at = now.after(CODE_LIFETIME);
        self.with(|kept| {
            kept.codes.retain(|_, code| now < code.expires_at);
            if kept.codes.len() >= ENTRIES {
                return Err(io::Error::other("too many codes"));
            }
            kept.codes.insert(code.clone(), Code { request, binding, person, expires_at, redeemed: None });
            Ok(code)
        })
    }

    /// Redeems a code.
    pub(super) fn redeem(
        &self,
        code: &str,
        client_id: &str,
        redirect_uri: &str,
        verifier: &str,
        now: Moment,
    ) -> Result<Consent, TokenFailure> {
        self.with(|kept| {
            let found = kept.codes.get(code).filter(|found| now < found.expires_at);
            let found = found.ok_or_else(|| Refusal::new(70008))?;
            if found.request.client_id != client_id {
                return Err(Refusal::new(700_005).into());
            }
            if let Some(number) = found.redeemed {
                // Another client may have had the code first (RFC 6749 §4.1.2).
                if let Some(sign_in) = kept.sign_ins.get_mut(&number) {
                    sign_in.ended = Some(70000);
                }
                return Err(Refusal::new(54005).into());
            }
            if found.binding.redirect_uri != redirect_uri {
                return Err(Refusal::new(500_112).into());
            }
            if found.binding.challenge != challenge(verifier) {
                return Err(Refusal::new(501_481).into());
            }
            let (request, person) = (found.request.clone(), found.person.clone());
            let (number, consent) = kept.begin(request, person, now)?;
            if let Some(found) = kept.codes.get_mut(code) {
                found.redeemed = Some(number);
            }
            Ok(consent)
        })
    }

    /// Begins a sign-in by device code.
    pub(super) fn device(&self, request: Request, now: Moment) -> io::Result<DeviceCodes> {
        let device_code = format!("D{}", secret()?);
        let octets: [u8; 9] = random::octets()?;
        // The alphabet has no vowels and no look-alikes (RFC 8628 §6.1).
        let user_code: String =
            octets.iter().map(|octet| char::from(b"BCDFGHJKLMNPQRSTVWXZ2345679"[usize::from(octet % 27)])).collect();
        let (lifetime, interval) = (self.device_lifetime, self.device_interval);
        self.with(|kept| {
            kept.devices.retain(|_, device| now < device.expires_at.after(CODE_LIFETIME));
            if kept.devices.len() >= ENTRIES {
                return Err(io::Error::other("too many device codes"));
            }
            let device = Device {
                request,
                user_code: user_code.clone(),
                state: DeviceState::Pending,
                expires_at: now.after(lifetime),
                interval,
                polled_at: None,
            };
            kept.devices.insert(device_code.clone(), device);
            Ok(DeviceCodes { device_code, user_code, lifetime, interval })
        })
    }

    /// What was asked by the device whose code a person typed in, if it waits for that.
    pub(super) fn pending(&self, user_code: &str, now: Moment) -> Option<Request> {
        self.with(|kept| kept.pending(user_code, now).map(|device| device.request.clone()))
    }

    /// The person signed in, or (`None`) said no; whether the code was one that waited for that.
    pub(super) fn decide(&self, user_code: &str, person: Option<Person>, now: Moment) -> bool {
        self.with(|kept| match kept.pending(user_code, now) {
            Some(device) => {
                device.state = person.map_or(DeviceState::Declined, DeviceState::Signed);
                true
            }
            None => false,
        })
    }

    /// Answers a device that asks whether the person is done.
    pub(super) fn poll(&self, device_code: &str, client_id: &str, now: Moment) -> Result<Consent, TokenFailure> {
        self.with(|kept| {
            let device = kept.devices.get_mut(device_code).filter(|device| device.request.client_id == client_id);
            let device = device.ok_or_else(|| Refusal::new(70018))?;
            if now >= device.expires_at {
                return Err(Refusal::new(70019).into());
            }
            let early = device.polled_at.is_some_and(|at| now.since(at) < device.interval);
            device.polled_at = Some(now);
            if early {
                device.interval = device.interval.saturating_add(SLOW_DOWN);
                return Err(Refusal::slow_down().into());
            }
            match &device.state {
                DeviceState::Pending => Err(Refusal::new(70016).into()),
                DeviceState::Declined => Err(Refusal::declined().into()),
                DeviceState::Signed(person) => {
                    let (request, person) = (device.request.clone(), person.clone());
                    kept.devices.remove(device_code);
                    kept.begin(request, person, now).map(|(_, consent)| consent)
                }
            }
        })
    }

    /// Exchanges a refresh token for `ask`.
    pub(super) fn refresh(
        &self,
        token: &str,
        client_id: &str,
        ask: RequestedScope,
        now: Moment,
    ) -> Result<Consent, TokenFailure> {
        self.with(|kept| {
            let number = kept.by_token.get(token).copied().ok_or_else(|| Refusal::new(70000))?;
            let sign_in = kept.sign_ins.get(&number).ok_or_else(|| Refusal::new(70000))?;
            if sign_in.client_id != client_id {
                return Err(Refusal::new(700_005).into());
            }
            if let Some(code) = sign_in.ended {
                return Err(Refusal::new(code).into());
            }
            if now.since(sign_in.used_at) >= REFRESH_LIFETIME {
                return Err(Refusal::new(700_082).into());
            }
            if !ask.is_within(&sign_in.consented) {
                return Err(Refusal::new(65001).into());
            }
            let user = sign_in.person.address.clone();
            let refresh_token = Some(kept.next_token(number, now)?);
            Ok(Consent { user, ask, nonce: None, refresh_token })
        })
    }

    /// A refresh token as if `person` had signed in and consented.
    pub(super) fn issue(&self, request: Request, person: Person, now: Moment) -> io::Result<Option<String>> {
        match self.with(|kept| kept.begin(request, person, now)) {
            Ok((_, consent)) => Ok(consent.refresh_token),
            Err(TokenFailure::Broken(error)) => Err(error),
            Err(TokenFailure::Refused(refusal)) => Err(io::Error::other(format!("AADSTS{}", refusal.code))),
        }
    }

    /// Every sign-in of a user so far is refused with this code from now on.
    pub(crate) fn end(&self, user: &str, code: u32) {
        let user = user.to_lowercase();
        self.with(|kept| {
            for sign_in in kept.sign_ins.values_mut().filter(|sign_in| sign_in.person.address == user) {
                sign_in.ended = Some(code);
            }
        });
    }

    /// Whether it is a refresh token of Entra's, good or not.
    pub(crate) fn knows(&self, token: &str) -> bool {
        self.person_of(token).is_some()
    }

    /// Whose refresh token it is.
    pub(super) fn person_of(&self, token: &str) -> Option<Person> {
        self.with(|kept| Some(kept.sign_ins.get(kept.by_token.get(token)?)?.person.clone()))
    }

    /// Whose authorization code it is.
    pub(super) fn person_of_code(&self, code: &str) -> Option<Person> {
        self.with(|kept| Some(kept.codes.get(code)?.person.clone()))
    }

    fn with<R>(&self, work: impl FnOnce(&mut SignInRecords) -> R) -> R {
        work(&mut self.kept.lock())
    }
}

impl SignInRecords {
    fn begin(&mut self, request: Request, person: Person, now: Moment) -> Result<(u64, Consent), TokenFailure> {
        if self.sign_ins.len() >= ENTRIES {
            return Err(TokenFailure::Broken(io::Error::other("too many sign-ins")));
        }
        self.number += 1;
        let number = self.number;
        let Request { client_id, ask, nonce, .. } = request;
        let (consented, user) = (ask.clone(), person.address.clone());
        let sign_in = SignIn { client_id, person, consented, tokens: VecDeque::new(), used_at: now, ended: None };
        self.sign_ins.insert(number, sign_in);
        let refresh_token = if ask.offline_access { Some(self.next_token(number, now)?) } else { None };
        Ok((number, Consent { user, ask, nonce, refresh_token }))
    }

    fn next_token(&mut self, number: u64, now: Moment) -> Result<String, TokenFailure> {
        let secret = secret().map_err(TokenFailure::Broken)?;
        if let Some(sign_in) = self.sign_ins.get_mut(&number) {
            // Those of personal accounts have characters that a form must encode.
            let token = match sign_in.person.is_personal {
                true => format!("M.C540_BAY.0.U.-{}$$", secret.replace('_', "!").replace('-', "*")),
                false => format!("0.A{secret}"),
            };
            sign_in.used_at = now;
            sign_in.tokens.push_back(token.clone());
            if sign_in.tokens.len() > GENERATIONS
                && let Some(oldest) = sign_in.tokens.pop_front()
            {
                self.by_token.remove(&oldest);
            }
            self.by_token.insert(token.clone(), number);
            return Ok(token);
        }
        Err(TokenFailure::Broken(io::Error::other("the sign-in is not known")))
    }

    fn pending(&mut self, user_code: &str, now: Moment) -> Option<&mut Device> {
        let typed = user_code.trim().to_uppercase();
        self.devices.values_mut().find(|device| {
            device.user_code == typed && now < device.expires_at && matches!(device.state, DeviceState::Pending)
        })
    }
}

fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
}

fn secret() -> io::Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(random::octets::<48>()?))
}
