//! What is answered without an upstream: by routes, and where a request is not served.

use std::sync::Arc;

use bytes::Bytes;

use super::sources::Sources;
use crate::answers::{Answer, ErrorPages, Fixed, Page};
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

/// The pages for errors, as far as their files could be read; what could not is told already.
pub(super) fn errors(sources: &Sources) -> ErrorPages {
    let wanted = sources.config.errors.iter();
    ErrorPages(wanted.filter_map(|(status, file)| Some((*status, page(file, sources)?))).collect())
}

/// What a file holds.
fn page(file: &File, sources: &Sources) -> Option<Page> {
    let bytes = sources.files.get(&file.path)?;
    Some(Page::file(&file.path, Bytes::from_owner(Arc::clone(bytes))))
}
