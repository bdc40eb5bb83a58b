//! `tidegate reload`.

use std::net::SocketAddr;
use std::process::ExitCode;

use http::StatusCode;
use serde::Deserialize;
use tokio::runtime;

use super::{complain, say};
use crate::admin;

/// The parts of the admin API's answer that are shown.
#[derive(Debug, Deserialize)]
struct Answer {
    outcome: String,
    generation: u64,
    #[serde(default)]
    problems: Vec<Problem>,
}

#[derive(Debug, Deserialize)]
struct Problem {
    file: String,
    line: usize,
    column: usize,
    key: String,
    what: String,
    instead: String,
}

/// Has a running proxy reload, and prints how that ended.
pub(super) fn reload(address: SocketAddr) -> ExitCode {
    let asked =
        runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string()).and_then(
            |runtime| {
                runtime.block_on(admin::post(&address.to_string(), "/api/v1/reload")).map_err(|error| error.to_string())
            },
        );
    let (status, body) = match asked {
        Ok(answer) => answer,
        Err(error) => {
            complain(&format!("tidegate: the admin API at {address} did not answer: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let Ok(answer) = serde_json::from_str::<Answer>(&body) else {
        complain(&format!("tidegate: {address} answered {status}, which is no answer of the admin API"));
        return ExitCode::FAILURE;
    };
    for Problem { file, line, column, key, what, instead } in &answer.problems {
        let advice = if instead.is_empty() { String::new() } else { format!("; {instead}") };
        complain(&format!("{file}:{line}:{column}: {key}: {what}{advice}"));
    }
    say(&format!("{}: generation {} is in force", answer.outcome, answer.generation));
    match status {
        StatusCode::OK => ExitCode::SUCCESS,
        StatusCode::UNPROCESSABLE_ENTITY => super::wrong(),
        _ => ExitCode::FAILURE,
    }
}
