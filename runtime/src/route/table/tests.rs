use super::*;
use crate::http::{Path, Paths as HttpPaths};

fn table(routes: &[(&'static str, &[&str], PathPattern)]) -> RouteTable<&'static str> {
    let matcher = |hosts: &[&str], path: &PathPattern| Matcher {
        hosts: hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect(),
        path: path.clone(),
    };
    RouteTable::new(routes.iter().map(|(name, hosts, path)| (matcher(hosts, path), *name)).collect())
}

fn prefix(path: &str) -> PathPattern {
    PathPattern::prefix(path).unwrap()
}

fn exact(path: &str) -> PathPattern {
    PathPattern::exact(path).unwrap()
}

fn found(table: &RouteTable<&'static str>, host: &str, path: &str) -> Vec<&'static str> {
    table.candidates(host, path).map(|found| *found.route).collect()
}

#[test]
fn hosts_go_from_exact_to_the_longest_wildcard_to_any() {
    let table = table(&[
        ("any", &[], PathPattern::any()),
        ("com", &["*.com"], PathPattern::any()),
        ("example", &["*.example.com"], PathPattern::any()),
        ("chat", &["chat.example.com"], PathPattern::any()),
    ]);
    assert_eq!(found(&table, "chat.example.com", "/"), ["chat", "example", "com", "any"]);
    assert_eq!(found(&table, "a.b.example.com", "/"), ["example", "com", "any"]);
    assert_eq!(found(&table, "example.com", "/"), ["com", "any"]);
    assert_eq!(found(&table, "com", "/"), ["any"]);
    assert_eq!(found(&table, "notexample.org", "/"), ["any"]);
    assert_eq!(found(&table, "[::1]", "/"), ["any"]);
    assert_eq!(found(&table, "", "/"), ["any"]);
}

#[test]
fn a_longer_path_never_beats_a_more_specific_host() {
    let table = table(&[
        ("long", &[], prefix("/ws/chat/room")),
        ("wildcard", &["*.example.com"], prefix("/ws/chat")),
        ("host", &["a.example.com"], prefix("/ws")),
    ]);
    assert_eq!(found(&table, "a.example.com", "/ws/chat/room"), ["host", "wildcard", "long"]);
}

#[test]
fn paths_go_from_long_to_short_by_whole_segments() {
    let table = table(&[
        ("root", &[], prefix("/")),
        ("ws", &[], prefix("/ws")),
        ("chat", &[], prefix("/ws/chat")),
        ("chatter", &[], prefix("/ws/chatter")),
    ]);
    assert_eq!(found(&table, "h", "/ws/chat"), ["chat", "ws", "root"]);
    assert_eq!(found(&table, "h", "/ws/chat/"), ["chat", "ws", "root"]);
    assert_eq!(found(&table, "h", "/ws/chat/room/1"), ["chat", "ws", "root"]);
    assert_eq!(found(&table, "h", "/ws/chatter"), ["chatter", "ws", "root"]);
    assert_eq!(found(&table, "h", "/ws/chatterbox"), ["ws", "root"]);
    assert_eq!(found(&table, "h", "/wsx"), ["root"]);
    assert_eq!(found(&table, "h", "/"), ["root"]);
    assert_eq!(found(&table, "h", "*"), ["root"]);
}

#[test]
fn an_exact_path_comes_before_a_prefix_of_the_same_length_and_matches_nothing_else() {
    let table = table(&[
        ("prefix", &[], prefix("/ws/chat")),
        ("exact", &[], exact("/ws/chat")),
        ("slash", &[], exact("/ws/chat/")),
    ]);
    assert_eq!(found(&table, "h", "/ws/chat"), ["exact", "prefix"]);
    assert_eq!(found(&table, "h", "/ws/chat/"), ["slash", "prefix"]);
    assert_eq!(found(&table, "h", "/ws/chat/room"), ["prefix"]);
    assert_eq!(found(&table, "h", "/ws"), [""; 0]);
}

#[test]
fn equals_go_in_the_order_of_the_file() {
    let table = table(&[
        ("first", &["h"], prefix("/ws")),
        ("second", &["H"], prefix("/ws/")),
        ("third", &["h"], exact("/ws")),
        ("fourth", &["h"], exact("/ws")),
    ]);
    assert_eq!(found(&table, "h", "/ws"), ["third", "fourth", "first", "second"]);
}

#[test]
fn a_route_with_several_hosts_comes_once_where_it_is_most_specific() {
    let table = table(&[
        ("both", &["*.example.com", "chat.example.com", "*.chat.example.com", "chat.example.com"], PathPattern::any()),
        ("wide", &["*.com"], PathPattern::any()),
        ("exact", &["chat.example.com"], PathPattern::any()),
    ]);
    assert_eq!(found(&table, "chat.example.com", "/"), ["both", "exact", "wide"]);
    assert_eq!(found(&table, "a.chat.example.com", "/"), ["both", "wide"]);
    assert_eq!(found(&table, "other.example.com", "/"), ["both", "wide"]);
}

#[test]
fn a_rule_may_be_spelled_otherwise_than_the_path() {
    let table = table(&[("encoded", &[], exact("/a%2fb/%7Eann/%40c")), ("ws", &[], prefix("/%77s/"))]);
    assert_eq!(found(&table, "h", "/a%2Fb/~ann/@c"), ["encoded"]);
    assert_eq!(found(&table, "h", "/ws/chat"), ["ws"]);
}

#[test]
fn the_segments_that_matched_are_those_of_the_rule() {
    let table =
        table(&[("exact", &[], exact("/ws/chat/")), ("prefix", &[], prefix("/ws/chat/")), ("any", &[], prefix("//"))]);
    let segments = |path| table.candidates("h", path).map(|found| found.segments).collect::<Vec<_>>();
    assert_eq!(segments("/ws/chat/"), [3, 2, 0]);
    assert_eq!(segments("/ws/chat/room"), [2, 0]);
}

#[test]
fn a_path_that_the_upstream_takes_for_a_guarded_one_finds_the_guarded_route() {
    let table = table(&[("guarded", &[], prefix("/ws/admin")), ("open", &[], prefix("/ws"))]);
    for path in ["/ws/admin", "/ws//admin/x", "/ws/x/../admin", "/ws/%61dmin", "/ws/./admin;v=1/x", "/x/..//ws/admin"] {
        let path = Path::read(path, HttpPaths::Canonical).unwrap();
        assert_eq!(found(&table, "h", path.compared())[0], "guarded", "{path:?}");
    }
}
