//! Recipients without a domain, to whom programs of this machine send.

use super::refused::{self, Refused};
use gatepost_config::Config;
use gatepost_proto::mail::smtp::transaction::Recipient;

/// The domain that `gatepost sendmail` gives to a name without one.
const LOCALHOST: &str = "localhost";

/// Replaces a recipient of this machine by the address that gets its mail.
///
/// # Errors
/// The refusal, if there is none.
pub(super) fn resolve(config: &Config, recipient: &mut Recipient) -> Result<(), Refused> {
    let is_local = |(_, domain): (&str, &str)| domain.eq_ignore_ascii_case(LOCALHOST);
    if recipient.address.rsplit_once('@').is_some_and(is_local) {
        let to = config.sendmail.as_ref().and_then(|sendmail| sendmail.local_mail_to.as_ref());
        recipient.address = to.ok_or_else(|| refused::local_recipient(&recipient.address))?.to_string();
    }
    Ok(())
}
