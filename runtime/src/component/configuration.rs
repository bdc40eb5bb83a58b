//! What a component is configured with, and what it says about it.
//!
//! Keys and claims to check for stand there, so neither is printed by accident: there is no `Display`, and `Debug` shows
//! nothing. What a component says may quote what it read, hence it is as private.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;

/// The configuration of a use of a component: JSON text. Its memory is cleared when nobody needs it any more.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Configuration(Arc<Text>);

/// What a component says of a configuration that it does not take: for the eyes of the operator who wrote it.
#[derive(Clone, PartialEq, Eq)]
pub struct Words(String);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Text(Vec<u8>);

impl Configuration {
    /// Takes JSON text.
    pub fn new(json: String) -> Self {
        Self(Arc::new(Text(json.into_bytes())))
    }

    /// The JSON text, for the component and nobody else.
    pub fn reveal(&self) -> &str {
        // It was text when it came.
        std::str::from_utf8(&self.0.0).unwrap_or_default()
    }
}

/// The configuration that stands for none.
impl Default for Configuration {
    fn default() -> Self {
        Self::new("{}".to_owned())
    }
}

impl From<&str> for Configuration {
    fn from(json: &str) -> Self {
        Self::new(json.to_owned())
    }
}

/// The same text, not copied.
impl From<&Configuration> for Configuration {
    fn from(configuration: &Configuration) -> Self {
        configuration.clone()
    }
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Configuration(..)")
    }
}

impl Words {
    /// Takes what a component has said.
    pub fn new(words: String) -> Self {
        Self(words)
    }

    /// The words, for a terminal.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Words(..)")
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        self.0.fill(0);
        // Nobody reads the zeros; the optimizer must not know.
        black_box(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_debug_output_shows_a_configuration_or_what_a_component_says_about_it() {
        let configuration = Configuration::from("{\"token\":\"s3cret\"}");
        assert_eq!(format!("{configuration:?} {:?}", Words::new("s3cret".into())), "Configuration(..) Words(..)");
        assert_eq!(configuration.reveal(), "{\"token\":\"s3cret\"}");
    }
}
