//! Registries that are asked over HTTP.

use http::Uri;
use toml::de::DeValue;

use crate::config::{
    reader::{Absent, Fault, Key, Read, Value},
    sections::{Names, tokens, upstream_tls::upstream_tls},
    types::UpstreamTls,
};

pub(super) const TLS: Key = Key {
    name: "tls",
    takes: "table",
    absent: Absent::Means("the system's authorities are believed"),
    example: "{ ca = \"tls/registry.pem\" }",
    meaning: "How TLS is spoken to `https://`, with the keys of [upstreams.NAME.tls].",
};

/// The addresses of a registry: one, or several in a list.
pub(super) fn urls(value: &Value<'_>) -> Read<Vec<Uri>> {
    const ADVICE: &str = "write a list such as [\"http://127.0.0.1:2379\"]";
    let read = |value: &Value<'_>| value.parsed("a url", "write \"http://\" or \"https://\", a host and a port", url);
    if !matches!(value.node(), DeValue::Array(_)) {
        return Ok(vec![read(value)?]);
    }
    let urls = value.each("a list of urls", ADVICE, read)?;
    if urls.is_empty() { Err(value.refuse("nobody could be asked", ADVICE)) } else { Ok(urls) }
}

pub(super) fn tls(value: &Value<'_>, names: &Names<'_>) -> Read<UpstreamTls> {
    upstream_tls(value, names.base)
}

/// Text that is not empty.
pub(super) fn text(value: &Value<'_>) -> Read<String> {
    value.parsed("text", "write text, in quotes", |text| match text {
        "" => Err(Fault::new("it is empty", "write what is meant")),
        text => Ok(text.to_owned()),
    })
}

fn url(text: &str) -> Result<Uri, Fault> {
    const ADVICE: &str = "write \"http://\" or \"https://\", a host and a port, and nothing else";
    let url = tokens::url(text, ADVICE)?;
    match url.path() == "/" && url.query().is_none() {
        true => Ok(url),
        false => Err(Fault::new("there is more than a host and a port", ADVICE)),
    }
}
