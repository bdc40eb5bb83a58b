//! `tidegate log-level`.

use std::net::SocketAddr;
use std::process::ExitCode;

use serde::Deserialize;

use super::ask::{ask, read};
use super::say;
use crate::admin;

/// The admin API's answer.
#[derive(Debug, Deserialize)]
struct Answer {
    level: String,
}

/// Has a running proxy log from this level on, or asks it from which it does, and prints the level.
pub(super) fn log_level(level: Option<&str>, address: SocketAddr) -> ExitCode {
    let to = address.to_string();
    let answered = match level {
        Some(level) => ask(address, admin::put(&to, &format!("/api/v1/log?level={level}"))),
        None => ask(address, admin::get(&to, "/api/v1/log")),
    };
    match answered.and_then(|(status, body)| read::<Answer>(address, status, &body)) {
        Ok(Answer { level }) => say(&level),
        Err(code) => return code,
    }
    ExitCode::SUCCESS
}
