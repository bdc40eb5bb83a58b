//! Noticing that the configuration or a component file has changed.
//!
//! Directories are watched, not files: editors and deployments replace files by renaming, and Kubernetes swaps a
//! symbolic link beside them, which a watch on the file itself would miss.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use thiserror::Error;
use tokio::sync::mpsc;

/// Watches the directories of some files.
#[derive(Debug)]
pub struct Watch {
    watcher: RecommendedWatcher,
    directories: BTreeSet<PathBuf>,
}

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
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let read_only = event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_)));
            if !read_only {
                // A full channel means that a look is due already.
                let _ = changed.try_send(());
            }
        });
        let watcher = watcher.map_err(|error| WatchError { path: PathBuf::new(), error })?;
        Ok(Self { watcher, directories: BTreeSet::new() })
    }

    /// Watches the directories of these files, and no others any more.
    pub fn files(&mut self, files: &[PathBuf]) -> Result<(), WatchError> {
        let wanted: BTreeSet<PathBuf> = files.iter().map(|file| directory(file)).collect();
        for gone in self.directories.difference(&wanted) {
            // The directory may be gone itself.
            let _ = self.watcher.unwatch(gone);
        }
        for path in wanted.difference(&self.directories) {
            let watched = self.watcher.watch(path, RecursiveMode::NonRecursive);
            watched.map_err(|error| WatchError { path: path.clone(), error })?;
        }
        self.directories = wanted;
        Ok(())
    }
}

fn directory(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
