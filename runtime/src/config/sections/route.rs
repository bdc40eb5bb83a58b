//! Routes.

mod claims;
mod idle;
mod keys;

use std::collections::HashSet;
use std::num::NonZeroU32;

use self::claims::{Claim, distinct};
use self::idle::idle;
pub(super) use self::keys::ROUTE;
use super::server::ROUTES;
use super::{
    Names, access, answer, application, authorize, bridge,
    component::{filter_use, predicate},
    headers, per_client, services, tokens,
};
use crate::{
    config::{
        pattern::{exact_path, host_pattern, parse_origin, path_prefix},
        reader::{Key, Read, Table, Value},
        source::Place,
        types::{Bridge, Http, Route, Target},
        value,
    },
    pipe::{Limits, Timers},
    route::{HostPattern, Origins, PathPattern},
    session::{AdmissionLimits, OnChange, Prefixes},
    ws::FrameLimits,
};

/// Reads all routes, and refuses what only shows when they are compared.
pub(super) fn routes(root: &Table<'_>, names: &Names<'_>, prefixes: Prefixes) -> Read<Vec<Route>> {
    const ADVICE: &str = "add a table [[routes]] with `name` and `upstream`";
    let Some(value) = root.value(&ROUTES) else {
        let place = Place { key: "routes".to_owned(), ..Place::default() };
        return Err(root.refuse(&place, "there is no route", ADVICE));
    };
    let routes = value.each("tables", "write tables [[routes]]", |value| {
        Ok(route(&value.table(&ROUTE, "write a table [[routes]]")?, names, prefixes))
    })?;
    if routes.is_empty() {
        return Err(value.refuse("there is no route", ADVICE));
    }
    let (claims, routes): (Vec<_>, Vec<_>) = routes.into_iter().unzip();
    distinct(root, &claims)?;
    routes.into_iter().collect()
}

/// A route that is refused still claims its name and its paths, so that its twins are found at once.
fn route(table: &Table<'_>, names: &Names<'_>, prefixes: Prefixes) -> (Claim, Read<Route>) {
    let name = table.read(&keys::NAME, value::name);
    let hosts = hosts(table);
    let path = path(table);
    let claim = Claim {
        name: name.as_ref().ok().cloned(),
        hosts: hosts.as_ref().ok().cloned(),
        path: path.as_ref().ok().cloned(),
        passes_on: table.value(&keys::WHEN).is_some() || table.value(&keys::SERVICES).is_some(),
        name_place: table.value(&keys::NAME).map_or_else(|| table.place(), |value| value.place()),
        place: table.place(),
    };
    (claim, rest(table, (names, prefixes), name, hosts, path))
}

fn rest(
    table: &Table<'_>,
    (names, prefixes): (&Names<'_>, Prefixes),
    name: Read<String>,
    hosts: Read<Vec<HostPattern>>,
    path: Read<PathPattern>,
) -> Read<Route> {
    let when = table.read(&keys::WHEN, |value| {
        value.each("a list of predicates", "write [\"conditions\"]", |value| predicate(value, names))
    });
    let filters = table.read(&keys::FILTERS, |value| {
        value.each("a list of filters", "write [\"rate-limit\"]", |value| filter_use(value, names))
    });
    let target = target(table, names);
    let http = http(table, names);
    let bridge = bridge(table);
    let idle = idle(table, !matches!(http, Ok(None)));
    let access = access::access(table);
    let allowed_origins = table.optional(&keys::ALLOWED_ORIGINS, allowed_origins);
    let token = table.optional(&keys::TOKEN, |value| tokens::route_token(value, names));
    let authorize = table.optional(&keys::AUTHORIZE, |value| authorize::authorize(value, names.base));
    let timers = timers(table);
    let handshake_timeout = table.read(&keys::HANDSHAKE_TIMEOUT, value::duration);
    let limits = limits(table);
    let max_connections = table.read(&keys::MAX_CONNECTIONS, value::count_or_off);
    let handshakes_per_second = table.read(&keys::HANDSHAKES_PER_SECOND, value::count_or_off);
    let per_client = per_client::per_client(table, prefixes);
    let forwarded_headers = table.read(&keys::FORWARDED_HEADERS, value::boolean);
    let request_headers = table.read(&keys::REQUEST_HEADERS, headers::rules);
    let response_headers = table.read(&keys::RESPONSE_HEADERS, headers::rules);
    let group_id_header = table.read(&keys::GROUP_ID_HEADER, |value| match value.node().as_str() {
        Some("off" | "") => Ok(None),
        _ => value::header(value).map(Some),
    });
    let on_change = table.read(&keys::ON_CHANGE, |value| {
        value::choice(value, &[("swap", OnChange::Swap), ("keep", OnChange::Keep), ("drain", OnChange::Drain)])
    });
    idle?;
    Ok(Route {
        name: name?,
        hosts: hosts?,
        path: path?,
        when: when?,
        filters: filters?,
        target: target?,
        http: http?,
        bridge: bridge?,
        access: access?,
        allowed_origins: allowed_origins?,
        token: token?,
        authorize: authorize?,
        timers: timers?,
        handshake_timeout: handshake_timeout?,
        limits: limits?,
        admission: AdmissionLimits {
            max_connections: max_connections?,
            handshakes_per_second: handshakes_per_second?,
            per_client: per_client?,
        },
        forwarded_headers: forwarded_headers?,
        group_id_header: group_id_header?,
        request_headers: request_headers?,
        response_headers: response_headers?,
        on_change: on_change?,
        place: table.place(),
    })
}

fn hosts(table: &Table<'_>) -> Read<Vec<HostPattern>> {
    const ADVICE: &str = "write a list such as [\"chat.example.com\"]";
    let hosts = table.optional(&keys::HOSTS, |value| {
        let hosts = value.each("a list of hosts", ADVICE, |host| host.parsed("a host", ADVICE, host_pattern))?;
        if hosts.is_empty() {
            return Err(value.refuse("no host could match", "leave `hosts` out for any host"));
        }
        let mut known = HashSet::new();
        match hosts.iter().find(|host| !known.insert(*host)) {
            Some(host) => Err(value.refuse(format!("the host {host} stands here twice"), "remove one of them")),
            None => Ok(hosts),
        }
    })?;
    Ok(hosts.unwrap_or_default())
}

fn path(table: &Table<'_>) -> Read<PathPattern> {
    const ADVICE: &str = "write text such as \"/ws/chat\"";
    let exact = table.optional(&keys::PATH, |value| value.parsed("a path", ADVICE, exact_path));
    let prefix = table.optional(&keys::PATH_PREFIX, |value| value.parsed("a path", ADVICE, path_prefix));
    if let (Some(_), Some(prefix)) = (table.value(&keys::PATH), table.value(&keys::PATH_PREFIX)) {
        return Err(prefix.refuse("`path` and `path_prefix` exclude each other", "remove one of the two"));
    }
    Ok(exact?.or(prefix?).unwrap_or_default())
}

fn target(table: &Table<'_>, names: &Names<'_>) -> Read<Target> {
    let upstream = table.optional(&keys::UPSTREAM, |value| names.upstream(value).map(Target::Upstream));
    let services = table.optional(&keys::SERVICES, |value| services::services(value, names).map(Target::Services));
    let answer = table.optional(&keys::ANSWER, |value| answer::answer(value, names.base).map(Target::Answer));
    let redirect = table.optional(&keys::REDIRECT, |value| answer::redirect(value).map(Target::Redirect));
    let bridge = || table.value(&keys::BRIDGE).filter(application::is_meant);
    let application = match bridge() {
        Some(value) => application::application(&value, names).map(|it| Some(Target::Application(it))),
        None => Ok(None),
    };
    let given = [keys::UPSTREAM, keys::SERVICES, keys::ANSWER, keys::REDIRECT];
    let given = given.iter().filter_map(|key| Some((key.name, table.value(key)?)));
    let given: Vec<_> = given.chain(bridge().map(|value| (TO_HTTP, value))).collect();
    if let [(first, _), .., (second, value)] = &given[..] {
        return Err(value.refuse(format!("`{first}` and `{second}` exclude each other"), "remove one of the two"));
    }
    if let Some((name @ ("answer" | "redirect"), _)) = given.first()
        && let Some(filters) = table.value(&keys::FILTERS)
    {
        let what = format!("no filter would see anything: a route with `{name}` opens no connection");
        return Err(filters.refuse(what, "remove the filters; `when`, `token` and `authorize` may stand here"));
    }
    let target = upstream?.or(services?).or(answer?).or(redirect?).or(application?);
    target.ok_or_else(|| {
        let advice = "write `upstream = \"chat\"`, or a table `services`, `answer` or `redirect`, or a `bridge` with `to = \"http\"`";
        table.refuse(&table.place(), "the route leads nowhere", advice)
    })
}

/// What excludes an upstream, in words.
const TO_HTTP: &str = "bridge.to";

/// How plain requests are served; `None`: they are not.
fn http(table: &Table<'_>, names: &Names<'_>) -> Read<Option<Http>> {
    let is_served = table.read(&keys::HTTP, value::boolean);
    let upstream = table.optional(&keys::HTTP_UPSTREAM, |value| names.upstream(value));
    let request_timeout = table.read(&keys::REQUEST_TIMEOUT, value::duration_or_off);
    let max_body_size = table.read(&keys::MAX_BODY_SIZE, value::size_or_off);
    let http = Http { upstream: upstream?, request_timeout: request_timeout?, max_body_size: max_body_size? };
    let answers = table.value(&keys::ANSWER).or_else(|| table.value(&keys::REDIRECT));
    match (is_served?, table.value(&keys::HTTP_UPSTREAM)) {
        (true, _) if answers.is_some() => {
            let place = table.value(&keys::HTTP).map_or_else(|| table.place(), |value| value.place());
            Err(table.refuse(
                &place,
                "no request goes to an upstream, because the route answers by itself",
                "remove `http`",
            ))
        }
        (true, None) if table.value(&keys::BRIDGE).is_some_and(|value| application::is_meant(&value)) => {
            let place = table.value(&keys::HTTP).map_or_else(|| table.place(), |value| value.place());
            let what = "an application is told of WebSockets, and no upstream is there for plain requests";
            Err(table.refuse(&place, what, "write `http_upstream = \"chat\"` too, or remove `http`"))
        }
        (true, _) => Ok(Some(http)),
        (false, None) => Ok(None),
        (false, Some(value)) => {
            Err(value
                .refuse("the route carries no plain requests", "write `http = true` too, or remove `http_upstream`"))
        }
    }
}

fn bridge(table: &Table<'_>) -> Read<Option<Bridge>> {
    if table.value(&keys::BRIDGE).is_some_and(|value| application::is_meant(&value)) {
        return Ok(None);
    }
    let bridge = table.optional(&keys::BRIDGE, bridge::bridge)?;
    let leads_nowhere = [keys::ANSWER, keys::REDIRECT].iter().find(|key| table.value(key).is_some());
    match (table.value(&keys::BRIDGE), leads_nowhere) {
        (Some(value), Some(Key { name, .. })) => {
            Err(value.refuse(format!("a route with `{name}` sends no message to anybody"), "remove one of the two"))
        }
        (Some(value), None) if matches!(table.read(&keys::HTTP, value::boolean), Ok(true)) => {
            Err(value.refuse("a plain request is carried (`http`) or becomes a message", "remove one of the two"))
        }
        _ => Ok(bridge),
    }
}

fn allowed_origins(value: &Value<'_>) -> Read<Origins> {
    const ADVICE: &str = "write a list such as [\"https://chat.example.com\"]";
    let origins = value.each("a list of origins", ADVICE, |origin| origin.parsed("an origin", ADVICE, parse_origin))?;
    if origins.is_empty() {
        return Err(value.refuse("no origin could be admitted", "leave `allowed_origins` out for any origin"));
    }
    Ok(Origins::new(origins))
}

fn timers(table: &Table<'_>) -> Read<Timers> {
    let ping_interval = table.read(&keys::PING_INTERVAL, value::duration_or_off);
    let pong_timeout = table.read(&keys::PONG_TIMEOUT, value::duration_or_off);
    let ping_client = table.read(&keys::PING_CLIENT, value::boolean);
    let ping_upstream = table.read(&keys::PING_UPSTREAM, value::boolean);
    let max_inactivity = table.read(&keys::MAX_INACTIVITY, value::duration_or_off);
    let max_lifetime = table.read(&keys::MAX_LIFETIME, value::duration_or_off);
    let message_timeout = table.read(&keys::MESSAGE_TIMEOUT, value::duration_or_off);
    let close_timeout = table.read(&keys::CLOSE_TIMEOUT, value::duration);
    let timers = Timers {
        ping_interval: ping_interval?,
        ping_client: ping_client?,
        ping_upstream: ping_upstream?,
        pong_timeout: pong_timeout?,
        max_inactivity: max_inactivity?,
        max_lifetime: max_lifetime?,
        message_timeout: message_timeout?,
        close_timeout: close_timeout?,
    };
    let place = |key| table.value(key).map_or_else(|| table.place(), |value| value.place());
    if timers.pong_timeout.is_some() && timers.ping_interval.is_none() {
        let advice = "write `ping_interval = \"10s\"` too, or remove `pong_timeout`";
        return Err(table.refuse(&place(&keys::PONG_TIMEOUT), "without pings no pong is awaited", advice));
    }
    if timers.ping_interval.is_some() && !timers.ping_client && !timers.ping_upstream {
        let advice = "remove `ping_interval`, or one of `ping_client` and `ping_upstream`";
        return Err(table.refuse(&place(&keys::PING_INTERVAL), "neither side would be pinged", advice));
    }
    Ok(timers)
}

fn limits(table: &Table<'_>) -> Read<Limits> {
    let max_message_size =
        table.read(&keys::MAX_MESSAGE_SIZE, |value| value::size_within(value, (1, "1B"), (1 << 30, "1GiB")));
    let max_frame_size = table.read(&keys::MAX_FRAME_SIZE, value::size_or_off);
    let max_compression_ratio = table.read(&keys::MAX_COMPRESSION_RATIO, value::count_or_off);
    let max_fragments = table.read(&keys::MAX_FRAGMENTS, value::count_or_off);
    let control_frames_per_second = table.read(&keys::CONTROL_FRAMES_PER_SECOND, value::count_or_off);
    Ok(Limits {
        max_message_size: max_message_size?,
        max_compression_ratio: max_compression_ratio?,
        frames: FrameLimits { max_size: max_frame_size?, max_fragments: max_fragments?.and_then(NonZeroU32::new) },
        control_frames_per_second: control_frames_per_second?.and_then(NonZeroU32::new),
    })
}
