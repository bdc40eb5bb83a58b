//! How much memory the process may have: what the machine has, or its control group allows.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::MemorySize;

/// The bytes that a size means here.
pub(super) fn bytes(size: MemorySize) -> usize {
    let bytes = match size {
        MemorySize::Bytes(bytes) => bytes,
        MemorySize::Percent(percent) => available(Path::new("/")) / 100 * u64::from(percent),
    };
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The least of what the machine has and of what each control group above the process allows. Where nothing can be read
/// there is no bound to take a share of, and [`UNKNOWN`] stands for it.
fn available(root: &Path) -> u64 {
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| total(&text));
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().flat_map(|line| limits(root, line));
    machine.into_iter().chain(limits).min().unwrap_or(UNKNOWN)
}

/// `MemTotal` of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1 << 10)
}

/// The limits of a control group and those above it, by its line of `/proc/self/cgroup`: `0::/path` is version 2, and
/// `4:memory:/path` version 1. A container often sees its own group as the topmost one, whatever its path.
fn limits(root: &Path, line: &str) -> Vec<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|controller| controller == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let group = PathBuf::from(path.trim_start_matches('/'));
    let read = |group: &Path| fs::read_to_string(root.join(mount).join(group).join(file)).ok()?.trim().parse().ok();
    group.ancestors().filter_map(read).collect()
}

/// As much as a small machine has.
const UNKNOWN: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> u64 {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        available(root.path())
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:       16000000 kB\nMemFree:  1 kB\n");

    #[test]
    fn the_least_of_the_machine_and_of_all_control_groups_above_counts() {
        let in_group = ("proc/self/cgroup", "0::/pods/one\n");
        assert_eq!(machine(&[MEMINFO]), 16_384_000_000);
        let unlimited = ("sys/fs/cgroup/pods/one/memory.max", "max\n");
        assert_eq!(machine(&[MEMINFO, in_group, unlimited]), 16_384_000_000);
        let above = ("sys/fs/cgroup/pods/memory.max", "2000000\n");
        assert_eq!(machine(&[MEMINFO, in_group, unlimited, above]), 2_000_000);
        let container = ("sys/fs/cgroup/memory.max", "1000000\n");
        assert_eq!(machine(&[MEMINFO, in_group, container]), 1_000_000);
    }

    #[test]
    fn control_groups_of_version_1_count_too() {
        let group = ("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/a\n");
        let limit = ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "3000000\n");
        let huge = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(machine(&[MEMINFO, group, limit, huge]), 3_000_000);
    }

    #[test]
    fn where_nothing_can_be_read_there_is_a_gibibyte() {
        assert_eq!(machine(&[]), 1 << 30);
    }
}
