//! The tagged end of a command.

/// OK, NO or BAD with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: Status,
    pub(super) text: String,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    No,
    Bad,
}

impl Reply {
    pub(super) fn ok(text: impl Into<String>) -> Self {
        Self { status: Status::Ok, text: text.into() }
    }

    /// The reply `OK {command} completed.`
    pub(super) fn completed(command: &str) -> Self {
        Self::ok(format!("{command} completed."))
    }

    pub(super) fn no(text: impl Into<String>) -> Self {
        Self { status: Status::No, text: text.into() }
    }

    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self { status: Status::Bad, text: text.into() }
    }

    /// The line, for a command of that tag.
    pub(super) fn line(&self, tag: &str) -> String {
        let status = match self.status {
            Status::Ok => "OK",
            Status::No => "NO",
            Status::Bad => "BAD",
        };
        format!("{tag} {status} {}\r\n", self.text)
    }
}
