//! A look at the component types that a core module embeds, before the encoder walks through them: it follows the
//! packages that a package depends on without looking where it has been, so a circle of them, which one damaged bit can
//! make, would overflow the stack and end the process.

use std::collections::{BTreeMap, BTreeSet};

use wit_parser::{PackageName, Resolve, decoding};

use super::load::LoadError;

/// The packages of all component types of a module, each with those that it depends on.
#[derive(Debug, Default)]
pub(super) struct Packages(BTreeMap<PackageName, Vec<PackageName>>);

impl Packages {
    /// Reads one embedded component type.
    pub(super) fn read(&mut self, component_type: &[u8]) -> Result<(), LoadError> {
        let decoded = decoding::decode_world(component_type);
        let (resolve, _) = decoded.map_err(|error| LoadError::Encode(format!("{error:#}")))?;
        self.add(&resolve);
        Ok(())
    }

    fn add(&mut self, resolve: &Resolve) {
        for (id, package) in resolve.packages.iter() {
            let needs = resolve.package_direct_deps(id).filter_map(|id| resolve.packages.get(id));
            let needs = needs.map(|package| package.name.clone());
            self.0.entry(package.name.clone()).or_default().extend(needs);
        }
    }

    /// Refuses packages that depend on each other in a circle.
    pub(super) fn check(self) -> Result<(), LoadError> {
        let Self(mut packages) = self;
        // Whatever depends on nothing that is left goes. Of a circle nothing ever does.
        loop {
            let left: BTreeSet<PackageName> = packages.keys().cloned().collect();
            packages.retain(|_, needs| needs.iter().any(|name| left.contains(name)));
            match packages.keys().next() {
                None => return Ok(()),
                Some(name) if packages.len() == left.len() => {
                    return Err(LoadError::Encode(format!("package {name} depends on itself by way of others")));
                }
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(edges: &[(&str, &[&str])]) -> Packages {
        let name = |name: &&str| PackageName { namespace: "test".to_owned(), name: (*name).to_owned(), version: None };
        Packages(edges.iter().map(|(from, to)| (name(from), to.iter().map(name).collect())).collect())
    }

    #[test]
    fn a_circle_is_refused_and_everything_else_is_not() {
        assert_eq!(packages(&[]).check(), Ok(()));
        assert_eq!(packages(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[]), ("d", &["elsewhere"])]).check(), Ok(()));
        for circle in [packages(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]), packages(&[("a", &["a"])])] {
            assert!(matches!(circle.check(), Err(LoadError::Encode(_))));
        }
    }
}
