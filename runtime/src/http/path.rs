//! The path of a request in the three forms that it has here: forwarded, shown and compared.
//!
//! That the most specific route wins is a security boundary, so no two spellings of what an upstream takes for one path
//! may find different routes. What is an upstream's own way of reading decides what is equal: it may merge slashes,
//! decode what it likes but for a slash, and cut parameters off.

use std::borrow::Cow;
use std::fmt::Write as _;

use thiserror::Error;

/// Which paths a listener takes (`paths`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Paths {
    /// All that can be brought into their canonical form.
    #[default]
    Canonical,
    /// Only those over which no two readers could differ: no dot segments, repeated slashes, encoded slashes or
    /// backslashes.
    Strict,
}

/// A path in its forms. They are the same text for most, which then is not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path<'a> {
    forwarded: Cow<'a, str>,
    /// `None`: as forwarded.
    shown: Option<Box<str>>,
    /// `None`: as shown.
    compared: Option<Box<str>>,
}

/// A path that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidPath {
    /// It has no segments.
    #[error("the path does not start with `/`")]
    NoSlash,
    /// RFC 3986 section 2.1.
    #[error("the path has a `%` that two hexadecimal digits do not follow")]
    Encoding,
    /// No path has them, and some readers end a text there.
    #[error("the path has an encoded control character")]
    Control,
    /// It leads out of what is served.
    #[error("the path has a `..` above its root")]
    AboveRoot,
    /// A reader that cuts parameters off sees a dot segment, or an empty one.
    #[error("the path has a segment of parameters alone")]
    Parameters,
    /// [`Paths::Strict`].
    #[error("the path has a dot segment, and paths are strict here")]
    DotSegment,
    /// [`Paths::Strict`].
    #[error("the path has a repeated slash, and paths are strict here")]
    RepeatedSlash,
    /// [`Paths::Strict`].
    #[error("the path has an encoded slash, and paths are strict here")]
    EncodedSlash,
    /// [`Paths::Strict`].
    #[error("the path has a backslash, and paths are strict here")]
    Backslash,
}

impl<'a> Path<'a> {
    /// Reads the path of a request.
    pub fn read(text: &'a str, paths: Paths) -> Result<Self, InvalidPath> {
        let Some(relative) = text.strip_prefix('/') else { return Err(InvalidPath::NoSlash) };
        if is_plain(text.as_bytes()) {
            return Ok(Self { forwarded: Cow::Borrowed(text), shown: None, compared: None });
        }
        let decoded = decode_unreserved(relative)?;
        if paths == Paths::Strict {
            check_strictly(&decoded)?;
        }
        let segments = resolve(&decoded)?;
        let forwarded = joined(segments.iter().copied());
        let shown = merge(&segments);
        let compared = joined(shown.iter().map(|segment| comparable(segment)));
        let shown = joined(shown.into_iter());
        let compared = (compared != shown).then(|| compared.into());
        let shown = (shown != forwarded).then(|| shown.into());
        let forwarded = if forwarded == text { Cow::Borrowed(text) } else { Cow::Owned(forwarded) };
        Ok(Self { forwarded, shown, compared })
    }

    /// A path that is no path, as that of `OPTIONS *`: it is what it is in all forms.
    pub fn opaque(text: &'a str) -> Self {
        Self { forwarded: Cow::Borrowed(text), shown: None, compared: None }
    }

    /// What goes to the upstream (RFC 3986 section 6.2.2): encoded unreserved characters are decoded, then dot segments
    /// resolved. All else is as it came.
    pub fn forwarded(&self) -> &str {
        &self.forwarded
    }

    /// What components see, and in which prefixes are replaced: the same with repeated slashes merged.
    pub fn shown(&self) -> &str {
        self.shown.as_deref().unwrap_or(&self.forwarded)
    }

    /// What the paths of routes are compared with: the same without parameters (`;x=y`), all decoded that a segment
    /// can hold, and what it cannot in upper case hexadecimal.
    pub fn compared(&self) -> &str {
        self.compared.as_deref().unwrap_or_else(|| self.shown())
    }

    /// Whether what is shown goes to the upstream.
    pub fn is_shown_as_forwarded(&self) -> bool {
        self.shown.is_none()
    }

    /// The length of the first segments of what is shown.
    pub fn length_of(&self, segments: usize) -> usize {
        let shown = self.shown();
        let mut slashes = shown.match_indices('/').map(|(slash, _)| slash);
        if segments == 0 { 0 } else { slashes.nth(segments).unwrap_or(shown.len()) }
    }
}

/// The form in which the path of a rule is compared.
///
/// # Errors
/// For a path that is not canonical, and so is not what it seems: with dot segments, repeated slashes or parameters.
pub fn comparable_rule(text: &str) -> Result<String, InvalidPath> {
    let path = Path::read(text, Paths::Canonical)?;
    let decoded = decode_unreserved(text)?;
    if decoded.contains(';') {
        return Err(InvalidPath::Parameters);
    }
    if decoded.contains("//") {
        return Err(InvalidPath::RepeatedSlash);
    }
    if decoded != path.shown() {
        return Err(InvalidPath::DotSegment);
    }
    Ok(path.compared().to_owned())
}

/// Whether a path is the same in all forms, as nearly all are.
fn is_plain(path: &[u8]) -> bool {
    let mut previous = 0;
    path.iter().all(|byte| {
        let (before, byte) = (std::mem::replace(&mut previous, *byte), *byte);
        match byte {
            b'/' | b'.' => before != b'/',
            byte => is_segment_character(byte),
        }
    })
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// What stands in a segment as it is (`pchar` of RFC 3986 section 3.3), but for `;`, which starts its parameters.
fn is_segment_character(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,=:@".contains(&byte)
}

/// Decodes what means the same encoded and not, and nothing else (RFC 3986 section 6.2.2.2).
fn decode_unreserved(path: &str) -> Result<String, InvalidPath> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        let byte = encoded_byte(after).ok_or(InvalidPath::Encoding)?;
        let (digits, following) = after.split_at_checked(2).ok_or(InvalidPath::Encoding)?;
        match byte {
            0..0x20 | 0x7f => return Err(InvalidPath::Control),
            byte if is_unreserved(byte) => decoded.push(char::from(byte)),
            _ => decoded.extend(["%", digits]),
        }
        rest = following;
    }
    decoded.push_str(rest);
    Ok(decoded)
}

/// The byte that two hexadecimal digits at the start of a text stand for.
fn encoded_byte(text: &str) -> Option<u8> {
    let [high, low, ..] = text.as_bytes() else { return None };
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(*high)? << 4 | digit(*low)?)
}

fn check_strictly(decoded: &str) -> Result<(), InvalidPath> {
    let encodes = |byte| decoded.split('%').skip(1).any(|encoded| encoded_byte(encoded) == Some(byte));
    if decoded.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(InvalidPath::DotSegment);
    }
    if decoded.starts_with('/') || decoded.contains("//") {
        return Err(InvalidPath::RepeatedSlash);
    }
    if encodes(b'/') {
        return Err(InvalidPath::EncodedSlash);
    }
    if decoded.contains('\\') || encodes(b'\\') {
        return Err(InvalidPath::Backslash);
    }
    Ok(())
}

/// The segments of a path without its first slash, its dot segments resolved (RFC 3986 section 5.2.4).
fn resolve(relative: &str) -> Result<Vec<&str>, InvalidPath> {
    let mut resolved = Vec::new();
    let mut segments = relative.split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => {
                resolved.pop().ok_or(InvalidPath::AboveRoot)?;
            }
            _ if matches!(segment.split_once(';'), Some(("" | "." | "..", _))) => return Err(InvalidPath::Parameters),
            _ => {
                resolved.push(segment);
                continue;
            }
        }
        if segments.peek().is_none() {
            // What a dot segment leaves at the end is the directory.
            resolved.push("");
        }
    }
    Ok(resolved)
}

/// The segments without empty ones between others; one at the end stays.
fn merge<'a>(segments: &[&'a str]) -> Vec<&'a str> {
    let last = segments.len().saturating_sub(1);
    let kept = segments.iter().enumerate().filter(|(index, segment)| *index == last || !segment.is_empty());
    kept.map(|(_, segment)| *segment).collect()
}

fn joined<S: AsRef<str>>(segments: impl Iterator<Item = S>) -> String {
    segments.fold(String::new(), |mut path, segment| {
        path.push('/');
        path.push_str(segment.as_ref());
        path
    })
}

/// A segment as it is compared.
fn comparable(segment: &str) -> String {
    let segment = segment.split(';').next().unwrap_or_default();
    let mut comparable = String::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, mut after)) = rest.split_first() {
        let mut byte = *first;
        if byte == b'%'
            && let [high, low, following @ ..] = after
            && let Some(encoded) = std::str::from_utf8(&[*high, *low]).ok().and_then(encoded_byte)
        {
            (byte, after) = (encoded, following);
        }
        if is_segment_character(byte) {
            comparable.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(comparable, "%{byte:02X}");
        }
        rest = after;
    }
    comparable
}

#[cfg(test)]
mod tests;
