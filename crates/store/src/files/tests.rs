//! Which files are used, and what stays of them.

use tempfile::TempDir;

use super::*;
use crate::sample;

/// A directory of this user alone.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let directory = sample::directory();
        private_directory(directory.path()).unwrap();
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str, octets: usize) -> PathBuf {
        let path = self.path().join(name);
        options().write(true).create_new(true).open(&path).unwrap().write_all(&vec![b'x'; octets]).unwrap();
        path
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(unix)]
#[test]
fn a_file_that_others_may_open_is_not_read() {
    let place = Place::new();
    let path = place.file("state.key", 5);
    for (mode, is_private) in
        [(0o600, true), (0o400, true), (0o640, false), (0o620, false), (0o604, false), (0o602, false), (0o601, false)]
    {
        set_mode(&path, mode);
        match (read_private(&path), is_private) {
            (Ok(content), true) => assert_eq!(content.unwrap().as_slice(), b"xxxxx"),
            (Err(problem @ FileProblem::OpenToOthers { .. }), false) => {
                let shown = format!("(mode {mode:04o}). Run `chmod 600 {}`", path.display());
                assert!(problem.to_string().contains(&shown), "{problem}");
            }
            (read, _) => panic!("{mode:o}: {read:?}"),
        }
        assert_eq!(check_file(&path).is_ok(), is_private, "{mode:o}");
    }
}

#[cfg(unix)]
#[test]
fn a_directory_that_others_may_open_is_not_used() {
    let place = Place::new();
    for (mode, is_private) in [(0o700, true), (0o500, true), (0o750, false), (0o720, false), (0o701, false)] {
        set_mode(place.path(), mode);
        let used = private_directory(place.path());
        assert_eq!(used.is_ok(), is_private, "{mode:o}: {used:?}");
    }
    set_mode(place.path(), 0o700);
}

#[cfg(unix)]
#[test]
fn what_belongs_to_another_user_is_not_used() {
    let place = Place::new();
    let path = place.file("state.key", 5);
    // Only root can give a file away, and root's own file may be used by everybody.
    let (another, own) = (12_345, user::own());
    if std::os::unix::fs::chown(&path, Some(another), None).is_err() {
        return;
    }
    for problem in [read_private(&path).unwrap_err(), check_file(&path).unwrap_err()] {
        let FileProblem::Owner { owner, own: this, .. } = &problem else { panic!("{problem}") };
        assert_eq!((*owner, *this), (another, own));
        let (of, run) = ("belongs to user #12345, and this is user", "Run the command as that user: `sudo -u '#12345'");
        assert!(problem.to_string().contains(of) && problem.to_string().contains(run), "{problem}");
    }
    std::os::unix::fs::chown(place.path(), Some(another), None).unwrap();
    assert!(matches!(private_directory(place.path()), Err(FileProblem::Owner { .. })));
    let link = place.path().with_extension("link");
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(place.path(), &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(another), None).unwrap();
    std::os::unix::fs::chown(place.path(), Some(own), None).unwrap();
    let used = private_directory(&link);
    std::os::unix::fs::lchown(&link, Some(own), None).unwrap();
    let used_of_root = private_directory(&link);
    fs::remove_file(&link).unwrap();
    assert!(matches!(used, Err(FileProblem::Link { .. })), "{used:?}");
    assert_eq!(used_of_root.unwrap(), place.path());
}

#[cfg(unix)]
#[test]
fn a_link_is_not_followed() {
    let place = Place::new();
    let path = place.file("elsewhere", 5);
    let link = place.path().join("state.key");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(read_private(&link), Err(FileProblem::Link { .. })));
    assert!(matches!(check_file(&link), Err(FileProblem::Link { .. })));
    // Also when it appears between the check and the opening.
    assert!(open_private(&link).is_err() && lock_present(&link).is_err());
    let lock_file = place.path().join("state.key.lock");
    std::os::unix::fs::symlink(&path, &lock_file).unwrap();
    assert!(lock(&link).is_err());
}

#[test]
fn what_is_no_file_or_no_directory_is_told_so() {
    let place = Place::new();
    let path = place.file("file", 5);
    assert!(matches!(check_file(place.path()), Err(FileProblem::Kind { wanted: "a file", .. })));
    assert!(matches!(private_directory(&path), Err(FileProblem::Kind { wanted: "a directory", .. })));
    // Nothing can be below a file, which is another problem than an absent one.
    let below = path.join("below");
    let error = check_file(&below).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot read `{}`: ", below.display())), "{error}");
    let error = private_directory(&below).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot read `{}`: ", below.display())), "{error}");
    assert!(!check_file(&place.path().join("absent")).unwrap());
    assert!(read_private(&place.path().join("absent")).unwrap().is_none());
}

#[cfg(unix)]
#[test]
fn what_is_created_is_of_this_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let file = place.path().join("a").join("b").join("file");
    make_parent(&file).unwrap();
    assert_eq!((mode(&place.path().join("a")), mode(&place.path().join("a/b"))), (0o700, 0o700));
    // One that is there is left as it is.
    make_parent(&file).unwrap();
    assert!(create_private(&file, b"one").unwrap());
    assert_eq!(mode(&file), 0o600);
    replace_private(&file, b"two").unwrap();
    assert_eq!((mode(&file), fs::read(&file).unwrap()), (0o600, b"two".to_vec()));
    drop(lock(&file).unwrap().unwrap());
    assert_eq!(mode(&place.path().join("a/b/file.lock")), 0o600);
}

#[test]
fn a_file_that_is_there_is_not_created_again() {
    let place = Place::new();
    let path = place.path().join("state.key");
    assert!(create_private(&path, b"one").unwrap());
    assert!(!create_private(&path, b"two").unwrap());
    assert_eq!(read(&path).unwrap().as_slice(), b"one");
    assert_eq!(place.names(), ["state.key"], "nothing temporary is left");
    assert!(create_private(&place.path().join("absent").join("state.key"), b"one").is_err());
}

#[test]
fn a_long_key_file_is_refused() {
    let place = Place::new();
    for octets in [0, 1, KEY_FILE_OCTETS - 1, KEY_FILE_OCTETS] {
        let path = place.file(&octets.to_string(), octets);
        assert_eq!(read(&path).unwrap().len(), octets);
        assert_eq!(read_private(&path).unwrap().unwrap().len(), octets);
    }
    for octets in [KEY_FILE_OCTETS + 1, 3 * KEY_FILE_OCTETS] {
        let path = place.file(&octets.to_string(), octets);
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(read_private(&path).unwrap_err().to_string().contains("longer than 4 KiB"));
    }
}

#[test]
fn only_old_temporary_files_of_ours_are_removed_at_the_start() {
    let place = Place::new();
    let (old, new) = (LEFT_BEHIND + Duration::from_secs(60), LEFT_BEHIND / 2);
    for (name, age) in [
        ("0123456789abcdef.temporary", old),
        ("1123456789abcdef.temporary", new),
        ("0123456789abcdef.other", old),
        ("0123456789abcde.temporary", old),
        ("0123456789abcdefa.temporary", old),
        ("0123456789abcdeg.temporary", old),
    ] {
        let file = File::options().write(true).open(place.file(name, 1)).unwrap();
        file.set_modified(system_time() - age).unwrap();
    }
    prepare_nameless(place.path()).unwrap();
    let left = [
        "0123456789abcde.temporary",
        "0123456789abcdef.other",
        "0123456789abcdefa.temporary",
        "0123456789abcdeg.temporary",
        "1123456789abcdef.temporary",
    ];
    assert_eq!(place.names(), left);
}

#[test]
fn a_file_is_locked_by_one_at_a_time_and_only_while_it_is_there() {
    let place = Place::new();
    let path = place.path().join("file");
    assert!(lock_present(&path).unwrap().is_none());
    assert!(!path.exists());
    let held = create_locked(&path).unwrap();
    assert!(lock_present(&path).unwrap().is_none());
    drop(held);
    assert!(lock_present(&path).unwrap().is_some());
    let error = lock_present(&path.join("below")).unwrap_err();
    assert_ne!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn the_right_to_change_a_file_has_one_holder() {
    let place = Place::new();
    let path = place.path().join("state.key");
    let held = lock(&path).unwrap().unwrap();
    assert!(lock(&path).unwrap().is_none());
    drop(held);
    assert!(lock(&path).unwrap().is_some());
}

#[test]
fn a_file_is_read_from_any_place() {
    let place = Place::new();
    let path = place.path().join("file");
    fs::write(&path, b"0123456789").unwrap();
    let (file, mut into) = (File::open(&path).unwrap(), [0; 4]);
    for (offset, expected) in [(6, b"6789"), (0, b"0123"), (3, b"3456")] {
        read_exact_at(&file, &mut into, offset).unwrap();
        assert_eq!(&into, expected);
    }
    let error = read_exact_at(&file, &mut into, 7).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_directory_that_is_gone_cannot_be_made_durable() {
    let place = Place::new();
    assert!(sync_directory(&place.path().join("file")).is_ok());
    assert_eq!(sync_directory(&place.path().join("absent").join("file")).is_err(), cfg!(unix));
    // A name without a directory is in the present one.
    assert!(sync_directory(Path::new("file")).is_ok());
}

#[test]
fn whoever_gives_a_store_away_gives_all_of_it_and_a_key_alone() {
    let place = Place::new();
    let inside = |name: &str| place.path().join(name);
    // Where there is no database, only its own names belong to a state directory.
    assert_eq!(store_of(&inside("state.key")), inside("state.key"));
    assert_eq!(store_of(&inside("gatepost.sqlite-wal")), place.path());
    assert_eq!(store_of(place.path()), place.path());
    place.file(DATABASE, 1);
    assert_eq!(store_of(&inside("state.key")), place.path());
    assert_eq!(store_of(place.path()), place.path());
    fs::create_dir(inside("queue")).unwrap();
    assert_eq!(store_of(&inside("queue")), inside("queue"));
}

#[test]
fn who_may_not_do_something_is_told_whose_it_is() {
    let place = Place::new();
    let path = place.path().join("absent").join("file");
    let problem = FileProblem::io("open", &path)(io::ErrorKind::PermissionDenied.into()).to_string();
    assert!(problem.contains(&format!("cannot open `{}`: ", path.display())), "{problem}");
    #[cfg(unix)]
    {
        assert!(problem.ends_with("its mode or a read-only file system forbids it. Correct that"), "{problem}");
        if std::os::unix::fs::chown(place.path(), Some(12_345), None).is_ok() {
            // Whether it is there or not: only the service is told to take it over.
            for path in [&path, place.path()] {
                let problem = denied("open", path);
                assert!(problem.contains(&format!("`{}` belongs to user #12345", place.path().display())), "{problem}");
                assert!(problem.ends_with("Run the command as that user: `sudo -u '#12345' gatepost …`"), "{problem}");
            }
        }
    }
    let other = FileProblem::io("open", &path)(io::ErrorKind::StorageFull.into()).to_string();
    assert!(other.starts_with(&format!("cannot open `{}`: ", path.display())), "{other}");
}
