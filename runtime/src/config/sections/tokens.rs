//! Tokens: whose are taken, and what they have to say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use serde_json::Value as Json;
use toml::de::DeValue;

use super::Names;
use super::tls::file;
use crate::config::{
    reader::{Absent, Fault, Key, Read, Section, Table, Value, quoted},
    source::Place,
    types::{KeysAt, RouteToken, Tokens},
    value,
};
use crate::token::{Algorithm, Secret, Source, Terms, is_symmetric};

pub(super) const TOKENS: Section = Section {
    title: "[tokens.NAME]",
    about: "JSON Web Tokens (RFC 7519) that routes may ask for. Each has to say when it expires (`exp`). What is verified, \
            components find in the attributes `token.sub` and `token.NAME`.",
    keys: &[ISSUER, AUDIENCE, JWKS, SECRET, ALGORITHMS, LEEWAY, REQUIRED_CLAIMS, CLAIMS],
};

const ISSUER: Key = Key {
    name: "issuer",
    takes: "text",
    absent: Absent::Means("whoever has the key"),
    example: "\"https://login.example.com/\"",
    meaning: "What the claim `iss` has to be.",
};

const AUDIENCE: Key = Key {
    name: "audience",
    takes: "text or list of texts",
    absent: Absent::Means("also what was issued for other services"),
    example: "\"chat\"",
    meaning: "What the claim `aud` has to be or to have; of several, one.",
};

const JWKS: Key = Key {
    name: "jwks",
    takes: "url or path",
    absent: Absent::Means("only `secret` signs"),
    example: "\"https://login.example.com/jwks.json\"",
    meaning: "The public keys of the issuer, as a JSON Web Key Set (RFC 7517). Those at an `https://` or `http://` url are \
              fetched every 5 minutes, and when a token names a key that is not there, at most every 10 s; while they \
              cannot be had, those of before stay. A file is read with the configuration and watched like it.",
};

const SECRET: Key = Key {
    name: "secret",
    takes: "secret",
    absent: Absent::Means("only keys of `jwks` sign"),
    example: "{ secret = { env = \"TOKEN_KEY\" } }",
    meaning: "The key of the `HS*` algorithms, at least as long as their hash, which stands in the environment or a file. \
              Needs one of them in `algorithms`.",
};

const ALGORITHMS: Key = Key {
    name: "algorithms",
    takes: "list of algorithms",
    absent: Absent::Default("[\"RS256\", \"ES256\", \"EdDSA\"]"),
    example: "[\"ES256\"]",
    meaning: "How tokens may be signed: `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384`, `EdDSA`; with \
              `secret` also `HS256`, `HS384`, `HS512`.",
};

const LEEWAY: Key = Key {
    name: "leeway",
    takes: "duration",
    absent: Absent::Default("\"30s\""),
    example: "\"5s\"",
    meaning: "How far the clocks of issuer and proxy may differ, in whole seconds, 10m at most; `0` for not at all. A \
              connection ends so much after its token.",
};

const REQUIRED_CLAIMS: Key = Key {
    name: "required_claims",
    takes: "table",
    absent: Absent::Default("{}"),
    example: "{ role = [\"user\", \"admin\"], email_verified = true }",
    meaning: "What claims have to say: text, a whole number or a boolean, or a list of which one will do. A claim that is a \
              list, and `scope`, which is words, has to have it. Who lacks one gets 403.",
};

const CLAIMS: Key = Key {
    name: "claims",
    takes: "list of names",
    absent: Absent::Default("[]"),
    example: "[\"role\"]",
    meaning: "Claims that become attributes `token.NAME`, beside `sub`: text as it is, all else as JSON. The access log and \
              the admin API show them.",
};

pub(super) const ROUTE_TOKEN: Section = Section { title: "the token of a route", about: "", keys: &[NAME, FROM] };

const NAME: Key = Key {
    name: "name",
    takes: "name",
    absent: Absent::Missing,
    example: "\"users\"",
    meaning: "Which tokens: a `[tokens.NAME]` table.",
};

const FROM: Key = Key {
    name: "from",
    takes: "list of places",
    absent: Absent::Default("[\"header:authorization\"]"),
    example: "[\"header:authorization\", \"subprotocol:bearer\"]",
    meaning: "Where a token may stand; the first that is there counts. `header:NAME` (`Authorization: Bearer TOKEN`), \
              `query:NAME`, `cookie:NAME`, and `subprotocol:NAME`, where a browser's `new WebSocket(url, [\"NAME\", token])` or \
              `\"NAME.TOKEN\"` puts it. Parameters of the query and subprotocols that are for tokens do not go on to the \
              upstream.",
};

/// Reads all tokens.
pub(super) fn tokens(value: &Value<'_>, names: &Names<'_>) -> Read<BTreeMap<String, Tokens>> {
    let entries = value.entries("tables", "write tables [tokens.NAME]")?;
    let read: Vec<_> = entries.iter().map(|(name, place, value)| token(name, place, value, names)).collect();
    read.into_iter().collect()
}

fn token(name: &str, place: &Place, value: &Value<'_>, names: &Names<'_>) -> Read<(String, Tokens)> {
    let table = value.table(&TOKENS, "write a table [tokens.NAME]")?;
    let valid = value::parse_name(name).map_err(|fault| table.refuse(place, fault.what, fault.instead));
    let issuer = table.optional(&ISSUER, |value| {
        value.string("text", "write text such as \"https://login.example.com/\"").map(str::to_owned)
    });
    let audience = table.optional(&AUDIENCE, audience);
    let jwks = table.optional(&JWKS, |value| jwks(value, names));
    let secret = table.optional(&SECRET, |value| names.secret(value));
    let algorithms = table.read(&ALGORITHMS, algorithms);
    let leeway = table.read(&LEEWAY, leeway);
    let required_claims = table.read(&REQUIRED_CLAIMS, required_claims);
    let claims = table.read(&CLAIMS, |value| {
        value.each("a list of names", "write a list such as [\"role\"]", |value| {
            value.parsed("the name of a claim", "write text such as \"role\"", |name| claim(name).map(str::to_owned))
        })
    });
    let (jwks, secret, algorithms) = (jwks?, secret?, algorithms?);
    signed(&table, jwks.is_some(), secret.as_ref(), &algorithms)?;
    let terms = Terms {
        issuer: issuer?,
        audience: audience?.unwrap_or_default(),
        algorithms,
        leeway: leeway?,
        required_claims: required_claims?,
        claims: claims?,
    };
    Ok((valid?.to_owned(), Tokens { terms, jwks, secret, place: value.place() }))
}

/// Sees that each algorithm has a key, and each key an algorithm.
fn signed(table: &Table<'_>, has_jwks: bool, secret: Option<&Secret>, algorithms: &[Algorithm]) -> Read<()> {
    let place = |key| table.value(key).map_or_else(|| table.place(), |value| value.place());
    let (shared, public): (Vec<_>, Vec<_>) = algorithms.iter().copied().partition(|algorithm| is_symmetric(*algorithm));
    match (has_jwks, secret) {
        (false, None) => {
            let advice = "write `jwks = \"https://…\"`, or `secret = { secret = { env = \"NAME\" } }`";
            Err(table.refuse(&table.place(), "there is no key that tokens could be verified with", advice))
        }
        (_, None) if !shared.is_empty() => {
            let what = format!("{:?} needs a secret", shared.first().copied().unwrap_or_default());
            let advice = "write `secret = { secret = { env = \"NAME\" } }`, or leave the `HS*` algorithms out";
            Err(table.refuse(&place(&ALGORITHMS), what, advice))
        }
        (_, Some(_)) if shared.is_empty() => {
            let advice = "write `algorithms = [\"HS256\"]`, or remove `secret`";
            Err(table.refuse(&place(&SECRET), "no algorithm is named that signs with a secret", advice))
        }
        (false, Some(_)) if !public.is_empty() => {
            let what = format!("{:?} needs public keys", public.first().copied().unwrap_or_default());
            Err(table.refuse(&place(&ALGORITHMS), what, "write `jwks = \"https://…\"`, or leave it out"))
        }
        (true, _) if public.is_empty() => {
            let advice = "remove `jwks`, or name one of the algorithms that signs with its keys";
            Err(table.refuse(&place(&JWKS), "no algorithm is named that signs with these keys", advice))
        }
        (_, Some(secret)) => {
            // RFC 7518 section 3.2.
            let least = shared.iter().map(|algorithm| match algorithm {
                Algorithm::HS512 => 64,
                Algorithm::HS384 => 48,
                _ => 32,
            });
            match least.max().filter(|least| secret.length() < *least) {
                Some(least) => {
                    let advice =
                        format!("use {least} random bytes or more, such as `openssl rand -base64 {least}` gives");
                    Err(table.refuse(&place(&SECRET), "the secret is too short for these algorithms", advice))
                }
                None => Ok(()),
            }
        }
        (true, None) => Ok(()),
    }
}

fn audience(value: &Value<'_>) -> Read<Vec<String>> {
    const ADVICE: &str = "write text such as \"chat\", or a list of such";
    let text = |value: &Value<'_>| value.string("text", ADVICE).map(str::to_owned);
    if value.node().as_array().is_none() {
        return Ok(vec![text(value)?]);
    }
    let audience = value.each("text or a list of texts", ADVICE, text)?;
    match audience.is_empty() {
        true => Err(value.refuse("no token could be for nobody", ADVICE)),
        false => Ok(audience),
    }
}

fn jwks(value: &Value<'_>, names: &Names<'_>) -> Read<KeysAt> {
    const ADVICE: &str = "write text such as \"https://login.example.com/jwks.json\" or \"jwks.json\"";
    let text = value.string("a url or the path of a file", ADVICE)?;
    match text {
        "" => Err(value.refuse("the path is empty", ADVICE)),
        text if text.contains("://") => {
            value.parsed("a url", ADVICE, |text| url(text, ADVICE)).map(|url| KeysAt::Url(url, value.place()))
        }
        _ => file(value, names.base).map(KeysAt::File),
    }
}

/// The url of a server that is asked.
pub(super) fn url(text: &str, advice: &str) -> Result<Uri, Fault> {
    let fault = |what: &str| Fault::new(format!("{} {what}", quoted(text)), advice);
    let url: Uri = text.parse().map_err(|_| fault("is no url"))?;
    match (url.scheme(), url.authority()) {
        (Some(scheme), Some(authority)) if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS => {
            if authority.as_str().contains('@') || authority.host().is_empty() {
                return Err(fault("has no host alone before its path"));
            }
            // What is no port is read as none.
            let has_port = authority.as_str() != authority.host();
            if has_port && authority.port_u16().is_none_or(|port| port == 0) {
                return Err(fault("has no port that there is"));
            }
            Ok(url)
        }
        _ => Err(fault("is no url of http or https")),
    }
}

fn algorithms(value: &Value<'_>) -> Read<Vec<Algorithm>> {
    const ADVICE: &str = "write a list such as [\"RS256\", \"ES256\", \"EdDSA\"]";
    let algorithms = value.each("a list of algorithms", ADVICE, |value| {
        value.parsed("an algorithm", ADVICE, |text| {
            text.parse().map_err(|_| Fault::new(format!("{} is no algorithm that is known", quoted(text)), ADVICE))
        })
    })?;
    match algorithms.is_empty() {
        true => Err(value.refuse("no token could be signed", ADVICE)),
        false => Ok(algorithms),
    }
}

fn leeway(value: &Value<'_>) -> Read<Duration> {
    let leeway = value::duration_or_off(value)?.unwrap_or(Duration::ZERO);
    if leeway > MOST_LEEWAY || leeway.subsec_nanos() != 0 {
        return Err(value.refuse("this is no time by which clocks may differ", "write whole seconds, at most \"10m\""));
    }
    Ok(leeway)
}

fn required_claims(value: &Value<'_>) -> Read<BTreeMap<String, Vec<Json>>> {
    const ADVICE: &str = "write a table such as { role = \"admin\" }";
    let entries = value.entries("a table", ADVICE)?;
    let read: Vec<_> = entries
        .iter()
        .map(|(name, place, value)| {
            let name = claim(name).map_err(|fault| value.refuse_at(place, fault.what, fault.instead));
            let wanted = match value.node().as_array() {
                None => wanted(value).map(|wanted| vec![wanted]),
                Some(_) => value.each("a list", ADVICE, wanted),
            }?;
            match wanted.is_empty() {
                true => Err(value.refuse("no token could say this", "write at least one value")),
                false => Ok((name?.to_owned(), wanted)),
            }
        })
        .collect();
    read.into_iter().collect()
}

fn wanted(value: &Value<'_>) -> Read<Json> {
    const ADVICE: &str = "write text, a whole number, `true` or `false`";
    match value.node() {
        DeValue::String(text) => Ok(Json::String(text.to_string())),
        DeValue::Boolean(boolean) => Ok(Json::Bool(*boolean)),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map(Json::from)
            .map_err(|_| value.refuse("this number is too large", ADVICE)),
        _ => Err(value.mistyped("text, a whole number or a boolean", ADVICE)),
    }
}

/// The name of a claim; it is shown in a header field and as the name of an attribute.
fn claim(name: &str) -> Result<&str, Fault> {
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"\"\\`".contains(&byte);
    match (1..=128).contains(&name.len()) && name.bytes().all(fits) {
        true => Ok(name),
        false => Err(Fault::new("this is no name of a claim", "write 1 to 128 visible characters, without quotes")),
    }
}

/// Reads which tokens a route asks for.
pub(super) fn route_token(value: &Value<'_>, names: &Names<'_>) -> Read<RouteToken> {
    let table = value.table(&ROUTE_TOKEN, "write { name = \"users\" }")?;
    let name = table.read(&NAME, |value| names.tokens(value));
    let from = table.read(&FROM, |value| {
        const ADVICE: &str = "write a list such as [\"header:authorization\", \"subprotocol:bearer\"]";
        let from = value.each("a list of places", ADVICE, |value| {
            value.parsed("a place", ADVICE, |text| {
                text.parse::<Source>().map_err(|error| Fault::new(format!("{}: {error}", quoted(text)), FORMS))
            })
        })?;
        let kinds: BTreeSet<_> = from.iter().map(ToString::to_string).collect();
        match kinds.len() {
            0 => Err(value.refuse("no token could be found", ADVICE)),
            count if count < from.len() => Err(value.refuse("a place stands here twice", "remove one of them")),
            _ => Ok(from),
        }
    });
    Ok(RouteToken { name: name?, from: from? })
}

const FORMS: &str = "write header:NAME, query:NAME, cookie:NAME or subprotocol:NAME";
/// Clocks that differ by more are not set at all.
const MOST_LEEWAY: Duration = Duration::from_secs(600);
