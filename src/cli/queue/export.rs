//! `gatepost queue export`: the text of a message.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context as _;

use super::context::{QueueContext, with_queue};
use crate::cli::queue_options::QueueExportOptions;
use gatepost_store::SealedFile;

/// Writes a message to a file or to standard output. Returns the exit code.
pub fn export(options: &QueueExportOptions) -> u8 {
    with_queue(&options.settings, async |context| try_export(context, options).await)
}

async fn try_export(context: &QueueContext, options: &QueueExportOptions) -> anyhow::Result<String> {
    let (queue, entry) = context.message(options.id).await?;
    let content = queue.read(options.id).await?.context("the message was delivered or discarded meanwhile")?;
    context.acted("queue-exported", &entry).await;
    let Some(path) = &options.output else {
        return match copy(&content, io::stdout().lock()).await {
            // The reader has gone.
            Err(error) if is_broken_pipe(&error) => Ok(String::new()),
            copied => copied.map(|()| String::new()),
        };
    };
    copy(&content, create(path)?).await.with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(format!("Wrote message {} to {} ({} bytes).\n", options.id, path.display(), content.length()))
}

async fn copy(content: &SealedFile, mut to: impl Write) -> anyhow::Result<()> {
    let mut written = 0;
    while written < content.length() {
        let chunk = content.chunk_at(written).await.context("the file of the message cannot be read")?;
        to.write_all(&chunk)?;
        written = written.saturating_add(chunk.len() as u64);
    }
    Ok(to.flush()?)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Creates a file that only this user can read.
fn create(path: &Path) -> anyhow::Result<std::fs::File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).with_context(|| format!("cannot create `{}`", path.display()))
}
