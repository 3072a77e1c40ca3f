//! Whole sessions in one process: mail programs of a few lines, the product's own code, and the
//! embedded Microsoft 365, over loopback sockets. What each side does wrong must end in the right
//! reply, in a log line that names cause and remedy, and in nothing else.

mod balancer;
mod causes;
mod client;
mod credentials;
mod device_passwords;
mod devices;
mod dns;
mod drain;
mod entra;
mod exchange;
mod graph_faults;
mod graph_mail;
mod graph_origin;
mod handshakes;
mod high_volume;
mod http;
mod large_graph;
mod limits;
#[cfg(unix)]
mod local_programs;
mod logins;
mod maildrop;
mod network;
mod own_tokens;
mod penalties;
mod providers;
mod proxy;
mod queue;
mod queue_ends;
mod queue_entry;
mod queue_limits;
mod queue_replies;
mod reload;
mod secrets;
mod service_accounts;
mod shared_mailboxes;
mod sign_ins;
mod smtp_pool;
mod stalled;
mod submission;
mod submission_graph;
mod submission_replies;
mod submission_sender;
mod submission_trusted;
mod support;
mod tokens;
mod told;
mod transports;
mod upstream;
