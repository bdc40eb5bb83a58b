//! The candidate of a filter.

use std::num::NonZeroU32;

use super::Names;
use super::component::COMPONENT_KEY;
use super::configuration::config;
use crate::component::Configuration;
use crate::config::{
    reader::{Absent, Fault, Key, Read, Section, Table, Value, quoted},
    types::Candidate,
    value,
};
use crate::rollout::{Mode, Terms};

pub(super) const CANDIDATE: Section = Section {
    title: "a candidate",
    about: "Another component that is tried in the place of a filter, or the same one with another `config`. Either \
            `shadow` or `canary` says how; whatever changes about it, its trial begins anew.",
    keys: &[COMPONENT_KEY, CONFIG, SHADOW, CANARY, MAX_FAILURES, SAMPLES],
};

const CONFIG: Key = Key {
    name: "config",
    takes: "table",
    absent: Absent::Means("the filter's"),
    example: "{ key = \"value\" }",
    meaning: "What the component reads, as JSON; its keys are the component's own.",
};

const SHADOW: Key = Key {
    name: "shadow",
    takes: "`true` or `false`",
    absent: Absent::Default("false"),
    example: "true",
    meaning: "Whether it sees the messages of new connections after the filter's verdict was carried out. Its own \
              is compared with that and dropped. What it wants to see is read, which counts for the limits on \
              messages.",
};

const CANARY: Key = Key {
    name: "canary",
    takes: "percentage",
    absent: Absent::Means("no connection"),
    example: "\"5%\"",
    meaning: "The share of new connections that it serves in the filter's place, 0.01% to 100%, chosen by a hash \
              of the connection id. The filter takes a connection that it fails to open.",
};

const MAX_FAILURES: Key = Key {
    name: "max_failures",
    takes: "whole number or `off`",
    absent: Absent::Default("10"),
    example: "3",
    meaning: "After this many failures, however far apart, it is rolled back: it sees no message any more, and its \
              connections go back to the filter.",
};

const SAMPLES: Key = Key {
    name: "samples",
    takes: "whole number",
    absent: Absent::Default("0"),
    example: "20",
    meaning: "How many of the last messages about which a shadow disagreed the admin API shows, at most 1000, \
              with the first 256 bytes of each. 0, because messages are somebody's secrets.",
};

/// Reads a candidate of a filter that has this configuration.
pub(super) fn candidate(value: &Value<'_>, names: &Names<'_>, filters_config: &Configuration) -> Read<Candidate> {
    let advice = "write a table such as { component = \"shout-2\", canary = \"5%\" }";
    let table = value.table(&CANDIDATE, advice)?;
    let component = table.read(&COMPONENT_KEY, |value| names.component(value));
    let own_config = table.optional(&CONFIG, |value| config(value, names));
    let mode = mode(&table);
    let max_failures = table.read(&MAX_FAILURES, |value| Ok(value::count_or_off(value)?.and_then(NonZeroU32::new)));
    let samples = table.read(&SAMPLES, |value| value::count(value, 0..=1000));
    Ok(Candidate {
        component: component?,
        config: own_config?.unwrap_or_else(|| filters_config.clone()),
        terms: Terms { mode: mode?, max_failures: max_failures?, samples: samples? as usize },
        place: value.place(),
    })
}

fn mode(table: &Table<'_>) -> Read<Mode> {
    let shadow = table.read(&SHADOW, value::boolean);
    let canary = table.optional(&CANARY, share);
    let advice = "write `shadow = true` to compare it, or `canary = \"5%\"` to have it serve";
    match (shadow?, canary?) {
        (true, None) => Ok(Mode::Shadow),
        (false, Some(of_ten_thousand)) => Ok(Mode::Canary { of_ten_thousand }),
        (true, Some(_)) => Err(table.refuse(&table.place(), "a candidate is a shadow or a canary, not both", advice)),
        (false, None) => Err(table.refuse(&table.place(), "neither `shadow` nor `canary` says how to try it", advice)),
    }
}

/// A percentage with at most two decimals, as so many of ten thousand.
fn share(value: &Value<'_>) -> Read<u16> {
    const ADVICE: &str = "write a percentage from \"0.01%\" to \"100%\", such as \"5%\"";
    value.parsed("a percentage", ADVICE, |text| {
        let fault = || Fault::new(format!("{} is no share of connections", quoted(text)), ADVICE);
        let number = text.strip_suffix('%').ok_or_else(fault)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str, most| (1..=most).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit());
        if !digits(whole, 3) || !digits(part, 2) {
            return Err(fault());
        }
        format!("{whole}{part:0<2}").parse().ok().filter(|share| (1..=10_000).contains(share)).ok_or_else(fault)
    })
}
