//! The checked configuration for the rest of the program.
//!
//! [`load`] reads file, environment and flags. `raw` keeps the written values with their places.
//! `check` turns them into [`Config`] and collects every [`problem::Problem`]. The types are in
//! `model`, one subject a file, and do not depend on the reading code. Their values need no further
//! check. The system is accessed only through [`environment::Environment`].
// Input from outside must not cause a panic or a silently truncated number. (Overflow is checked in
// every build.) Tests may panic.
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]

mod accounts;
mod admin;
pub mod certificate;
mod check;
pub mod cloud;
mod credential;
mod directory;
mod entra;
pub mod environment;
mod files;
mod finding;
mod forward_proxy;
mod hidden_key;
mod http;
mod identity;
mod limits;
mod listeners;
pub mod load;
mod machine;
mod mailboxes;
mod means;
mod meeting;
mod microsoft;
mod mismatch;
mod model;
mod other_servers;
pub mod password_hash;
pub mod penalties;
mod pkcs12;
mod plausible;
pub mod problem;
mod providers;
mod proxy_authentication;
mod purpose;
mod queue;
mod raw;
mod reader;
pub mod reference;
mod render;
mod renewal;
mod secrets;
mod sendmail;
pub mod server_identity;
pub mod service_account;
mod setting;
mod sockets;
mod state;
mod submission;
pub mod suggestion;
pub mod user;
pub mod value;

pub use directory::DirectoryState;
pub use files::Files;
pub use finding::{Finding, Severity};
pub use meeting::{MeetingPlace, owner as owner_of_place};
pub use model::Config;
pub use model::account::{Account, AccountWithoutPassword, Accounts, Application, Found, Grant, LoginPattern};
pub use model::admin::{Admin, AdminToken};
pub use model::credential::{
    ClientCertificate, Credential, IdentityEndpoint, ManagedIdentity, NotedSecret, Renewable, Renewal,
};
#[cfg(feature = "pac")]
pub use model::forward_proxy::PacLocation;
pub use model::forward_proxy::{ForwardProxy, ProxyChoice, ProxyScheme, ProxyServer};
pub use model::issuer::{ClientAuthentication, Cloud, Entra, Issuer, Provider, Tenant};
pub use model::limits::{Limits, PasswordBudget};
pub use model::listener::{Bind, Http, Identity, Listener, ListenerBackend, ListenerTls, OtherAccounts, OtherServer};
pub use model::log::{AuditLog, Confine, Log, LogFormat};
pub use model::mailboxes::Mailboxes;
pub use model::no_proxy::{Exempt, NoProxy};
pub use model::preset::{PRESETS, ProviderPreset};
pub use model::queue::Queue;
pub use model::sending::{SendAs, SenderRule, Sending};
pub use model::server::{Origin, Resource, Upstream, UpstreamTls};
pub use model::state::{RedisServer, State, StateKey};
pub use model::submission::{Deliver, GraphLarge, Sendmail, Submission, TrustedSender, TrustedSource};
pub use model::trust::{DestinationTrust, Trust};
pub use purpose::Purpose;
pub use secrets::line as secret_line;
pub use sockets::{Holder, has_address, holder, may_bind};
