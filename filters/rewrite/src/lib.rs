//! The standard filter `rewrite`: find and replace in text messages.
//!
//! A message in which nothing is found goes on as it came, without a copy of it ever being made.

mod rule;

use std::borrow::Cow;

use serde::Deserialize;
use tidegate_guest::{
    Admission, Filter, Handshake, Interest, Kinds, Message, Refusal, Selection, Side, Verdict, export_filter,
};

use crate::rule::{Rule, Written};

/// The configuration; README.md has the keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rewrite {
    rules: Vec<Written>,
    #[serde(default = "max_regex_size")]
    max_regex_size: usize,
    #[serde(skip)]
    compiled: Vec<Rule>,
}

/// An expression takes some 100 ns for each byte in the worst case: two thirds of the default deadline.
fn max_regex_size() -> usize {
    64 << 10
}

impl Filter for Rewrite {
    type Session = ();

    fn configured(mut self) -> Result<Self, String> {
        if self.rules.is_empty() {
            return Err("`rules` is empty; write at least one { find = \"...\", replace = \"...\" }".into());
        }
        for (index, written) in self.rules.drain(..).enumerate() {
            self.compiled.push(Rule::new(written).map_err(|error| format!("rules[{index}]: {error}"))?);
        }
        Ok(self)
    }

    fn interest(&self) -> Interest {
        let selection = |side| match self.compiled.iter().any(|rule| rule.applies(side)) {
            true => Selection::whole(Kinds::TEXT),
            false => Selection::nothing(),
        };
        Interest { from_client: selection(Side::Client), from_upstream: selection(Side::Upstream) }
    }

    fn open(&self, _: &Handshake) -> Result<Admission<()>, Refusal> {
        Ok(Admission::of(()))
    }

    fn on_message(&self, (): &mut (), message: Message<'_>) -> Verdict {
        let Some(text) = message.text() else {
            return Verdict::Forward;
        };
        let mut text = Cow::Borrowed(text);
        for rule in self.compiled.iter().filter(|rule| rule.applies(message.origin())) {
            if rule.is_regex() && text.len() > self.max_regex_size {
                return Verdict::close(
                    1009,
                    format!("text of {} bytes; a regex rule takes {}", text.len(), self.max_regex_size),
                );
            }
            if let Some(rewritten) = rule.apply(&text) {
                text = Cow::Owned(rewritten);
            }
        }
        match text {
            Cow::Borrowed(_) => Verdict::Forward,
            Cow::Owned(text) => Verdict::replace(text),
        }
    }
}

export_filter!(Rewrite);

#[cfg(test)]
mod tests {
    use super::*;

    fn written(find: &str, replace: &str) -> Written {
        Written { find: Some(find.into()), regex: None, replace: replace.into(), from: tidegate_guest::Origins::Both }
    }

    fn pattern(regex: &str, replace: &str) -> Written {
        Written { find: None, regex: Some(regex.into()), ..written("", replace) }
    }

    fn rewrite(rules: Vec<Written>) -> Result<Rewrite, String> {
        Rewrite { rules, max_regex_size: max_regex_size(), compiled: Vec::new() }.configured()
    }

    fn decide(rules: Vec<Written>, text: &str) -> Verdict {
        rewrite(rules).unwrap().on_message(&mut (), Message::text_from(Side::Client, text))
    }

    #[test]
    fn a_text_too_long_for_a_regex_closes_and_one_too_long_only_for_that_is_still_searched() {
        let text = "b".repeat(max_regex_size() + 1);
        let close = Verdict::close(1009, "text of 65537 bytes; a regex rule takes 65536");
        assert_eq!(decide(vec![pattern("[0-9]", "#")], &text), close);
        assert_eq!(decide(vec![written("a", "c")], &text), Verdict::Forward);
    }

    #[test]
    fn every_occurrence_is_replaced() {
        assert_eq!(decide(vec![written("ä", "ae")], "ä bär ä"), Verdict::replace("ae baer ae"));
    }

    #[test]
    fn a_message_in_which_nothing_is_found_goes_on_as_it_came() {
        assert_eq!(decide(vec![written("x", "y"), pattern("[0-9]", "#")], "abc"), Verdict::Forward);
    }

    #[test]
    fn a_regex_may_refer_to_its_groups() {
        let swapped = decide(vec![pattern("(?<user>[a-z]+)@([a-z]+)", "$2:$user")], "to: ann@home");
        assert_eq!(swapped, Verdict::replace("to: home:ann"));
    }

    #[test]
    fn a_literal_is_no_pattern_and_its_replacement_no_template() {
        assert_eq!(decide(vec![written(".*", "$0")], "a.*b"), Verdict::replace("a$0b"));
    }

    #[test]
    fn rules_apply_in_order_to_what_the_ones_before_have_made() {
        assert_eq!(decide(vec![written("a", "b"), written("bb", "c")], "ab"), Verdict::replace("c"));
    }

    #[test]
    fn binary_messages_and_other_directions_are_not_asked_for() {
        let rules = vec![Written { from: tidegate_guest::Origins::Upstream, ..written("a", "b") }];
        let rewrite = rewrite(rules).unwrap();
        assert_eq!(rewrite.interest(), Interest::from_upstream(Selection::whole(Kinds::TEXT)));
    }

    #[test]
    fn a_rule_that_cannot_be_meant_is_refused_by_its_place() {
        let error = |rule| rewrite(vec![written("a", "b"), rule]).err().unwrap();
        assert!(error(written("", "x")).starts_with("rules[1]: `find` is empty"));
        assert!(error(pattern("(", "x")).starts_with("rules[1]: `regex`"));
        assert!(error(pattern("x*", "y")).contains("matches an empty text"));
        let both = Written { find: Some("a".into()), ..pattern("b", "c") };
        assert!(error(both).starts_with("rules[1]: both `find` and `regex`"));
    }
}
