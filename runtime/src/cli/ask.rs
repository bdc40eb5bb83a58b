//! Asking a running proxy.

use std::net::SocketAddr;
use std::process::ExitCode;

use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::runtime;

use super::complain;
use crate::admin::ClientError;

/// Waits for the answer of the admin API at `address`; says so where there is none.
pub(super) fn ask(
    address: SocketAddr,
    request: impl Future<Output = Result<(StatusCode, String), ClientError>>,
) -> Result<(StatusCode, String), ExitCode> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string());
    let asked = runtime.and_then(|runtime| runtime.block_on(request).map_err(|error| error.to_string()));
    asked.map_err(|error| {
        complain(&format!("tidegate: the admin API at {address} did not answer: {error}"));
        ExitCode::FAILURE
    })
}

/// What the admin API says where it does nothing.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// Reads an answer; says why where it is a refusal, or that it is none of the admin API.
pub(super) fn read<T: DeserializeOwned>(address: SocketAddr, status: StatusCode, body: &str) -> Result<T, ExitCode> {
    serde_json::from_str(body).map_err(|_| {
        complain(&match serde_json::from_str(body) {
            Ok(Refusal { error }) => format!("tidegate: {address} answered {status}: {error}"),
            Err(_) => format!("tidegate: {address} answered {status}, which is no answer of the admin API"),
        });
        ExitCode::FAILURE
    })
}
