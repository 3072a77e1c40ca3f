//! How an account gets its tokens, as the sections of its provider say.

use std::sync::Arc;
use std::time::Duration;

use super::entra::GrantKind;
use super::model::account::Application;

/// A token with less remaining lifetime is not used for a new login, unless the configuration says
/// otherwise.
pub(super) const EXPIRY_MARGIN: Duration = Duration::from_secs(300);

/// How an account gets its tokens. What is `None` has a mistake, which is reported.
#[derive(Default)]
pub(super) struct Means {
    pub(super) kind: Option<GrantKind>,
    pub(super) application: Option<Arc<Application>>,
    pub(super) scope: Option<Option<String>>,
    pub(super) token_expiry_margin: Option<Duration>,
}
