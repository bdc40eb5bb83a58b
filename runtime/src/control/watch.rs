//! Noticing that the configuration or a component file has changed.
//!
//! Directories are watched, not files: editors and deployments replace files by renaming, and Kubernetes swaps a
//! symbolic link beside them, which a watch on the file itself would miss. What else happens in these directories is
//! passed over. A directory that cannot be watched is compared with what it was at the look before.

mod names;
mod stamps;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::{ErrorKind, Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use self::names::Names;
use self::stamps::Stamps;

/// Watches some files.
#[derive(Debug)]
pub struct Watch {
    changed: mpsc::Sender<()>,
    heeded: Arc<Mutex<Heeded>>,
    /// `None` while the system has none to give.
    watcher: Option<RecommendedWatcher>,
    /// The directories that are watched. Another one may have the name of one of them by now.
    watched: BTreeMap<PathBuf, Identity>,
    /// Those that cannot be, or not reliably, as they were at the last look.
    polled: BTreeMap<PathBuf, Stamps>,
}

/// The device and the number of a directory on it.
type Identity = (u64, u64);

/// What the thread that hears of changes goes by.
#[derive(Debug, Default)]
struct Heeded {
    names: Names,
    /// Directories that are watched no more, because they are gone.
    lost: BTreeSet<PathBuf>,
}

/// What a look at the directories has found.
#[derive(Clone, Debug)]
pub struct Look {
    /// Whether files may have changed unnoticed since they were read: some of them, or the way to them, were not watched
    /// before, or are polled and differ from the last look.
    pub is_news: bool,
    /// Directories whose changes only a further look notices.
    pub polled: Vec<Polled>,
}

/// A directory whose changes only a look notices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polled {
    /// Where it is, without links on the way.
    pub directory: PathBuf,
    /// Why it is not watched.
    pub reason: String,
}

impl Watch {
    /// Watches nothing yet. What changes is told on `changed`, whose one place is enough: who reads from it has to look at
    /// all files anyway.
    pub fn new(changed: mpsc::Sender<()>) -> Self {
        let (heeded, watched, polled) = Default::default();
        Self { changed, heeded, watcher: None, watched, polled }
    }

    /// Watches these files, and no others any more, and compares those that cannot be watched with what they were. Reads no
    /// file, but may take as long as a file system does.
    ///
    /// To be called again after each change, because the way to a file may be another one then, and from time to time while
    /// directories are polled.
    pub fn look(&mut self, files: &[PathBuf]) -> Look {
        let wanted = Names::of(files);
        let unavailable = if wanted.0.is_empty() { None } else { self.provide().err() };
        self.attend(&wanted, unavailable.as_deref())
    }

    /// Watches what can be, unless there is a reason for which nothing can.
    fn attend(&mut self, wanted: &Names, unavailable: Option<&str>) -> Look {
        let mut heeded = heeded(&self.heeded);
        let before = std::mem::replace(&mut heeded.names, wanted.clone());
        let lost = std::mem::take(&mut heeded.lost);
        drop(heeded);
        let is_kept = |directory: &PathBuf| wanted.0.contains_key(directory) && !lost.contains(directory);
        let (known, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.watched).into_iter().partition(|(directory, _)| is_kept(directory));
        for directory in gone.keys() {
            // It may be gone itself.
            let _ = self.watcher.as_mut().map(|watcher| watcher.unwatch(directory));
        }
        let stamps = std::mem::take(&mut self.polled);
        let (mut polled, mut seen) = (Vec::new(), BTreeMap::new());
        let mut is_news = !wanted.are_among(&before);
        for (directory, names) in &wanted.0 {
            let reason = match (identity(directory), unavailable) {
                // It was there a moment ago; the next look watches for its return.
                (Err(error), _) if error.kind() == std::io::ErrorKind::NotFound => {
                    is_news = true;
                    continue;
                }
                (Err(error), _) => Some(error.to_string()),
                (Ok(_), Some(reason)) => Some(reason.to_owned()),
                (Ok(identity), None) => match seen.insert(identity, directory) {
                    Some(other) => Some(format!("it is {} by another name", other.display())),
                    None => match self.watch(directory, identity, &known) {
                        Ok(is_new) => {
                            is_news |= is_new;
                            let shared = stamps::shared_file_system(directory);
                            shared.map(|name| format!("{name} does not tell of changes made elsewhere"))
                        }
                        Err(error) => Some(why(&error)),
                    },
                },
            };
            if let Some(reason) = reason {
                let now = Stamps::of(directory, names);
                is_news |= stamps.get(directory) != Some(&now);
                self.polled.insert(directory.clone(), now);
                polled.push(Polled { directory: directory.clone(), reason });
            }
        }
        Look { is_news, polled }
    }

    /// Has a directory watched; whether it was not before.
    fn watch(
        &mut self,
        directory: &Path,
        identity: Identity,
        known: &BTreeMap<PathBuf, Identity>,
    ) -> notify::Result<bool> {
        // To watch once more what is watched would lose what has happened meanwhile.
        let is_new = known.get(directory) != Some(&identity);
        if let Some(watcher) = self.watcher.as_mut().filter(|_| is_new) {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
        self.watched.insert(directory.to_owned(), identity);
        Ok(is_new)
    }

    /// Sees to it that there is a watcher.
    fn provide(&mut self) -> Result<(), String> {
        if self.watcher.is_some() {
            return Ok(());
        }
        let (known, changed) = (self.heeded.clone(), self.changed.clone());
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let matters = match event {
                Ok(event) => {
                    let Heeded { names, lost } = &mut *heeded(&known);
                    lost.extend(names.lost_by(&event).cloned());
                    names.matter_to(&event)
                }
                // Events may have been lost.
                Err(_) => true,
            };
            if matters {
                // A full channel means that a look is due already.
                let _ = changed.try_send(());
            }
        });
        self.watcher = Some(watcher.map_err(|error| why(&error))?);
        Ok(())
    }
}

fn heeded(shared: &Mutex<Heeded>) -> MutexGuard<'_, Heeded> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn identity(directory: &Path) -> std::io::Result<Identity> {
    directory.metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// What keeps a directory from being watched, and where it is a limit, which.
fn why(error: &notify::Error) -> String {
    match &error.kind {
        ErrorKind::MaxFilesWatch => {
            "the limit of inotify watches is reached: raise fs.inotify.max_user_watches".to_owned()
        }
        ErrorKind::Io(error) if error.raw_os_error() == Some(libc::EMFILE) => {
            format!("{error}: raise fs.inotify.max_user_instances, or the limit of open files")
        }
        ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
