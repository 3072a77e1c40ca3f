//! A byte stream read by lines or by counts: the load generator and the backend talk through it.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How much is read and written at a time. Large, so that the benchmark's own ends are not what is
/// measured.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// Anything that a session can run over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream and what has been read from it but not been asked for yet.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Wire {
    /// Takes the stream over. The buffer starts small: a thousand idle sessions need none.
    pub(crate) fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: vec![0; 4096], start: 0, end: 0 }
    }

    /// The next line, without its line end.
    ///
    /// # Errors
    /// `UnexpectedEof` at the end of the stream, `InvalidData` for a line over 64 KiB.
    pub(crate) async fn line(&mut self) -> io::Result<&[u8]> {
        let mut searched = self.start;
        loop {
            if let Some(found) = memchr::memchr(b'\n', &self.buffer[searched..self.end]) {
                let (from, to) = (self.start, searched + found);
                self.start = to + 1;
                return Ok(self.buffer[from..to].trim_ascii_end());
            }
            if self.end - self.start > 64 * 1024 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line over 64 KiB"));
            }
            let pending = self.end - self.start;
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, pending);
            if self.end == self.buffer.len() {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
            searched = self.end;
            match self.stream.read(&mut self.buffer[self.end..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.end += read,
            }
        }
    }

    /// Reads so many bytes and throws them away.
    pub(crate) async fn discard(&mut self, bytes: u64) -> io::Result<()> {
        let held = (self.end - self.start) as u64;
        if bytes <= held {
            self.start += bytes as usize;
            return Ok(());
        }
        (self.start, self.end) = (0, 0);
        let mut left = bytes - held;
        let mut chunk = vec![0; CHUNK_BYTES];
        while left > 0 {
            let most = left.min(CHUNK_BYTES as u64) as usize;
            match self.stream.read(&mut chunk[..most]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => left -= read as u64,
            }
        }
        Ok(())
    }

    /// Writes everything and flushes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Writes so many bytes of something that looks like an encoded attachment.
    pub(crate) async fn fill(&mut self, bytes: u64) -> io::Result<()> {
        static FILLING: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
            let line = b"R2F0ZXBvc3QgbW92ZXMgYnl0ZXMgYW5kIGRvZXMgbm90IGxvb2sgYXQgdGhlbS4gUmVhbGx5Li4u\r\n";
            line.iter().copied().cycle().take(CHUNK_BYTES).collect()
        });
        let mut left = bytes;
        while left > 0 {
            let most = left.min(CHUNK_BYTES as u64) as usize;
            self.stream.write_all(&FILLING[..most]).await?;
            left -= most as u64;
        }
        self.stream.flush().await
    }

    /// Reads until the peer has closed. However it closes is good enough: some peers leave out
    /// TLS's goodbye.
    pub(crate) async fn drain(&mut self) {
        let mut chunk = [0; 1024];
        while matches!(self.stream.read(&mut chunk).await, Ok(1..)) {}
    }

    /// Closes the sending side.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }
}
