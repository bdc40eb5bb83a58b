//! What the kernel says about the process, under the names that Prometheus' client libraries agreed on.
//!
//! A file of `/proc` that is absent or unreadable leaves its series out; nothing here can fail a scrape.

use std::fs;

use super::single::Single;

/// The build, and what the process uses of its machine.
pub(super) fn families() -> Vec<Single> {
    let build = Single::gauge("tidegate_build_info", "Always 1; the labels say which build this is.")
        .with(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);

    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = number_after(&status, "VmRSS:").map(|kibibytes| kibibytes * 1024.0);
    let threads = number_after(&status, "Threads:");
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let max_fds = number_after(&limits, "Max open files");
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Since Linux 6.2 the size of this directory is the number of open descriptors; before, it is 0.
    let open_fds = fs::metadata("/proc/self/fd").ok().map(|fd| fd.len() as f64).filter(|count| *count > 0.0);

    let cpu = Single::counter("process_cpu_seconds_total", "User and system CPU time spent, in seconds.");
    let memory = Single::gauge("process_resident_memory_bytes", "Resident memory, in bytes.");
    let running = Single::gauge("process_threads", "Threads of the process.");
    let open = Single::gauge("process_open_fds", "Open file descriptors.");
    let max = Single::gauge("process_max_fds", "File descriptors that the process may open.");
    let known = [(cpu, cpu_seconds(&stat)), (memory, resident), (running, threads), (open, open_fds), (max, max_fds)];
    let known = known.into_iter().filter_map(|(family, value)| Some(family.with(&[], value?)));
    std::iter::once(build).chain(known).collect()
}

/// The first number that follows `key` at the start of a line.
fn number_after(text: &str, key: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
}

/// User and system time out of `/proc/self/stat`, whose second field, the name of the process, may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    const TICKS_PER_SECOND: f64 = 100.0; // USER_HZ, the same on every Linux architecture we build for
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_past_a_process_name_with_spaces_and_parentheses() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 4 0 100 1000 10";
        assert_eq!(cpu_seconds(stat), Some(2.0));
    }

    #[test]
    fn a_limit_that_is_not_a_number_leaves_the_series_out() {
        assert_eq!(
            number_after("Max open files            unlimited            unlimited  files\n", "Max open files"),
            None
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_process_knows_its_own_memory() {
        let families = families().into_iter().filter_map(Single::finish).collect();
        let text: String = super::super::Scrape::of(Vec::new(), families).collect();
        let line = text.lines().find(|line| line.starts_with("process_resident_memory_bytes ")).unwrap();
        let bytes: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(bytes > 100_000.0, "{line}");
    }
}
