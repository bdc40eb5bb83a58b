//! Files that are no component of ours: what is refused says why, what is not refused serves or fails, and nothing harms
//! the process or whoever it serves.

use std::path::Path;

use tidegate_tests::config::{guest, route, upstream};
use tidegate_tests::{Echo, Finished, Frame, Peer, Proxy, guests};

/// Checks a configuration with one filter, whose file holds these bytes.
async fn check(bytes: &[u8]) -> Finished {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("guest.wasm"), bytes).unwrap();
    let text = route(&["127.0.0.1:9"], "filters = [\"guest\"]\n[components.guest]\npath = \"guest.wasm\"\n");
    let text = format!("{text}[[listeners]]\nlisten = \"127.0.0.1:0\"\n");
    std::fs::write(directory.path().join("tidegate.toml"), text).unwrap();
    Finished::run(directory.path(), &["check", "--config", "tidegate.toml"]).await
}

#[tokio::test]
async fn what_is_no_filter_is_refused_in_words_that_say_what_it_is() {
    let spins = wat::parse_str("(module (func $spin (loop $again (br $again))) (start $spin))").unwrap();
    let component = guests::bytes("replacer");
    let cases: &[(&str, &[u8], &str)] = &[
        ("an empty file", b"", "not WebAssembly"),
        ("a script", b"#!/bin/sh\n", "not WebAssembly"),
        ("text", b"(component)", "WebAssembly text"),
        ("a preamble", b"\0asm\x01\0\0\0", "without a component type"),
        ("a core module without a component type", &spins, "without a component type"),
        ("an empty component", b"\0asm\x0d\0\x01\0", "exports none of"),
        ("half a component", &component[..component.len() / 2], "malformed"),
        ("a foreign import", &guests::bytes("foreign"), "wasi:keyvalue/batch"),
        ("another world", &guests::bytes("hostile-predicate"), "is a predicate, and a filter is needed here"),
    ];
    for (what, bytes, words) in cases {
        let finished = check(bytes).await;
        assert_eq!(finished.code, Some(2), "{what}: {finished:?}");
        assert!(finished.stderr.contains(words), "{what}: {finished:?}");
    }
}

/// A route `plain` beside one whose filter is the file `guest.wasm` in this directory.
fn config(back: &str, directory: &Path) -> String {
    format!(
        "{}\n[[routes]]\nname = \"plain\"\npath = \"/plain\"\nupstream = \"back\"\nfilters = [\"counter\"]\n\
         [[routes]]\nname = \"damaged\"\nupstream = \"back\"\nfilters = [\"guest\"]\n\
         [components.guest]\npath = {:?}\n{}",
        upstream("back", &[back], ""),
        directory.join("guest.wasm"),
        guest("counter")
    )
}

/// The same numbers in every run (xorshift, 64 bits).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }
}

/// A file with one bit turned, at a place that the numbers choose.
fn flipped(bytes: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let place = numbers.below(bytes.len());
    bytes[place] ^= 1 << numbers.below(8);
    bytes
}

/// What became of damaged files.
#[derive(Debug, Default)]
struct Tally {
    refused: usize,
    serves: usize,
    fails: usize,
}

/// Puts each file in force in a running proxy and talks to it, while a neighbour talks on another route.
async fn live_through(damaged: impl Iterator<Item = Vec<u8>>) -> Tally {
    let directory = tempfile::tempdir().unwrap();
    let put = |bytes: &[u8]| {
        std::fs::write(directory.path().join("draft"), bytes).unwrap();
        std::fs::rename(directory.path().join("draft"), directory.path().join("guest.wasm")).unwrap();
    };
    put(&guests::bytes("forged"));
    let echo = Echo::start().await;
    let proxy = Proxy::start(&config(echo.address(), directory.path())).await;
    let mut neighbour = proxy.open("/plain").await;
    let mut tally = Tally::default();
    for (number, bytes) in (1..).zip(damaged) {
        put(&bytes);
        let reply = proxy.reload().await;
        match reply.status {
            422 => tally.refused += 1,
            200 if talks(&proxy).await => tally.serves += 1,
            200 => tally.fails += 1,
            _ => panic!("{reply:?}"),
        }
        neighbour.send(Frame::text("still here")).await;
        neighbour.expect(Frame::text(format!("{number}:still here"))).await;
    }
    assert_eq!(proxy.admin("GET", "/healthz").await.status, 200);
    tally
}

/// Whether a message comes back; if not, the connection was refused or closed as after any failure.
async fn talks(proxy: &Proxy) -> bool {
    let (mut client, reply) = Peer::handshake(proxy.address, &tidegate_tests::Request::upgrade("/")).await;
    if reply.status != 101 {
        // A damaged filter may refuse as well.
        assert!((400..600).contains(&reply.status), "{reply:?}");
        return false;
    }
    client.send(Frame::text("fine")).await;
    match client.receive().await {
        Some(frame) => frame.close_code().is_none(),
        None => false,
    }
}

#[tokio::test]
async fn a_file_with_a_bit_turned_is_refused_or_serves_or_fails_and_harms_nobody() {
    let mut numbers = Numbers(0x7469_6465_6761_7465);
    let small = guests::bytes("forged");
    let large = guests::bytes("replacer");
    let damaged = (0..FLIPS).map(|flip| flipped(if flip % 4 == 0 { &large } else { &small }, &mut numbers));
    let tally = live_through(damaged).await;
    assert_eq!(tally.refused + tally.serves + tally.fails, FLIPS, "{tally:?}");
    // Otherwise the damage was not where it matters.
    assert!(tally.refused > FLIPS / 10 && tally.serves > FLIPS / 10, "{tally:?}");
}

#[tokio::test]
async fn a_file_that_breaks_off_is_refused_wherever_it_does() {
    let bytes = guests::bytes("forged");
    let mut numbers = Numbers(0x6272_6561_6b73);
    let lengths: Vec<usize> = (0..32).map(|_| numbers.below(bytes.len())).collect();
    let tally = live_through(lengths.iter().map(|length| bytes[..*length].to_vec())).await;
    assert_eq!((tally.serves, tally.fails), (0, 0), "{tally:?}");
}

/// Enough to reach every section of the file. The host's own tests turn more of them, without a reload for each.
const FLIPS: usize = 100;
