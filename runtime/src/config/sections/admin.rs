//! The admin API.

use std::collections::BTreeSet;
use std::path::Path;

use super::rights;
use super::tls::tls;
use crate::config::{
    pattern,
    reader::{Absent, Fault, Key, Read, Section, Table, Value},
    types::{Admin, AdminToken, Role, Route, Tls},
    value,
};

pub(super) const ADMIN: Section = Section {
    title: "[admin]",
    about: "Without this table there is no admin API, and no metrics.",
    keys: &[
        LISTEN,
        rights::MODE,
        rights::OWNER,
        rights::GROUP,
        TLS,
        TOKENS,
        METRICS,
        OPEN,
        HOSTS,
        MAX_CONNECTIONS,
        SEND_TIMEOUT,
    ],
};

const LISTEN: Key = Key {
    name: "listen",
    takes: "address",
    absent: Absent::Default("\"127.0.0.1:9900\""),
    example: "\"127.0.0.1:9900\"",
    meaning: "Where it listens. Beyond loopback only with `tokens`, where `tls` has clients show certificates, or with `open`. \
              Or `unix:/run/tidegate-admin.sock`, a unix socket by its absolute path: who may write its file may ask.",
};

const TLS: Key = Key {
    name: "tls",
    takes: "table",
    absent: Absent::Means("it speaks clear text"),
    example: "{ certificates = [{ chain = \"tls/admin.pem\", key = \"tls/admin.key\" }] }",
    meaning: "The certificates with which it speaks TLS, and those that clients have to show, as at a listener; not `acme`. \
              Files that change come into force as a listener's do. Commands ask it by `--admin https://…`.",
};

const TOKENS: Key = Key {
    name: "tokens",
    takes: "list of tables",
    absent: Absent::Default("[]"),
    example: "[{ name = \"ci\", sha256 = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\", \
              role = \"viewer\" }]",
    meaning: "Who may ask: with one of these, each request but those to `/healthz` and `/readyz` needs \
              `Authorization: Bearer TOKEN`. Without any everybody may ask who can reach it.",
};

const METRICS: Key = Key {
    name: "metrics",
    takes: "`token` or `public`",
    absent: Absent::Default("\"token\""),
    example: "\"public\"",
    meaning: "Whether `/metrics` needs a token, too, where there are `tokens`.",
};

const OPEN: Key = Key {
    name: "open",
    takes: "boolean",
    absent: Absent::Default("false"),
    example: "true",
    meaning: "Whether it may listen beyond loopback although everybody may ask: say so where a network keeps others \
              away.",
};

pub(super) const ADMIN_TOKEN: Section =
    Section { title: "a token of the admin API", about: "", keys: &[TOKEN_NAME, SHA256, ROLE, ROUTES] };

const TOKEN_NAME: Key = Key {
    name: "name",
    takes: "name",
    absent: Absent::Missing,
    example: "\"ci\"",
    meaning: "Unique; names who has it in the log.",
};

const SHA256: Key = Key {
    name: "sha256",
    takes: "text",
    absent: Absent::Missing,
    example: "\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"",
    meaning: "SHA-256 of the token in 64 hexadecimal digits, as `sha256sum` prints it of the token without an end of \
              line. Make the token of random bytes: `openssl rand -hex 32`.",
};

const ROLE: Key = Key {
    name: "role",
    takes: "`viewer`, `operator` or `messages`",
    absent: Absent::Missing,
    example: "\"viewer\"",
    meaning: "A viewer may only look (GET and HEAD), an operator may do everything. `messages` is for applications: it may send \
              messages to the clients of `routes` (`POST /api/v1/connections/ID/messages`), and do nothing else.",
};

const ROUTES: Key = Key {
    name: "routes",
    takes: "list of names",
    absent: Absent::Means("with the role `messages` it has to be there"),
    example: "[\"chat\"]",
    meaning: "The routes that a token with the role `messages` is for: each has a `bridge` with `to = \"http\"`.",
};

const HOSTS: Key = Key {
    name: "hosts",
    takes: "list of hosts",
    absent: Absent::Default("[]"),
    example: "[\"tidegate.example.com\"]",
    meaning: "Names with a dot that it is asked by, without a port. An address, `localhost` and a name without a \
              dot need no entry; any other name is refused, because a web page could have made it lead here.",
};

const MAX_CONNECTIONS: Key = Key {
    name: "max_connections",
    takes: "whole number",
    absent: Absent::Default("64"),
    example: "64",
    meaning: "Connections that may be answered at a time: scrapers and operators need a handful. An idle one goes \
              for one that has come. Where all are being answered, probes are answered all the same and others \
              get 503.",
};

const SEND_TIMEOUT: Key = Key {
    name: "send_timeout",
    takes: "duration",
    absent: Absent::Default("\"30s\""),
    example: "\"30s\"",
    meaning: "How long a client may take to read an answer, before it is cut off: its place is for others.",
};

/// Reads what is said of the admin API; paths are relative to `base`.
pub(super) fn admin(value: &Value<'_>, base: &Path) -> Read<Admin> {
    let table = value.table(&ADMIN, "write a table [admin]")?;
    let place = table.value(&LISTEN).map_or_else(|| table.place(), |value| value.place());
    let listen = table.read(&LISTEN, value::listen);
    let rights = rights::rights(&table, listen.as_ref().ok());
    let hosts = table.read(&HOSTS, |value| {
        const ADVICE: &str = "write a list such as [\"tidegate.example.com\"]";
        value.each("a list of hosts", ADVICE, |host| host.parsed("a host", ADVICE, pattern::parse_host))
    });
    let tls = table.optional(&TLS, |value| {
        let tls = tls(value, base)?;
        match &tls.acme {
            None => Ok(tls),
            Some(acme) => {
                let what = "a certificate that renews itself is ordered by a listener only";
                let advice = "write `certificates = [{ chain = \"tls/admin.pem\", key = \"tls/admin.key\" }]`";
                Err(table.refuse(&acme.place, what, advice))
            }
        }
    });
    let tokens = table.read(&TOKENS, tokens);
    let public_metrics = table.read(&METRICS, |value| value::choice(value, &[("token", false), ("public", true)]));
    let is_open = table.read(&OPEN, value::boolean);
    if let (Ok(listen), Ok(tokens), Ok(tls), Ok(false)) = (&listen, &tokens, &tls, &is_open)
        && tokens.is_empty()
        && tls.as_ref().is_none_or(Tls::is_for_everybody)
        && listen.socket().is_some_and(|listen| !listen.ip().to_canonical().is_loopback())
    {
        let what = format!("everybody who reaches {listen} could do everything");
        let advice = "write `tokens = [{ name = \"…\", sha256 = \"…\", role = \"operator\" }]`; or have clients show \
                      certificates (`tls`); or listen on \"127.0.0.1:9900\"; or write `open = true`, where a network keeps others away";
        return Err(table.refuse(&place, what, advice));
    }
    let max_connections = table.read(&MAX_CONNECTIONS, |value| value::count(value, 1..=10_000));
    let send_timeout = table.read(&SEND_TIMEOUT, value::duration);
    Ok(Admin {
        listen: listen?,
        rights: rights?,
        place,
        hosts: hosts?,
        tls: tls?,
        tokens: tokens?,
        public_metrics: public_metrics?,
        max_connections: max_connections? as usize,
        send_timeout: send_timeout?,
    })
}

fn tokens(value: &Value<'_>) -> Read<Vec<AdminToken>> {
    const ADVICE: &str = "write [{ name = \"ci\", sha256 = \"…\", role = \"viewer\" }]";
    let tokens = value.each("a list of tokens", ADVICE, |value| {
        let table = value.table(&ADMIN_TOKEN, ADVICE)?;
        let name = table.read(&TOKEN_NAME, value::name);
        let hash = table.read(&SHA256, |value| value.parsed("text", HASH, sha256));
        let role = table.read(&ROLE, |value| {
            value::choice(
                value,
                &[("viewer", Kind::Viewer), ("operator", Kind::Operator), ("messages", Kind::Messages)],
            )
        });
        let routes = table
            .optional(&ROUTES, |value| value.each("a list of names", "write a list such as [\"chat\"]", value::name));
        let given = table.value(&ROUTES);
        let role = match (role?, routes?, given) {
            (Kind::Messages, Some(routes), _) if !routes.is_empty() => Role::Messages(routes.into()),
            (Kind::Messages, _, given) => {
                let place = given.map_or_else(|| table.place(), |value| value.place());
                let what = "the token is for no route";
                return Err(table.refuse(
                    &place,
                    what,
                    "write `routes = [\"chat\"]`: those whose clients it may send messages",
                ));
            }
            (_, Some(_), Some(value)) => {
                return Err(value.refuse("only the role `messages` is about routes", "remove it"));
            }
            (Kind::Viewer, ..) => Role::Viewer,
            (Kind::Operator, ..) => Role::Operator,
        };
        Ok(AdminToken { name: name?, hash: hash?, role })
    })?;
    let mut names = BTreeSet::new();
    match tokens.iter().find(|token| !names.insert(&token.name)) {
        Some(AdminToken { name, .. }) => {
            Err(value.refuse(format!("{name} stands here twice"), "rename one of the two"))
        }
        None => Ok(tokens),
    }
}

/// Refuses tokens that are for routes which are not there, or take no messages.
pub(super) fn check(root: &Table<'_>, admin: &Admin, routes: &[Route]) -> Read<()> {
    let mut checked = Ok(());
    for token in &admin.tokens {
        let Role::Messages(names) = &token.role else { continue };
        for name in names.iter() {
            let what = match routes.iter().find(|route| route.name == *name) {
                Some(route) if route.application().is_some() => continue,
                Some(_) => format!(
                    "the token {} is for the route {name}, and no application is told of its connections",
                    token.name
                ),
                None => format!("the token {} is for the route {name}, and there is none", token.name),
            };
            let advice = "name routes that have a `bridge` with `to = \"http\"`";
            checked = Err(root.refuse(&admin.place, what, advice));
        }
    }
    checked
}

/// What a token is good for, in a word.
#[derive(Clone, Copy)]
enum Kind {
    Viewer,
    Operator,
    Messages,
}

fn sha256(text: &str) -> Result<[u8; 32], Fault> {
    let fault = || Fault::new("this is no SHA-256", HASH);
    let mut hash = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(fault());
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| fault())?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| fault())?;
    }
    Ok(hash)
}

const HASH: &str = "write 64 hexadecimal digits: `printf %s \"$TOKEN\" | sha256sum` prints them";
