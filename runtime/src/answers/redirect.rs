//! The way to another place: a url that is made of the request's own (RFC 9110 section 15.4).
//!
//! Where it leads is the operator's to say. What comes from the client goes into the url encoded for its place: it cannot
//! name another host, end the path or the query that it stands in, or begin a header line.

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use thiserror::Error;

use crate::handshake::{AnswerBody, Refused, text};
use crate::http::{canonical_host, escape, split_port};
use crate::template::{InvalidTemplate, Part, Template};

/// Where requests are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    to: Template<Value>,
    status: StatusCode,
    /// What is said beside it.
    text: &'static str,
}

/// What of a request goes into a url.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// The host that was asked, in lower case and without a port.
    Host,
    /// The path, as it goes to an upstream.
    Path,
    /// What of it is behind the prefix of the route.
    Rest,
    /// The query, as it came.
    Query,
}

/// What a request has asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The host in lower case, without a port; empty when the client named none.
    pub host: &'a str,
    /// The path; one that is none counts as `/`.
    pub path: &'a str,
    /// What of the path is behind the prefix that the route matched: nothing, or what begins with a slash.
    pub rest: &'a str,
    /// The query without its `?`.
    pub query: Option<&'a str>,
}

/// Why requests cannot be sent there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidRedirect {
    /// It is no template.
    #[error(transparent)]
    Template(#[from] InvalidTemplate),
    /// It is neither a whole url nor a path.
    #[error("it is neither a url nor a path")]
    Nowhere,
    /// What stands in the place of the host is none, or the client could make another of it.
    #[error("it names no host")]
    Host,
    /// No url has this character.
    #[error("no url has a {0:?} in it")]
    Character(char),
    /// RFC 3986 section 2.1.
    #[error("a `%` is not followed by two hexadecimal digits")]
    Encoding,
    /// It would be no query, or run into what stands beside it.
    #[error("`{{query}}` stands where no query does")]
    Query,
}

/// The names of values that stand in the url of a redirect.
pub const VALUES: &[&str] = &["host", "path", "rest", "query"];

/// The statuses that send somebody elsewhere.
pub const STATUSES: &[u16] = &[301, 302, 303, 307, 308];

impl Redirect {
    /// Reads where to, and answers with one of [`STATUSES`].
    ///
    /// # Errors
    /// For a url that is none, or of which the client could make another.
    pub fn parse(to: &str, status: StatusCode) -> Result<Self, InvalidRedirect> {
        let to = Template::parse(to, |name| match name {
            "host" => Some(Value::Host),
            "path" => Some(Value::Path),
            "rest" => Some(Value::Rest),
            "query" => Some(Value::Query),
            _ => None,
        })?;
        check_characters(to.parts())?;
        check_place(to.parts())?;
        check_query(to.parts())?;
        Ok(Self { to, status, text: "this is found at another place" })
    }

    /// To the same url, over TLS at this port.
    pub fn to_tls(port: u16) -> Self {
        let text = |text: &str| Part::Text(text.into());
        let port = if port == HTTPS { None } else { Some(text(&format!(":{port}"))) };
        let host = [text("https://"), Part::Value(Value::Host)];
        let rest = [Part::Value(Value::Path), text("?"), Part::Value(Value::Query)];
        let to = Template::of(host.into_iter().chain(port).chain(rest));
        Self { to, status: StatusCode::PERMANENT_REDIRECT, text: "TLS is spoken here, and this was clear text" }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The answer to a request.
    ///
    /// # Errors
    /// When the request names no host and the url needs one, or the url would be too long.
    pub fn response(&self, asked: &Asked<'_>) -> Result<Response<AnswerBody>, Refused> {
        let location = self.location(asked)?;
        let mut response = text(self.status, self.text);
        response.headers_mut().insert(header::LOCATION, location);
        Ok(response)
    }

    fn location(&self, asked: &Asked<'_>) -> Result<HeaderValue, Refused> {
        let mut url = String::new();
        // Within a query or a fragment a value is one among others.
        let mut is_in_path = true;
        let mut is_without_query = false;
        let mut parts = self.to.parts().iter().peekable();
        while let Some(part) = parts.next() {
            match part {
                Part::Text(text) => {
                    let text = text.strip_prefix('&').filter(|_| is_without_query).unwrap_or(text);
                    is_without_query = false;
                    is_in_path = is_in_path && !text.contains(['?', '#']);
                    url.push_str(text);
                }
                Part::Value(Value::Query) => match asked.query {
                    Some(query) => escape(&mut url, query, stays_in_url),
                    None if matches!(parts.peek(), Some(Part::Text(text)) if text.starts_with('&')) => {
                        is_without_query = true;
                    }
                    None => drop(url.pop()),
                },
                Part::Value(Value::Host) if asked.host.is_empty() => {
                    return Err(Refused::Malformed("the request names no host"));
                }
                Part::Value(Value::Host) if is_in_path => url.push_str(asked.host),
                Part::Value(value) => {
                    let text = match value {
                        Value::Host => asked.host,
                        Value::Rest => asked.rest,
                        _ => Some(asked.path).filter(|path| path.starts_with('/')).unwrap_or("/"),
                    };
                    escape(&mut url, text, if is_in_path { stays_in_url } else { stays_in_component });
                }
            }
        }
        // Two slashes at the beginning would name a host.
        let slashes = url.bytes().take_while(|byte| *byte == b'/').count();
        let url = url.get(slashes.saturating_sub(1)..).unwrap_or_default();
        if url.len() > LONGEST {
            return Err(Refused::TargetTooLong);
        }
        HeaderValue::from_str(url).map_err(|_| Refused::Malformed("the target is no url"))
    }
}

/// All that stands as it is may stand in a url.
fn check_characters(parts: &[Part<Value>]) -> Result<(), InvalidRedirect> {
    for text in texts(parts) {
        let is_of_url = |character: &char| u8::try_from(*character).is_ok_and(stays_in_url);
        if let Some(character) = text.chars().find(|character| !is_of_url(character)) {
            return Err(InvalidRedirect::Character(character));
        }
        let is_encoded = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
        if !text.split('%').skip(1).all(is_encoded) {
            return Err(InvalidRedirect::Encoding);
        }
    }
    Ok(())
}

/// It is a path, or a whole url whose host is the operator's or all of the client's.
fn check_place(parts: &[Part<Value>]) -> Result<(), InvalidRedirect> {
    let first = match parts.first() {
        Some(Part::Value(Value::Path)) => return Ok(()),
        Some(Part::Text(text)) => text,
        _ => return Err(InvalidRedirect::Nowhere),
    };
    if first.starts_with('/') && !first.starts_with("//") {
        return Ok(());
    }
    let scheme = SCHEMES.iter().find_map(|scheme| first.strip_prefix(scheme)).ok_or(InvalidRedirect::Nowhere)?;
    let mut authority = String::new();
    let mut is_behind_host = false;
    for (index, part) in parts.iter().enumerate() {
        match part {
            Part::Text(text) => {
                let text = if index == 0 { scheme } else { text };
                if is_behind_host && !text.starts_with([':', '.', '/', '?', '#']) {
                    return Err(InvalidRedirect::Host);
                }
                let end = text.find(['/', '?', '#']);
                authority.push_str(text.get(..end.unwrap_or(text.len())).unwrap_or_default());
                if end.is_some() {
                    break;
                }
                is_behind_host = false;
            }
            Part::Value(Value::Host) => {
                if is_behind_host || !(authority.is_empty() || authority.ends_with('.')) {
                    return Err(InvalidRedirect::Host);
                }
                authority.push_str("host");
                is_behind_host = true;
            }
            Part::Value(Value::Path) => break,
            // It begins with a slash, unless there is none of it.
            Part::Value(Value::Rest) => match parts.get(index + 1) {
                Some(Part::Text(text)) if !text.starts_with(['/', '?', '#']) => return Err(InvalidRedirect::Host),
                Some(Part::Value(Value::Host)) => return Err(InvalidRedirect::Host),
                Some(Part::Value(Value::Rest)) => {}
                _ => break,
            },
            Part::Value(Value::Query) => return Err(InvalidRedirect::Query),
        }
    }
    let host = split_port(&authority).and_then(|(host, _)| canonical_host(host));
    host.map(drop).ok_or(InvalidRedirect::Host)
}

/// A query stands behind a `?` or another query, and nothing but another query or a fragment behind it.
fn check_query(parts: &[Part<Value>]) -> Result<(), InvalidRedirect> {
    let is_query = |part: &Part<Value>| *part == Part::Value(Value::Query);
    for (index, _) in parts.iter().enumerate().filter(|(_, part)| is_query(part)) {
        let (before, behind) = parts.split_at(index);
        let is_begun = texts(before).any(|text| text.contains('?')) && !texts(before).any(|text| text.contains('#'));
        let begins = matches!(before.last(), Some(Part::Text(text)) if text.ends_with(['?', '&']));
        let ends = match behind.get(1) {
            None => true,
            Some(Part::Text(text)) => text.starts_with(['&', '#']),
            Some(Part::Value(_)) => false,
        };
        if !(is_begun && begins && ends) {
            return Err(InvalidRedirect::Query);
        }
    }
    Ok(())
}

fn texts(parts: &[Part<Value>]) -> impl Iterator<Item = &str> {
    parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(&**text),
        Part::Value(_) => None,
    })
}

/// Whether a byte means nothing in a url but what it is there for. Browsers take a backslash for a slash.
fn stays_in_url(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)
}

/// Whether a byte ends no value within a query.
fn stays_in_component(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte)
}

const SCHEMES: &[&str] = &["https://", "http://", "wss://", "ws://"];

/// The port that needs no mention (RFC 9110 section 4.2.2).
const HTTPS: u16 = 443;

/// The bytes of the longest url: no client takes a longer one.
const LONGEST: usize = 65_534;

#[cfg(test)]
mod tests;
