//! Which names matter to a watch, by their directories.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use notify::event::ModifyKind;
use notify::{Event, EventKind};

use crate::config;

/// The names that matter, by their directory; also with wildcards. A directory has one spelling, without links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names(pub(super) BTreeMap<PathBuf, BTreeSet<OsString>>);

impl Names {
    /// The names of these files and of the symbolic links on the way to them.
    pub(super) fn of(files: &[PathBuf]) -> Self {
        let mut names = Self::default();
        for file in files {
            // Events name whole paths.
            names.add(&std::path::absolute(file).unwrap_or_else(|_| file.clone()), MAX_LINKS);
        }
        names
    }

    /// Whether all names of these are among the others.
    pub(super) fn are_among(&self, others: &Self) -> bool {
        let is_known =
            |(directory, names): (_, &BTreeSet<_>)| others.0.get(directory).is_some_and(|it| names.is_subset(it));
        self.0.iter().all(is_known)
    }

    /// Collects the file and every symbolic link on the way to it: each of them, replaced, is a change. The way ends where
    /// nothing is; what appears there is a change, too.
    fn add(&mut self, file: &Path, depth: usize) {
        // Without links, so that one step up is the path without its end.
        let mut path = PathBuf::new();
        let mut components = file.components().peekable();
        while let Some(component) = components.next() {
            let Component::Normal(name) = component else {
                if component == Component::ParentDir {
                    path.pop();
                } else {
                    path.push(component);
                }
                continue;
            };
            let directory = path.clone();
            path.push(name);
            let target = std::fs::read_link(&path).ok();
            let is_missing = target.is_none() && path.symlink_metadata().is_err();
            if target.is_some() || is_missing || components.peek().is_none() {
                self.0.entry(directory.clone()).or_default().insert(name.to_owned());
            }
            if is_missing {
                return;
            }
            if let (Some(target), Some(depth)) = (target, depth.checked_sub(1)) {
                let rest: PathBuf = components.clone().collect();
                return self.add(&directory.join(target).join(rest), depth);
            }
        }
    }

    /// Whether an event is about one of the names, or about one of the directories itself. Opening and reading is not a change.
    pub(super) fn matter_to(&self, event: &Event) -> bool {
        let is_change = !matches!(event.kind, EventKind::Access(_));
        if event.need_rescan() || is_change && self.directories_of(event).next().is_some() {
            return true;
        }
        is_change
            && event.paths.iter().any(|path| {
                let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return true };
                let is_wanted = |wanted: &OsString| match (wanted.to_str(), name.to_str()) {
                    (Some(wanted), Some(name)) => config::matches_name(wanted, name),
                    _ => wanted == name,
                };
                self.0.get(directory).is_some_and(|names| names.contains(name) || names.iter().any(is_wanted))
            })
    }

    /// The directories that are gone by an event, or have been moved: what has their names by now is another.
    pub(super) fn lost_by<'e>(&self, event: &'e Event) -> impl Iterator<Item = &'e PathBuf> {
        let is_loss = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
        self.directories_of(event).filter(move |_| is_loss)
    }

    /// The directories that an event is about.
    fn directories_of<'e>(&self, event: &'e Event) -> impl Iterator<Item = &'e PathBuf> {
        event.paths.iter().filter(|path| self.0.contains_key(*path))
    }
}

/// As many as Linux follows.
const MAX_LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn watched(file: &Path) -> Vec<String> {
        let names = Names::of(&[file.to_owned()]);
        let all = names.0.into_iter().flat_map(|(directory, names)| {
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
    fn a_directory_has_one_spelling_whichever_way_leads_there() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        std::fs::create_dir_all(at("deep/directory")).unwrap();
        symlink("deep/directory", at("link")).unwrap();
        let [link, expected] = ["link", "deep/a"].map(|path| at(path).display().to_string());
        assert_eq!(watched(&at("deep/directory/../a")), [expected.as_str()]);
        assert_eq!(watched(&at("link/../a")), [link, expected]);
    }

    #[test]
    fn where_a_directory_is_missing_its_return_is_watched_for() {
        let root = tempfile::tempdir().unwrap();
        symlink("gone/further", root.path().join("data")).unwrap();
        let expected = ["data", "gone"].map(|path| root.path().join(path).display().to_string());
        assert_eq!(watched(&root.path().join("data/tidegate.toml")), expected);
    }

    #[test]
    fn a_relative_file_is_watched_in_the_current_directory() {
        let own = std::env::current_dir().unwrap().canonicalize().unwrap().join("Cargo.toml");
        assert_eq!(watched(Path::new("Cargo.toml")), [own.display().to_string()]);
    }

    #[test]
    fn links_in_a_circle_end() {
        let root = tempfile::tempdir().unwrap();
        symlink("b", root.path().join("a")).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        assert_eq!(watched(&root.path().join("a")).len(), 2);
    }

    fn names(directory: &str, name: &str) -> Names {
        Names([(PathBuf::from(directory), BTreeSet::from([OsString::from(name)]))].into())
    }

    fn event(path: &str) -> Event {
        Event::new(EventKind::Any).add_path(PathBuf::from(path))
    }

    #[test]
    fn a_new_file_that_matches_wildcards_matters() {
        let names = names("/etc/conf.d", "*.toml");
        assert!(names.matter_to(&event("/etc/conf.d/new.toml")));
        assert!(!names.matter_to(&event("/etc/conf.d/.new.toml.swp")));
        assert!(!names.matter_to(&event("/etc/new.toml")));
    }

    #[test]
    fn a_neighbour_in_the_same_directory_does_not_matter_and_the_directory_does() {
        let names = names("/etc", "tidegate.toml");
        assert!(names.matter_to(&event("/etc/tidegate.toml")));
        assert!(!names.matter_to(&event("/etc/other.log")));
        assert!(names.matter_to(&event("/etc")));
    }
}
