//! Asking a running proxy.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::runtime;

use super::outcome::Outcome;
use crate::admin::{Client, ClientError};

/// What the admin API has answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    body: String,
}

/// What it answers where it does not do what it was asked to.
#[derive(Debug, Deserialize)]
struct Refusal {
    error: String,
}

/// Asks an admin API, and waits for its answer; says so where there is none.
pub(super) fn ask(client: &Client, method: Method, path: &str) -> Result<Answer, Outcome> {
    wait(client.ask(method, path))
}

/// The same for what takes as long as the proxy lets it, once it is known that it is the proxy who answers there.
pub(super) fn ask_patiently(client: &Client, method: Method, path: &str) -> Result<Answer, Outcome> {
    wait(async {
        client.ask(Method::GET, "/healthz").await?;
        client.ask_patiently(method, path).await
    })
}

fn wait(answer: impl Future<Output = Result<(StatusCode, String), ClientError>>) -> Result<Answer, Outcome> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Outcome::failed(&format!("cannot start: {error}")))?;
    let (status, body) = runtime.block_on(answer).map_err(|error| Outcome::failed(&error.to_string()))?;
    Ok(Answer { status, body })
}

impl Answer {
    /// Reads it. What it says instead is told as a wrong call, where that is what it is about.
    pub(super) fn read<T: DeserializeOwned>(&self, client: &Client) -> Result<T, Outcome> {
        if let Ok(read) = serde_json::from_str(&self.body) {
            return Ok(read);
        }
        match serde_json::from_str(&self.body) {
            Ok(Refusal { error }) if matches!(self.status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND) => {
                Err(Outcome::wrong(&format!("{client} says: {error}")))
            }
            Ok(Refusal { error }) => Err(Outcome::failed(&format!("{client} says: {error}"))),
            Err(_) => {
                let status = self.status;
                Err(Outcome::failed(&format!("{client} answered {status}, with nothing that this version can read")))
            }
        }
    }
}
