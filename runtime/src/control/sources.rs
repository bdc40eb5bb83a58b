//! The bytes that a configuration refers to.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{self, Named};
use super::findings::Findings;
use super::steps::Steps;
use crate::config::{self, Component, ComponentSource, Config, Examined, Problems};
use crate::file;

/// A configuration and the bytes of all its components, as they were at one moment. Two are equal when nothing would
/// change from one to the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Sources {
    /// The checked configuration.
    pub config: Config,
    /// The bytes of the components, by name.
    pub components: BTreeMap<String, Arc<[u8]>>,
    /// The bytes of certificates, keys and pages, by path.
    pub files: BTreeMap<PathBuf, Arc<[u8]>>,
}

impl Sources {
    /// The bytes of a file; `None` where there is none, and none was needed.
    pub(super) fn file(&self, path: &Path) -> Option<&[u8]> {
        self.files.get(path).map(|bytes| &**bytes)
    }
}

/// Where a configuration comes from, to be read again for a reload.
#[derive(Clone, Debug)]
pub enum ReadSources {
    /// From a file.
    File(PathBuf),
    /// From a text that is part of the program, with the name it goes by.
    Text(&'static str, String),
}

impl ReadSources {
    /// Reads and checks the configuration, and reads its components.
    ///
    /// # Errors
    /// Everything that is wrong, at least one problem.
    pub fn read(&self) -> Result<Sources, Problems> {
        let steps = Steps::untold();
        Self::read_components(self.examine(&steps).into_config()?, &steps)
    }

    /// Reads and checks the configuration.
    pub fn examine(&self, steps: &Steps<'_>) -> Examined {
        let standard: Vec<&str> = tidegate_filters::all().iter().map(|standard| standard.name).collect();
        match self {
            Self::File(path) => config::examine(path, &standard, &|path| {
                steps.reading(path);
            }),
            Self::Text(name, text) => config::examine_text(name, text, Path::new(""), &standard),
        }
    }

    /// Reads the components and the certificates of a configuration.
    ///
    /// # Errors
    /// Those that cannot be read, at least one.
    pub fn read_components(config: Config, steps: &Steps<'_>) -> Result<Sources, Problems> {
        let mut findings = Findings::new(config.problems());
        let mut components = BTreeMap::new();
        for (name, component) in &config.components {
            if let ComponentSource::File(path) = &component.source
                && !steps.reading(path)
            {
                findings.given_up();
                break;
            }
            match bytes(name, component) {
                Ok(bytes) => components.extend(bytes.map(|bytes| (name.clone(), bytes))),
                Err(what) => findings.unreadable(component, what),
            }
        }
        let files = read_files(&config, steps, &mut findings);
        let problems = findings.into_problems();
        if problems.is_empty() { Ok(Sources { config, components, files }) } else { Err(problems) }
    }

    /// The files that it comes from, as far as these configurations say, which were read before. Some of the paths have
    /// wildcards in the name.
    pub fn files<'a>(&self, configs: impl IntoIterator<Item = &'a Config>) -> Vec<PathBuf> {
        let own = match self {
            Self::File(path) => Some(path.clone()),
            Self::Text(..) => None,
        };
        let paths = configs.into_iter().flat_map(|config| {
            let components = config.components.values().filter_map(|component| match &component.source {
                ComponentSource::File(path) => Some(path.clone()),
                ComponentSource::Standard => None,
            });
            let secured = files::of(config).map(|file| file.path);
            components.chain(config.inputs.0.iter().cloned()).chain(secured)
        });
        own.into_iter().chain(paths).collect()
    }
}

/// The bytes of the certificates, keys and pages of a configuration, by path, as far as they can be read.
pub(super) fn read_files(config: &Config, steps: &Steps<'_>, findings: &mut Findings) -> BTreeMap<PathBuf, Arc<[u8]>> {
    let mut read = BTreeMap::new();
    for Named { path, place, is_needed, most } in files::of(config) {
        if read.contains_key(&path) || !steps.reading(&path) {
            continue;
        }
        match file::read(&path, most) {
            Ok(bytes) => drop(read.insert(path, bytes.into())),
            Err(error) if !is_needed && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let what = format!("{}: {error}", path.display());
                findings.add(&place, what, "name a file that exists and is readable by the user of the process");
            }
        }
    }
    read
}

/// The bytes of a component; `None` where a standard one is none of this binary.
///
/// # Errors
/// What is wrong with its file.
pub(super) fn bytes(name: &str, component: &Component) -> Result<Option<Arc<[u8]>>, String> {
    match &component.source {
        ComponentSource::Standard => Ok(tidegate_filters::find(name).map(|standard| standard.bytes.into())),
        ComponentSource::File(path) => {
            let bytes = read_component(path).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(Some(bytes.into()))
        }
    }
}

/// The bytes of a component's file, 256 MiB at most.
///
/// # Errors
/// When it cannot be read, is no regular file or is larger.
pub fn read_component(path: &Path) -> io::Result<Vec<u8>> {
    file::read(path, MAX_COMPONENT)
}

/// An embedded Python is 18 MB; what is larger was not meant.
const MAX_COMPONENT: u64 = 256 << 20;
