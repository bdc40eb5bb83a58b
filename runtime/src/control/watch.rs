//! Noticing that the configuration or a component file has changed.
//!
//! Directories are watched, not files: editors and deployments replace files by renaming, and Kubernetes swaps a
//! symbolic link beside them, which a watch on the file itself would miss. What else happens in these directories is
//! passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::ModifyKind;
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::config;

/// Watches some files.
#[derive(Debug)]
pub struct Watch {
    watcher: RecommendedWatcher,
    names: Arc<Mutex<Names>>,
    /// The directories that are watched. Another one may have the name of one of them by now.
    watched: BTreeMap<PathBuf, Identity>,
}

/// The device and the number of a directory on it.
type Identity = (u64, u64);

/// The names that matter, by their directory; also with wildcards.
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
        Ok(Self { watcher, names, watched: BTreeMap::new() })
    }

    /// Watches these files, and no others any more. Whether they may have changed unnoticed since they were read, because
    /// some of them, or the way to them, were not watched before.
    ///
    /// To be called again after each change: the way to a file may be another one then.
    pub fn files(&mut self, files: &[PathBuf]) -> Result<bool, WatchError> {
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
        let mut is_news =
            wanted.iter().any(|(path, names)| !before.get(path).is_some_and(|before| names.is_subset(before)));
        let mut watched = BTreeMap::new();
        for path in wanted.keys() {
            let identity = identity(path);
            // To watch once more what is watched would lose what has happened meanwhile.
            if identity.is_some() && self.watched.get(path) == identity.as_ref() {
                watched.extend(identity.map(|identity| (path.clone(), identity)));
                continue;
            }
            is_news = true;
            match self.watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => watched.extend(identity.map(|identity| (path.clone(), identity))),
                // It was there a moment ago; the next look watches for its return.
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(WatchError { path: path.clone(), error }),
            }
        }
        self.watched = watched;
        Ok(is_news)
    }

    fn names(&self) -> std::sync::MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn identity(directory: &Path) -> Option<Identity> {
    directory.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// Whether an event is about one of the names, or about one of the directories itself. Opening and reading is not a
/// change.
fn matters(event: &Event, names: &Names) -> bool {
    let is_change = !matches!(event.kind, EventKind::Access(_));
    let is_move = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
    if event.need_rescan() || (is_move && event.paths.iter().any(|path| names.contains_key(path))) {
        return true;
    }
    is_change
        && event.paths.iter().any(|path| {
            let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return true };
            let is_wanted = |wanted: &OsString| match (wanted.to_str(), name.to_str()) {
                (Some(wanted), Some(name)) => config::matches_name(wanted, name),
                _ => wanted == name,
            };
            names.get(directory).is_some_and(|names| names.contains(name) || names.iter().any(is_wanted))
        })
}

/// Collects the file and every symbolic link on the way to it: each of them, replaced, is a change. The way ends where
/// nothing is; what appears there is a change, too.
fn links(file: &Path, depth: usize, names: &mut Names) {
    let mut path = PathBuf::new();
    let mut components = file.components().peekable();
    while let Some(component) = components.next() {
        let directory = if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.clone() };
        path.push(component);
        let target = std::fs::read_link(&path).ok();
        let is_missing = target.is_none() && path.symlink_metadata().is_err();
        let is_watched = target.is_some() || is_missing || components.peek().is_none();
        if let (true, std::path::Component::Normal(name)) = (is_watched, component) {
            names.entry(directory.clone()).or_default().insert(name.to_owned());
        }
        if is_missing {
            return;
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
    fn where_a_directory_is_missing_its_return_is_watched_for() {
        let root = tempfile::tempdir().unwrap();
        symlink("gone/further", root.path().join("data")).unwrap();
        let expected = ["data", "gone"].map(|path| root.path().join(path).display().to_string());
        assert_eq!(watched(&root.path().join("data/tidegate.toml")), expected);
    }

    #[test]
    fn what_was_not_watched_before_is_news_and_what_was_is_none() {
        let root = tempfile::tempdir().unwrap();
        let (changed, _changes) = mpsc::channel(1);
        let mut watch = Watch::new(changed).unwrap();
        let [one, other] = ["one", "other"].map(|name| root.path().join(name));
        assert!(watch.files(std::slice::from_ref(&one)).unwrap());
        assert!(!watch.files(std::slice::from_ref(&one)).unwrap());
        assert!(watch.files(&[one.clone(), other]).unwrap());
        assert!(!watch.files(&[one]).unwrap());
    }

    #[tokio::test]
    async fn a_directory_that_another_takes_the_place_of_is_watched_again() {
        let root = tempfile::tempdir().unwrap();
        let [current, next, old] = ["current", "next", "old"].map(|name| root.path().join(name));
        std::fs::create_dir(&current).unwrap();
        std::fs::create_dir(&next).unwrap();
        let (changed, mut changes) = mpsc::channel(1);
        let mut watch = Watch::new(changed).unwrap();
        let file = current.join("tidegate.toml");
        watch.files(std::slice::from_ref(&file)).unwrap();
        std::fs::rename(&current, &old).unwrap();
        changes.recv().await.unwrap();
        std::fs::rename(&next, &current).unwrap();
        watch.files(std::slice::from_ref(&file)).unwrap();
        while changes.try_recv().is_ok() {}
        std::fs::write(&file, "").unwrap();
        changes.recv().await.unwrap();
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
    fn a_new_file_that_matches_wildcards_matters() {
        let names = Names::from([(PathBuf::from("/etc/conf.d"), BTreeSet::from([OsString::from("*.toml")]))]);
        let event = |path: &str| Event::new(EventKind::Any).add_path(PathBuf::from(path));
        assert!(matters(&event("/etc/conf.d/new.toml"), &names));
        assert!(!matters(&event("/etc/conf.d/.new.toml.swp"), &names));
        assert!(!matters(&event("/etc/new.toml"), &names));
    }

    #[test]
    fn a_neighbour_in_the_same_directory_does_not_matter() {
        let names = Names::from([(PathBuf::from("/etc"), BTreeSet::from([OsString::from("tidegate.toml")]))]);
        let event = |path: &str| Event::new(EventKind::Any).add_path(PathBuf::from(path));
        assert!(matters(&event("/etc/tidegate.toml"), &names));
        assert!(!matters(&event("/etc/other.log"), &names));
    }
}
