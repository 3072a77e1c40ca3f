//! Where the secrets of a file have to be put.

use std::path::Path;

use super::answers::shell;
use crate::cli::draft::plan::{Label, Plan};

/// Records where each secret has to be put, or was.
pub(super) fn place_secrets(plan: &mut Plan, directory: Option<&Path>) {
    let mut told = Vec::new();
    for secret in plan.secrets.iter() {
        let target = match directory {
            Some(directory) => format!("the file `{}`", secret.path(directory).display()),
            None => format!("the environment variable `{}` of the service", secret.variable()),
        };
        let text = match (directory, &secret.value, secret.absent) {
            (Some(directory), Some(_), _) => {
                let directory = shell(&directory.to_string_lossy());
                format!(
                    "it is written to {target}. Give it to the user of the service: `chown -R gatepost: {directory}`"
                )
            }
            (Some(_), None, why) => {
                format!("put the secret into {target}, with mode 0600: {}", why.unwrap_or("the file has none"))
            }
            (None, Some(_), _) => format!(
                "put the secret into {target}, or run the command again with `--write-secrets /etc/gatepost/secrets`"
            ),
            (None, None, why) => format!("put the secret into {target}: {}", why.unwrap_or("the file has none")),
        };
        told.push((secret.from.clone(), text));
    }
    for (from, text) in told {
        plan.remark(Label::Secret, Some(from), text);
    }
}
