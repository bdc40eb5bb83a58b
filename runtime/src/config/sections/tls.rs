//! The TLS of listeners.

use std::path::{Path, PathBuf};

use super::acme::acme;
use crate::config::{
    reader::{Absent, Fault, Key, Read, Section, Table, Value},
    types::{CertificateFiles, ClientAuth, File, Tls},
    value,
};
use crate::tls::Version;

pub(super) const TLS: Section = Section {
    title: "the TLS of a listener",
    about: "The files are read when the configuration is, and again when they change: new handshakes then get what they hold, \
            and open connections are not touched. Tickets to resume sessions are good for 12 hours, with all workers and with \
            the next process of a binary upgrade.",
    keys: &[CERTIFICATES, ACME, MIN_VERSION, CLIENT_AUTH],
};

const CERTIFICATES: Key = Key {
    name: "certificates",
    takes: "list of tables",
    absent: Absent::Means("there is only that of `acme`"),
    example: "[{ chain = \"tls/chain.pem\", key = \"tls/key.pem\" }]",
    meaning: "The certificates, at least one without `acme`. Which one a client gets goes by the name that it asks for (SNI), where \
              `*.example.com` stands for one label; one that asks for none, or for another, gets the first.",
};

const ACME: Key = Key {
    name: "acme",
    takes: "table",
    absent: Absent::Means("all certificates are in `certificates`"),
    example: "{ domains = [\"chat.example.com\"], contact = \"mailto:ops@example.com\", accept_terms = true }",
    meaning: "A certificate that the proxy orders, and renews after two thirds of its time (RFC 8555).",
};

/// Upstreams have it, too.
pub(super) const MIN_VERSION: Key = Key {
    name: "min_version",
    takes: "`1.2` or `1.3`",
    absent: Absent::Default("\"1.2\""),
    example: "\"1.3\"",
    meaning: "The least version of TLS that is spoken.",
};

const CLIENT_AUTH: Key = Key {
    name: "client_auth",
    takes: "table",
    absent: Absent::Means("clients show no certificate"),
    example: "{ ca = \"tls/clients.pem\", mode = \"required\" }",
    meaning: "Which certificates clients have to show. Components find who it is in the attributes \
              `tls.client-subject`, `tls.client-san` and `tls.client-fingerprint`.",
};

pub(super) const CERTIFICATE_FILES: Section = Section { title: "a certificate", about: "", keys: &[CHAIN, KEY] };

const CHAIN: Key = Key {
    name: "chain",
    takes: "path",
    absent: Absent::Missing,
    example: "\"tls/chain.pem\"",
    meaning: "A PEM file with the certificate and, behind it, those of its issuers, without the root. An OCSP \
              response in DER in a file of this name with `.ocsp` behind it is stapled.",
};

const KEY: Key = Key {
    name: "key",
    takes: "path",
    absent: Absent::Missing,
    example: "\"tls/key.pem\"",
    meaning: "A PEM file with its private key, unencrypted: RSA, ECDSA (P-256, P-384, P-521) or Ed25519.",
};

pub(super) const CLIENT_CERTIFICATES: Section =
    Section { title: "the client authentication of a listener", about: "", keys: &[CA, MODE, CRL] };

const CA: Key = Key {
    name: "ca",
    takes: "path",
    absent: Absent::Missing,
    example: "\"tls/clients.pem\"",
    meaning: "A PEM file with the certificates of the authorities that issue those of clients.",
};

const MODE: Key = Key {
    name: "mode",
    takes: "`optional` or `required`",
    absent: Absent::Default("\"required\""),
    example: "\"optional\"",
    meaning: "Whether a client may do without. A certificate that is shown has to be valid either way.",
};

const CRL: Key = Key {
    name: "crl",
    takes: "path",
    absent: Absent::Means("none is revoked"),
    example: "\"tls/revoked.pem\"",
    meaning: "A PEM file with the certificate revocation lists of these authorities. Who is revoked cannot resume a \
              session either.",
};

/// Reads what a listener says of TLS; paths are relative to `base`.
pub(super) fn tls(value: &Value<'_>, base: &Path) -> Read<Tls> {
    let table = value.table(&TLS, "write `tls = { certificates = [{ chain = \"…\", key = \"…\" }] }`")?;
    let acme = table.optional(&ACME, |value| acme(value, base));
    let certificates = table.optional(&CERTIFICATES, |value| {
        const ADVICE: &str = "write [{ chain = \"tls/chain.pem\", key = \"tls/key.pem\" }]";
        let certificates = value.each("a list of certificates", ADVICE, |value| certificate(value, base))?;
        match certificates.is_empty() {
            true => Err(value.refuse("there is no certificate to show", ADVICE)),
            false => Ok(certificates),
        }
    });
    let min_version = min_version(&table);
    let client_auth = table.optional(&CLIENT_AUTH, |value| client_auth(value, base));
    let (certificates, acme) = (certificates?.unwrap_or_default(), acme?);
    if certificates.is_empty() && acme.is_none() {
        let advice = "write `certificates = [{ chain = \"tls/chain.pem\", key = \"tls/key.pem\" }]`, or a table `acme`";
        return Err(value.refuse("there is no certificate to show", advice));
    }
    Ok(Tls { certificates, acme, min_version: min_version?, client_auth: client_auth?, place: value.place() })
}

/// Reads the least version that is spoken.
pub(super) fn min_version(table: &Table<'_>) -> Read<Version> {
    table.read(&MIN_VERSION, |value| value::choice(value, &[("1.2", Version::Tls12), ("1.3", Version::Tls13)]))
}

pub(super) fn certificate(value: &Value<'_>, base: &Path) -> Read<CertificateFiles> {
    let table = value.table(&CERTIFICATE_FILES, "write { chain = \"tls/chain.pem\", key = \"tls/key.pem\" }")?;
    let chain = table.read(&CHAIN, |value| file(value, base));
    let key = table.read(&KEY, |value| file(value, base));
    Ok(CertificateFiles { chain: chain?, key: key? })
}

fn client_auth(value: &Value<'_>, base: &Path) -> Read<ClientAuth> {
    let table = value.table(&CLIENT_CERTIFICATES, "write { ca = \"tls/clients.pem\", mode = \"required\" }")?;
    let ca = table.read(&CA, |value| file(value, base));
    let is_optional = table.read(&MODE, |value| value::choice(value, &[("optional", true), ("required", false)]));
    let crl = table.optional(&CRL, |value| file(value, base));
    Ok(ClientAuth { ca: ca?, is_optional: is_optional?, crl: crl? })
}

pub(super) fn file(value: &Value<'_>, base: &Path) -> Read<File> {
    file_such_as(value, base, "write text such as \"tls/chain.pem\"")
}

/// The same of other files, with an example.
pub(super) fn file_such_as(value: &Value<'_>, base: &Path, advice: &str) -> Read<File> {
    let path: PathBuf = value.parsed("the path of a file", advice, |path| match path {
        "" => Err(Fault::new("the path is empty", advice)),
        path => Ok(base.join(path)),
    })?;
    Ok(File { path, place: value.place() })
}
