//! Endpoints in etcd.

use super::EMPTY_GRACE;
use super::server::{TLS, text, tls, urls};
use crate::config::{
    reader::{Absent, Key, Read, Section, Table},
    sections::Names,
    types::UpstreamTls,
};
use crate::discovery::{Etcd, Server, Source};

pub(in crate::config::sections) const ETCD: Section = Section {
    title: "endpoints in etcd",
    about: "`discover = { etcd = [\"http://127.0.0.1:2379\"], prefix = \"/tidegate/chat/\" }`: each key under the prefix is an endpoint, its value the \
            url or, in JSON, a table as in a file. Version 3.4 or later, by its JSON gateway; a member that does not answer, or has \
            lost the others, is left for the next.",
    keys: &[URLS, PREFIX, USERNAME, PASSWORD, TLS, EMPTY_GRACE],
};

const URLS: Key = Key {
    name: "etcd",
    takes: "url or list of urls",
    absent: Absent::Missing,
    example: "[\"http://127.0.0.1:2379\"]",
    meaning: "The client addresses of its members.",
};

const PREFIX: Key = Key {
    name: "prefix",
    takes: "text",
    absent: Absent::Missing,
    example: "\"/tidegate/chat/\"",
    meaning: "What the keys of the endpoints begin with. Best with a `/` at its end: `/chat` is also the beginning of `/chat2`.",
};

const USERNAME: Key = Key {
    name: "username",
    takes: "text",
    absent: Absent::Means("nobody"),
    example: "\"tidegate\"",
    meaning: "Who asks, where etcd asks for that. Goes with `password`.",
};

const PASSWORD: Key = Key {
    name: "password",
    takes: "secret",
    absent: Absent::Means("none"),
    example: "{ secret = { env = \"ETCD_PASSWORD\" } }",
    meaning: "The password of `username`, which stands in the environment or a file.",
};

pub(super) fn read(table: &Table<'_>, names: &Names<'_>) -> Read<(Source, Option<UpstreamTls>)> {
    let urls = table.read(&URLS, urls);
    let prefix = table.read(&PREFIX, text);
    let username = table.optional(&USERNAME, text);
    let password = table.optional(&PASSWORD, |value| names.secret(value));
    let tls = table.optional(&TLS, |value| tls(value, names));
    let login = match (username?, password?) {
        (Some(name), Some(password)) => Some((name, password)),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            let what = "`username` and `password` go together";
            return Err(table.refuse(&table.place(), what, "write both, or neither"));
        }
    };
    let server = Server { urls: urls?, tls: None };
    Ok((Source::Etcd(Box::new(Etcd { server, prefix: prefix?, login })), tls?))
}
