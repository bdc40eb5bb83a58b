//! What the configuration promises: the sample means what it says, every mistake is told with its place and its cure.

mod candidate;
mod defaults;
mod inclusion;
mod malformed;
mod sample;
mod tokens;

use std::path::Path;

use super::{Config, Problems, parse};

const STANDARD: &[&str] = &[
    "access",
    "conditions",
    "consistent-hash",
    "json-guard",
    "least-connections",
    "log-messages",
    "p2c",
    "random",
    "rate-limit",
    "renew-token",
    "rewrite",
    "round-robin",
];

/// The least that a file has to say.
const LEAST: &str = r#"
[[listeners]]
listen = "0.0.0.0:8080"
[upstreams.chat]
endpoints = [{ url = "ws://127.0.0.1:9001" }]
[[routes]]
name = "chat"
upstream = "chat"
"#;

fn read(text: &str) -> Result<Config, Problems> {
    parse("tidegate.toml", text, Path::new("/etc/tidegate"), STANDARD)
}

fn accept(text: &str) -> Config {
    read(text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Compares with a file in `snapshots/`.
fn snapshot(name: &str, text: &str) {
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, text);
    });
}

fn refuse(text: &str) -> Problems {
    read(text).expect_err("the text has no problem")
}
