//! What the kernel says about a process and its children: CPU time and resident memory, read from `/proc`.
//!
//! CPU time is what the scheduler accounted in nanoseconds to each thread, so it holds at any load and needs no
//! sampling. Threads that ended meanwhile are not counted.

use std::fs;
use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

/// A process and all its descendants.
#[derive(Clone, Copy, Debug)]
pub struct ProcessTree {
    root: u32,
}

impl ProcessTree {
    /// The tree under this process id.
    pub fn new(root: u32) -> Self {
        Self { root }
    }

    /// CPU time so far, in nanoseconds, user and kernel.
    pub fn cpu(&self) -> io::Result<u64> {
        let mut sum = 0;
        for process in self.processes()? {
            for task in entries(&format!("/proc/{process}/task")) {
                if let Ok(text) = fs::read_to_string(format!("/proc/{process}/task/{task}/schedstat")) {
                    sum += text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
                }
            }
        }
        Ok(sum)
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> io::Result<u64> {
        let mut sum = 0;
        for process in self.processes()? {
            sum += resident_of(process)?;
        }
        Ok(sum)
    }

    fn processes(&self) -> io::Result<Vec<u32>> {
        fs::metadata(format!("/proc/{}", self.root))?;
        let mut found = vec![self.root];
        let mut next = 0;
        while let Some(&process) = found.get(next) {
            next += 1;
            for task in entries(&format!("/proc/{process}/task")) {
                let children = fs::read_to_string(format!("/proc/{process}/task/{task}/children")).unwrap_or_default();
                found.extend(children.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
            }
        }
        Ok(found)
    }
}

/// Pins the calling thread, and whatever it spawns from now on, to one core while the guard lives.
#[derive(Debug)]
pub struct Pinned {
    before: CpuSet,
}

impl Pinned {
    /// Pins to `core`.
    pub fn to(core: usize) -> io::Result<Self> {
        let before = sched_getaffinity(Pid::from_raw(0))?;
        pin(core)?;
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = sched_setaffinity(Pid::from_raw(0), &self.before);
    }
}

/// Pins the calling thread to `core` for good.
pub fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Raises the limit of open files as far as this user may, and returns it.
pub fn raise_file_limit() -> io::Result<u64> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(most)
}

fn resident_of(process: u32) -> io::Result<u64> {
    // The rollup is exact; the counters of statm lag behind by some pages for each thread.
    if let Ok(text) = fs::read_to_string(format!("/proc/{process}/smaps_rollup")) {
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
        if let Some(kibibytes) = line.and_then(|line| line.split_whitespace().next()?.parse().ok()) {
            return Ok(kibibytes);
        }
    }
    let text = fs::read_to_string(format!("/proc/{process}/statm"))?;
    let pages: u64 = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    Ok(pages * 4)
}

fn entries(directory: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}
