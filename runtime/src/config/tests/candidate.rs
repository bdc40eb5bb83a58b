//! Candidates of filters.

use std::num::NonZeroU32;

use super::{LEAST, accept, read};
use crate::config::Candidate;
use crate::rollout::Mode;

fn filter(candidate: &str) -> String {
    format!("{LEAST}filters = [{{ component = 'rewrite', config = {{ a = 1 }}, candidate = {candidate} }}]")
}

fn candidate(table: &str) -> Candidate {
    *accept(&filter(table)).routes.remove(0).filters.remove(0).candidate.expect("a candidate")
}

/// What is said about it, without the place.
fn refused(table: &str) -> String {
    let problems = read(&filter(table)).expect_err("the candidate has no problem");
    problems.iter().map(|problem| format!("{}: {}; {}\n", problem.key, problem.message, problem.help)).collect()
}

#[test]
fn a_candidate_has_its_filters_configuration_unless_it_has_its_own() {
    let shadow = candidate("{ component = 'access', shadow = true }");
    assert_eq!((shadow.component.as_str(), shadow.config.reveal()), ("access", r#"{"a":1}"#));
    assert_eq!(
        (shadow.terms.mode, shadow.terms.max_failures, shadow.terms.samples),
        (Mode::Shadow, NonZeroU32::new(10), 0)
    );
    let own = candidate("{ component = 'access', config = {}, shadow = true, max_failures = 'off', samples = 20 }");
    assert_eq!((own.config.reveal(), own.terms.max_failures, own.terms.samples), ("{}", None, 20));
}

#[test]
fn the_share_of_a_canary_is_exact_to_a_hundredth_of_a_percent() {
    let shares = [("5%", 500), ("0.01%", 1), ("0.5%", 50), ("12.34%", 1234), ("100%", 10_000), ("099.99%", 9_999)];
    for (text, expected) in shares {
        let canary = candidate(&format!("{{ component = 'access', canary = '{text}' }}"));
        assert_eq!(canary.terms.mode, Mode::Canary { of_ten_thousand: expected }, "{text}");
    }
}

#[test]
fn what_is_no_share_is_refused() {
    for text in ["5", "0%", "0.00%", "100.01%", "-1%", "5 %", "0.001%", ".5%", "5.%", "1e1%", "%", "", "9999%"] {
        let told = refused(&format!("{{ component = 'access', canary = '{text}' }}"));
        let expected = "is no share of connections; write a percentage from \"0.01%\" to \"100%\", such as \"5%\"\n";
        assert!(told.starts_with("routes[0].filters[0].candidate.canary: ") && told.ends_with(expected), "{told}");
    }
}

#[test]
fn a_candidate_is_either_a_shadow_or_a_canary() {
    let neither = refused("{ component = 'access' }");
    assert!(neither.contains("candidate: neither `shadow` nor `canary` says how to try it"), "{neither}");
    let both = refused("{ component = 'access', shadow = true, canary = '1%' }");
    assert!(both.contains("candidate: a candidate is a shadow or a canary, not both"), "{both}");
}

#[test]
fn only_filters_have_candidates_and_those_have_none_of_their_own() {
    let balancer = LEAST.replace(
        "endpoints",
        "balance = { component = 'random', candidate = { component = 'p2c', canary = '1%' } }\nendpoints",
    );
    let problems = read(&balancer).expect_err("a balancer has no candidate").to_string();
    assert!(problems.contains("`candidate` belongs to a filter"), "{problems}");
    let nested = refused("{ component = 'access', shadow = true, candidate = { component = 'p2c', shadow = true } }");
    assert!(nested.contains("`candidate` belongs to a filter"), "{nested}");
}
