//! Certificates that renew themselves.

use std::path::Path;

use http::Uri;
use http::uri::Scheme;

use super::tls::file;
use crate::config::{
    pattern::host_pattern,
    reader::{Absent, Fault, Key, Read, Section, Value, quoted},
    types::Acme,
    value,
};
use crate::route::HostPattern;

pub(super) const ACME: Section = Section {
    title: "a certificate by ACME",
    about: "The authority convinces itself that the domains are ours by a TLS handshake with the listener, which it has to reach at \
            port 443 of each (`tls-alpn-01`), or by a request to port 80 that gets to a listener in clear text (`http-01`), whatever \
            that is for otherwise. Processes that share `directory` take turns: one orders, all show what it has got.",
    keys: &[DOMAINS, CONTACT, SERVER, SERVER_CA, DIRECTORY, ACCEPT_TERMS],
};

const DOMAINS: Key = Key {
    name: "domains",
    takes: "list of hosts",
    absent: Absent::Missing,
    example: "[\"chat.example.com\", \"example.com\"]",
    meaning: "The names that the certificate is for, 1 to 100, without wildcards.",
};

const CONTACT: Key = Key {
    name: "contact",
    takes: "text",
    absent: Absent::Means("the authority writes to nobody"),
    example: "\"mailto:ops@example.com\"",
    meaning: "Whom the authority may write to.",
};

const SERVER: Key = Key {
    name: "server",
    takes: "url",
    absent: Absent::Default("\"https://acme-v02.api.letsencrypt.org/directory\""),
    example: "\"https://acme-staging-v02.api.letsencrypt.org/directory\"",
    meaning: "The directory of the authority, `https`.",
};

const SERVER_CA: Key = Key {
    name: "server_ca",
    takes: "path",
    absent: Absent::Means("the system's authorities are believed"),
    example: "\"tls/acme-root.pem\"",
    meaning: "A PEM file with who has issued the certificate of that server.",
};

const DIRECTORY: Key = Key {
    name: "directory",
    takes: "path",
    absent: Absent::Default("\"state/acme\""),
    example: "\"/var/lib/tidegate/acme\"",
    meaning: "Where the account, keys and certificates are kept, readable for their owner alone. It has to outlive the process.",
};

const ACCEPT_TERMS: Key = Key {
    name: "accept_terms",
    takes: "boolean",
    absent: Absent::Missing,
    example: "true",
    meaning: "That the terms of service of the authority are accepted, which has to be `true`.",
};

/// Reads a certificate that renews itself; paths are relative to `base`.
pub(super) fn acme(value: &Value<'_>, base: &Path) -> Read<Acme> {
    let table = value.table(&ACME, "write { domains = [\"chat.example.com\"], accept_terms = true }")?;
    let domains = table.read(&DOMAINS, |value| {
        const ADVICE: &str = "write a list such as [\"chat.example.com\"]";
        let domains = value.each("a list of hosts", ADVICE, |value| value.parsed("a host", ADVICE, domain))?;
        match domains.len() {
            0 => Err(value.refuse("a certificate is for some name", ADVICE)),
            1..=MOST_DOMAINS => Ok(domains),
            count => Err(value.refuse(format!("{count} names are more than one certificate has"), "write 100 at most")),
        }
    });
    let contact = table.optional(&CONTACT, |value| {
        const ADVICE: &str = "write \"mailto:\" and an address";
        value.parsed("a contact", ADVICE, |text| match text.strip_prefix("mailto:").and_then(|it| it.split_once('@')) {
            Some((name, host)) if !name.is_empty() && !host.is_empty() && text.is_ascii() => Ok(text.to_owned()),
            _ => Err(Fault::new(format!("{} is no address of mail", quoted(text)), ADVICE)),
        })
    });
    let server = table.read(&SERVER, |value| value.parsed("a url", "write \"https://…/directory\"", server));
    let server_ca = table.optional(&SERVER_CA, |value| file(value, base));
    let directory = table.read(&DIRECTORY, |value| {
        const ADVICE: &str = "write text such as \"state/acme\"";
        value.parsed("the path of a directory", ADVICE, |path| match path {
            "" => Err(Fault::new("the path is empty", ADVICE)),
            path => Ok(base.join(path)),
        })
    });
    let accepts = table.read(&ACCEPT_TERMS, |value| match value::boolean(value)? {
        true => Ok(()),
        false => Err(value.refuse(
            "no authority issues certificates to who does not accept its terms",
            "read them, and write `accept_terms = true`",
        )),
    });
    accepts?;
    Ok(Acme {
        domains: domains?,
        contact: contact?,
        server: server?,
        server_ca: server_ca?,
        directory: directory?,
        place: value.place(),
    })
}

fn domain(text: &str) -> Result<String, Fault> {
    const ADVICE: &str = "write a name such as \"chat.example.com\"";
    match host_pattern(text)? {
        HostPattern::Exact(host) if host.parse::<std::net::IpAddr>().is_err() && !host.starts_with('[') => Ok(host),
        HostPattern::Exact(_) => Err(Fault::new(format!("{} is an address", quoted(text)), ADVICE)),
        HostPattern::Subdomains(_) => {
            let advice =
                "name each host; or have another program order it by DNS, and name its files in `certificates`";
            Err(Fault::new("a certificate for a wildcard takes a change in DNS, which is not made here", advice))
        }
    }
}

fn server(text: &str) -> Result<Uri, Fault> {
    let url = text.parse::<Uri>().ok().filter(|url| url.scheme() == Some(&Scheme::HTTPS) && url.host().is_some());
    let has_user = |url: &Uri| url.authority().is_some_and(|authority| authority.as_str().contains('@'));
    url.filter(|url| !has_user(url)).ok_or_else(|| {
        Fault::new("no directory of an authority could be there", "write \"https://\", a host and a path")
    })
}

/// More than public authorities take for one certificate.
const MOST_DOMAINS: usize = 100;
