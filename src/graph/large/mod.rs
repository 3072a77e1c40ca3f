//! Sends messages that are too large for `sendMail`: Graph gets a draft, then each file of the
//! message, and then sends the draft (Microsoft, "Attach large files to Outlook messages or events").
//!
//! A message is taken apart for that. `plan` decides which of its parts become the text and which
//! become files, and refuses a message of which something would be lost. `fields` turns its header
//! into a draft. `part` decodes the parts, a piece at a time, out of [`MessageOctets`], so that no
//! large message is in memory; `prepare` does that before anything is sent. `steps` is the way of a
//! message, `upload` sends a large file and resumes it, `requests` makes each request within the
//! limits of `patience`, `failed` explains the answers, and `draft` removes a draft that is not sent.

mod draft;
mod draft_state;
mod failed;
mod fields;
mod octets;
mod part;
mod patience;
mod plan;
mod prepare;
mod requests;
mod steps;
mod upload;
mod upload_url;

pub(super) use draft_state::DraftState;
pub use octets::MessageOctets;
pub(crate) use plan::check_head;
pub use steps::LARGE_OCTETS;
