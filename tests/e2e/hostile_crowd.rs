//! Every hostile guest, met by many connections one after the other and side by side, while neighbours on the same worker
//! talk: the neighbours lose nothing, and the memory that the guests took comes back.
//!
//! `TIDEGATE_HOSTILE_CONNECTIONS` says how many connections meet each guest; the project's bar is 1000.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;

use futures_util::StreamExt;
use tidegate_tests::config::{guest_within, upstream};
use tidegate_tests::{DEADLINE, Echo, Frame, Peer, Proxy, Request};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A guest, and what a connection that meets it does and gets.
struct Guest {
    component: &'static str,
    /// Its configuration, as an inline table.
    config: &'static str,
    place: At,
    meets: Meets,
    /// How each of these connections is to be counted as a failure.
    reason: Option<&'static str>,
}

/// Where the guest stands on its route.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Filter,
    /// A filter that neighbours are spared, because it harms every connection.
    LonelyFilter,
    Predicate,
    Balancer,
}

/// What a connection does to meet a guest, and how that ends.
#[derive(Clone, Copy)]
enum Meets {
    /// Sends these messages at once after one that passes, and is closed with 1011.
    Closed(&'static [&'static str]),
    /// Sends this message, which comes back like any other.
    Served(&'static str),
    /// Asks for this path, with the header `x-boom`, and is refused with 503.
    Refused(&'static str),
    /// Sends this message again and again, and is closed with 1011 at one of them: when depends on how often others have
    /// brought the instance down in between, and its session with it.
    Talking(&'static str),
    /// Closes.
    Closing,
}

const BOOM: Meets = Meets::Closed(&["boom"]);

/// A hostile filter, its deed and what that is counted as.
const fn filter(config: &'static str, meets: Meets, reason: Option<&'static str>) -> Guest {
    Guest { component: "hostile", config, place: At::Filter, meets, reason }
}

const fn forged(meets: Meets, reason: &'static str) -> Guest {
    Guest { component: "forged", config: "{}", place: At::Filter, meets, reason: Some(reason) }
}

/// A balancer, whose failures are its upstream's and cost no connection anything.
const fn balancer(config: &'static str) -> Guest {
    Guest { component: "hostile-balancer", config, place: At::Balancer, meets: Meets::Served("boom"), reason: None }
}

const GUESTS: &[Guest] = &[
    filter("{ do = \"trap\" }", BOOM, Some("trap")),
    filter("{ do = \"recurse\" }", BOOM, Some("trap")),
    filter("{ do = \"loop\" }", BOOM, Some("deadline")),
    filter("{ do = \"slow\" }", Meets::Served("boom"), None),
    filter("{ do = \"hoard\" }", BOOM, Some("memory")),
    filter("{ do = \"reserved-close-code\" }", BOOM, Some("invalid_answer")),
    filter("{ do = \"endless-close-reason\" }", BOOM, Some("invalid_answer")),
    filter("{ do = \"replace-on-head\" }", BOOM, Some("invalid_answer")),
    filter("{ do = \"send-on-head\" }", BOOM, Some("invalid_answer")),
    filter("{ do = \"invalid-text\" }", BOOM, Some("invalid_answer")),
    filter("{ do = \"send-invalid-text\" }", BOOM, Some("invalid_answer")),
    filter("{ do = \"oversized-reply\" }", BOOM, Some("reply_size")),
    filter("{ do = \"many-replies\" }", BOOM, Some("reply_size")),
    filter("{ do = \"oversized-log\" }", Meets::Served("boom"), None),
    filter("{ do = \"trap\", at = \"open\" }", Meets::Refused("/"), Some("trap")),
    filter("{ do = \"loop\", at = \"open\" }", Meets::Refused("/"), Some("deadline")),
    filter("{ do = \"hoard\", at = \"open\" }", Meets::Refused("/"), Some("memory")),
    filter("{ do = \"forbidden-header\", at = \"open\" }", Meets::Refused("/"), Some("invalid_answer")),
    filter("{ do = \"broken-header\", at = \"open\" }", Meets::Refused("/"), Some("invalid_answer")),
    filter("{ do = \"refuse-with200\", at = \"open\" }", Meets::Refused("/"), Some("invalid_answer")),
    filter("{ do = \"trap\", at = \"close\" }", Meets::Closing, Some("trap")),
    Guest {
        component: "hostile",
        config: "{ do = \"trap\", nth = 3 }",
        place: At::LonelyFilter,
        meets: Meets::Talking("on"),
        reason: Some("trap"),
    },
    forged(Meets::Closed(&["p"]), "invalid_answer"),
    forged(Meets::Closed(&["l"]), "invalid_answer"),
    forged(Meets::Closed(&["h"]), "invalid_answer"),
    forged(Meets::Closed(&["w"]), "invalid_answer"),
    forged(Meets::Closed(&["n"]), "invalid_answer"),
    forged(Meets::Closed(&["k"]), "invalid_answer"),
    forged(Meets::Closed(&["u"]), "invalid_answer"),
    forged(Meets::Closed(&["d"]), "invalid_answer"),
    forged(Meets::Closed(&["r"]), "invalid_answer"),
    forged(Meets::Closed(&["a"]), "invalid_answer"),
    forged(Meets::Refused("/s"), "invalid_answer"),
    forged(Meets::Refused("/h"), "invalid_answer"),
    forged(Meets::Refused("/o"), "invalid_answer"),
    Guest {
        component: "miscount",
        config: "{}",
        place: At::Filter,
        meets: Meets::Closed(&["one", "two", "three"]),
        reason: Some("invalid_answer"),
    },
    Guest {
        component: "hostile-predicate",
        config: "{}",
        place: At::Predicate,
        meets: Meets::Refused("/"),
        reason: Some("trap"),
    },
    balancer("{ do = \"trap\" }"),
    balancer("{ do = \"loop\" }"),
    balancer("{ do = \"unknown-endpoint\" }"),
    balancer("{ do = \"trap-when-told\" }"),
    balancer("{ do = \"owned-header\" }"),
    balancer("{ do = \"two-lines-in-a-header\" }"),
    balancer("{ do = \"many-headers\" }"),
    balancer("{ do = \"large-header\" }"),
];

/// How many connections meet each guest.
fn connections() -> u64 {
    std::env::var("TIDEGATE_HOSTILE_CONNECTIONS").map_or(20, |count| count.parse().expect("a number of connections"))
}

#[tokio::test]
async fn neighbours_lose_nothing_to_a_crowd_that_meets_a_hostile_guest_and_its_memory_comes_back() {
    let mut report = format!("{} connections meet each guest; RSS in KiB\n", connections());
    let mut grown = Vec::new();
    for guest in GUESTS {
        let Ended { before, after, spoken } = meet(guest).await;
        let percent = after * 100 / before;
        let meets = match guest.meets {
            Meets::Closed(texts) => texts.join(","),
            Meets::Served(text) | Meets::Talking(text) => text.to_owned(),
            Meets::Refused(path) => path.to_owned(),
            Meets::Closing => "close".to_owned(),
        };
        let line = format!(
            "{:18} {:44} {meets:10.10} {:7} -> {:7} ({percent} %), neighbours {spoken:?}",
            guest.component,
            guest.config,
            before / 1024,
            after / 1024
        );
        // Seen with --nocapture, while it goes on.
        let _ = writeln!(std::io::stdout(), "{line}");
        let _ = writeln!(report, "{line}");
        if percent > 110 {
            grown.push(line);
        }
    }
    assert!(grown.is_empty(), "memory did not come back: {grown:#?}\n{report}");
}

/// The resident memory before and after a crowd, and what each neighbour has said and heard.
struct Ended {
    before: u64,
    after: u64,
    spoken: Vec<u64>,
}

/// One worker; neighbours on a route without filters, on one whose filter counts, and on the guest's own, where the same
/// filter follows the guest.
async fn meet(guest: &Guest) -> Ended {
    let echo = Echo::start().await;
    let proxy = Proxy::start(&config(guest, echo.address())).await;
    let (stop, stopped) = watch::channel(false);
    let paths: &[&str] = match guest.place {
        At::LonelyFilter => &["/plain", "/plain", "/counted", "/counted"],
        _ => &["/plain", "/counted", "/", "/"],
    };
    let mut neighbours = Vec::new();
    for path in paths {
        neighbours.push(Neighbour::settle(proxy.address, path, stopped.clone()).await);
    }
    let before = proxy.resident();

    let count = connections();
    let address = proxy.address;
    futures_util::stream::iter(0..count)
        .for_each_concurrent(AT_ONCE, |_| async move { attack(address, guest).await })
        .await;

    let here = u64::try_from(neighbours.len()).unwrap();
    let metrics = proxy.until("tidegate_connections_active", &[], here).await;
    let failures = metrics.by_label("tidegate_component_failures_total", "reason");
    match (guest.reason, guest.place) {
        // A session that was lost with its instance has no end that the guest could fail at.
        (Some(reason), _) if matches!(guest.meets, Meets::Closing) => {
            assert_eq!(failures.keys().collect::<Vec<_>>(), [reason]);
            assert!((1..=count).contains(&failures[reason]), "{failures:?}");
        }
        (Some(reason), _) => assert_eq!(failures, [(reason.to_owned(), count)].into(), "{}", guest.config),
        (None, At::Balancer) => assert!(failures.values().sum::<u64>() >= count, "{failures:?}"),
        (None, _) => assert!(failures.is_empty(), "{} of {}: {failures:?}", guest.config, guest.component),
    }
    let after = settled_resident(&proxy, before).await;
    stop.send(true).expect("neighbours");
    let mut spoken = Vec::new();
    for neighbour in neighbours {
        spoken.push(neighbour.leave().await);
    }
    let metrics = proxy.until("tidegate_connections_active", &[], 0).await;
    for (route, path) in [("plain", "/plain"), ("counted", "/counted")] {
        let said: u64 = paths.iter().zip(&spoken).filter(|(there, _)| **there == path).map(|(_, said)| said).sum();
        for from in ["client", "upstream"] {
            let counted = metrics.count("tidegate_messages_total", &[("route", route), ("from", from)]);
            assert_eq!(counted, said, "messages of the {from} on {route} beside {}", guest.config);
        }
    }
    let components = proxy.admin("GET", "/api/v1/components").await.body;
    let components: serde_json::Value = serde_json::from_str(&components).unwrap();
    let shown = components.as_array().unwrap().iter().find(|shown| shown["name"] == guest.component).unwrap();
    let all = metrics.count("tidegate_component_failures_total", &[("component", guest.component)]);
    assert_eq!(shown["failures"], all);
    Ended { before, after, spoken }
}

fn config(guest: &Guest, back: &str) -> String {
    let Guest { component, config, place, .. } = guest;
    let entry = format!("{{ component = \"{component}\", config = {config} }}");
    let (balance, keys) = match place {
        At::Filter | At::LonelyFilter => (String::new(), format!("filters = [{entry}, \"counter\"]")),
        At::Predicate => (String::new(), format!("when = [{entry}]\nfilters = [\"counter\"]")),
        At::Balancer => (format!("balance = {entry}"), "filters = [\"counter\"]".to_owned()),
    };
    let upstreams = upstream("back", &[back], "") + &upstream("met", &[back], &balance);
    // What others do in good time must not look late on a busy machine.
    let deadline = if config.contains("loop") { "20ms" } else { "1s" };
    let guests = guest_within(component, deadline) + "max_reply_size = \"64KiB\"\n" + &guest_within("counter", "1s");
    format!(
        "{upstreams}\n\
         [[routes]]\nname = \"plain\"\npath = \"/plain\"\nupstream = \"back\"\n\
         [[routes]]\nname = \"counted\"\npath = \"/counted\"\nupstream = \"back\"\nfilters = [\"counter\"]\n\
         [[routes]]\nname = \"met\"\nupstream = \"met\"\n{keys}\n{guests}"
    )
}

async fn attack(address: SocketAddr, guest: &Guest) {
    if let Meets::Refused(path) = guest.meets {
        let (_, reply) = Peer::handshake(address, &Request::upgrade(path).with("X-Boom", "1")).await;
        assert_eq!(reply.status, 503, "{} {}: {reply:?}", guest.component, guest.config);
        return;
    }
    let mut client = Peer::open(address, "/").await;
    client.send(Frame::text("fine")).await;
    client.expect(Frame::text("1:fine")).await;
    match guest.meets {
        Meets::Closed(texts) => {
            client.send_all(&texts.iter().map(|text| Frame::text(*text)).collect::<Vec<_>>()).await;
            let end = client.frame().await;
            assert_eq!(end.close_code(), Some(1011), "{} {} {texts:?}: {end:?}", guest.component, guest.config);
        }
        Meets::Served(text) => {
            client.send(Frame::text(text)).await;
            client.expect(Frame::text(format!("2:{text}"))).await;
        }
        Meets::Talking(text) => loop {
            client.send(Frame::text(text)).await;
            let answer = client.frame().await;
            match answer.close_code() {
                Some(code) => break assert_eq!(code, 1011, "{} {}", guest.component, guest.config),
                None => assert!(answer.as_text().ends_with(&format!(":{text}")), "{answer:?}"),
            }
        },
        Meets::Closing => {
            client.send(Frame::close(1000, "")).await;
            client.expect_close(1000).await;
        }
        Meets::Refused(_) => {}
    }
}

/// The resident memory once it is within a tenth of what it was, or as it is at last.
async fn settled_resident(proxy: &Proxy, before: u64) -> u64 {
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
    let settled = async {
        while proxy.resident() * 10 > before * 11 {
            ticks.tick().await;
        }
    };
    let _ = tokio::time::timeout(DEADLINE, settled).await;
    proxy.resident()
}

/// A connection that says something, waits for the echo and goes on, until it is told to leave.
struct Neighbour(JoinHandle<u64>);

impl Neighbour {
    /// Settles once the first echo is there.
    async fn settle(address: SocketAddr, path: &str, stopped: watch::Receiver<bool>) -> Self {
        let mut peer = Peer::open(address, path).await;
        let is_counted = path != "/plain";
        let text = move |count: u64| if is_counted { format!("{count}:N{count}") } else { format!("N{count}") };
        peer.send(Frame::text("N1")).await;
        peer.expect(Frame::text(text(1))).await;
        Self(tokio::spawn(async move {
            let mut count = 1;
            while !*stopped.borrow() {
                count += 1;
                peer.send(Frame::text(format!("N{count}"))).await;
                peer.expect(Frame::text(text(count))).await;
            }
            peer.send(Frame::close(1000, "")).await;
            peer.expect_close(1000).await;
            count
        }))
    }

    /// How many messages it has sent, every one of which came back in its place.
    async fn leave(self) -> u64 {
        self.0.await.expect("a neighbour has lost something")
    }
}

/// So many connections meet the guest side by side.
const AT_ONCE: usize = 20;
