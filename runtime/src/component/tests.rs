mod asking;
mod budgets;
mod damaged;
mod decisions;
pub(crate) mod guests;
mod hollow;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use guests::{BALANCER, Bed, FILTER, PREDICATE, WASI, handshake, message, module, text};

use super::*;
use crate::metrics::{CallVerdict, FailureReason, WorkerIndex};
use crate::peer::{MessageKind, Side};

mod load {
    use super::*;

    #[test]
    fn a_core_module_is_made_a_component_and_a_component_is_taken_as_it_is() {
        let bed = Bed::new();
        let module = module(FILTER, "full-filter");
        let component = wit_component::ComponentEncoder::default().module(&module).unwrap().encode().unwrap();
        for bytes in [module, component] {
            let loaded = bed.host.load("shout", &bytes, Limits::default()).unwrap();
            assert_eq!((loaded.kind(), loaded.name(), loaded.size()), (Kind::Filter, "shout", bytes.len()));
            let import =
                Import { name: "tidegate:edge/log@0.2.0".to_owned(), permission: "write to the log".to_owned() };
            assert_eq!(loaded.imports(), [import]);
        }
    }

    #[test]
    fn every_foreign_import_is_refused_by_name() {
        let imports = r#"(module
            (import "vendor:clouds/weather@1.0.0" "today" (func $today (param i32)))
            (import "tidegate:edge/endpoint-stats@0.2.0" "active" (func $active (param i32) (result i32)))"#;
        let text = PREDICATE.replacen("(module", imports, 1);
        let error = Bed::new().load(&text, "forecasting").unwrap_err();
        let LoadError::ForeignImports(names) = &error else { panic!("{error}") };
        assert_eq!(names, &["tidegate:edge/endpoint-stats@0.2.0", "vendor:clouds/weather@1.0.0"]);
        assert!(error.to_string().contains("vendor:clouds/weather@1.0.0"));
    }

    #[test]
    fn bytes_that_are_no_component_are_told_apart() {
        let host = Host::new(1).unwrap();
        let load = |bytes: &[u8]| host.load("x", bytes, Limits::default()).unwrap_err();
        assert_eq!(load(b"#!/bin/sh"), LoadError::NotWasm);
        assert_eq!(load(b""), LoadError::NotWasm);
        assert_eq!(load(b" (component)"), LoadError::Text);
        assert_eq!(load(&wat::parse_str("(module)").unwrap()), LoadError::NoComponentType);
        let preview1 =
            r#"(module (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32))))"#;
        assert_eq!(load(&wat::parse_str(preview1).unwrap()), LoadError::Preview1);
        let truncated = module(FILTER, "full-filter");
        assert!(matches!(load(&truncated[..truncated.len() / 2]), LoadError::Malformed(_)));
    }

    #[test]
    fn a_component_decides_one_thing() {
        let bed = Bed::new();
        assert_eq!(bed.load("(module)", "idle").unwrap_err(), LoadError::NoWorld);
        let component = |names: [&str; 2]| {
            let exports = names.map(|name| format!(r#"(export "{name}" (instance $i))"#)).concat();
            wat::parse_str(format!("(component (instance $i) {exports})")).unwrap()
        };
        let both = component(["tidegate:edge/predicates@0.2.0", "tidegate:edge/balancing@0.2.0"]);
        let error = bed.host.load("x", &both, Limits::default()).unwrap_err();
        assert!(matches!(error, LoadError::SeveralWorlds(names) if names.len() == 2));
        let newer = component(["tidegate:edge/filtering@0.3.0", "some:thing/else@1.0.0"]);
        let error = bed.host.load("x", &newer, Limits::default()).unwrap_err();
        assert_eq!(error, LoadError::OtherVersion("tidegate:edge/filtering@0.3.0".to_owned()));
        let empty = component(["tidegate:edge/filtering@0.2.3", "some:thing/else@1.0.0"]);
        let error = bed.host.load("x", &empty, Limits::default()).unwrap_err();
        assert_eq!(error, LoadError::MissingExport("tidegate:edge/filtering@0.2.3.configure".to_owned()));
    }

    #[test]
    fn every_standard_component_loads_as_its_kind_and_asks_for_nothing_of_wasi() {
        let host = Host::new(1).unwrap();
        for standard in tidegate_filters::all() {
            let component = host.load(standard.name, standard.bytes, Limits::default()).unwrap();
            assert_eq!(component.kind().label(), standard.kind, "{}", standard.name);
            let ours = component.imports().iter().all(|import| import.name.starts_with("tidegate:edge/"));
            assert!(ours, "{}: {:?}", standard.name, component.imports());
        }
    }

    #[test]
    fn a_component_that_cannot_fit_its_memory_is_refused_at_once() {
        let limits = Limits { max_memory: 1 << 16, ..Limits::default() };
        let error = Host::new(1).unwrap().load("x", &module(FILTER, "full-filter"), limits).unwrap_err();
        assert_eq!(error, LoadError::Memory { initial: 2 << 16, limit: 1 << 16 });
    }

    #[test]
    fn what_was_built_with_async_is_told_to_be_built_without() {
        let text = r#"(component (core func (canon task.cancel))
            (instance $i) (export "tidegate:edge/filtering@0.2.0" (instance $i)))"#;
        let error = Bed::new().host.load("x", &wat::parse_str(text).unwrap(), Limits::default()).unwrap_err();
        assert!(matches!(error, LoadError::Async(_)), "{error}");
        assert!(error.to_string().contains("build it without"), "{error}");
    }
}

mod configure {
    use super::*;

    fn configure(config: &str) -> Result<Arc<FilterUse>, ConfigureError> {
        let bed = Bed::new();
        bed.load(FILTER, "full-filter").unwrap().filter("chat", config, OnFailure::Close, 1, &bed.metrics)
    }

    #[test]
    fn the_interest_is_what_the_component_answers() {
        let selection = Selection { kinds: Kinds { text: true, binary: true }, need: Need::Head(4) };
        let interest = Interest { from_client: selection, from_upstream: selection };
        assert_eq!(configure("head").unwrap().interest(), interest);
    }

    #[test]
    fn an_error_has_the_components_words_and_does_not_show_them_by_itself() {
        let error = configure("error").unwrap_err();
        assert_eq!(error.to_string(), "it refuses its configuration");
        assert!(!format!("{error:?}").contains("out of luck"));
        assert!(matches!(error, ConfigureError::Rejected(words) if words.reveal() == "out of luck"));
    }

    #[test]
    fn a_trap_in_configure_is_a_failure_to_start() {
        let error = configure("trap").unwrap_err();
        assert!(
            matches!(error, ConfigureError::Failed { failure: Failure { reason: FailureReason::Start, .. }, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_configure_that_never_ends_meets_a_deadline() {
        let error = configure("loop").unwrap_err();
        assert!(
            matches!(error, ConfigureError::Failed { failure: Failure { reason: FailureReason::Deadline, .. }, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_component_of_another_kind_is_refused() {
        let bed = Bed::new();
        let error = bed.load(PREDICATE, "predicate").unwrap().balancer("chat", "{}", &bed.metrics).unwrap_err();
        assert_eq!(error.to_string(), "component `predicate` is a predicate, and a balancer is needed here");
    }
}

mod filter {
    use super::*;

    #[test]
    fn every_verdict_comes_through() {
        let bed = Bed::new();
        let filter = bed.filter("{}", Limits::default());
        let mut session = bed.session(&filter);
        let itself =
            Outgoing { to: Side::Client, message: Content { kind: MessageKind::Binary, payload: b"s!".to_vec() } };
        let close = CloseFrame { code: 4000, reason: "bye".to_owned() };
        for (payload, verdict) in [
            (&b"x"[..], Verdict::Forward),
            (b"", Verdict::Forward),
            (b"n", Verdict::Delay(3)),
            (b"replaced", Verdict::Replace(text(b"replaced"))),
            (b"d", Verdict::Drop),
            (b"s!", Verdict::Send(vec![itself])),
            (b"close", Verdict::Close(close)),
        ] {
            assert_eq!(session.on_message(message(payload)).unwrap(), verdict);
        }
        let verdicts = bed.metrics.component_use("chat", "filter");
        let count = |verdict: CallVerdict| verdicts.of(WorkerIndex(0)).verdicts[verdict as usize].value();
        assert_eq!((count(CallVerdict::Forward), count(CallVerdict::Close), count(CallVerdict::Admit)), (2, 1, 1));
        bed.with_shard("filter", |shard| assert_eq!(shard.call_seconds.counts().sum::<u64>(), 8));
    }

    #[test]
    fn a_batch_gives_the_verdicts_of_its_messages_in_order() {
        let bed = Bed::new();
        let filter = bed.filter("{}", Limits::default());
        let mut session = bed.session(&filter);
        let mut payloads = vec![&b"n"[..]; MAX_BATCH * 2];
        payloads.extend([&b"d"[..], b"x"]);
        let large = vec![b'r'; MAX_BATCH_BYTES * 2];
        payloads.insert(1, &large);
        let messages: Vec<_> = payloads.iter().map(|payload| message(payload)).collect();
        let mut verdicts = Verdicts::default();
        session.on_messages(messages.into_iter(), &mut verdicts).unwrap();
        let mut expected: Vec<_> = (3..).map(Verdict::Delay).take(MAX_BATCH * 2 - 1).collect();
        expected.splice(0..0, [Verdict::Delay(1), Verdict::Replace(text(&large))]);
        expected.extend([Verdict::Drop, Verdict::Forward]);
        assert_eq!(verdicts.drain().collect::<Vec<_>>(), expected);
    }

    /// What a filter decides about these, and whether that is all.
    fn decided(on_failure: OnFailure, payloads: &[&[u8]]) -> (Vec<Verdict>, bool, Bed) {
        let bed = Bed::new();
        let filter = bed.filter_that(on_failure, "{}", Limits::default());
        let mut session = bed.session(&filter);
        let messages: Vec<_> = payloads.iter().map(|payload| message(payload)).collect();
        let mut verdicts = Verdicts::default();
        let is_all = session.on_messages(messages.into_iter(), &mut verdicts).is_ok();
        (verdicts.drain().collect(), is_all, bed)
    }

    #[test]
    fn what_was_decided_before_the_message_that_a_filter_fails_on_stands_where_it_may_be_bypassed() {
        for before in [1, 10, MAX_BATCH - 1, MAX_BATCH, MAX_BATCH + 3] {
            let mut payloads = vec![&b"d"[..]; before];
            payloads.extend([&b"trap"[..], b"d", b"d"]);
            let (verdicts, is_all, bed) = decided(OnFailure::Bypass, &payloads);
            assert_eq!((verdicts, is_all), (vec![Verdict::Drop; before], false));
            // Once in its batch and once alone.
            bed.with_shard("filter", |shard| assert_eq!(shard.failures[FailureReason::Trap as usize].value(), 2));
        }
    }

    #[test]
    fn of_a_call_that_failed_nothing_is_decided_where_the_connection_is_closed_for_it() {
        let mut payloads = vec![&b"d"[..]; MAX_BATCH + 3];
        payloads.push(b"trap");
        let (verdicts, is_all, bed) = decided(OnFailure::Close, &payloads);
        assert_eq!((verdicts, is_all), (vec![Verdict::Drop; MAX_BATCH], false));
        bed.with_shard("filter", |shard| assert_eq!(shard.failures[FailureReason::Trap as usize].value(), 1));
    }

    #[test]
    fn a_refusal_carries_its_status_and_body() {
        let bed = Bed::new();
        let filter = bed.filter("{}", Limits::default());
        let opened = bed.pool.open(&filter, &Rc::new(handshake("/refuse"))).unwrap();
        let Opened::Refused(refusal) = opened else { panic!("admitted") };
        assert_eq!(refusal, Refusal { status: 403, headers: Vec::new(), body: b"bye".to_vec() });
    }

    #[test]
    fn an_admission_carries_edits_and_a_lease() {
        let bed = Bed::new();
        let filter = bed.filter("{}", Limits::default());
        let admission = bed.admission(&filter, "/user");
        assert_eq!(admission.upstream_headers, [HeaderEdit::Set("x-user".to_owned(), b"bye".to_vec())]);
        assert_eq!(admission.lease, Some(Duration::from_secs(60)));
    }

    #[test]
    fn an_answer_to_a_handshake_that_breaks_the_contract_is_a_failure() {
        let bed = Bed::new();
        let filter = bed.filter("{}", Limits::default());
        for path in ["/Refuse with 200", "/host"] {
            let failure = bed.pool.open(&filter, &Rc::new(handshake(path))).unwrap_err();
            assert_eq!(failure.reason, FailureReason::InvalidAnswer, "{failure}");
        }
        // The session of the second was dropped in the guest.
        assert_eq!(bed.session(&filter).on_message(message(b"q")).unwrap(), Verdict::Delay(1));
    }

    #[test]
    fn a_session_that_is_dropped_or_closed_is_dropped_in_the_guest() {
        let bed = Bed::new();
        let filter = bed.filter("{}", Limits::default());
        let mut session = bed.session(&filter);
        drop(bed.session(&filter));
        bed.session(&filter).on_close(Some(Side::Client), Some(&CloseFrame::new(1000, "done")));
        bed.session(&filter).on_close(None, None);
        assert_eq!(session.on_message(message(b"q")).unwrap(), Verdict::Delay(3));
    }
}

mod failures {
    use super::*;

    fn failure_of(payload: &[u8]) -> Failure {
        let bed = Bed::new();
        let filter = bed.filter("{}", Limits::default());
        let failure = bed.session(&filter).on_message(message(payload)).unwrap_err();
        bed.with_shard("filter", |shard| assert_eq!(shard.failures[failure.reason as usize].value(), 1));
        failure
    }

    #[test]
    fn each_way_to_fail_has_its_reason() {
        for (payload, reason, words) in [
            (&b"trap"[..], FailureReason::Trap, "unreachable"),
            (b"trap", FailureReason::Trap, "imports no wasi:cli/stderr"),
            (b"panic", FailureReason::Trap, "panicked: out of luck"),
            (b"loop", FailureReason::Deadline, "deadline of 10ms"),
            (b"memory", FailureReason::Memory, "bytes of memory"),
            (b"verdict 9", FailureReason::InvalidAnswer, "discriminant"),
            (b"C", FailureReason::InvalidAnswer, "code 1005"),
            (b"R", FailureReason::InvalidAnswer, "utf-8"),
            (b"o", FailureReason::ReplySize, "fuel"),
        ] {
            let failure = failure_of(payload);
            assert_eq!(failure.reason, reason, "{failure}");
            assert!(failure.message.contains(words), "{failure}");
        }
    }

    #[test]
    fn a_trap_says_where_it_happened() {
        let failure = failure_of(b"trap");
        assert!(failure.message.contains("; in decide < "), "{failure}");
    }

    #[test]
    fn a_decision_about_a_message_that_is_not_there_or_was_decided_is_a_failure_and_the_neighbours_go_on() {
        for (payload, words) in [(b"b", "message 2 of 2"), (b"B", "message 1 behind one that comes later")] {
            let bed = Bed::new();
            let filter = bed.filter("{}", Limits::default());
            let (mut session, mut neighbour) = (bed.session(&filter), bed.session(&filter));
            neighbour.on_message(message(b"x")).unwrap();
            let batch = [message(b"x"), message(payload)];
            let failure = session.on_messages(batch.into_iter(), &mut Verdicts::default()).unwrap_err();
            assert_eq!(failure.reason, FailureReason::InvalidAnswer, "{failure}");
            assert!(failure.message.contains(words), "{failure}");
            assert_eq!(neighbour.on_message(message(b"n")).unwrap(), Verdict::Delay(2), "its state was lost");
        }
    }

    #[test]
    fn a_trap_ends_its_session_and_reopens_the_neighbours() {
        let bed = Bed::new();
        let filter = bed.filter("{}", Limits::default());
        let (mut session, mut neighbour) = (bed.session(&filter), bed.session(&filter));
        for _ in 0..3 {
            neighbour.on_message(message(b"x")).unwrap();
        }
        session.on_message(message(b"trap")).unwrap_err();
        assert_eq!(neighbour.on_message(message(b"n")).unwrap(), Verdict::Delay(1));
        assert_eq!(session.on_message(message(b"x")).unwrap_err().message, "its session has failed before");
        bed.with_shard("filter", |shard| assert_eq!(shard.failures[FailureReason::Trap as usize].value(), 1));
        drop(session);
        assert_eq!(neighbour.on_message(message(b"q")).unwrap(), Verdict::Delay(0));
    }

    #[test]
    fn a_neighbour_that_ends_after_a_trap_asks_nothing_of_the_new_instance() {
        let bed = Bed::new();
        let filter = bed.filter("{}", Limits::default());
        let (mut session, neighbour, closing) = (bed.session(&filter), bed.session(&filter), bed.session(&filter));
        session.on_message(message(b"trap")).unwrap_err();
        drop(neighbour);
        closing.on_close(None, None);
        bed.with_shard("filter", |shard| assert_eq!(shard.memory_bytes.value(), 0));
    }

    #[test]
    fn an_isolated_session_shares_nothing() {
        let bed = Bed::new();
        let filter = bed.filter("{}", Limits { isolation: Isolation::Connection, ..Limits::default() });
        let (mut session, mut neighbour) = (bed.session(&filter), bed.session(&filter));
        bed.with_shard("filter", |shard| assert_eq!(shard.memory_bytes.value(), 4 << 16));
        neighbour.on_message(message(b"x")).unwrap();
        session.on_message(message(b"trap")).unwrap_err();
        assert_eq!(neighbour.on_message(message(b"n")).unwrap(), Verdict::Delay(2));
        drop((session, neighbour));
        bed.with_shard("filter", |shard| assert_eq!(shard.memory_bytes.value(), 0));
    }

    #[test]
    fn a_payload_beyond_the_guests_memory_never_reaches_it() {
        let bed = Bed::new();
        let filter = bed.filter("{}", Limits { max_memory: 4 << 16, ..Limits::default() });
        let (mut session, mut neighbour) = (bed.session(&filter), bed.session(&filter));
        neighbour.on_message(message(b"x")).unwrap();
        let failure = session.on_message(message(&[b'x'; 4 << 16])).unwrap_err();
        assert_eq!(failure.reason, FailureReason::MessageSize);
        assert_eq!(neighbour.on_message(message(b"n")).unwrap(), Verdict::Delay(2));
    }

    #[test]
    fn a_message_that_was_not_seen_whole_cannot_be_replaced() {
        let bed = Bed::new();
        let filter = bed.filter("head", Limits::default());
        for payload in [&b"r"[..], b"s"] {
            let failure = bed.session(&filter).on_message(message(payload)).unwrap_err();
            assert_eq!(failure.reason, FailureReason::InvalidAnswer, "{failure}");
        }
    }

    #[test]
    fn a_trap_while_opening_is_counted_and_the_next_handshake_finds_a_new_instance() {
        let bed = Bed::new();
        let filter = bed.filter("{}", Limits::default());
        let failure = bed.pool.open(&filter, &Rc::new(handshake("/trap"))).unwrap_err();
        assert_eq!(failure.reason, FailureReason::Trap);
        bed.session(&filter).on_message(message(b"x")).unwrap();
    }

    #[test]
    fn retiring_a_use_leaves_the_sessions_that_need_it() {
        let bed = Bed::new();
        let filter = bed.filter("{}", Limits::default());
        let mut session = bed.session(&filter);
        bed.pool.retire(&|_| false);
        session.on_message(message(b"x")).unwrap();
        drop(session);
        bed.with_shard("filter", |shard| assert_eq!(shard.memory_bytes.value(), 0));
    }
}

mod wasi {
    use super::*;

    fn matches(path: &str) -> Result<bool, Failure> {
        let bed = Bed::new();
        let predicate = bed.load(WASI, "wasi").unwrap().predicate("chat", "{}", &bed.metrics).unwrap();
        bed.pool.matches(&predicate, &handshake(path))
    }

    #[test]
    fn any_release_of_wasi_0_2_links_and_gives_time_randomness_and_an_empty_environment() {
        assert!(matches("/?").unwrap());
    }

    #[test]
    fn what_a_panic_prints_stands_in_its_failure() {
        let failure = matches("/panic").unwrap_err();
        assert_eq!(failure.reason, FailureReason::Trap);
        assert!(failure.message.contains(": oh no"), "{failure}");
    }

    #[test]
    fn waiting_and_exiting_and_hoarding_randomness_are_traps() {
        for (path, words) in [
            ("/wait", "it waited"),
            ("/x", "it called exit"),
            ("/greedy", "1000000000000 random bytes"),
            ("/much", "4097 bytes at once to a stream that takes 4096"),
        ] {
            let failure = matches(path).unwrap_err();
            assert_eq!(failure.reason, FailureReason::Trap);
            assert!(failure.message.contains(words), "{failure}");
        }
    }

    #[test]
    fn waiting_for_what_is_ready_is_no_wait() {
        assert!(matches("/now").unwrap());
    }
}
