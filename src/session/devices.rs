//! Notes which clients connect: from where, how, and with what outcome, for `gatepost devices`.
//!
//! A login only notes something in memory. A task adds that to the store in batches, where other
//! replicas and a process that takes over do the same. If the store is away, what was noted waits,
//! within the bounds below, and nothing else is affected.
//!
//! A client is a device once it has logged in. Whatever strangers do is noted apart from devices and
//! within a bound of its own, so that it pushes none of them out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::session::connection_info::ConnectionInfo;
use gatepost_core::clock::{Clock, UnixTime};
use gatepost_core::failure::Failure;
use gatepost_core::protocol::Protocol;
use gatepost_store::{DEVICE_BUCKETS, Device, DeviceFailure, STRANGERS, Store, StoreError, device_bucket};

/// Most devices in one record, of which there are 64. The one that logged in longest ago is removed.
const DEVICES: usize = 200;

/// Most strangers. The one seen longest ago is removed.
const MOST_STRANGERS: usize = 256;

/// Most user names that one address of a device may fail with.
const NAMES: usize = 8;

/// Most devices that are noted between two batches, and most known places.
const NOTED: usize = DEVICES * DEVICE_BUCKETS as usize;

/// How often what was noted is added to the store.
const BATCH: Duration = Duration::from_secs(60);

/// How soon a new device is, and how soon after the batch before.
const SOON: Duration = Duration::from_secs(1);
const BETWEEN: Duration = Duration::from_secs(15);

/// How often devices that were not seen for long are removed.
const SWEEP: Duration = Duration::from_secs(3_600);

/// How often a record is written again when another process was faster.
const TRIES: usize = 8;

/// Longest text of a failure and of a name, in characters.
const TEXT: usize = 200;

/// A listener and an address.
type Place = (Arc<str>, IpAddr);

/// Notes devices until they are kept. Until [`DeviceLog::begin`] it notes nothing.
#[derive(Debug, Default)]
pub(crate) struct DeviceLog {
    noted: Mutex<Noted>,
    /// A device is new, or has a new kind of failure.
    news: Notify,
}

#[derive(Debug, Default)]
struct Noted {
    begun: bool,
    /// Since the last batch, by place and account.
    devices: HashMap<(Place, String), Device>,
    /// The same of clients that never logged in.
    strangers: HashMap<(Place, String), Device>,
    /// Where devices have logged in, with the names that failed there since the last batch.
    known: HashMap<Place, usize>,
}

impl DeviceLog {
    /// Begins to note devices.
    pub(crate) fn begin(&self) {
        self.noted().begun = true;
    }

    /// Notes a login.
    pub(super) fn logged_in(&self, protocol: Protocol, subject: &ConnectionInfo, login: &str, now: UnixTime) {
        self.succeeded(protocol, subject, login, now, |device| device.logins += 1);
    }

    /// Notes a message that Microsoft has accepted.
    pub(super) fn sent(
        &self,
        protocol: Protocol,
        subject: &ConnectionInfo,
        login: &str,
        sender: Option<&str>,
        now: UnixTime,
    ) {
        self.succeeded(protocol, subject, login, now, |device| {
            device.messages += 1;
            if let Some(sender) = sender {
                device.sends_as(&clipped(sender));
            }
        });
    }

    fn succeeded(
        &self,
        protocol: Protocol,
        subject: &ConnectionInfo,
        login: &str,
        now: UnixTime,
        count: impl FnOnce(&mut Device),
    ) {
        let mut noted = self.noted();
        if !noted.begun {
            return;
        }
        let place = place(subject);
        let is_new = !noted.known.contains_key(&place);
        if is_new && noted.known.len() < NOTED {
            noted.known.insert(place.clone(), 0);
        }
        let entry = (place, clipped(login));
        if noted.devices.len() >= NOTED && !noted.devices.contains_key(&entry) {
            return;
        }
        let device = noted.devices.entry(entry).or_insert_with_key(|(_, login)| seen(protocol, subject, login, now));
        let traits = subject.traits();
        (device.tls, device.method) = (traits.tls.to_owned(), traits.method.to_owned());
        device.last_success = Some(now);
        count(device);
        drop(noted);
        if is_new {
            self.news.notify_one();
        }
    }

    /// Notes a failure. `login` is what may be shown of the name; empty: there was none.
    pub(super) fn failed(
        &self,
        protocol: Protocol,
        subject: &ConnectionInfo,
        login: &str,
        failure: &Failure,
        now: UnixTime,
    ) {
        let mut guard = self.noted();
        let noted = &mut *guard;
        if !noted.begun {
            return;
        }
        let entry = (place(subject), clipped(login));
        let names = noted.known.get_mut(&entry.0);
        let is_known = names.is_some();
        let has_room = match names {
            Some(_) if noted.devices.contains_key(&entry) => true,
            Some(names) => {
                *names += 1;
                *names <= NAMES && noted.devices.len() < NOTED
            }
            None => noted.strangers.len() < MOST_STRANGERS || noted.strangers.contains_key(&entry),
        };
        if !has_room {
            return;
        }
        let table = if is_known { &mut noted.devices } else { &mut noted.strangers };
        let device = table.entry(entry).or_insert_with_key(|(_, login)| seen(protocol, subject, login, now));
        let cause = failure.cause.name();
        let is_news = is_known && device.last_failure.as_ref().is_none_or(|before| before.cause != cause);
        device.failures += 1;
        device.last_failure = Some(DeviceFailure { at: now, cause: cause.to_owned(), text: clipped(&failure.message) });
        drop(guard);
        if is_news {
            self.news.notify_one();
        }
    }

    /// Adds what was noted to the store again and again, and a last time after `end`. Devices that
    /// were not seen for `life` are removed.
    ///
    /// # Cancel safety
    /// None: a batch that is being added would be lost.
    pub(crate) async fn keep(&self, store: &dyn Store, life: Duration, end: impl Future<Output = ()>) {
        let clock = Clock::system();
        let mut end = pin!(end);
        let mut swept = None::<Instant>;
        loop {
            if swept.is_none_or(|swept| swept.elapsed() >= SWEEP) && self.sweep(store, life, clock.unix_time()).await {
                swept = Some(Instant::now());
            }
            self.add(store, life, clock.unix_time()).await;
            let last = Instant::now();
            tokio::select! {
                () = &mut end => return self.add(store, life, clock.unix_time()).await,
                () = sleep_until(last + BATCH) => {}
                () = async {
                    self.news.notified().await;
                    sleep_until((Instant::now() + SOON).max(last + BETWEEN)).await;
                } => {}
            }
        }
    }

    /// Adds what was noted to the store. What could not be added is noted still.
    async fn add(&self, store: &dyn Store, life: Duration, now: UnixTime) {
        let (devices, strangers) = {
            let mut noted = self.noted();
            noted.known.values_mut().for_each(|names| *names = 0);
            (std::mem::take(&mut noted.devices), std::mem::take(&mut noted.strangers))
        };
        let mut buckets: HashMap<u16, Vec<Device>> = HashMap::new();
        for device in devices.into_values() {
            buckets.entry(device_bucket(&device.listener, device.source)).or_default().push(device);
        }
        if !strangers.is_empty() {
            buckets.insert(STRANGERS, strangers.into_values().collect());
        }
        for (bucket, newer) in buckets {
            if let Err(error) = edit(store, bucket, &newer, life, now).await {
                tracing::debug!("the list of devices could not be written: {error}");
                self.put_back(bucket, newer);
            }
        }
    }

    fn put_back(&self, bucket: u16, devices: Vec<Device>) {
        let mut noted = self.noted();
        let (table, most) = match bucket {
            STRANGERS => (&mut noted.strangers, MOST_STRANGERS),
            _ => (&mut noted.devices, NOTED),
        };
        for mut device in devices {
            let entry = ((Arc::from(&*device.listener), device.source), device.login.clone());
            if let Some(newer) = table.remove(&entry) {
                device.add(&newer);
            }
            if table.len() < most {
                table.insert(entry, device);
            }
        }
    }

    /// Learns where devices have logged in, and removes those not seen for `life`. Returns false if
    /// the store is away.
    async fn sweep(&self, store: &dyn Store, life: Duration, now: UnixTime) -> bool {
        let mut known = HashMap::new();
        for bucket in 0..=STRANGERS {
            let Ok((devices, _)) = store.devices(bucket).await else { return false };
            if devices.iter().any(|device| now.since(device.last_seen()) >= life) {
                // It is tried again an hour later.
                let _away = edit(store, bucket, &[], life, now).await;
            }
            let logged_in = devices.into_iter().filter(|device| device.last_success.is_some());
            known.extend(logged_in.map(|device| ((Arc::from(device.listener), device.source), 0)));
        }
        let mut noted = self.noted();
        let new = std::mem::take(&mut noted.devices);
        known.extend(new.keys().map(|(place, _)| (place.clone(), 0)));
        (noted.devices, noted.known) = (new, known);
        true
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        // Counts and texts only. After a panic they are at worst incomplete.
        self.noted.lock()
    }
}

/// Adds devices to a record of the store, unless nothing changes.
async fn edit(
    store: &dyn Store,
    bucket: u16,
    newer: &[Device],
    life: Duration,
    now: UnixTime,
) -> Result<(), StoreError> {
    for _ in 0..TRIES {
        let (mut devices, version) = store.devices(bucket).await?;
        for device in newer {
            match devices.iter_mut().find(|known| known.is_same(device)) {
                Some(known) => known.add(device),
                None => devices.push(device.clone()),
            }
        }
        devices.retain(|device| now.since(device.last_seen()) < life);
        bound(&mut devices, bucket);
        match store.put_devices(bucket, &devices, version).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Changed) => {}
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::Changed)
}

/// Removes what is too much: of one place names that never logged in, and in all those that logged
/// in, or as strangers were seen, longest ago.
fn bound(devices: &mut Vec<Device>, bucket: u16) {
    if bucket == STRANGERS {
        devices.sort_by_key(|device| std::cmp::Reverse(device.last_seen()));
        return devices.truncate(MOST_STRANGERS);
    }
    devices.sort_by_key(|device| std::cmp::Reverse((device.last_success, device.last_seen())));
    let mut names: HashMap<(String, IpAddr), usize> = HashMap::new();
    devices.retain(|device| {
        let count = names.entry((device.listener.clone(), device.source)).or_default();
        *count += usize::from(device.last_success.is_none());
        device.last_success.is_some() || *count <= NAMES
    });
    devices.truncate(DEVICES);
}

fn place(subject: &ConnectionInfo) -> Place {
    (Arc::clone(&subject.listener), subject.peer.ip().to_canonical())
}

/// A device about which nothing is noted yet.
fn seen(protocol: Protocol, subject: &ConnectionInfo, login: &str, now: UnixTime) -> Device {
    let traits = subject.traits();
    Device {
        listener: subject.listener.to_string(),
        protocol: protocol.name().to_owned(),
        source: subject.peer.ip().to_canonical(),
        login: login.to_owned(),
        tls: traits.tls.to_owned(),
        method: traits.method.to_owned(),
        first_seen: now,
        last_success: None,
        last_failure: None,
        logins: 0,
        failures: 0,
        messages: 0,
        senders: Vec::new(),
    }
}

fn clipped(text: &str) -> String {
    text.chars().take(TEXT).collect()
}

#[cfg(test)]
mod tests;
