use std::net::UdpSocket;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::lookups::System;
use super::*;
use crate::upstream::{DialError, Fault};

/// A name server of this test: it answers queries for A and AAAA from a script, over UDP on loopback.
struct NameServer {
    port: u16,
    asked: Arc<AtomicUsize>,
}

/// What it answers for a name, by type; anything else does not exist.
type Script = fn(name: &str, six: bool) -> Option<Vec<IpAddr>>;

impl NameServer {
    fn start(ttl: u32, script: Script) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut bytes = [0; 512];
            while let Ok((length, peer)) = socket.recv_from(&mut bytes) {
                count.fetch_add(1, Ordering::Relaxed);
                if let Some(answer) = answer(&bytes[..length], ttl, script) {
                    let _ = socket.send_to(&answer, peer);
                }
            }
        });
        Self { port, asked }
    }
}

/// The answer to a query of one question (RFC 1035 section 4.1).
fn answer(query: &[u8], ttl: u32, script: Script) -> Option<Vec<u8>> {
    let (mut name, mut at) = (Vec::new(), 12);
    while query[at] > 0 {
        let end = at + 1 + usize::from(query[at]);
        name.push(String::from_utf8(query[at + 1..end].to_vec()).unwrap().to_ascii_lowercase());
        at = end;
    }
    let question = &query[12..at + 5];
    let six = query[at + 2] == 28;
    let records = match name.join(".").as_str() {
        "silent.test" => return None,
        name => script(name, six),
    };
    let code = if records.is_some() { 0 } else { 3 };
    let records = records.unwrap_or_default();
    let mut wire = query[..2].to_vec();
    wire.extend([0x81, 0x80 | code, 0, 1, 0, records.len().try_into().unwrap(), 0, 0, 0, 0]);
    wire.extend(question);
    for record in records {
        let data = match record {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        // The name by reference to the question, and class IN.
        wire.extend([0xc0, 12, 0, if record.is_ipv6() { 28 } else { 1 }, 0, 1]);
        wire.extend(ttl.to_be_bytes());
        wire.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        wire.extend(data);
    }
    Some(wire)
}

/// A resolver by these files and this name server, looking up on the test's runtime.
fn resolver(directory: &Path, hosts: &str, resolv_conf: &str, server: &NameServer) -> Resolver {
    let (hosts_file, conf) = (directory.join("hosts"), directory.join("resolv.conf"));
    std::fs::write(&hosts_file, hosts).unwrap();
    std::fs::write(&conf, resolv_conf).unwrap();
    let (resolver, lookups) = Resolver::new();
    tokio::spawn(lookups.of(System::with_port(&hosts_file, &conf, server.port)).serve());
    resolver
}

const CONF: &str = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";

fn both(name: &str, six: bool) -> Option<Vec<IpAddr>> {
    match (name, six) {
        ("back.test" | "back.search.test", false) => Some(vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()]),
        ("back.test", true) => Some(vec!["fd00::1".parse().unwrap()]),
        ("back.search.test" | "empty.test", _) => Some(Vec::new()),
        _ => None,
    }
}

fn texts(answer: Answer) -> Vec<String> {
    answer.unwrap().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_name_has_its_addresses_of_both_families_by_turns_and_is_asked_for_once() {
    let (directory, server) = (tempfile::tempdir().unwrap(), NameServer::start(60, both));
    let resolver = resolver(directory.path(), "", CONF, &server);
    let asked = || server.asked.load(Ordering::Relaxed);
    let answers =
        tokio::join!(resolver.resolve("back.test"), resolver.resolve("back.test"), resolver.resolve("back.test"));
    let expected = ["fd00::1", "10.0.0.1", "10.0.0.2"];
    assert_eq!([texts(answers.0), texts(answers.1), texts(answers.2)], [expected; 3]);
    // One question for each family.
    assert_eq!(asked(), 2);
    assert_eq!(texts(resolver.resolve("back.test").await), expected);
    assert_eq!(asked(), 2);
    resolver.demote("back.test", "fd00::1".parse().unwrap());
    assert_eq!(texts(resolver.resolve("back.test").await), ["10.0.0.1", "10.0.0.2", "fd00::1"]);
}

#[tokio::test]
async fn an_address_is_kept_for_its_ttl_within_bounds() {
    for (ttl, bound) in [(0, SHORTEST), (7, Duration::from_secs(7)), (1_000_000, LONGEST)] {
        let (directory, server) = (tempfile::tempdir().unwrap(), NameServer::start(ttl, both));
        let resolver = resolver(directory.path(), "", CONF, &server);
        resolver.resolve("back.test").await.unwrap();
        let until = resolver.0.names()["back.test"].answer.as_ref().unwrap().1;
        let left = until.saturating_duration_since(Instant::now());
        assert!(left <= bound, "{left:?} of {ttl}");
        // What has run out is asked for again.
        resolver.0.names().get_mut("back.test").unwrap().answer.as_mut().unwrap().1 = Instant::now();
        resolver.resolve("back.test").await.unwrap();
        assert_eq!(server.asked.load(Ordering::Relaxed), 4);
    }
}

#[tokio::test]
async fn the_search_list_and_the_hosts_file_are_honoured() {
    let (directory, server) = (tempfile::tempdir().unwrap(), NameServer::start(60, both));
    let conf = format!("search search.test\n{CONF}");
    let resolver = resolver(directory.path(), "192.0.2.7 hosted.test back.test\n", &conf, &server);
    assert_eq!(texts(resolver.resolve("back.test").await), ["192.0.2.7"]);
    assert_eq!(texts(resolver.resolve("localhost").await), ["::1", "127.0.0.1"]);
    assert_eq!(server.asked.load(Ordering::Relaxed), 0);
    assert_eq!(texts(resolver.resolve("back").await), ["10.0.0.1", "10.0.0.2"]);
}

#[tokio::test]
async fn a_name_without_addresses_is_told_with_the_reason_and_not_asked_for_again_at_once() {
    let (directory, server) = (tempfile::tempdir().unwrap(), NameServer::start(60, both));
    let resolver = resolver(directory.path(), "", CONF, &server);
    let error = resolver.resolve("nowhere.test").await.unwrap_err().to_string();
    assert!(error.contains("`nowhere.test` does not resolve: there is no address of it"), "{error}");
    let asked = server.asked.load(Ordering::Relaxed);
    resolver.resolve("nowhere.test").await.unwrap_err();
    assert_eq!(server.asked.load(Ordering::Relaxed), asked);
    resolver.resolve("empty.test").await.unwrap_err();
}

#[tokio::test]
async fn a_name_server_that_is_silent_or_missing_is_told_and_the_last_addresses_go_on_being_used() {
    let (directory, server) = (tempfile::tempdir().unwrap(), NameServer::start(60, both));
    let resolver = resolver(directory.path(), "", CONF, &server);
    let error = resolver.resolve("silent.test").await.unwrap_err().to_string();
    assert!(error.contains("no name server answers"), "{error}");
    let before = texts(resolver.resolve("back.test").await);
    let expire = || resolver.0.names().get_mut("back.test").unwrap().answer.as_mut().unwrap().1 = Instant::now();
    std::fs::write(directory.path().join("resolv.conf"), "search search.test\n").unwrap();
    expire();
    assert_eq!(texts(resolver.resolve("back.test").await), before);
    let error = resolver.resolve("other.test").await.unwrap_err().to_string();
    assert!(error.contains("names no name server"), "{error}");
    // What has changed in the files holds from the next question on.
    std::fs::write(directory.path().join("hosts"), "10.9.9.9 back.test\n").unwrap();
    expire();
    assert_eq!(texts(resolver.resolve("back.test").await), ["10.9.9.9"]);
}

#[tokio::test]
async fn without_anybody_to_look_up_a_name_fails() {
    let (resolver, lookups) = Resolver::new();
    drop(lookups);
    assert!(resolver.resolve("back.test").await.unwrap_err().to_string().contains("has ended"));
}

#[test]
fn who_could_not_be_asked_for_a_shortage_of_ours_is_not_to_blame() {
    let (resolver, _lookups) = Resolver::new();
    for (found, fault) in [
        (Found::Unasked("too many open files".to_owned()), Fault::None),
        (Found::Failed("no name server answers".to_owned()), Fault::Certain),
    ] {
        let (answer, told) = watch::channel(None);
        resolver.0.settle(Question { name: "back.test".into(), answer }, found);
        let unresolved = told.borrow().clone().unwrap().unwrap_err();
        assert_eq!(DialError::from(unresolved).fault(), fault);
    }
}
