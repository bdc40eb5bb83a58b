//! What routes answer by themselves.

use std::sync::Arc;

use bytes::Bytes;

use super::sources::Sources;
use crate::answers::{Answer, Fixed, Page};
use crate::config::{self, Content, File};

/// The answer of a route; `None` where its file could not be read, which is told already.
pub(super) fn answer(wanted: &config::Answer, sources: &Sources) -> Option<Answer> {
    let config::Answer { status, headers, content } = wanted;
    let page = match content {
        Content::Nothing => Page::empty(),
        Content::Text(text) => Page::text(text),
        Content::File(file) => page(file, sources)?,
    };
    Some(Answer::Fixed(Fixed { status: *status, headers: headers.clone(), page }))
}

/// What a file holds.
fn page(file: &File, sources: &Sources) -> Option<Page> {
    let bytes = sources.files.get(&file.path)?;
    Some(Page::file(&file.path, Bytes::from_owner(Arc::clone(bytes))))
}
