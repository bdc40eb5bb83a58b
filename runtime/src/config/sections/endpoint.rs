//! Endpoints of an upstream.

use std::collections::{BTreeMap, HashMap};

use crate::config::{
    address,
    reader::{Absent, Fault, Key, Read, Section, Value},
    types::Endpoint,
    value,
};
use crate::discovery::{MOST_METADATA, MOST_METADATA_SIZE, MOST_WEIGHT, MOST_ZONE};

pub(super) const ENDPOINT: Section =
    Section { title: "an endpoint", about: "", keys: &[URL, WEIGHT, WARMUP, ENABLED, ZONE, METADATA] };

const URL: Key = Key {
    name: "url",
    takes: "url",
    absent: Absent::Missing,
    example: "\"ws://127.0.0.1:9001\"",
    meaning: "`ws://host:port/path`, or `wss://` for TLS; `http` and `https` mean the same, and no scheme is `ws`. Without a path the request's \
              path and query are kept; with one, it replaces the prefix that the route matched. Or `unix:/run/app.sock`, a unix \
              socket by its absolute path, which is spoken to in clear text; the request's path and query are kept.",
};

const WEIGHT: Key = Key {
    name: "weight",
    takes: "whole number",
    absent: Absent::Default("100"),
    example: "50",
    meaning: "Its share relative to the others', 0 to 65535. Warming up counts in whole weights, so that small \
              ones grow in few steps.",
};

const WARMUP: Key = Key {
    name: "warmup",
    takes: "duration or `off`",
    absent: Absent::Default("\"off\""),
    example: "\"30s\"",
    meaning: "How long after its start its weight grows from 1.",
};

const ENABLED: Key = Key {
    name: "enabled",
    takes: "boolean",
    absent: Absent::Default("true"),
    example: "false",
    meaning: "A disabled endpoint is never picked, not even when it is alone.",
};

const ZONE: Key = Key {
    name: "zone",
    takes: "text",
    absent: Absent::Means("none"),
    example: "\"eu-west-1a\"",
    meaning: "Where it stands, for balancers that keep connections near; at most 128 bytes.",
};

const METADATA: Key = Key {
    name: "metadata",
    takes: "table of text",
    absent: Absent::Default("{}"),
    example: "{ version = \"2.1\" }",
    meaning: "What a balancer may go by beyond that: at most 64 names, with 4 KiB of names and values.",
};

/// All disabled, or all of weight 0, is no mistake: the first is how an upstream is taken out of service, and among
/// equal weights the choice is uniform.
pub(super) fn endpoints(value: &Value<'_>) -> Read<Vec<Endpoint>> {
    const ADVICE: &str = "write [{ url = \"ws://127.0.0.1:9001\" }]";
    let endpoints = value.each("a list of endpoints", ADVICE, endpoint)?;
    if endpoints.is_empty() {
        let advice = "write at least one; `enabled = false` takes one out of service";
        return Err(value.refuse("an upstream without endpoints can serve nothing", advice));
    }
    let mut result = Ok(());
    let mut known: HashMap<&str, &Endpoint> = HashMap::with_capacity(endpoints.len());
    for endpoint in &endpoints {
        let known = known.entry(endpoint.address.url()).or_insert(endpoint);
        if !std::ptr::eq(*known, endpoint) {
            let line = known.place.seen_from(&endpoint.place);
            let what = format!("{} is the endpoint of {line} already", endpoint.address);
            result = Err(value.refuse_at(&endpoint.place, what, "write one of them, with the weight of both"));
        }
    }
    result.map(|()| endpoints)
}

fn endpoint(value: &Value<'_>) -> Read<Endpoint> {
    let table = value.table(&ENDPOINT, "write a table such as { url = \"ws://127.0.0.1:9001\" }")?;
    let address = table
        .read(&URL, |value| value.parsed("a url", "write text such as \"ws://127.0.0.1:9001\"", address::endpoint));
    let weight = table.read(&WEIGHT, |value| value::count(value, 0..=MOST_WEIGHT));
    let warmup = table.read(&WARMUP, value::duration_or_off);
    let enabled = table.read(&ENABLED, value::boolean);
    let zone = table.optional(&ZONE, zone);
    let metadata = table.read(&METADATA, metadata);
    Ok(Endpoint {
        address: address?,
        weight: weight?,
        warmup: warmup?,
        enabled: enabled?,
        zone: zone?,
        metadata: metadata?,
        place: value.place(),
    })
}

fn zone(value: &Value<'_>) -> Read<String> {
    const ADVICE: &str = "write text such as \"eu-west-1a\"";
    value.parsed("the name of a zone", ADVICE, |text| match text.len() {
        0 => Err(Fault::new("the name of this zone is empty", "leave `zone` out for an endpoint in none")),
        length if length > MOST_ZONE => {
            let advice = format!("write a name of at most {MOST_ZONE} bytes");
            Err(Fault::new(format!("the name of this zone has {length} bytes"), advice))
        }
        _ => Ok(text.to_owned()),
    })
}

/// Sorted, so that a file that only writes it in another order changes nothing.
fn metadata(value: &Value<'_>) -> Read<BTreeMap<String, String>> {
    const ADVICE: &str = "write a table of text, such as { version = \"2.1\" }";
    let entries = value.entries("a table of text", ADVICE)?;
    if entries.len() > MOST_METADATA {
        let what = format!("these are {} names, and an endpoint may have {MOST_METADATA}", entries.len());
        return Err(value.refuse(what, "leave out what no balancer asks for"));
    }
    let read: Vec<Read<_>> = entries
        .iter()
        .map(|(name, _, value)| Ok(((*name).to_owned(), value.string("text", "write text, in quotes")?.to_owned())))
        .collect();
    let metadata: BTreeMap<_, _> = read.into_iter().collect::<Read<_>>()?;
    let size: usize = metadata.iter().map(|(name, text)| name.len() + text.len()).sum();
    if size > MOST_METADATA_SIZE {
        let what = format!("its names and values have {size} bytes, and an endpoint may have {MOST_METADATA_SIZE}");
        return Err(value.refuse(what, "leave out what no balancer asks for"));
    }
    Ok(metadata)
}
