//! A text or a file that is answered, and what it is.

use std::path::Path;

use bytes::Bytes;
use http::header::HeaderValue;

/// Bytes with their type. Cloning it copies none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// What they are (RFC 9110 section 8.3); `None`: there are none.
    pub kind: Option<HeaderValue>,
    /// The bytes.
    pub bytes: Bytes,
}

impl Page {
    /// Nothing.
    pub fn empty() -> Self {
        Self { kind: None, bytes: Bytes::new() }
    }

    /// A plain text.
    pub fn text(text: &str) -> Self {
        Self { kind: Some(HeaderValue::from_static(PLAIN)), bytes: Bytes::copy_from_slice(text.as_bytes()) }
    }

    /// What a file holds; the end of its name says what it is.
    pub fn file(path: &Path, bytes: Bytes) -> Self {
        let suffix = path.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
        let known = KINDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(suffix));
        Self { kind: Some(HeaderValue::from_static(known.map_or(BYTES, |(_, kind)| kind))), bytes }
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";

/// By the suffix of a name: what a page, a maintenance page and what belongs to it are written in.
const KINDS: &[(&str, &str)] = &[
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("gif", "image/gif"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/vnd.microsoft.icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("md", "text/markdown; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("txt", PLAIN),
    ("wasm", "application/wasm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("woff2", "font/woff2"),
    ("xml", "application/xml"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_its_name_says_what_a_file_is() {
        for (path, kind) in [
            ("/pages/busy.html", "text/html; charset=utf-8"),
            ("Busy.HTML", "text/html; charset=utf-8"),
            ("a.b/robots.txt", "text/plain; charset=utf-8"),
            ("data.json", "application/json"),
            ("html", "application/octet-stream"),
            (".html", "application/octet-stream"),
            ("page.html.bak", "application/octet-stream"),
        ] {
            assert_eq!(Page::file(Path::new(path), Bytes::new()).kind.unwrap(), kind, "{path}");
        }
    }
}
