//! What is known of a draft that must be removed unless it is sent.

/// A draft that exists, or may exist.
#[derive(Clone, Debug)]
pub(crate) struct DraftState {
    /// The property by which it is found.
    pub(super) mark: String,
    /// `None` until Graph has told it.
    pub(super) id: Option<String>,
    /// It may be sent already, and its id is then that of the copy in Sent Items.
    pub(super) may_be_sent: bool,
}
