//! `tidegate drain`.

use http::Method;
use serde::Deserialize;

use super::Drain;
use super::ask::ask;
use super::outcome::Outcome;
use crate::http::escaped;

/// What the admin API answers.
#[derive(Debug, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
enum Answer {
    Begun(Plan),
    Planned(Plan),
    Underway { connections: u64 },
    Unknown { route: String },
}

#[derive(Debug, Deserialize)]
struct Plan {
    route: Option<String>,
    connections: u64,
    code: u16,
    over_seconds: f64,
    connections_per_second: Option<f64>,
    until_unix_seconds: u64,
}

/// Has a running proxy drain, and prints the plan.
pub(super) fn drain(drain: &Drain) -> Result<Outcome, Outcome> {
    let client = drain.whom.client()?;
    match ask(&client, Method::POST, &target(drain))?.read(&client)? {
        Answer::Begun(plan) => Ok(Outcome::done(format!("draining: {}", plan.describe()))),
        Answer::Planned(plan) => Ok(Outcome::done(format!("would drain: {}", plan.describe()))),
        Answer::Underway { connections } => {
            Err(Outcome::failed(&format!("{client} is draining already; {connections} connections are left")))
        }
        Answer::Unknown { route } => Err(Outcome::wrong(&format!("{client} has no route {route:?}"))),
    }
}

fn target(drain: &Drain) -> String {
    let mut target = format!("/api/v1/drain?code={}&dry_run={}", drain.code, drain.dry_run);
    if let Some(route) = &drain.route {
        target.push_str("&route=");
        target.push_str(&escaped(route));
    }
    if let Some(over) = &drain.over {
        target.push_str("&over=");
        target.push_str(over);
    }
    target
}

impl Plan {
    fn describe(&self) -> String {
        let Self { route, connections, code, over_seconds, connections_per_second, until_unix_seconds } = self;
        let what = match route {
            Some(route) => format!("{connections} connections of route {route:?}, whose new ones are served"),
            None => format!("{connections} connections, and then the process ends"),
        };
        let pace = match connections_per_second {
            Some(rate) => {
                format!("{rate:.1} per second over {over_seconds} s, until {} UTC", time_of_day(*until_unix_seconds))
            }
            None => "all at once".to_owned(),
        };
        format!("{what}; code {code}; {pace}")
    }
}

/// As a clock shows it.
pub(super) fn time_of_day(unix_seconds: u64) -> String {
    let seconds = unix_seconds % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::super::whom::Whom;
    use super::*;

    #[test]
    fn the_request_says_what_the_command_line_does() {
        let drain = |route: Option<&str>, over: Option<&str>, dry_run| Drain {
            whom: Whom { admin: "127.0.0.1:9900".parse().unwrap(), ca: None, certificate: None, key: None },
            route: route.map(str::to_owned),
            over: over.map(str::to_owned),
            code: "1001".to_owned(),
            dry_run,
        };
        assert_eq!(target(&drain(None, None, true)), "/api/v1/drain?code=1001&dry_run=true");
        let full = target(&drain(Some("a b&c"), Some("1m30s"), false));
        assert_eq!(full, "/api/v1/drain?code=1001&dry_run=false&route=a%20b%26c&over=1m30s");
    }

    #[test]
    fn the_end_is_told_as_a_clock_shows_it() {
        assert_eq!(time_of_day(1_767_323_045), "03:04:05");
    }
}
