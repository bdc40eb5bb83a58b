//! Endpoints in the Domain Name System.

use super::EMPTY_GRACE;
use crate::config::{
    reader::{Absent, Fault, Key, Read, Section, Table},
    sections::Names,
    types::UpstreamTls,
    value,
};
use crate::discovery::{Dns, Question, Source};
use crate::http::{canonical_host, split_port};

pub(in crate::config::sections) const DNS: Section = Section {
    title: "endpoints in the DNS",
    about: "`discover = { dns = \"chat.example.com:9001\" }`: all addresses of the name, each with the port. With `type = \"srv\"` the targets of its service records \
            (RFC 2782) with their ports and weights; those of a later priority get a connection when no other does. The name is asked for again when its TTL is over, \
            after 1 to 60 s.",
    keys: &[NAME, TYPE, RESOLVER, SCHEME, EMPTY_GRACE],
};

const NAME: Key = Key {
    name: "dns",
    takes: "name",
    absent: Absent::Missing,
    example: "\"chat.example.com:9001\"",
    meaning: "The name; with `type = \"a\"` also the port, which service records have themselves.",
};

const TYPE: Key = Key {
    name: "type",
    takes: "`a` or `srv`",
    absent: Absent::Default("\"a\""),
    example: "\"srv\"",
    meaning: "Which records: addresses of IPv4 and IPv6, or services.",
};

const RESOLVER: Key = Key {
    name: "resolver",
    takes: "address",
    absent: Absent::Means("the system's name servers"),
    example: "\"127.0.0.1:9053\"",
    meaning: "The name server that is asked, with its port.",
};

const SCHEME: Key = Key {
    name: "scheme",
    takes: "`ws` or `wss`",
    absent: Absent::Default("\"ws\""),
    example: "\"wss\"",
    meaning: "Whether TLS is spoken to the endpoints. The certificates of addresses are for `server_name` of the upstream's `tls`, those of services for their targets.",
};

pub(super) fn read(table: &Table<'_>, _: &Names<'_>) -> Read<(Source, Option<UpstreamTls>)> {
    let is_srv = table.read(&TYPE, |value| value::choice(value, &[("a", false), ("srv", true)]));
    let wants_services = *is_srv.as_ref().unwrap_or(&false);
    let question = table.read(&NAME, |value| {
        let example = if wants_services { "_ws._tcp.chat.example.com" } else { "chat.example.com:9001" };
        value.parsed("a name", &format!("write text such as \"{example}\""), |text| {
            question(text, wants_services, example)
        })
    });
    let resolver = table.optional(&RESOLVER, value::address);
    let is_secure = table.read(&SCHEME, |value| value::choice(value, &[("ws", false), ("wss", true)]));
    is_srv?;
    Ok((Source::Dns(Dns { question: question?, resolver: resolver?, is_secure: is_secure? }), None))
}

fn question(text: &str, wants_services: bool, example: &str) -> Result<Question, Fault> {
    let advice = || format!("write text such as \"{example}\"");
    let (name, port) = split_port(text).ok_or_else(|| Fault::new("the port is none", advice()))?;
    if wants_services {
        let is_name = !name.is_empty()
            && name.len() <= 253
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        return match port {
            Some(_) => Err(Fault::new("service records have ports of their own", advice())),
            None if !is_name => Err(Fault::new("nothing can have this name", advice())),
            None => Ok(Question::Services(name.to_owned())),
        };
    }
    let host = canonical_host(name).ok_or_else(|| Fault::new("nothing can have this name", advice()))?;
    let port = port.ok_or_else(|| Fault::new("a port is missing", advice()))?;
    Ok(Question::Addresses(host, port))
}
