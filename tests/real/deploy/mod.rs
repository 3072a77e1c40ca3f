//! What `deploy/` brings is what it says: units, image, charts, alerts and examples are given to
//! the programs that will read them. Tests that need such a program are `#[ignore]`d; `tests/run`
//! installs them and runs all.

mod balancers;
mod command_line;
mod container;
mod documents;
mod journal;
mod kubernetes;
mod maintainer_scripts;
mod monitoring;
mod package;
mod support;
mod systemd;
mod tenant_scripts;
