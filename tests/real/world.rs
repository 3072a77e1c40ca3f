//! What all tests share: the mailbox server, its Entra and the place where sent mail arrives. The
//! first test starts them, the last one to end stops them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

use tokio::runtime::{Builder, Runtime};

use super::authority::Authority;
use super::dovecot::Dovecot;
use super::entra::Entra;
use super::process::Directory;
use super::sink::Sink;

/// The servers. The order of the fields is that of their end.
pub(crate) struct World {
    pub(crate) dovecot: Dovecot,
    pub(crate) entra: Entra,
    pub(crate) sink: Sink,
    pub(crate) authority: Authority,
    _runtime: Runtime,
    _directory: Directory,
}

/// Somebody with a mailbox, known to one test only.
pub(crate) struct Person {
    pub(crate) login: String,
    pub(crate) password: String,
}

impl World {
    /// The running one, or a new one.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<World>> = Mutex::new(Weak::new());
        // A test that failed in here leaves nothing half done: `Weak` is set at the very end.
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let world = Arc::new(Self::start());
            *shared = Arc::downgrade(&world);
            world
        })
    }

    fn start() -> Self {
        let directory = Directory::new();
        let authority = Authority::new(&directory);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let entra = Entra::start(&runtime, &authority);
        let sink = Sink::start(&runtime);
        let introspection = format!("http://127.0.0.1:{}/introspect", entra.introspection_port);
        let dovecot = Dovecot::start(&directory, &authority, &introspection, sink.port);
        Self { dovecot, entra, sink, authority, _runtime: runtime, _directory: directory }
    }

    /// Somebody new whose inbox holds these messages.
    pub(crate) fn person(&self, name: &str, messages: impl IntoIterator<Item = Vec<u8>>) -> Person {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Blanks, quotes, and what else has a meaning in one of the protocols or in a form.
        self.person_with_password(name, &format!("pass \"word\\{number}+&%20=*)"), messages)
    }

    /// The same with a password of the test's choice.
    pub(crate) fn person_with_password(
        &self,
        name: &str,
        password: &str,
        messages: impl IntoIterator<Item = Vec<u8>>,
    ) -> Person {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let login = format!("{name}-{}@contoso.com", NEXT.fetch_add(1, Ordering::Relaxed));
        self.dovecot.fill(&login, messages);
        self.entra.add_person(&login, password);
        Person { login, password: password.to_owned() }
    }
}
