//! A value that is read from files, and read again when they change. While the files cannot be
//! used, the last value stays in use, because somebody may be replacing them at that moment.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use zeroize::Zeroizing;

use gatepost_core::clock::system_time;

/// Most octets taken from a file of credentials.
const FILE_OCTETS: u64 = 1024 * 1024;

/// Least age of a settled file. A younger one may change again without a new time stamp, because
/// time stamps are coarse.
const SETTLED: Duration = Duration::from_secs(2);

/// A value, and the state of its files when it was read.
pub struct Watched<T, E> {
    state: Mutex<State<T, E>>,
}

struct State<T, E> {
    stamps: Vec<Option<Stamp>>,
    settled: bool,
    value: Option<Arc<T>>,
    error: Option<E>,
}

/// What changes when a file is written or replaced, also when another file takes its name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    octets: u64,
    inode: u64,
}

/// The result of a look at a [`Watched`].
#[derive(Debug)]
pub struct Seen<T, E> {
    /// The newest value that can be used.
    pub value: Option<Arc<T>>,
    /// Why the files as they are now cannot be used.
    pub error: Option<E>,
    /// Whether this look found a new error, or found that the files are usable again.
    pub news: bool,
}

impl<T, E> Default for Watched<T, E> {
    fn default() -> Self {
        Self { state: Mutex::new(State { stamps: Vec::new(), settled: false, value: None, error: None }) }
    }
}

impl<T, E: Clone + PartialEq> Watched<T, E> {
    /// Returns the value. `read` reads it again when a file has changed. It blocks, on files only.
    pub fn look(&self, files: &[&Path], read: impl FnOnce() -> Result<T, E>) -> Seen<T, E> {
        let mut state = self.state.lock();
        // Taken before the files are read, so that a change in between shows at the next look.
        let stamps: Vec<_> = files.iter().map(|file| Stamp::of(file)).collect();
        let mut news = false;
        if !state.settled || state.stamps != stamps {
            let now = system_time();
            let is_old =
                |stamp: &Stamp| stamp.modified.is_none_or(|at| now.duration_since(at).is_ok_and(|age| age >= SETTLED));
            state.settled = stamps.iter().flatten().all(is_old);
            state.stamps = stamps;
            let error = match read() {
                Ok(value) => {
                    state.value = Some(Arc::new(value));
                    None
                }
                Err(error) => Some(error),
            };
            news = state.error != error;
            state.error = error;
        }
        Seen { value: state.value.clone(), error: state.error.clone(), news }
    }
}

impl<T, E> fmt::Debug for Watched<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched(…)")
    }
}

impl Stamp {
    /// `None` when the file has no readable metadata; its content is then unreadable too.
    fn of(file: &Path) -> Option<Self> {
        let found = fs::metadata(file).ok()?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&found);
        #[cfg(not(unix))]
        let inode = 0;
        Some(Self { modified: found.modified().ok(), octets: found.len(), inode })
    }
}

/// The content of a file, at most 1 MiB.
///
/// # Errors
/// As the system reports them; a larger file is [`io::ErrorKind::FileTooLarge`].
pub fn content(file: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let found = fs::metadata(file)?;
    if !found.is_file() {
        // Opening a pipe would wait for its writer.
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let file = File::open(file)?;
    // Room for all of it: a buffer that grows leaves copies behind.
    let room = usize::try_from(found.len().min(FILE_OCTETS)).unwrap_or(0);
    let mut octets = Zeroizing::new(Vec::with_capacity(room + 64));
    file.take(FILE_OCTETS + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > FILE_OCTETS {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is longer than 1 MiB, the most that Gatepost reads",
        ));
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use std::fs::FileTimes;
    use std::path::PathBuf;

    use tempfile::{TempDir, tempdir};

    use super::*;

    /// Writes a file that looks as if it had been there for an hour.
    fn write(directory: &TempDir, name: &str, text: &str) -> PathBuf {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        let then = SystemTime::now() - Duration::from_secs(3_600);
        File::options().append(true).open(&path).unwrap().set_times(FileTimes::new().set_modified(then)).unwrap();
        path
    }

    fn number(path: &Path) -> Result<u32, String> {
        let content = content(path).map_err(|error| error.to_string())?;
        std::str::from_utf8(&content).unwrap().trim().parse().map_err(|_| "no number".to_owned())
    }

    fn look(watched: &Watched<u32, String>, path: &Path) -> (Option<u32>, Option<String>, bool) {
        let seen = watched.look(&[path], || number(path));
        (seen.value.as_deref().copied(), seen.error, seen.news)
    }

    #[test]
    fn a_file_is_read_again_only_when_it_has_changed() {
        let directory = tempdir().unwrap();
        let path = write(&directory, "n", "1");
        let watched: Watched<u32, String> = Watched::default();
        assert_eq!(look(&watched, &path), (Some(1), None, false));
        let seen = watched.look(&[&path], || panic!("it has not changed"));
        assert_eq!((seen.value.as_deref(), seen.news), (Some(&1), false));
        // Another file of the same length and age under the same name.
        fs::rename(write(&directory, "other", "2"), &path).unwrap();
        assert_eq!(look(&watched, &path), (Some(2), None, false));
        // The same file, written to.
        write(&directory, "n", "33");
        assert_eq!(look(&watched, &path), (Some(33), None, false));
    }

    #[test]
    fn a_file_that_has_just_been_written_is_not_trusted_to_stay() {
        let directory = tempdir().unwrap();
        let path = directory.path().join("n");
        let watched: Watched<u32, String> = Watched::default();
        for round in 1..=50 {
            // Within one tick of the clock that stamps files, in the same length.
            fs::write(&path, format!("{round:02}")).unwrap();
            assert_eq!(look(&watched, &path).0, Some(round));
        }
    }

    #[test]
    fn what_cannot_be_used_leaves_the_old_value_in_use_and_is_told_once() {
        let directory = tempdir().unwrap();
        let path = write(&directory, "n", "1");
        let watched: Watched<u32, String> = Watched::default();
        look(&watched, &path);
        write(&directory, "n", "one");
        assert_eq!(look(&watched, &path), (Some(1), Some("no number".into()), true));
        assert_eq!(look(&watched, &path), (Some(1), Some("no number".into()), false));
        fs::remove_file(&path).unwrap();
        let (value, error, news) = look(&watched, &path);
        assert_eq!((value, news), (Some(1), true));
        assert!(error.unwrap().contains("No such file"));
        write(&directory, "n", "2");
        assert_eq!(look(&watched, &path), (Some(2), None, true));
        // Without an old value there is none.
        let never: Watched<u32, String> = Watched::default();
        assert_eq!(look(&never, Path::new("/nonexistent")).0, None);
    }

    #[test]
    fn what_is_no_file_or_too_long_is_not_read() {
        assert_eq!(content(Path::new("/dev/zero")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let directory = tempdir().unwrap();
        let path = write(&directory, "long", "");
        let set_length = |octets| File::options().write(true).open(&path).unwrap().set_len(octets).unwrap();
        set_length(FILE_OCTETS);
        assert_eq!(content(&path).unwrap().len() as u64, FILE_OCTETS);
        set_length(FILE_OCTETS + 1);
        assert_eq!(content(&path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
