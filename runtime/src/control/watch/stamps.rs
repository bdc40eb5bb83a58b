//! What is compared of files that cannot be watched: what the file system says of them, never what stands in them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::statfs;

/// What is known of some names in a directory. When one changes, is replaced, comes or goes, this is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamps(Vec<Option<Stamp>>);

/// Where it lies, what may be done to it, its size and when it changed; of a directory, whose entries come and go, the first
/// part alone.
type Stamp = ([u64; 4], Option<[i64; 5]>);

impl Stamps {
    pub(super) fn of(directory: &Path, names: &BTreeSet<OsString>) -> Self {
        // What matches comes and goes with a change of the directory.
        let has_wildcards = names.iter().any(|name| name.to_string_lossy().contains(['*', '?']));
        let own = directory.metadata().ok().map(|metadata| stamp(&metadata, has_wildcards));
        let others = names.iter().map(|name| Some(stamp(&directory.join(name).symlink_metadata().ok()?, true)));
        Self([own].into_iter().chain(others).collect())
    }
}

fn stamp(metadata: &Metadata, with_times: bool) -> Stamp {
    let place = [metadata.dev(), metadata.ino(), metadata.mode().into(), metadata.uid().into()];
    let size = i64::try_from(metadata.size()).unwrap_or(i64::MAX);
    let times = [size, metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
    (place, with_times.then_some(times))
}

/// The file system of a directory, if it is one whose files others change without this machine's being told.
pub(super) fn shared_file_system(directory: &Path) -> Option<&'static str> {
    let kind = u32::try_from(statfs(directory).ok()?.f_type).ok()?;
    SHARED.iter().find(|(number, _)| *number == kind).map(|(_, name)| *name)
}

/// By the numbers that Linux has for them.
const SHARED: [(u32, &str); 9] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "FUSE"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x0bd0_0bd0, "Lustre"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(directory: &Path, name: &str) -> Stamps {
        Stamps::of(directory, &BTreeSet::from([OsString::from(name)]))
    }

    #[test]
    fn a_file_that_changes_is_replaced_comes_or_goes_has_another_stamp_and_a_neighbour_makes_none() {
        let directory = tempfile::tempdir().unwrap();
        let (directory, file) = (directory.path(), directory.path().join("a"));
        let mut before = stamps(directory, "a");
        let mut differs = |expected: bool, what: &str| {
            let now = stamps(directory, "a");
            assert_eq!(now != before, expected, "{what}");
            before = now;
        };
        std::fs::write(&file, "1").unwrap();
        differs(true, "it comes");
        differs(false, "nothing happens");
        std::fs::write(&file, "12").unwrap();
        differs(true, "it grows");
        std::fs::write(directory.join("b"), "12").unwrap();
        differs(false, "a neighbour");
        std::fs::rename(directory.join("b"), &file).unwrap();
        differs(true, "it is replaced");
        std::fs::remove_file(&file).unwrap();
        differs(true, "it goes");
    }

    #[test]
    fn a_directory_with_wildcards_has_another_stamp_when_a_file_comes() {
        let directory = tempfile::tempdir().unwrap();
        let before = stamps(directory.path(), "*.toml");
        std::fs::create_dir(directory.path().join("b.toml")).unwrap();
        assert_ne!(stamps(directory.path(), "*.toml"), before);
    }
}
