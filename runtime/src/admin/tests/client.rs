//! The client against our server and against others.

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::super::{Client, ClientError};
use super::{Fake, Server};

#[tokio::test]
async fn the_client_gets_the_status_and_the_body() {
    let server = Server::start(Fake::default()).await;

    let (status, body) =
        Client::new(server.address.to_string(), None).ask(Method::POST, "/api/v1/reload").await.unwrap();

    assert_eq!(status, 200);
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap(),
        json!({ "outcome": "applied", "generation": 2, "in_force": { "cause": "start", "since_unix_seconds": 70 } })
    );
}

#[tokio::test]
async fn the_client_says_where_nobody_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(listener.local_addr().unwrap().to_string(), None);
    drop(listener);

    let error = client.ask(Method::POST, "/api/v1/reload").await.unwrap_err();

    assert!(error.to_string().starts_with(&format!("nothing answers at {client}: ")), "{error}");
}

#[tokio::test]
async fn the_client_notices_a_server_that_does_not_speak_http() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(listener.local_addr().unwrap().to_string(), None);
    let mut task = JoinSet::new();
    task.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
    });

    let error = client.ask(Method::POST, "/api/v1/reload").await.unwrap_err();

    assert!(matches!(error, ClientError::Http { .. }), "{error:?}");
}

#[tokio::test]
async fn the_client_notices_a_server_that_is_another_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(listener.local_addr().unwrap().to_string(), None);
    let mut task = JoinSet::new();
    task.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // The request fits into one read.
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 2\r\n\r\n[]").await.unwrap();
    });

    let error = client.ask(Method::GET, "/api/v1/candidates").await.unwrap_err();

    assert_eq!(error.to_string(), format!("{client} answers, but is not Tidegate's admin API"));
}

#[tokio::test(start_paused = true)]
async fn the_client_waits_ten_seconds_for_an_answer_and_for_a_reload_as_long_as_the_server_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(listener.local_addr().unwrap().to_string(), None);
    for (patience, error) in [
        (10, client.ask(Method::GET, "/api/v1/candidates").await.unwrap_err()),
        (600, client.ask_patiently(Method::POST, "/api/v1/reload").await.unwrap_err()),
    ] {
        assert_eq!(error.to_string(), format!("{client} has not answered within {patience}s"));
    }
}
