//! `tidegate component restore`.

use http::{Method, StatusCode};
use serde::Deserialize;

use super::ask::ask;
use super::outcome::Outcome;
use crate::admin::Client;

/// The part of the admin API's answer that is shown.
#[derive(Debug, Deserialize)]
struct Answer {
    lifted: u64,
}

/// Has a running proxy lift the quarantine of a component, and prints how many of its uses were in it.
pub(super) fn restore(name: &str, client: &Client) -> Result<Outcome, Outcome> {
    let answer = ask(client, Method::POST, &format!("/api/v1/components/{name}/restore"))?;
    if answer.status == StatusCode::NOT_FOUND {
        return Err(Outcome::wrong(&format!("no component is named {name:?} there")));
    }
    let Answer { lifted } = answer.read(client)?;
    Ok(Outcome::done(match lifted {
        0 => format!("no use of {name} was in quarantine"),
        1 => format!("1 use of {name} is called again"),
        lifted => format!("{lifted} uses of {name} are called again"),
    }))
}
