//! TLS towards upstreams.

use std::path::Path;

use rustls::pki_types::ServerName;

use super::tls::{MIN_VERSION, certificate, file, min_version};
use crate::config::{
    reader::{Absent, Fault, Key, Read, Section, Value},
    types::UpstreamTls,
    value,
};

pub(super) const UPSTREAM_TLS: Section = Section {
    title: "[upstreams.NAME.tls]",
    about: "For endpoints with `wss://`; those with `ws://` speak in clear text. Without this table the system's authorities are \
            believed. Sessions are resumed.",
    keys: &[CA, CERTIFICATE, SERVER_NAME, MIN_VERSION, INSECURE],
};

const CA: Key = Key {
    name: "ca",
    takes: "path",
    absent: Absent::Means("the authorities that the system knows"),
    example: "\"tls/upstreams.pem\"",
    meaning: "A PEM file with the certificates of the authorities that are believed, and no others.",
};

const CERTIFICATE: Key = Key {
    name: "certificate",
    takes: "table",
    absent: Absent::Means("none"),
    example: "{ chain = \"tls/proxy.pem\", key = \"tls/proxy.key\" }",
    meaning: "The certificate that is shown to an endpoint that asks for one.",
};

const SERVER_NAME: Key = Key {
    name: "server_name",
    takes: "name",
    absent: Absent::Means("the host of the endpoint's url"),
    example: "\"chat.internal\"",
    meaning: "The name that an endpoint is asked for (SNI), and that its certificate has to be for.",
};

const INSECURE: Key = Key {
    name: "insecure",
    takes: "boolean",
    absent: Absent::Default("false"),
    example: "true",
    meaning: "Whether any certificate is believed. Whoever is on the way can then read and change everything, so each \
              start warns of it. Not beside `ca`.",
};

/// Reads what an upstream says of TLS; paths are relative to `base`.
pub(super) fn upstream_tls(value: &Value<'_>, base: &Path) -> Read<UpstreamTls> {
    let table = value.table(&UPSTREAM_TLS, "write a table [upstreams.NAME.tls]")?;
    let ca = table.optional(&CA, |value| file(value, base));
    let certificate = table.optional(&CERTIFICATE, |value| certificate(value, base));
    let server_name = table.optional(&SERVER_NAME, |value| {
        const ADVICE: &str = "write text such as \"chat.internal\"";
        value.parsed("a name", ADVICE, |name| {
            ServerName::try_from(name.to_owned())
                .map_err(|_| Fault::new("no certificate could be for this name", ADVICE))
        })
    });
    let min_version = min_version(&table);
    let is_insecure = table.read(&INSECURE, value::boolean);
    if let (Ok(Some(_)), Ok(true), Some(value)) = (&ca, &is_insecure, table.value(&INSECURE)) {
        return Err(
            value.refuse("`ca` says who is believed, and `insecure` that anybody is", "leave one of the two out")
        );
    }
    Ok(UpstreamTls {
        ca: ca?,
        certificate: certificate?,
        server_name: server_name?,
        min_version: min_version?,
        is_insecure: is_insecure?,
        place: value.place(),
    })
}
