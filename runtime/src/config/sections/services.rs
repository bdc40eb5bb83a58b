//! Routing by the service that a request names.

use std::collections::{BTreeMap, BTreeSet};

use super::Names;
use crate::config::{
    pattern::path_prefix,
    reader::{Absent, Key, Read, Section, Value, quoted, suggest},
    types::Services,
    value,
};
use crate::route::PathPattern;

pub(super) const SERVICES: Section = Section {
    title: "services of a route",
    about: "A header names the service, else the longest prefix of the path; without either the next route is tried. So is it for a service that the route does not have: clients choose the header, so guard the routes behind it as well.",
    keys: &[HEADERS, PREFIXES, UPSTREAMS],
};

const HEADERS: Key = Key {
    name: "headers",
    takes: "list of headers",
    absent: Absent::Default("[\"service_id\", \"service-id\"]"),
    example: "[\"service_id\"]",
    meaning: "The headers that may name the service; the first that is present wins.",
};

const PREFIXES: Key = Key {
    name: "prefixes",
    takes: "table",
    absent: Absent::Default("{}"),
    example: "{ \"/chat\" = \"chat\" }",
    meaning: "Services by path prefixes of whole segments.",
};

const UPSTREAMS: Key = Key {
    name: "upstreams",
    takes: "table",
    absent: Absent::Missing,
    example: "{ chat = \"chat\" }",
    meaning: "The upstream of each service, at least one.",
};

pub(super) fn services(value: &Value<'_>, names: &Names<'_>) -> Read<Services> {
    let table = value.table(&SERVICES, "write a table such as { upstreams = { chat = \"chat\" } }")?;
    let headers =
        table.read(&HEADERS, |value| value.each("a list of headers", "write [\"service_id\"]", value::header));
    let declared: BTreeSet<String> = table
        .value(&UPSTREAMS)
        .and_then(|value| value.node().as_table())
        .into_iter()
        .flat_map(|upstreams| upstreams.keys().map(|service| service.get_ref().to_string()))
        .collect();
    let upstreams = table.read(&UPSTREAMS, |value| upstreams(value, names));
    let prefixes = table.read(&PREFIXES, |value| prefixes(value, &declared));
    let services = Services { headers: headers?, prefixes: prefixes?, upstreams: upstreams? };
    if services.headers.is_empty() && services.prefixes.is_empty() {
        let advice = "write `prefixes`, or leave `headers` out for \"service_id\" and \"service-id\"";
        return Err(value.refuse("nothing could name a service", advice));
    }
    Ok(services)
}

fn upstreams(value: &Value<'_>, names: &Names<'_>) -> Read<BTreeMap<String, String>> {
    const ADVICE: &str = "write { chat = \"chat\" }: each service with its upstream";
    let entries = value.entries("a table of services", ADVICE)?;
    if entries.is_empty() {
        return Err(value.refuse("there is no service", ADVICE));
    }
    let read: Vec<_> =
        entries.iter().map(|(service, _, value)| Ok(((*service).to_owned(), names.upstream(value)?))).collect();
    read.into_iter().collect()
}

fn prefixes(value: &Value<'_>, declared: &BTreeSet<String>) -> Read<BTreeMap<PathPattern, String>> {
    let mut prefixes = BTreeMap::new();
    let mut result = Ok(());
    for (prefix, place, value) in value.entries("a table of path prefixes", "write { \"/chat\" = \"chat\" }")? {
        let service = value.string("the name of a service", "write text such as \"chat\"").and_then(|service| {
            if declared.is_empty() || declared.contains(service) {
                return Ok(service);
            }
            let advice = suggest(service, declared).unwrap_or_default();
            Err(value.refuse(format!("`upstreams` has no service {}", quoted(service)), advice))
        });
        let prefix = path_prefix(prefix).map_err(|fault| value.refuse_at(&place, fault.what, fault.instead));
        match (prefix, service) {
            (Ok(prefix), Ok(service)) => {
                if prefixes.insert(prefix, service.to_owned()).is_some() {
                    let what = "the same prefix stands here twice; a slash at its end says nothing";
                    result = Err(value.refuse_at(&place, what, "remove one of them"));
                }
            }
            (Err(refused), _) | (_, Err(refused)) => result = Err(refused),
        }
    }
    result.map(|()| prefixes)
}
