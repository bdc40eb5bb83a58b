//! The files of a configuration as one tree.

use toml::de::DeTable;

use super::source::Source;

/// Reads the text of a configuration; what is wrong with its syntax comes with the places.
pub(super) fn read(source: &Source) -> (DeTable<'_>, Vec<(usize, toml::de::Error)>) {
    let mut errors = Vec::new();
    let mut documents = source.texts().map(|(start, text)| {
        let (document, wrong) = DeTable::parse_recoverable(text);
        errors.extend(wrong.into_iter().map(|error| (start, error)));
        document.into_inner()
    });
    let document = documents.next().unwrap_or_default();
    drop(documents);
    (document, errors)
}
