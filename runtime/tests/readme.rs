//! What the README shows is what works.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects, also in its functions")]

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

#[test]
fn the_configuration_of_the_readme_is_valid() {
    let names: Vec<_> = tidegate_filters::all().iter().map(|component| component.name).collect();
    let sample = block(&readme(), "toml");

    let read = tidegate::config::parse("README.md", &sample, Path::new("/"), &names);

    assert!(read.is_ok(), "{}", read.unwrap_err());
}

#[test]
fn every_recipe_is_valid_below_a_listener() {
    let names: Vec<_> = tidegate_filters::all().iter().map(|component| component.name).collect();
    let page = fs::read_to_string(root().join("docs/recipes.md")).unwrap();
    let mut sections = page.split("\n## ");
    let listener = block(sections.next().unwrap(), "toml");

    for section in sections {
        let recipe = format!("{listener}\n{}", block(section, "toml"));
        let read = tidegate::config::parse("recipes.md", &recipe, Path::new("/"), &names);
        assert!(read.is_ok(), "{section}\n{}", read.unwrap_err());
    }
}

#[test]
fn the_filter_of_the_readme_is_the_one_that_the_sdk_compiles() {
    let sdk = fs::read_to_string(root().join("guest-sdk/rust/src/lib.rs")).unwrap();
    let documentation: String =
        sdk.lines().map_while(|line| line.strip_prefix("//!")).fold(String::new(), |text, line| {
            let line = line.strip_prefix(' ').unwrap_or(line);
            text + line + "\n"
        });
    let compiled = block(&documentation, "");
    let shown = compiled.lines().filter(|line| !line.starts_with("# ")).map(|line| format!("{line}\n"));

    assert_eq!(block(&readme(), "rust"), shown.collect::<String>());
}

#[test]
fn every_metric_of_the_readme_is_exposed_and_the_other_way_round() {
    let metrics = tidegate::metrics::Metrics::new(1);
    let _listener = (
        metrics.listener("l"),
        metrics.http2("l"),
        metrics.certificate("l", "n", SystemTime::now()),
        metrics.acme_orders("n"),
        metrics.authorizations("r"),
        metrics.application("r"),
    );
    let route = metrics.route("r");
    route.of(metrics.control()).limit_close(tidegate::peer::Side::Client, tidegate::metrics::Limit::MessageTimeout);
    route.of(metrics.control()).requests().count(&http::Method::GET, None, Duration::ZERO);
    let _held = (metrics.endpoint("u", "e"), metrics.endpoint_failing("u", "e"), metrics.component("c"));
    let found = metrics.discovery("u", "file");
    found.found(1, 0);
    let _tried = (metrics.quarantined("r", "c"), metrics.candidate("r", "c"));
    let verdicts = metrics.component_use("r", "c");
    verdicts.of(metrics.control()).verdict(tidegate::metrics::CallVerdict::Forward, 1);
    verdicts.of(metrics.control()).swap(tidegate::metrics::SwapOutcome::Swapped);
    let _version = metrics.version("r", "c", 1);
    let (_log, _guard) = tidegate::log::AccessLog::to(std::io::sink(), tidegate::log::Format::Text, &metrics);
    let text = metrics.encode();
    let mut exposed: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    exposed.sort_unstable();

    let readme = readme();
    let table = readme.split_once("| metric | labels |").unwrap().1.split_once("\n\n").unwrap().0;
    let names = table.split('`').filter(|name| name.starts_with("tidegate_") || name.starts_with("process_"));
    let mut listed: Vec<_> = names.collect();
    listed.sort_unstable();

    // Only newer kernels tell how many descriptors are open.
    listed.retain(|name| *name != "process_open_fds" || exposed.contains(name));
    assert_eq!(listed, exposed);
}

/// The first fenced block in this language.
fn block(markdown: &str, language: &str) -> String {
    let opening = format!("```{language}\n");
    let (_, after) = markdown.split_once(&opening).unwrap_or_else(|| panic!("no {opening}"));
    after.split_once("```").unwrap().0.to_owned()
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
