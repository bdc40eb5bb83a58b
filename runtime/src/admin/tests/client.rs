//! The client against our server and against others.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::super::{ClientError, post};
use super::{Fake, Server};

#[tokio::test]
async fn the_client_gets_the_status_and_the_body() {
    let server = Server::start(Fake::default()).await;

    let (status, body) = post(&server.address.to_string(), "/api/v1/reload").await.unwrap();

    assert_eq!(status, 200);
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), json!({ "outcome": "applied", "generation": 2 }));
}

#[tokio::test]
async fn the_client_says_where_nobody_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);

    let error = post(&address, "/api/v1/reload").await.unwrap_err();

    assert!(error.to_string().starts_with(&format!("nothing answers at {address}: ")), "{error}");
}

#[tokio::test]
async fn the_client_notices_a_server_that_does_not_speak_http() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
    });

    let error = post(&address, "/api/v1/reload").await.unwrap_err();

    assert!(matches!(error, ClientError::Http { .. }), "{error:?}");
}
