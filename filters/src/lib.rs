//! The standard components, as bytes: each folder beside this crate's `src` is one, and the build script compiles them.
//!
//! They have no privilege over anybody else's components. Nothing is compiled to machine code here.

/// A component that ships with the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standard {
    /// Its name in the configuration.
    pub name: &'static str,
    /// `predicate`, `balancer` or `filter`.
    pub kind: &'static str,
    /// The component.
    pub bytes: &'static [u8],
}

/// All standard components, by name.
pub fn all() -> &'static [Standard] {
    STANDARD
}

/// The standard component of that name.
pub fn find(name: &str) -> Option<&'static Standard> {
    STANDARD.iter().find(|standard| standard.name == name)
}

static STANDARD: &[Standard] = &include!(concat!(env!("OUT_DIR"), "/standard.rs"));
