//! Noticing that the configuration or a component file has changed.
//!
//! Directories are watched, not files: editors and deployments replace files by renaming, and Kubernetes swaps a
//! symbolic link beside them, which a watch on the file itself would miss. What else happens in these directories is
//! passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use thiserror::Error;
use tokio::sync::mpsc;

/// Watches some files.
#[derive(Debug)]
pub struct Watch {
    watcher: RecommendedWatcher,
    names: Arc<Mutex<Names>>,
}

/// The names that matter, by their directory.
type Names = BTreeMap<PathBuf, BTreeSet<OsString>>;

/// Changes are not noticed; a reload by signal or API still works.
#[derive(Debug, Error)]
#[error("cannot watch {}: {error}", .path.display())]
pub struct WatchError {
    path: PathBuf,
    error: notify::Error,
}

impl Watch {
    /// Starts to watch nothing. What changes is told on `changed`, whose one place is enough: who reads from it has to
    /// look at all files anyway.
    pub fn new(changed: mpsc::Sender<()>) -> Result<Self, WatchError> {
        let names = Arc::new(Mutex::new(Names::new()));
        let known = names.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let matters = match event {
                Ok(event) => matters(&event, &known.lock().unwrap_or_else(PoisonError::into_inner)),
                // Events may have been lost.
                Err(_) => true,
            };
            if matters {
                // A full channel means that a look is due already.
                let _ = changed.try_send(());
            }
        });
        let watcher = watcher.map_err(|error| WatchError { path: PathBuf::new(), error })?;
        Ok(Self { watcher, names })
    }

    /// Watches these files, and no others any more.
    pub fn files(&mut self, files: &[PathBuf]) -> Result<(), WatchError> {
        let mut wanted = Names::new();
        for file in files {
            // Events name whole paths.
            links(&std::path::absolute(file).unwrap_or_else(|_| file.clone()), MAX_LINKS, &mut wanted);
        }
        let before = std::mem::replace(&mut *self.names(), wanted.clone());
        for gone in before.keys().filter(|path| !wanted.contains_key(*path)) {
            // The directory may be gone itself.
            let _ = self.watcher.unwatch(gone);
        }
        for path in wanted.keys().filter(|path| !before.contains_key(*path)) {
            let watched = self.watcher.watch(path, RecursiveMode::NonRecursive);
            watched.map_err(|error| WatchError { path: path.clone(), error })?;
        }
        Ok(())
    }

    fn names(&self) -> std::sync::MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an event is about one of the names. Opening and reading is not a change.
fn matters(event: &Event, names: &Names) -> bool {
    let is_change = !matches!(event.kind, EventKind::Access(_));
    is_change
        && event.paths.iter().any(|path| {
            let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return true };
            names.get(directory).is_some_and(|names| names.contains(name))
        })
}

/// Collects the file and every symbolic link on the way to it: each of them, replaced, is a change.
fn links(file: &Path, depth: usize, names: &mut Names) {
    let mut path = PathBuf::new();
    let mut components = file.components().peekable();
    while let Some(component) = components.next() {
        let directory = if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.clone() };
        path.push(component);
        let target = std::fs::read_link(&path).ok();
        if let (true, std::path::Component::Normal(name)) = (target.is_some() || components.peek().is_none(), component)
        {
            names.entry(directory.clone()).or_default().insert(name.to_owned());
        }
        if let (Some(target), Some(depth)) = (target, depth.checked_sub(1)) {
            let rest: PathBuf = components.clone().collect();
            return links(&directory.join(target).join(rest), depth, names);
        }
    }
}

/// As many as Linux follows.
const MAX_LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn watched(file: &Path) -> Vec<String> {
        let mut names = Names::new();
        links(file, MAX_LINKS, &mut names);
        let all = names.into_iter().flat_map(|(directory, names)| {
            names.into_iter().map(move |name| directory.join(name).display().to_string())
        });
        all.collect()
    }

    #[test]
    fn every_link_on_the_way_to_a_file_is_watched() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        std::fs::create_dir_all(at("..2026")).unwrap();
        std::fs::write(at("..2026/tidegate.toml"), "").unwrap();
        symlink("..2026", at("..data")).unwrap();
        symlink("..data/tidegate.toml", at("tidegate.toml")).unwrap();
        let expected = ["..data", "tidegate.toml", "..2026/tidegate.toml"].map(|path| at(path).display().to_string());
        assert_eq!(watched(&at("tidegate.toml")), expected);
    }

    #[test]
    fn a_relative_file_is_watched_in_the_current_directory() {
        assert_eq!(watched(Path::new("tidegate.toml")), ["./tidegate.toml"]);
    }

    #[test]
    fn links_in_a_circle_end() {
        let root = tempfile::tempdir().unwrap();
        symlink("b", root.path().join("a")).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        assert_eq!(watched(&root.path().join("a")).len(), 2);
    }

    #[test]
    fn a_neighbour_in_the_same_directory_does_not_matter() {
        let names = Names::from([(PathBuf::from("/etc"), BTreeSet::from([OsString::from("tidegate.toml")]))]);
        let event = |path: &str| Event::new(EventKind::Any).add_path(PathBuf::from(path));
        assert!(matters(&event("/etc/tidegate.toml"), &names));
        assert!(!matters(&event("/etc/other.log"), &names));
    }
}
