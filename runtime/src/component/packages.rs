//! A look at the component types that a core module embeds, before the encoder walks through them: it follows the
//! packages that a package depends on without looking where it has been, so a circle of them, which one damaged bit can
//! make, would overflow the stack and end the process.

mod needs;

use std::collections::BTreeSet;

use self::needs::Needs;
use super::load::LoadError;

/// The packages of all component types of a module, each with those that it depends on.
#[derive(Debug, Default)]
pub(super) struct Packages(Needs);

impl Packages {
    /// Reads one embedded component type.
    pub(super) fn read(&mut self, component_type: &[u8]) -> Result<(), LoadError> {
        let needs = needs::read(component_type).map_err(|error| LoadError::Encode(error.to_string()))?;
        for (package, needs) in needs {
            let others = needs.into_iter().filter(|other| *other != package).collect::<BTreeSet<_>>();
            self.0.entry(package).or_default().extend(others);
        }
        Ok(())
    }

    /// Refuses packages that depend on each other in a circle.
    pub(super) fn check(self) -> Result<(), LoadError> {
        let Self(mut packages) = self;
        // Whatever depends on nothing that is left goes. Of a circle nothing ever does.
        loop {
            let left: BTreeSet<String> = packages.keys().cloned().collect();
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
        let name = |name: &&str| (*name).to_owned();
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
