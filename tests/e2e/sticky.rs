//! What a balancer gives the client of the connection that it has placed.

use tidegate_tests::config::guest;
use tidegate_tests::{Echo, Frame, Peer, Proxy, Request, refused_address};

/// One route to endpoints with these addresses, each in the zone of that name, balanced by a cookie. New clients go to the
/// first of them.
fn sticky(endpoints: &[(&str, &str)], filters: &str) -> String {
    let endpoint = |(order, (address, zone)): (usize, &(&str, &str))| {
        format!("{{ url = \"ws://{address}\", zone = \"{zone}\", metadata = {{ order = \"{order}\" }} }}")
    };
    let endpoints: Vec<_> = endpoints.iter().enumerate().map(endpoint).collect();
    format!(
        "{}[upstreams.back]\nretries = 1\nbalance = {{ component = \"sticky\", config = {{ cookie = \"at\" }} }}\n\
         endpoints = [{}]\n[[routes]]\nname = \"main\"\nupstream = \"back\"\n{filters}",
        guest("sticky"),
        endpoints.join(", ")
    )
}

/// The echo that a client of this cookie reaches, and the cookies that it is given.
async fn placed(proxy: &Proxy, cookie: &str) -> (String, Vec<String>) {
    let request = Request::upgrade("/").with("Cookie", cookie);
    let (mut client, reply) = Peer::handshake(proxy.address, &request).await;
    assert_eq!(reply.status, 101, "{reply:?}");
    client.send(Frame::text("")).await;
    (client.frame().await.as_text(), cookies(&reply.head.headers))
}

fn cookies(headers: &[(String, String)]) -> Vec<String> {
    headers.iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| value.clone()).collect()
}

fn given(cookie: &str) -> Vec<String> {
    vec![format!("{cookie}; Path=/; HttpOnly")]
}

#[tokio::test]
async fn a_cookie_of_the_balancer_goes_on_the_101_and_leads_the_client_back() {
    let (a, b) = (Echo::named("A").await, Echo::named("B").await);
    let proxy = Proxy::start(&sticky(&[(b.address(), "b"), (a.address(), "a")], "")).await;
    assert_eq!(placed(&proxy, "at=elsewhere").await, ("B".to_owned(), given("at=b")));
    assert_eq!(placed(&proxy, "at=b").await, ("B".to_owned(), vec![]));
    assert_eq!(placed(&proxy, "x=y; at=a").await, ("A".to_owned(), vec![]));
}

#[tokio::test]
async fn a_choice_whose_endpoint_does_not_take_the_connection_leaves_no_header_behind() {
    let (dead, b) = (refused_address(), Echo::named("B").await);
    let proxy = Proxy::start(&sticky(&[(&dead, "dead"), (b.address(), "b")], "")).await;
    assert_eq!(placed(&proxy, "x=y").await, ("B".to_owned(), given("at=b")));
    // The cookie of an endpoint that has failed by now.
    assert_eq!(placed(&proxy, "at=dead").await, ("B".to_owned(), given("at=b")));
}

#[tokio::test]
async fn a_refusal_has_no_header_of_the_balancer() {
    let proxy = Proxy::start(&sticky(&[(&refused_address(), "a"), (&refused_address(), "b")], "")).await;
    let reply = proxy.answer(&Request::upgrade("/")).await;
    assert_eq!((reply.status, cookies(&reply.head.headers)), (502, vec![]));
}

#[tokio::test]
async fn what_the_balancer_adds_comes_after_what_filters_do() {
    let b = Echo::named("B").await;
    let set = "client_headers = [[\"set\", \"set-cookie\", \"filter=1\"]]";
    let filters = format!("filters = [{{ component = \"script\", config = {{ {set} }} }}]\n");
    let config = format!("{}{}", guest("script"), sticky(&[(b.address(), "b")], &filters));
    let proxy = Proxy::start(&config).await;
    let expected = [vec!["filter=1".to_owned()], given("at=b")].concat();
    assert_eq!(placed(&proxy, "x=y").await, ("B".to_owned(), expected));
}
