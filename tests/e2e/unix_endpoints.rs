//! Endpoints that are unix sockets.

use std::path::Path;

use tidegate_tests::{Frame, Peer, Proxy, Request, Role, within};
use tokio::net::UnixListener;

/// The one route, to the sockets of these files, with more keys of its upstream.
fn config(files: &[&Path], rest: &str) -> String {
    let endpoints: Vec<_> = files.iter().map(|file| format!("{{ url = \"unix:{}\" }}", file.display())).collect();
    format!(
        "[upstreams.back]\nendpoints = [{}]\n{rest}\n[[routes]]\nname = \"main\"\nupstream = \"back\"\n",
        endpoints.join(", ")
    )
}

async fn accepted(backend: &UnixListener) -> Peer {
    let (stream, _) = within("a connection to the back end", backend.accept()).await.unwrap();
    Peer::unix(stream, Role::Upstream)
}

#[tokio::test]
async fn an_endpoint_may_be_a_unix_socket_and_sees_the_request_as_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.sock");
    let backend = UnixListener::bind(&file).unwrap();
    let proxy = Proxy::start(&config(&[&file], "")).await;
    let serve = async {
        let mut upstream = accepted(&backend).await;
        let head = upstream.read_request().await;
        upstream.accept(&head, &[]).await;
        (upstream, head)
    };
    let request = Request::upgrade("/a/b?c=d").replacing("Host", "chat.example");
    let ((mut client, reply), (mut upstream, head)) = tokio::join!(Peer::handshake(proxy.address, &request), serve);
    assert_eq!((reply.status, head.target(), head.header("host")), (101, "/a/b?c=d", Some("chat.example")));
    client.send(Frame::text("to a file")).await;
    upstream.expect(Frame::text("to a file")).await;
    upstream.send(Frame::text("and back")).await;
    client.expect(Frame::text("and back")).await;
    let url = format!("unix:{}", file.display());
    let outcomes = proxy.metrics().await;
    let labels = [("endpoint", url.as_str()), ("outcome", "connected")];
    assert_eq!(outcomes.count("tidegate_upstream_connects_total", &labels), 1);
    client.send(Frame::close(1000, "")).await;
    upstream.expect(Frame::close(1000, "")).await;
    upstream.send(Frame::close(1000, "")).await;
    client.expect(Frame::close(1000, "")).await;
    drop(upstream);
    assert_eq!(proxy.access_line().await["endpoint"], url.as_str());
}

#[tokio::test]
async fn the_host_of_a_unix_socket_is_localhost_where_the_endpoint_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.sock");
    let backend = UnixListener::bind(&file).unwrap();
    let proxy = Proxy::start(&config(&[&file], "host = \"endpoint\"\n")).await;
    let _client = tokio::spawn(Peer::open(proxy.address, "/"));
    assert_eq!(accepted(&backend).await.read_request().await.header("host"), Some("localhost"));
}

#[tokio::test]
async fn a_socket_that_is_gone_or_dead_is_refused_and_the_next_endpoint_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    let [gone, dead, alive] = ["gone", "dead", "alive"].map(|name| folder.path().join(name));
    drop(UnixListener::bind(&dead).unwrap());
    let proxy = Proxy::start(&config(&[&gone, &dead], "")).await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 502);
    let line = proxy.access_line().await;
    assert_eq!(
        (line["tried"][0]["outcome"].as_str(), line["tried"][1]["outcome"].as_str()),
        (Some("refused"), Some("refused"))
    );
    let told = line["tried"].to_string();
    assert!(told.contains("No such file") && told.contains("Connection refused"), "{told}");

    let backend = UnixListener::bind(&alive).unwrap();
    let proxy = Proxy::start(&config(&[&dead, &alive], "")).await;
    let serve = async {
        let mut upstream = accepted(&backend).await;
        let head = upstream.read_request().await;
        upstream.accept(&head, &[]).await;
        upstream
    };
    let (_client, _upstream) = tokio::join!(Peer::open(proxy.address, "/"), serve);
}

#[tokio::test]
async fn a_socket_with_as_many_waiting_as_may_is_waited_for_and_then_late() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.sock");
    let backend = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    backend.bind(&socket2::SockAddr::unix(&file).unwrap()).unwrap();
    backend.listen(0).unwrap();
    let _waiting = Peer::connect_unix(&file).await;
    let proxy = Proxy::start(&config(&[&file], "connect_timeout = \"100ms\"\nretries = 0\n")).await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 504);
    assert_eq!(proxy.access_line().await["tried"][0]["outcome"], "connect_timeout");
}
