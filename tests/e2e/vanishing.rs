//! Peers that vanish without a word are noticed by the kernel on both legs.

use tidegate_tests::{Backend, Proxy};

/// What `/proc` says of the timers of the proxy's established connections: the kind of each timer that runs, 2 for
/// keepalive.
fn timers(proxy: &Proxy, ports: [u16; 2]) -> Vec<String> {
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", proxy.pid())).expect("a table of sockets");
    let of_port = |address: &str| u16::from_str_radix(address.rsplit(':').next().unwrap_or_default(), 16).ok();
    let rows = table.lines().skip(1).map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    // Established, from the client's listener or to the endpoint.
    let ours =
        rows.filter(|row| row[3] == "01" && (of_port(row[1]) == Some(ports[0]) || of_port(row[2]) == Some(ports[1])));
    ours.map(|row| row[5].split(':').next().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn both_legs_of_an_idle_connection_are_kept_alive_unless_that_is_off() {
    for (keys, expected) in [("", "02"), ("tcp_keepalive = \"off\"", "00")] {
        let backend = Backend::bind().await;
        let config = format!(
            "[[listeners]]\nlisten = \"127.0.0.1:0\"\n{keys}\n[upstreams.back]\n{keys}\n\
             endpoints = [{{ url = \"ws://{}\" }}]\n[[routes]]\nname = \"main\"\nupstream = \"back\"\n",
            backend.address()
        );
        let proxy = Proxy::start(&config).await;
        let _open = backend.open(proxy.address, "/").await;
        let endpoint: std::net::SocketAddr = backend.address().parse().expect("an address");
        // The acknowledgement of the last frame may still be on its way; then another timer runs first.
        let mut timers = timers(&proxy, [proxy.address.port(), endpoint.port()]);
        while timers.iter().any(|timer| timer == "01") {
            tokio::task::yield_now().await;
            timers = self::timers(&proxy, [proxy.address.port(), endpoint.port()]);
        }
        assert_eq!(timers, [expected; 2], "{keys}");
    }
}
