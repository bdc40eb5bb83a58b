//! `tidegate component restore`.

use std::net::SocketAddr;
use std::process::ExitCode;

use http::StatusCode;
use serde::Deserialize;

use super::ask::{ask, read};
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
    let (status, body) = match ask(address, admin::post(&address.to_string(), &path)) {
        Ok(answer) => answer,
        Err(code) => return code,
    };
    if status == StatusCode::NOT_FOUND {
        complain(&format!("tidegate: no component is named {name:?} there"));
        return wrong();
    }
    let Answer { lifted } = match read(address, status, &body) {
        Ok(answer) => answer,
        Err(code) => return code,
    };
    say(&match lifted {
        0 => format!("no use of {name} was in quarantine"),
        1 => format!("1 use of {name} is called again"),
        lifted => format!("{lifted} uses of {name} are called again"),
    });
    ExitCode::SUCCESS
}
