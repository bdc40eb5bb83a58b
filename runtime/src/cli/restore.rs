//! `tidegate component restore`.

use std::net::SocketAddr;
use std::process::ExitCode;

use http::StatusCode;
use serde::Deserialize;
use tokio::runtime;

use super::{complain, say, wrong};
use crate::admin;

/// The part of the admin API's answer that is shown.
#[derive(Debug, Deserialize)]
struct Answer {
    lifted: u64,
}

/// Has a running proxy lift the quarantine of a component, and prints how many of its uses were in it.
pub(super) fn restore(name: &str, address: SocketAddr) -> ExitCode {
    let path = format!("/api/v1/components/{name}/restore");
    let asked = runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string());
    let asked = asked.and_then(|runtime| {
        runtime.block_on(admin::post(&address.to_string(), &path)).map_err(|error| error.to_string())
    });
    let (status, body) = match asked {
        Ok(answer) => answer,
        Err(error) => {
            complain(&format!("tidegate: the admin API at {address} did not answer: {error}"));
            return ExitCode::FAILURE;
        }
    };
    if status == StatusCode::NOT_FOUND {
        complain(&format!("tidegate: no component is named {name:?} there"));
        return wrong();
    }
    let Ok(Answer { lifted }) = serde_json::from_str(&body) else {
        complain(&format!("tidegate: {address} answered {status}, which is no answer of the admin API"));
        return ExitCode::FAILURE;
    };
    say(&match lifted {
        0 => format!("no use of {name} was in quarantine"),
        1 => format!("1 use of {name} is called again"),
        lifted => format!("{lifted} uses of {name} are called again"),
    });
    ExitCode::SUCCESS
}
