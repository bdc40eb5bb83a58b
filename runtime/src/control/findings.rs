//! What components have against the way they are used, gathered for one report.

use std::sync::Arc;

use crate::component::{ConfigureError, LoadError};
use crate::config::{Component, How, MEND, Place, Problems, Refusal};

/// Problems, and refusals, whose places are looked up together.
pub(super) struct Findings {
    problems: Problems,
    refusals: Vec<Refusal>,
}

impl Findings {
    pub(super) fn new(problems: Problems) -> Self {
        Self { problems, refusals: Vec::new() }
    }

    pub(super) fn into_problems(mut self) -> Problems {
        self.problems.add_refusals(&self.refusals);
        self.problems
    }

    /// Something else.
    pub(super) fn add(&mut self, place: &Place, what: impl Into<String>, instead: impl Into<String>) {
        self.problems.add(place, what, instead);
    }

    /// That nothing more was looked at. Nobody reads this.
    pub(super) fn given_up(&mut self) {
        self.add(&Place::default(), "this was given up", "");
    }

    /// A component whose bytes cannot be had.
    pub(super) fn unreadable(&mut self, component: &Component, what: String) {
        self.problems.add(&component.place, what, "name a component file that exists and is readable");
    }

    /// A component that cannot be loaded.
    pub(super) fn unloadable(&mut self, name: &str, component: &Component, error: &LoadError) {
        let instead = match error {
            LoadError::Memory { .. } => "",
            LoadError::ForeignImports(_) => "build it without these imports",
            _ => "name a component built for tidegate:edge@0.2.0",
        };
        self.problems.add(&component.place, format!("component `{name}`: {error}"), instead);
    }

    /// The use of a component, unless the component is against it.
    pub(super) fn configured<T>(
        &mut self,
        name: &str,
        place: &Place,
        made: Result<T, Arc<ConfigureError>>,
    ) -> Option<T> {
        let error = match made {
            Ok(made) => return Some(made),
            Err(error) => error,
        };
        match &*error {
            ConfigureError::Rejected(words) => {
                let (place, how, words) = (place.clone(), How::Refused(name.to_owned()), words.clone());
                self.refusals.push(Refusal { place, how, words });
            }
            ConfigureError::WrongKind { expected, .. } => {
                self.problems.add(place, error.to_string(), format!("name a {} here", expected.label()));
            }
            ConfigureError::Failed { failure, words: Some(words) } => {
                let (place, how, words) = (place.clone(), How::Failed(failure.to_string()), words.clone());
                self.refusals.push(Refusal { place, how, words });
            }
            ConfigureError::Failed { failure, words: None } => self.problems.add(place, failure.to_string(), MEND),
        }
        None
    }
}
