//! Whom a route asks whether clients may come in.

use std::path::Path;

use http::header::HeaderName;
use http::uri::{Scheme, Uri};

use super::tls::file;
use crate::authorize::Terms;
use crate::config::{
    reader::{Absent, Fault, Key, Read, Section, Value},
    types::Authorize,
    value,
};

pub(super) const AUTHORIZE: Section = Section {
    title: "the authorization of a route",
    about: "Before filters see it, each handshake becomes a question to another server: a GET with the original method (`GET` of \
            a handshake over HTTP/2, too), scheme, host, path and query, and the client's address in `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri` and `-For`. An answer of 2xx lets \
            it in, any other is relayed to the client; without one the client gets 503.",
    keys: &[URL, TIMEOUT, HEADERS, COPY, CACHE, MAX_PENDING, CA],
};

const URL: Key = Key {
    name: "url",
    takes: "url",
    absent: Absent::Missing,
    example: "\"http://auth.internal/verify\"",
    meaning: "Whom to ask, `http` or `https`.",
};

const TIMEOUT: Key = Key {
    name: "timeout",
    takes: "duration",
    absent: Absent::Default("\"2s\""),
    example: "\"500ms\"",
    meaning: "How long the answer may take, with the connection.",
};

const HEADERS: Key = Key {
    name: "headers",
    takes: "list of headers",
    absent: Absent::Default("[\"authorization\", \"cookie\"]"),
    example: "[\"authorization\", \"cookie\", \"origin\"]",
    meaning: "The fields of the client that go with the question.",
};

const COPY: Key = Key {
    name: "copy",
    takes: "list of headers",
    absent: Absent::Default("[]"),
    example: "[\"x-user\", \"x-role\"]",
    meaning: "The fields of the answer that components and the upstream see. What the client sends by these names is removed.",
};

const CACHE: Key = Key {
    name: "cache",
    takes: "duration or `off`",
    absent: Absent::Default("\"off\""),
    example: "\"10s\"",
    meaning: "How long it is remembered that the same was let in: the same method, host, path and query, and the same values of all \
              `headers`, whoever asks. 65,536 at most are remembered.",
};

const MAX_PENDING: Key = Key {
    name: "max_pending",
    takes: "whole number",
    absent: Absent::Default("1000"),
    example: "200",
    meaning: "Questions of the route that are under way at a time, over all workers; further handshakes get 503.",
};

const CA: Key = Key {
    name: "ca",
    takes: "path",
    absent: Absent::Means("the system's authorities are believed"),
    example: "\"tls/internal.pem\"",
    meaning: "A PEM file with who has issued the certificate of an `https` server.",
};

/// Reads whom a route asks; paths are relative to `base`.
pub(super) fn authorize(value: &Value<'_>, base: &Path) -> Read<Authorize> {
    let table = value.table(&AUTHORIZE, "write { url = \"http://auth.internal/verify\" }")?;
    let url = table.read(&URL, |value| value.parsed("a url", "write \"http://\", a host and a path", url));
    let timeout = table.read(&TIMEOUT, value::duration);
    let copy = table.read(&COPY, headers);
    let headers = table.read(&HEADERS, headers);
    let cache = table.read(&CACHE, value::duration_or_off);
    let max_pending = table.read(&MAX_PENDING, |value| value::count(value, 1..=1_000_000));
    let ca = table.optional(&CA, |value| file(value, base));
    let max_pending = usize::try_from(max_pending?).unwrap_or(usize::MAX);
    let terms = Terms { url: url?, timeout: timeout?, headers: headers?, copy: copy?, cache: cache?, max_pending };
    Ok(Authorize { terms, ca: ca?, place: value.place() })
}

pub(super) fn headers(value: &Value<'_>) -> Read<Vec<HeaderName>> {
    let names = value.each("a list of headers", "write a list such as [\"x-user\"]", value::header)?;
    let is_twice = names.iter().enumerate().any(|(place, name)| names.iter().take(place).any(|other| other == name));
    match is_twice {
        true => Err(value.refuse("a header stands here twice", "remove one of them")),
        false => Ok(names),
    }
}

fn url(text: &str) -> Result<Uri, Fault> {
    let is_http = |url: &Uri| [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&url.scheme());
    let has_user = |url: &Uri| url.authority().is_some_and(|authority| authority.as_str().contains('@'));
    let url = text.parse::<Uri>().ok().filter(|url| is_http(url) && url.host().is_some_and(|host| !host.is_empty()));
    url.filter(|url| !has_user(url)).ok_or_else(|| {
        Fault::new(
            "nobody could be asked there",
            "write \"http://\" or \"https://\", a host and a path, without a user",
        )
    })
}
