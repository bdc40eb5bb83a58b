use std::path::Path;

use super::lookups::System;
use super::*;

/// A resolver by this hosts file, looking up on the test's runtime.
fn resolver(directory: &Path, hosts: &str) -> Resolver {
    let file = directory.join("hosts");
    std::fs::write(&file, hosts).unwrap();
    let (resolver, lookups) = Resolver::new();
    tokio::spawn(lookups.of(System::new(&file)).serve());
    resolver
}

fn texts(answer: Answer) -> Vec<String> {
    answer.unwrap().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn the_addresses_of_a_name_come_by_turns_of_the_families_and_a_slow_one_can_come_last() {
    let directory = tempfile::tempdir().unwrap();
    let resolver = resolver(directory.path(), "10.0.0.1 back.test\n10.0.0.2 back.test\nfd00::1 back.test\n");
    assert_eq!(texts(resolver.resolve("back.test").await), ["fd00::1", "10.0.0.1", "10.0.0.2"]);
    resolver.demote("back.test", "fd00::1".parse().unwrap());
    assert_eq!(texts(resolver.resolve("back.test").await), ["10.0.0.1", "10.0.0.2", "fd00::1"]);
}

#[tokio::test]
async fn what_is_known_is_kept_for_a_while_and_then_looked_up_again() {
    let directory = tempfile::tempdir().unwrap();
    let resolver = resolver(directory.path(), "10.0.0.1 back.test\n");
    assert_eq!(texts(resolver.resolve("back.test").await), ["10.0.0.1"]);
    std::fs::write(directory.path().join("hosts"), "10.0.0.2 back.test\n").unwrap();
    assert_eq!(texts(resolver.resolve("back.test").await), ["10.0.0.1"]);
    resolver.0.names().get_mut("back.test").unwrap().answer.as_mut().unwrap().1 = Instant::now();
    assert_eq!(texts(resolver.resolve("back.test").await), ["10.0.0.2"]);
}

#[tokio::test]
async fn when_nobody_answers_for_a_name_its_last_addresses_go_on_being_used() {
    let (resolver, _lookups) = Resolver::new();
    let settle = |name: &str, found| {
        resolver.0.settle(Question { name: name.into(), answer: watch::Sender::new(None) }, found);
    };
    settle("back.test", Found::Addresses(vec![[10, 0, 0, 1].into()], Duration::ZERO));
    settle("back.test", Found::Failed("no name server answers".to_owned()));
    assert_eq!(texts(resolver.resolve("back.test").await), ["10.0.0.1"]);
    settle("other.test", Found::Failed("no name server answers".to_owned()));
    let error = resolver.resolve("other.test").await.unwrap_err().to_string();
    assert_eq!(error, "`other.test` does not resolve: no name server answers");
    settle("back.test", Found::Nothing("there is no address of it".to_owned(), Duration::MAX));
    resolver.resolve("back.test").await.unwrap_err();
}

#[tokio::test]
async fn without_anybody_to_look_up_a_name_fails() {
    let (resolver, lookups) = Resolver::new();
    drop(lookups);
    assert!(resolver.resolve("back.test").await.unwrap_err().to_string().contains("has ended"));
}
