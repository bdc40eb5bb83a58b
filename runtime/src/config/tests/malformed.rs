//! Files that are wrong, and exactly what is said about them.

use super::{LEAST, refuse, snapshot};
use crate::config::Problems;

/// A case and what is said about it.
type Case = (String, Problems);

/// The least file with another text in place of a part of it.
fn with(part: &str, other: &str) -> Case {
    assert!(LEAST.contains(part), "{part}");
    (format!("{other:?} for {part:?}"), refuse(&LEAST.replace(part, other)))
}

/// The least file with more keys in its route.
fn route(keys: &str) -> Case {
    (format!("{keys:?}"), refuse(&format!("{LEAST}{keys}\n")))
}

/// The least file with more tables or keys in front.
fn top(text: &str) -> Case {
    (format!("{text:?}"), refuse(&format!("{text}{LEAST}")))
}

fn whole(text: &str) -> Case {
    (format!("{text:?}"), refuse(text))
}

fn reports(cases: &[Case]) -> String {
    cases.iter().map(|(case, problems)| format!("## {case}\n{}\n", problems.on_terminal(""))).collect()
}

#[test]
fn all_problems_are_told_at_once_and_in_order() {
    snapshot(
        "all_problems_are_told_at_once_and_in_order",
        &refuse(include_str!("malformed.toml")).on_terminal("").to_string(),
    );
}

#[test]
fn syntax_errors_have_a_place_each() {
    snapshot(
        "syntax_errors_have_a_place_each",
        &reports(&[
            whole("[admin\nlisten = \"127.0.0.1:9900\"\n[[routes]]\nname = chat\npath = '/a'\npath = '/b'\n"),
            whole("[log]\nlevel = \"info\n"),
        ]),
    );
}

#[test]
fn an_empty_file_lacks_the_two_tables_that_matter() {
    snapshot(
        "an_empty_file_lacks_the_two_tables_that_matter",
        &reports(&[whole(""), whole("listeners = []\nroutes = []")]),
    );
}

#[test]
fn unknown_keys() {
    snapshot(
        "unknown_keys",
        &reports(&[
            route("ping_intervall = \"10s\""),
            route("max_header_bytes = \"1KiB\""),
            top("[log]\nworkers = 4\ncolour = true"),
            with("[[routes]]", "[[route]]"),
        ]),
    );
}

#[test]
fn missing_keys() {
    snapshot(
        "missing_keys",
        &reports(&[
            with("name = \"chat\"", ""),
            with("listen = \"0.0.0.0:8080\"", ""),
            with("{ url = \"ws://127.0.0.1:9001\" }", "{ weight = 1 }"),
            with("upstream = \"chat\"", ""),
            top("[components.shout]\ndeadline = '1ms'"),
        ]),
    );
}

#[test]
fn durations() {
    snapshot(
        "durations",
        &reports(&[
            route("ping_interval = 10"),
            route("max_lifetime = \"1.5h\""),
            route("max_lifetime = \"10 s\""),
            route("max_lifetime = true"),
            route("close_timeout = 0"),
            top("[components.rate-limit]\ndeadline = '1m'"),
        ]),
    );
}

#[test]
fn sizes_and_counts() {
    snapshot(
        "sizes_and_counts",
        &reports(&[
            route("max_message_size = \"1mb\""),
            route("max_message_size = 0"),
            route("max_message_size = \"2GiB\""),
            route("max_connections = 0"),
            route("max_connections = -1"),
            top("workers = \"4\""),
            top("workers = 0"),
        ]),
    );
}

#[test]
fn addresses() {
    snapshot(
        "addresses",
        &reports(&[
            with("0.0.0.0:8080", ":8080"),
            with("0.0.0.0:8080", "localhost:8080"),
            with("0.0.0.0:8080", "::1"),
            with("0.0.0.0:8080", "8080"),
            top("trusted_proxies = [\"10.0.0.1/8\", \"proxy\"]"),
            with("0.0.0.0:8080\"", "0.0.0.0:8080\"\nallow = []\ndeny = [\"10.0.0.1/8\"]"),
            route("allow = \"10.0.0.0/8\"\ndeny = [\"example.com\"]"),
        ]),
    );
}

#[test]
fn unix_sockets() {
    let listener = |text: &str| with("0.0.0.0:8080\"", text);
    snapshot(
        "unix_sockets",
        &reports(&[
            listener("unix:tidegate.sock\""),
            listener("unix:/run/tidegate.sock\"\nmode = \"0o660\"\nowner = \"nobody here\"\ngroup = -1"),
            listener("0.0.0.0:8080\"\nmode = \"0660\"\nowner = 0"),
            listener("unix:/run/tidegate.sock\"\ntcp_keepalive = \"10s\""),
            listener("unix:/run/tidegate.sock\"\n[[listeners]]\nlisten = \"unix:/run/tidegate.sock\""),
        ]),
    );
}

#[test]
fn what_stands_before_a_listener() {
    let listener = |keys: &str| with("0.0.0.0:8080\"", &format!("0.0.0.0:8080\"\n{keys}"));
    snapshot(
        "what_stands_before_a_listener",
        &reports(&[
            listener("proxy_protocol = \"required\""),
            listener("proxy_protocol = \"v2\""),
            listener("redirect = \"http\""),
            listener("redirect = \"https:0\""),
            listener("http2 = \"on\""),
            listener("http2 = \"alpn\""),
            listener("http2 = \"prior-knowledge\"\ntls = { certificates = [{ chain = \"a.pem\", key = \"a.key\" }] }"),
            listener("http2_max_streams = 0"),
            listener("http2_stream_window = \"1KiB\""),
            listener("redirect = \"https\"\ntls = { certificates = [{ chain = \"a.pem\", key = \"a.key\" }] }"),
            with("[upstreams.chat]", "[upstreams.chat]\nproxy_protocol = true"),
        ]),
    );
}

#[test]
fn whom_a_route_asks() {
    snapshot(
        "whom_a_route_asks",
        &reports(&[
            route("authorize = {}"),
            route("authorize = { url = \"auth.internal/verify\" }"),
            route("authorize = { url = \"ftp://auth.internal/\" }"),
            route("authorize = { url = \"http://user:pw@auth.internal/\" }"),
            route("authorize = { url = \"http://auth.internal/\", timeout = \"0s\", max_pending = 0 }"),
            route(
                "authorize = { url = \"http://auth.internal/\", headers = [\"a b\"], copy = [\"host\", \"x-user\"] }",
            ),
            route("authorize = { url = \"http://auth.internal/\", copy = [\"x-user\", \"X-User\"] }"),
        ]),
    );
}

#[test]
fn what_a_route_answers() {
    let instead = |keys: &str| with("upstream = \"chat\"", keys);
    snapshot(
        "what_a_route_answers",
        &reports(&[
            route("answer = { status = 200 }"),
            instead("answer = { status = 101 }"),
            instead("answer = { status = 204, body = \"x\" }"),
            instead("answer = { body = \"x\", file = \"x.html\" }"),
            instead(
                "answer = { headers = { content-length = \"9\", \"a b\" = \"x\", x = \"a\\r\\nb: c\", y = [\"é\", 1] } }",
            ),
            instead("answer = { headers = { Vary = \"a\", vary = \"b\" } }"),
            instead("answer = {}\nfilters = [\"rate-limit\"]"),
            instead("answer = {}\nredirect = { to = \"/\" }"),
            instead("answer = {}\nbridge = {}"),
            route("bridge = { reply = \"later\", timeout = \"soon\", connections = 0, queue = -1 }"),
            instead("redirect = { to = \"https://{host}{path}\", status = 304 }"),
            instead("redirect = { to = \"https://{hots}{path}\" }"),
            instead("redirect = { to = \"https://{host\" }"),
            instead("redirect = { to = \"//{host}{path}\" }"),
            instead("redirect = { to = \"https://my{host}{path}\" }"),
            instead("redirect = { to = \"https://{host}{path}{query}\" }"),
            instead("redirect = { to = \"/a b\" }"),
            instead("redirect = \"https://{host}\""),
            top("errors = { 503 = \"\", 600 = \"a.html\", 0503 = \"a.html\", busy = \"a.html\", 404 = 1 }\n"),
        ]),
    );
}

#[test]
fn keys_that_nothing_would_come_of() {
    let instead = |keys: &str| with("upstream = \"chat\"", keys);
    snapshot(
        "keys_that_nothing_would_come_of",
        &reports(&[
            instead("answer = {}\nping_interval = \"10s\"\nrequest_headers = {}\nmax_body_size = \"1MB\""),
            instead("redirect = { to = \"/\" }\ngroup_id_header = \"off\"\non_change = \"keep\""),
            route("request_timeout = \"1s\"\nmax_body_size = \"1MB\""),
            route("bridge = {}\nrequest_timeout = \"1s\""),
            route("http = true\nmax_body_size = \"much\"\nrequest_timeout = \"1s\""),
            route("bridge = { reply = \"stream\", connections = 2, queue = 10 }"),
            with("[[listeners]]\n", "[[listeners]]\nhttp2_max_streams = 5\n"),
            with("[upstreams.chat]\n", "[upstreams.chat]\nhttp2_stream_window = \"32KiB\"\n"),
        ]),
    );
}

#[test]
fn header_rules() {
    snapshot(
        "header_rules",
        &reports(&[
            route("request_headers = { set = { host = \"a\", sec-websocket-key = \"a\", content-length = \"1\" } }"),
            route("request_headers = { set = { x = \"{attribut.user}\", y = \"{client}\", z = \"{host\" } }"),
            route("request_headers = { set = { x = \"\", y = \" a\", z = \"a\\r\\nb: c\" } }"),
            route("request_headers = { set = { X-A = \"1\", x-a = \"2\" } }"),
            route("request_headers = { set = { x-a = \"1\" }, remove = [\"x-a\"] }"),
            route("response_headers = { remove = [\"connection\", \"a b\"], append = { x = 1 }, add = {} }"),
            route("response_headers = [\"x-a: 1\"]"),
        ]),
    );
}

#[test]
fn certificates_that_renew_themselves() {
    let acme = |keys: &str| with("0.0.0.0:8080\"", &format!("0.0.0.0:8080\"\ntls = {{ acme = {{ {keys} }} }}"));
    snapshot(
        "certificates_that_renew_themselves",
        &reports(&[
            acme("domains = [\"chat.example\"]"),
            acme("domains = [\"chat.example\"], accept_terms = false"),
            acme("domains = [], accept_terms = true"),
            acme("domains = [\"*.chat.example\", \"192.0.2.1\", \"[2001:db8::1]\", \"a b\"], accept_terms = true"),
            acme("domains = [\"chat.example\"], accept_terms = true, contact = \"ops@chat.example\""),
            acme("domains = [\"chat.example\"], accept_terms = true, server = \"http://acme.example/directory\""),
            acme("domains = [\"chat.example\"], accept_terms = true, server = \"https://user:pw@acme.example/\""),
            acme("domains = [\"chat.example\"], accept_terms = true, directory = \"\""),
            with("0.0.0.0:8080\"", "0.0.0.0:8080\"\ntls = { min_version = \"1.3\" }"),
        ]),
    );
}

#[test]
fn endpoints() {
    snapshot(
        "endpoints",
        &reports(&[
            with("ws://127", "ftp://127"),
            with("ws://127", "tcp://127"),
            with(":9001", ":90001"),
            with("9001", "9001/chat?x=1"),
            with("[{ url = \"ws://127.0.0.1:9001\" }]", "[]"),
            with("[{ url = \"ws://127.0.0.1:9001\" }]", "[\"ws://127.0.0.1:9001\"]"),
            with("}]", "}, { url = \"http://127.0.0.1:9001\" }]"),
            with("}]", ", weight = 100000 }]"),
            with("}]", ", zone = '' }]"),
            with("}]", &format!(", zone = '{}' }}]", "z".repeat(129))),
            with("}]", ", metadata = { version = 2 } }]"),
            with("}]", &format!(", metadata = {{ {} }} }}]", names(65))),
            with("}]", &format!(", metadata = {{ a = '{}' }} }}]", "x".repeat(4096))),
        ]),
    );
}

/// This many names with a text each.
fn names(count: usize) -> String {
    (0..count).map(|number| format!("n{number} = ''")).collect::<Vec<_>>().join(", ")
}

#[test]
fn hosts_and_paths() {
    snapshot(
        "hosts_and_paths",
        &reports(&[
            route("hosts = [\"a.*.example.com\", \"*\", \"a:8080\", \"https://a\", \"café.fr\"]"),
            route("hosts = []"),
            route("hosts = \"chat.example.com\""),
            route("hosts = [\"A.example\", \"a.example\"]"),
            route("path = \"ws\""),
            route("path_prefix = \"/ws/*\""),
            route("path = \"/ws?x\""),
            route("path = \"/ws\"\npath_prefix = \"/ws\""),
            route("allowed_origins = [\"chat.example.com\", \"https://a/b\"]"),
        ]),
    );
}

#[test]
fn references() {
    snapshot(
        "references",
        &reports(&[
            with("upstream = \"chat\"", "upstream = \"caht\""),
            with("upstream = \"chat\"", "upstream = \"billing\""),
            route("filters = [\"rate-limt\"]"),
            route("filters = [\"shout\"]"),
            route("when = [{ component = \"conditions\", on_failure = \"close\" }]"),
            route("filters = [{ component = \"rewrite\", on_failure = \"ignore\", config = [] }]"),
            route("filters = [{ component = \"rewrite\", config = { a = nan } }]"),
        ]),
    );
}

#[test]
fn a_broken_table_is_no_missing_one() {
    snapshot("a_broken_table_is_no_missing_one", &reports(&[with("ws://127.0.0.1:9001", "ws://")]));
}

#[test]
fn duplicates() {
    snapshot(
        "duplicates",
        &reports(&[
            route("[[routes]]\nname = \"chat\"\npath = \"/a\"\nupstream = \"chat\""),
            route("[[routes]]\nname = \"other\"\nupstream = \"chat\""),
            route("[[listeners]]\nlisten = \"0.0.0.0:8080\""),
            with("0.0.0.0:8080\"", "127.0.0.1:9900\"\n[admin]"),
        ]),
    );
}

#[test]
fn combinations() {
    snapshot(
        "combinations",
        &reports(&[
            route("pong_timeout = \"30s\""),
            route("ping_interval = 0\npong_timeout = \"30s\""),
            route("ping_interval = \"1s\"\nping_client = false\nping_upstream = false"),
            route("services = { upstreams = { a = \"chat\" } }"),
            with(
                "upstream = \"chat\"",
                "services = { upstreams = { a = \"chat\", b = \"x\" }, prefixes = { \"/a\" = \"c\", b = \"a\" } }",
            ),
            route("group_id_header = \"sec-websocket-key\""),
            route("group_id_header = \"no header\""),
        ]),
    );
}

#[test]
fn names_are_fit_for_labels() {
    snapshot(
        "names_are_fit_for_labels",
        &reports(&[
            with("name = \"chat\"", "name = \"chat room\""),
            route("[upstreams.\"\"]\nendpoints = [{ url = \"a\" }]"),
        ]),
    );
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let report = with("name = \"chat\"", "name = \"\\u001b[2J\"\t# \tx").1.on_terminal("").to_string();
    assert!(!report.chars().any(|c| c.is_control() && c != '\n'), "{report:?}");
    let report = refuse("a = \u{1b}[2J\n").on_terminal("").to_string();
    assert!(!report.chars().any(|c| c.is_control() && c != '\n'), "{report:?}");
}
