//! The list of device passwords: a sealed list in addition to their records. With it nobody can
//! bring back a revoked password by writing its old record into the database again.
//!
//! List and record change in one step. A record that is not in the list is refused and reported.
//! The list counts its changes, and a process that has seen a newer list uses that one. Two things
//! go unnoticed. One is that list and records of the same moment were put back together while no
//! process ran, as a restored backup does. The other is that a valid password has an older record,
//! because only its last use ever changes.
//!
//! Sign-ins and guesses have no such list. A renewal writes a sign-in, often, and would have to
//! write the list as well. An old refresh token opens nothing without the account's own password.
//! And somebody who can put old guesses back can also remove them.

use std::collections::BTreeSet;

use parking_lot::MutexGuard;

use super::plain::{self, DevicePasswordList, NotARecord};
use super::records::{Change, Fault};
use super::seal::{Kind, Place};
use super::sealed::{Ring, Sealed, TRIES, own_fault, with_keys};
use super::{DevicePassword, DevicePasswordId, StoreError};
use gatepost_core::clock::since_1970;
use gatepost_core::tuple_key::TupleKey;

/// The list, as it was read.
#[derive(Default)]
struct Register {
    /// Its version; `None`: the store has no list.
    version: Option<u64>,
    list: DevicePasswordList,
}

impl Register {
    fn has(&self, id: &DevicePasswordId) -> bool {
        self.list.ids.contains(&id.0)
    }

    /// The change that writes this list over the one that was read.
    fn change(&self, ring: &Ring) -> Result<Change, StoreError> {
        let place = place(ring);
        let record = ring.seal(&place, plain::write(&self.list).map_err(|NotARecord| own_fault())?)?;
        Ok(Change { place, replaces: self.version, record: Some(record) })
    }
}

fn place(ring: &Ring) -> Place {
    ring.index.place(Kind::Register, &TupleKey::encode(["device passwords"]), b"")
}

impl Sealed {
    /// The valid device passwords.
    pub(super) async fn registered_passwords(&self) -> Result<Vec<DevicePassword>, StoreError> {
        for _ in 0..TRIES {
            let register = self.register().await?;
            let listed = self.list(Kind::DevicePassword, plain::to_device_password).await?;
            if listed.iter().all(|(password, _)| register.has(&password.id)) {
                return Ok(listed.into_iter().map(|(password, _)| password).collect());
            }
            let none_yet = register.version.is_none() && register.list.count == 0;
            if none_yet && listed.iter().all(|(_, registered)| !registered) {
                // An earlier version of Gatepost has written all of them.
                self.begin(&listed).await?;
            } else if self.register().await?.version == register.version {
                return Ok(self.only_registered(&register, listed));
            }
            // The list was changed between the two reads.
        }
        Err(self.contended())
    }

    fn only_registered(&self, register: &Register, listed: Vec<(DevicePassword, bool)>) -> Vec<DevicePassword> {
        let (counting, others): (Vec<_>, Vec<_>) =
            listed.into_iter().map(|(password, _)| password).partition(|password| register.has(&password.id));
        for DevicePassword { id, login, .. } in others {
            let store = self.records().shown();
            tracing::error!(
                store,
                account = login.as_str(),
                "device password {id} of {login} is refused: its record is in the store, but not in the store's own list. \
                 Somebody who can write to `{store}` put a revoked one back, or removed the list. Find out who has that \
                 access, and take it away"
            );
        }
        counting
    }

    /// Adds a device password to the list and to the records.
    pub(super) async fn add_registered(&self, password: &DevicePassword) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            if self.register().await?.version.is_none() {
                // The passwords of an earlier version are listed first.
                self.registered_passwords().await?;
            }
            let added = with_keys!(self, ring => async {
                let mut register = self.read_register(&ring).await?;
                register.list.ids.insert(password.id.0.clone());
                let place = Self::place(&ring, Kind::DevicePassword, &password.id.tuple());
                let plain = plain::of_device_password(password, true).map_err(|NotARecord| own_fault())?;
                let replaces = self.records().get(ring.current, place).await?.map(|record| record.version);
                let record = Change { place, replaces, record: Some(ring.seal(&place, plain)?) };
                self.change_register(&ring, register, vec![record]).await
            })?;
            if added {
                return Ok(());
            }
        }
        Err(self.contended())
    }

    /// Removes a device password from the list and the records; false when neither has it.
    pub(super) async fn revoke_registered(&self, id: &DevicePasswordId) -> Result<bool, StoreError> {
        for _ in 0..TRIES {
            if self.register().await?.version.is_none() {
                self.registered_passwords().await?;
            }
            let revoked = with_keys!(self, ring => async {
                let mut register = self.read_register(&ring).await?;
                let place = Self::place(&ring, Kind::DevicePassword, &id.tuple());
                let present = self.records().get(ring.current, place).await?;
                if !register.list.ids.remove(&id.0) && present.is_none() {
                    return Ok(None);
                }
                let record = present.map(|present| Change { place, replaces: Some(present.version), record: None });
                self.change_register(&ring, register, record.into_iter().collect()).await.map(Some)
            })?;
            match revoked {
                None => return Ok(false),
                Some(true) => return Ok(true),
                Some(false) => {}
            }
        }
        Err(self.contended())
    }

    /// Writes the first list.
    async fn begin(&self, listed: &[(DevicePassword, bool)]) -> Result<(), StoreError> {
        let ids: BTreeSet<String> = listed.iter().map(|(password, _)| password.id.0.clone()).collect();
        with_keys!(self, ring => async {
            let first = Register { version: None, list: DevicePasswordList { count: 0, ids: ids.clone() } };
            // Another process that was faster wrote the same list, or a later one.
            self.change_register(&ring, first, Vec::new()).await.map(drop)
        })
    }

    async fn change_register(&self, ring: &Ring, mut register: Register, with: Vec<Change>) -> Result<bool, Fault> {
        let now = u64::try_from(since_1970().as_millis()).unwrap_or_default();
        register.list.count = now.max(register.list.count.saturating_add(1));
        let mut changes = vec![register.change(ring)?];
        changes.extend(with);
        let changed = self.records().change(ring.current, changes, true).await?;
        let mut newest = self.newest_list();
        if changed && newest.count < register.list.count {
            *newest = register.list;
        }
        Ok(changed)
    }

    async fn register(&self) -> Result<Register, StoreError> {
        with_keys!(self, ring => self.read_register(&ring))
    }

    /// The list in the store, or a newer one that this process has seen. A list that cannot be
    /// opened counts as empty.
    async fn read_register(&self, ring: &Ring) -> Result<Register, Fault> {
        let place = place(ring);
        let record = self.records().get(ring.current, place).await?;
        let version = record.as_ref().map(|record| record.version);
        let list = record.map(|record| {
            let opened = ring.open(&place, &record).map_err(|_| NotARecord);
            let list =
                opened.and_then(|plain| serde_json::from_slice::<DevicePasswordList>(&plain).map_err(|_| NotARecord));
            list.unwrap_or_else(|NotARecord| {
                tracing::error!("{}", self.damaged("the list of device passwords"));
                DevicePasswordList::default()
            })
        });
        let list = list.unwrap_or_default();
        let mut newest = self.newest_list();
        if list.count < newest.count {
            let store = self.records().shown();
            tracing::error!(
                store,
                "`{store}` has an older list of device passwords than before, so the newer one in memory counts. If you have \
                 restored a backup, restart Gatepost. If not, find out who put it back"
            );
            return Ok(Register { version, list: newest.clone() });
        }
        newest.clone_from(&list);
        Ok(Register { version, list })
    }

    fn newest_list(&self) -> MutexGuard<'_, DevicePasswordList> {
        // The list is only replaced as a whole.
        self.newest_register.lock()
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::Store as _;
    use crate::open::unproved;
    use crate::sample::{self, device_password};
    use gatepost_config::{State, StateKey};

    /// A store with its directory, which is removed in the end.
    struct World {
        store: Sealed,
        directory: TempDir,
    }

    impl World {
        async fn new() -> Self {
            let directory = sample::directory();
            let key = StateKey::File(directory.path().join("state.key"));
            let state = State::Sqlite { directory: directory.path().to_owned(), key };
            let store = unproved(&state).await.unwrap().unwrap();
            store.start().await.unwrap();
            Self { store, directory }
        }

        /// Writes the record of a password as earlier versions did.
        async fn write_unregistered(&self, password: &DevicePassword) {
            let plain = || plain::of_device_password(password, false);
            self.store.write(Kind::DevicePassword, &password.id.tuple(), None, true, plain).await.unwrap();
        }

        async fn ids(&self) -> Vec<String> {
            self.store.device_passwords().await.unwrap().into_iter().map(|password| password.id.0).collect()
        }

        /// What somebody does who can write to the database, and does not have the key.
        fn sql(&self, statements: &str) {
            let connection = rusqlite::Connection::open(self.directory.path().join("gatepost.sqlite")).unwrap();
            connection.execute_batch(statements).unwrap();
        }
    }

    #[tokio::test]
    async fn a_revoked_password_does_not_come_back_with_the_old_list() {
        let world = World::new().await;
        for id in ["aaaaaaaa", "bbbbbbbb"] {
            world.store.add_device_password(&device_password(id)).await.unwrap();
        }
        world.sql("CREATE TABLE before AS SELECT * FROM records");
        assert!(world.store.revoke_device_password(&DevicePasswordId("bbbbbbbb".into())).await.unwrap());
        world.sql("DELETE FROM records; INSERT INTO records SELECT * FROM before");
        assert_eq!(world.ids().await, ["aaaaaaaa"]);
        // What is added then is listed over the newest list, and not over the old one.
        world.store.add_device_password(&device_password("cccccccc")).await.unwrap();
        assert_eq!(world.ids().await, ["aaaaaaaa", "cccccccc"]);
    }

    #[tokio::test]
    async fn a_revoked_password_does_not_come_back_without_the_list() {
        let world = World::new().await;
        for id in ["aaaaaaaa", "bbbbbbbb"] {
            world.write_unregistered(&device_password(id)).await;
        }
        assert_eq!(world.ids().await, ["aaaaaaaa", "bbbbbbbb"]);
        let register = Kind::Register as u8;
        world.sql(&format!("CREATE TABLE before AS SELECT * FROM records WHERE kind <> {register}"));
        assert!(world.store.revoke_device_password(&DevicePasswordId("bbbbbbbb".into())).await.unwrap());
        world.sql("DELETE FROM records; INSERT INTO records SELECT * FROM before");
        assert_eq!(world.ids().await, ["aaaaaaaa"]);
    }

    #[tokio::test]
    async fn a_list_that_was_altered_makes_no_password_valid() {
        let world = World::new().await;
        world.write_unregistered(&device_password("aaaaaaaa")).await;
        let register = Kind::Register as u8;
        assert_eq!(world.ids().await, ["aaaaaaaa"]);
        world.sql(&format!("UPDATE records SET sealed = zeroblob(length(sealed)) WHERE kind = {register}"));
        // Only the process that has seen the list knows it.
        assert_eq!(world.ids().await, ["aaaaaaaa"]);
        let key = StateKey::File(world.directory.path().join("state.key"));
        let state = State::Sqlite { directory: world.directory.path().to_owned(), key };
        let next = unproved(&state).await.unwrap().unwrap();
        next.start().await.unwrap();
        assert!(next.device_passwords().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_list_that_was_not_written_does_not_count() {
        let world = World::new().await;
        world.store.add_device_password(&device_password("aaaaaaaa")).await.unwrap();
        let ring = world.store.ring().await.unwrap();
        let overtaken = Register { version: Some(1), list: DevicePasswordList::default() };
        assert_eq!(world.store.change_register(&ring, overtaken, Vec::new()).await, Ok(false));
        assert_eq!(world.ids().await, ["aaaaaaaa"]);
    }

    #[tokio::test]
    async fn passwords_of_an_earlier_version_are_listed_at_the_first_look() {
        let world = World::new().await;
        let (one, two) = (device_password("aaaaaaaa"), device_password("bbbbbbbb"));
        for password in [&one, &two] {
            world.write_unregistered(password).await;
        }
        let store = &world.store;
        assert_eq!(store.device_passwords().await.unwrap(), [one.clone(), two.clone()]);
        // What is made in that way now is no longer one of them.
        world.write_unregistered(&device_password("cccccccc")).await;
        assert_eq!(store.device_passwords().await.unwrap(), [one.clone(), two.clone()]);
        assert!(store.revoke_device_password(&two.id).await.unwrap());
        assert_eq!(store.device_passwords().await.unwrap(), [one]);
    }
}
