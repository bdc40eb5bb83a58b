//! Components and their uses.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use super::Names;
use super::candidate::candidate;
use super::configuration::config;
use crate::component::{Configuration, Isolation, Kind, Limits, OnFailure};
use crate::config::{
    reader::{Absent, Fault, Key, Read, Section, Table, Value},
    source::Place,
    types::{Candidate, Component, ComponentSource, ComponentUse},
    value,
};

pub(super) const COMPONENT: Section = Section {
    title: "[components.NAME]",
    about: "Routes and upstreams refer to a component by its name.",
    keys: &[
        PATH,
        MAX_MEMORY,
        DEADLINE,
        LOG_LINES_PER_SECOND,
        ISOLATION,
        MAX_MESSAGE_SIZE,
        MAX_REPLY_SIZE,
        MAX_REPLY_MESSAGES,
        MAX_ATTACHMENTS,
        MAX_ATTACHMENT_SIZE,
        MAX_FAILURES,
        FAILURE_WINDOW,
    ],
};

const PATH: Key = Key {
    name: "path",
    takes: "path",
    absent: Absent::Means("the standard component of this name"),
    example: "\"filters/shout.wasm\"",
    meaning: "The file, relative to the directory of the configuration: a component, or a core module that \
              embeds its component type.",
};

const MAX_MEMORY: Key = Key {
    name: "max_memory",
    takes: "size",
    absent: Absent::Default("\"64MiB\""),
    example: "\"16MiB\"",
    meaning: "Memory for each instance, 64KiB to 4GiB. An instance takes what it uses, and keeps it. Three tenths of \
              this bound the payload that a filter is handed, because it may hold a copy and an answer of that \
              size too.",
};

const DEADLINE: Key = Key {
    name: "deadline",
    takes: "duration",
    absent: Absent::Default("\"10ms\""),
    example: "\"5ms\"",
    meaning: "How long one call may run, at most 10s. A worker serves nobody else meanwhile. Once the calls for \
              one connection have taken 10 ms, others have their turn; a filter that takes longer is called \
              about one message in a turn, and about up to 64 where those before were quick.",
};

const LOG_LINES_PER_SECOND: Key = Key {
    name: "log_lines_per_second",
    takes: "whole number",
    absent: Absent::Default("100"),
    example: "10",
    meaning: "Log lines of the component beyond this are dropped; 0 drops all.",
};

const ISOLATION: Key = Key {
    name: "isolation",
    takes: "`worker` or `connection`",
    absent: Absent::Default("\"worker\""),
    example: "\"connection\"",
    meaning: "What shares an instance: all connections of a worker, or none.",
};

const MAX_MESSAGE_SIZE: Key = Key {
    name: "max_message_size",
    takes: "size or `off`",
    absent: Absent::Default("\"off\""),
    example: "\"64KiB\"",
    meaning: "The largest payload that a filter is handed, beside the route's own limit; a larger one is a \
              failure, and the filter is not called: the connection is closed with 1009, unless its `on_failure` says \
              otherwise. So is one of more than three tenths of `max_memory`.",
};

const MAX_REPLY_SIZE: Key = Key {
    name: "max_reply_size",
    takes: "size",
    absent: Absent::Default("\"16MiB\""),
    example: "\"1MiB\"",
    meaning: "Payload that a filter may answer with in one call, over all messages that it replaces and \
              sends, at most 4GiB: as much as the largest message, because a worker holds it until it is \
              sent. More is a failure. Calls whose answers are held at once count together: those about the \
              messages of one read, at most 64, of a filter that exports `batching`, and those about what \
              one message became in the filters before. While more than 256 KiB wait for one peer nothing \
              else is decided that would add to it, so that what waits is that and as much as one such \
              answer for each filter. An answer must fit into `max_memory`, too.",
};

const MAX_REPLY_MESSAGES: Key = Key {
    name: "max_reply_messages",
    takes: "whole number",
    absent: Absent::Default("4096"),
    example: "64",
    meaning: "Messages that a filter may send in one call, empty ones among them, 64 to 65536; what replaces \
              another is none. More is a failure. They count together as payload does for `max_reply_size`, \
              so that no filter multiplies what another has sent.",
};

const MAX_ATTACHMENTS: Key = Key {
    name: "max_attachments",
    takes: "whole number",
    absent: Absent::Default("256"),
    example: "32",
    meaning: "How many header edits and attributes a filter may attach to one handshake together, or fields to \
              one refusal, or a balancer edits to its choice, 1 to 1024. More is a failure.",
};

const MAX_ATTACHMENT_SIZE: Key = Key {
    name: "max_attachment_size",
    takes: "size",
    absent: Absent::Default("\"64KiB\""),
    example: "\"4KiB\"",
    meaning: "The bytes of their names and values, and of the body of a refusal, at most 16MiB: a connection \
              keeps its attributes, and a refusal waits until the client has read it. More is a failure.",
};

const MAX_FAILURES: Key = Key {
    name: "max_failures",
    takes: "whole number or `off`",
    absent: Absent::Default("\"off\""),
    example: "100",
    meaning: "After this many failures within `failure_window`, 1 to 100000, a use of the component is in \
              quarantine: it is called no more, and every call counts as failed. Off, because whoever can make \
              a filter fail could otherwise take its route from everybody.",
};

const FAILURE_WINDOW: Key = Key {
    name: "failure_window",
    takes: "duration",
    absent: Absent::Default("\"1m\""),
    example: "\"10s\"",
    meaning: "The time within which failures count together for `max_failures`.",
};

pub(super) const USE: Section = Section {
    title: "a predicate or a balancer",
    about: "Either the component's name, or this table. [filters/README.md](../filters/README.md) leads to the keys of the \
            standard components.",
    keys: &[COMPONENT_KEY, CONFIG_KEY],
};

pub(super) const FILTER_USE: Section = Section {
    title: "a filter",
    about: "Either the component's name, or this table. Each worker thread runs an instance of its own: what a filter counts \
            beyond one connection, it counts on each worker by itself, so with four workers up to four times as much \
            passes.",
    keys: &[COMPONENT_KEY, CONFIG_KEY, ON_FAILURE, CANDIDATE],
};

const ON_FAILURE: Key = Key {
    name: "on_failure",
    takes: "`close` or `bypass`",
    absent: Absent::Default("\"close\""),
    example: "\"bypass\"",
    meaning: "What happens to a connection when the filter fails: it is closed with 1011, or goes on without \
              the filter. Of several messages that it was shown at once, it is then asked about one by one, in \
              a new instance: what it decides before the message that it fails on again stands, and from that \
              message on the connection goes on without it.",
};

const CANDIDATE: Key = Key {
    name: "candidate",
    takes: "a candidate",
    absent: Absent::Means("none"),
    example: "{ component = \"rate-limit\", canary = \"5%\" }",
    meaning: "What is tried in the filter's place.",
};

pub(super) const COMPONENT_KEY: Key = Key {
    name: "component",
    takes: "name",
    absent: Absent::Missing,
    example: "\"rate-limit\"",
    meaning: "The name of a standard component or of a `[components.NAME]` table.",
};

const CONFIG_KEY: Key = Key {
    name: "config",
    takes: "table",
    absent: Absent::Default("{}"),
    example: "{ key = \"value\" }",
    meaning: "What the component reads, as JSON; its keys are the component's own. A table `{ secret = { env = \"NAME\" } }` \
              or `{ secret = { file = \"path\" } }` in it stands for a text: that of a variable, or of a file, relative to \
              the directory of the configuration, at most 64KiB and without one end of line. Any other table with the one \
              key `secret`, if that is a table, is refused.",
};

pub(super) fn components(value: &Value<'_>, names: &Names<'_>) -> Read<BTreeMap<String, Component>> {
    let entries = value.entries("tables", "write tables [components.NAME]")?;
    let read: Vec<_> = entries.iter().map(|(name, place, value)| component(name, place, value, names)).collect();
    read.into_iter().collect()
}

fn component(name: &str, place: &Place, value: &Value<'_>, names: &Names<'_>) -> Read<(String, Component)> {
    const ADVICE: &str = "write text such as \"filters/shout.wasm\"";
    let table = value.table(&COMPONENT, "write a table [components.NAME]")?;
    let valid = value::parse_name(name).map_err(|fault| table.refuse(place, fault.what, fault.instead));
    let path = table.optional(&PATH, |value| {
        value.parsed("the path of a file", ADVICE, |path| match path {
            "" => Err(Fault::new("the path is empty", ADVICE)),
            path => Ok(names.base.join(path)),
        })
    });
    let source = match path {
        Ok(Some(path)) => Ok(ComponentSource::File(path)),
        Ok(None) if names.is_standard(name) => Ok(ComponentSource::Standard),
        Ok(None) => Err(table.refuse(
            &table.place(),
            format!("`path` is missing, and {name:?} is no standard component"),
            "write `path = \"filters/shout.wasm\"`",
        )),
        Err(refused) => Err(refused),
    };
    let limits = limits(&table);
    let (name, component) = (valid?, Component { source: source?, limits: limits?, place: value.place() });
    names.found_component(name, &component);
    Ok((name.to_owned(), component))
}

/// A standard component that has no entry.
pub(super) fn implied(root: &Table<'_>, place: Place) -> Read<Component> {
    Ok(Component { source: ComponentSource::Standard, limits: limits(&root.empty(&COMPONENT))?, place })
}

fn limits(table: &Table<'_>) -> Read<Limits> {
    let max_memory = table.read(&MAX_MEMORY, |value| value::size_within(value, (1 << 16, "64KiB"), (1 << 32, "4GiB")));
    let deadline = table.read(&DEADLINE, |value| {
        let deadline = value::duration(value)?;
        if deadline > Duration::from_secs(10) {
            return Err(value.refuse("a worker would stand still for more than 10 seconds", "write at most \"10s\""));
        }
        Ok(deadline)
    });
    let log_lines_per_second = table.read(&LOG_LINES_PER_SECOND, |value| value::count(value, 0..=1_000_000));
    let isolation = table.read(&ISOLATION, |value| {
        value::choice(value, &[("worker", Isolation::Worker), ("connection", Isolation::Connection)])
    });
    let max_message_size = table.read(&MAX_MESSAGE_SIZE, |value| {
        Ok(value::size_or_off(value)?.map(|size| usize::try_from(size).unwrap_or(usize::MAX)))
    });
    let max_reply_size = table.read(&MAX_REPLY_SIZE, |value| value::size_within(value, (1, "1B"), (1 << 32, "4GiB")));
    let max_reply_messages = table.read(&MAX_REPLY_MESSAGES, |value| value::count(value, 64..=65_536));
    let max_attachments = table.read(&MAX_ATTACHMENTS, |value| value::count(value, 1..=1024));
    let max_attachment_size =
        table.read(&MAX_ATTACHMENT_SIZE, |value| value::size_within(value, (1, "1B"), (1 << 24, "16MiB")));
    let max_failures = table.read(&MAX_FAILURES, |value| {
        let most = value::count_or_off(value)?;
        if most.is_some_and(|most| most > MOST_FAILURES) {
            return Err(value.refuse("the time of every failure is kept", "write at most 100000, or \"off\""));
        }
        Ok(most.and_then(NonZeroU32::new))
    });
    let failure_window = table.read(&FAILURE_WINDOW, value::duration);
    Ok(Limits {
        max_memory: max_memory?,
        deadline: deadline?,
        log_lines_per_second: log_lines_per_second?,
        isolation: isolation?,
        max_message_size: max_message_size?,
        max_reply_size: max_reply_size?,
        max_reply_messages: usize::try_from(max_reply_messages?).unwrap_or(usize::MAX),
        max_attachments: usize::try_from(max_attachments?).unwrap_or(usize::MAX),
        max_attachment_size: max_attachment_size?,
        max_failures: max_failures?,
        failure_window: failure_window?,
    })
}

/// Far more than makes a difference to one failure out of many.
const MOST_FAILURES: u32 = 100_000;

/// Reads a predicate.
pub(super) fn predicate(value: &Value<'_>, names: &Names<'_>) -> Read<ComponentUse> {
    use_of(value, names, Kind::Predicate, &USE, |_, _| Ok((OnFailure::Close, None)))
}

/// Reads a balancer.
pub(super) fn balancer(value: &Value<'_>, names: &Names<'_>) -> Read<ComponentUse> {
    use_of(value, names, Kind::Balancer, &USE, |_, _| Ok((OnFailure::Close, None)))
}

/// The balancer of an upstream that says nothing of it.
pub(super) fn usual_balancer(value: &Value<'_>, names: &Names<'_>) -> Read<ComponentUse> {
    let component = names.standard("round-robin", value)?;
    let (config, on_failure, candidate) = (Configuration::default(), OnFailure::Close, None);
    let used = ComponentUse { component, config, on_failure, candidate, place: value.place() };
    names.found_use(Kind::Balancer, &used);
    Ok(used)
}

/// Reads a filter.
pub(super) fn filter_use(value: &Value<'_>, names: &Names<'_>) -> Read<ComponentUse> {
    use_of(value, names, Kind::Filter, &FILTER_USE, |table, config| {
        let on_failure = table.read(&ON_FAILURE, |value| {
            value::choice(value, &[("close", OnFailure::Close), ("bypass", OnFailure::Bypass)])
        });
        let candidate = table.optional(&CANDIDATE, |value| candidate(value, names, config));
        Ok((on_failure?, candidate?.map(Box::new)))
    })
}

fn use_of(
    value: &Value<'_>,
    names: &Names<'_>,
    kind: Kind,
    section: &'static Section,
    filters_own: impl FnOnce(&Table<'_>, &Configuration) -> Read<(OnFailure, Option<Box<Candidate>>)>,
) -> Read<ComponentUse> {
    if value.node().is_str() {
        let component = names.component(value)?;
        let used = ComponentUse {
            component,
            config: Configuration::default(),
            on_failure: OnFailure::Close,
            candidate: None,
            place: value.place(),
        };
        names.found_use(kind, &used);
        return Ok(used);
    }
    let advice = "write a component's name, or a table such as { component = \"rate-limit\", config = {} }";
    if !value.node().is_table() {
        return Err(value.mistyped("a component", advice));
    }
    let table = value.table(section, advice)?;
    let component = table.read(&COMPONENT_KEY, |value| names.component(value));
    let config = table.read(&CONFIG_KEY, |value| config(value, names));
    // What is wrong with a candidate is told, also where the filter's own configuration is wrong.
    let filters_own = filters_own(&table, config.as_ref().unwrap_or(&Configuration::default()));
    let place = value.place();
    let (component, config) = (component?, config?);
    let (on_failure, candidate) = match filters_own {
        Ok(own) => own,
        Err(refused) => {
            // The component can be asked about its configuration all the same.
            let used = ComponentUse { component, config, on_failure: OnFailure::Close, candidate: None, place };
            names.found_use(kind, &used);
            return Err(refused);
        }
    };
    let used = ComponentUse { component, config, on_failure, candidate, place };
    names.found_use(kind, &used);
    Ok(used)
}
