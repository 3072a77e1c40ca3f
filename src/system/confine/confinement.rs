//! Confines the process step by step, and records the result.

use super::needs::Needs;
#[cfg(target_os = "linux")]
use super::{calls, capabilities, files};
use gatepost_config::{Config, Confine};

/// The confinement of the process.
#[derive(Clone, Debug, Default)]
pub struct Confinement {
    /// What the process may still use; `None` when files and servers are not confined.
    within: Option<Needs>,
    /// One sentence without full stop for each kind of confinement, for log and status.
    report: Vec<String>,
    /// Whether every possible step succeeded.
    complete: bool,
    /// Whether nothing was tried.
    is_off: bool,
}

/// The configuration requires confinement, but the process is not confined.
#[derive(Debug, thiserror::Error)]
#[error(
    "`confinement: require` is not possible here: {0}. Use Linux 6.12 or newer with Landlock and seccomp, or write \
     `confinement: try`"
)]
pub struct NotConfined(String);

impl Confinement {
    /// Returns the sentences for people.
    pub fn report(&self) -> &[String] {
        &self.report
    }

    /// Returns how far it goes, in one word for people: `full`, `partial` or `off`.
    pub fn degree(&self) -> &'static str {
        match (self.complete, self.is_off) {
            (true, _) => "full",
            (false, true) => "off",
            (false, false) => "partial",
        }
    }

    /// Whether there are files that the process can no longer reach.
    pub fn closes_files(&self) -> bool {
        self.within.is_some()
    }

    /// Checks that a process with this confinement could serve `config`.
    ///
    /// # Errors
    /// A sentence: what it could not reach, and what to do.
    pub fn covers(&self, config: &Config) -> Result<(), String> {
        let Some(within) = &self.within else { return Ok(()) };
        match Needs::of(config).beyond(within) {
            Some(what) => Err(format!(
                "the process confined itself at its start and can no longer reach {what}. Restart Gatepost for this \
                 change"
            )),
            None => Ok(()),
        }
    }
}

/// Confines this process to what `config` needs. Must be called by its only thread.
///
/// # Errors
/// [`NotConfined`]: the configuration demands what the system does not offer.
pub fn enter(config: &Config) -> Result<Confinement, NotConfined> {
    let confinement = match config.confinement {
        Confine::Off => Confinement {
            report: vec!["off, as `confinement` says".to_owned()],
            is_off: true,
            ..Confinement::default()
        },
        Confine::Try | Confine::Require => confine(config),
    };
    if config.confinement == Confine::Require && !confinement.complete {
        return Err(NotConfined(confinement.report.join("; ")));
    }
    Ok(confinement)
}

#[cfg(target_os = "linux")]
fn confine(config: &Config) -> Confinement {
    let needs = Needs::of(config);
    let mut confinement = Confinement { complete: true, ..Confinement::default() };
    let mut note = |done: Result<String, String>| {
        confinement.complete &= done.is_ok();
        confinement.report.push(done.unwrap_or_else(|why| why));
    };
    note(capabilities::drop_all_but_needed(&config.files));
    if needs.commands {
        note(Err(
            "files, servers and programs are open: the configuration has a `{command: …}`, which needs what only it \
             knows"
                .to_owned(),
        ));
        note(calls::forbid(calls::Programs::Allowed));
        return confinement;
    }
    for directory in &needs.write {
        // Missing directories must exist now to be allowed. A failure is reported later, when
        // something is written there.
        let _later =
            std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700).create(directory);
    }
    let files = files::restrict(&needs);
    let within = files.is_ok();
    // What is enforced in part closes files as well.
    note(files.and_then(|files| if files.is_complete { Ok(files.report) } else { Err(files.report) }));
    note(calls::forbid(calls::Programs::Forbidden));
    confinement.within = within.then_some(needs);
    confinement
}

#[cfg(not(target_os = "linux"))]
fn confine(_: &Config) -> Confinement {
    Confinement { report: vec!["not available on this system".to_owned()], is_off: true, ..Confinement::default() }
}
