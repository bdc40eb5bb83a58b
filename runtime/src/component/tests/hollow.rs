//! Files, sockets and HTTP, as a component finds them.

use super::guests::{Bed, HOLLOW, handshake};
use crate::component::Failure;
use crate::metrics::FailureReason;

fn matches(path: &str) -> Result<bool, Failure> {
    let bed = Bed::new();
    let predicate = bed.load(HOLLOW, "hollow").unwrap().predicate("chat", "{}", &bed.metrics).unwrap();
    bed.pool.matches(&predicate, &handshake(path))
}

#[test]
fn a_component_that_imports_files_sockets_and_http_finds_that_no_directory_is_open() {
    assert!(matches("/?").unwrap());
}

#[test]
fn whoever_wants_more_of_them_traps_and_the_function_is_named() {
    let failure = matches("/network").unwrap_err();
    assert_eq!(failure.reason, FailureReason::Trap, "{failure}");
    let told =
        "it called wasi:sockets/instance-network@0.2.3.instance-network; a component finds no files and no network";
    assert!(failure.message.contains(told), "{failure}");
}

#[test]
fn each_of_them_says_that_it_grants_nothing() {
    let component = Bed::new().load(HOLLOW, "hollow").unwrap();
    let hollow: Vec<_> = component.imports().iter().filter(|import| !import.name.starts_with("wasi:io/")).collect();
    assert!(hollow.len() >= 4, "{hollow:?}");
    for import in hollow {
        assert_eq!(import.permission, "find that there are no files and no network", "{}", import.name);
    }
}
