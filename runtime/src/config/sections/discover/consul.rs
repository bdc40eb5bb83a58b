//! Endpoints in Consul.

use super::EMPTY_GRACE;
use super::server::{TLS, text, tls, urls};
use crate::config::{
    reader::{Absent, Key, Read, Section, Table},
    sections::Names,
    types::UpstreamTls,
};
use crate::discovery::{Consul, Server, Source};

pub(in crate::config::sections) const CONSUL: Section = Section {
    title: "endpoints in Consul",
    about: "`discover = { consul = \"http://127.0.0.1:8500\", service = \"chat\" }`: the instances of the service that pass their checks, by their address and \
            port, with the weight that their definition has for passing. Of the metadata of an instance `scheme` (`ws`, `wss`), `path`, `zone` and `warmup` are \
            heeded; all of it is told to balancers.",
    keys: &[URLS, SERVICE, TAG, DATACENTER, TOKEN, TLS, EMPTY_GRACE],
};

const URLS: Key = Key {
    name: "consul",
    takes: "url or list of urls",
    absent: Absent::Missing,
    example: "\"http://127.0.0.1:8500\"",
    meaning: "The HTTP address of an agent, or of several, of which the next is asked where one does not answer.",
};

const SERVICE: Key = Key {
    name: "service",
    takes: "text",
    absent: Absent::Missing,
    example: "\"chat\"",
    meaning: "The name of the service.",
};

const TAG: Key = Key {
    name: "tag",
    takes: "text",
    absent: Absent::Means("any"),
    example: "\"v2\"",
    meaning: "Only instances with this tag.",
};

const DATACENTER: Key = Key {
    name: "datacenter",
    takes: "text",
    absent: Absent::Means("the agent's"),
    example: "\"eu-1\"",
    meaning: "Where the service is looked for.",
};

const TOKEN: Key = Key {
    name: "token",
    takes: "secret",
    absent: Absent::Means("none"),
    example: "{ secret = { env = \"CONSUL_TOKEN\" } }",
    meaning: "What the agent is shown, which stands in the environment or a file. It needs `service:read` and `node:read`.",
};

pub(super) fn read(table: &Table<'_>, names: &Names<'_>) -> Read<(Source, Option<UpstreamTls>)> {
    let urls = table.read(&URLS, urls);
    let service = table.read(&SERVICE, text);
    let tag = table.optional(&TAG, text);
    let datacenter = table.optional(&DATACENTER, text);
    let token = table.optional(&TOKEN, |value| names.secret(value));
    let tls = table.optional(&TLS, |value| tls(value, names));
    let server = Server { urls: urls?, tls: None };
    let consul = Consul { server, service: service?, tag: tag?, datacenter: datacenter?, token: token? };
    Ok((Source::Consul(Box::new(consul)), tls?))
}
