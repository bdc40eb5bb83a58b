//! What a component may be handed and may answer, and what becomes of one that fails too often.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering;

use super::guests::{BALANCER, Bed, FILTER, PREDICATE, handshake, message, module};
use super::*;

mod sizes {
    use super::*;

    #[test]
    fn a_payload_beyond_max_message_size_never_reaches_the_guest() {
        let bed = Bed::new();
        let filter = bed.filter("{}", Limits { max_message_size: Some(4), ..Limits::default() });
        let (mut session, mut neighbour) = (bed.session(&filter), bed.session(&filter));
        neighbour.on_message(message(b"xxxx")).unwrap();
        let failure = session.on_message(message(b"xxxxx")).unwrap_err();
        assert_eq!(failure.reason, FailureReason::MessageSize, "{failure}");
        assert!(failure.message.contains("5 bytes is larger than its max_message_size of 4"), "{failure}");
        assert_eq!(neighbour.on_message(message(b"n")).unwrap(), Verdict::Delay(2), "its state was lost");
        bed.with_shard("filter", |shard| assert_eq!(shard.failures[FailureReason::MessageSize as usize].value(), 1));
    }

    #[test]
    fn a_payload_beyond_max_message_size_is_found_in_a_batch() {
        let bed = Bed::new();
        let filter = bed.filter("{}", Limits { max_message_size: Some(4), ..Limits::default() });
        let mut session = bed.session(&filter);
        let failure =
            session.on_messages([message(b"x"), message(b"xxxxx")].into_iter(), &mut Verdicts::default()).unwrap_err();
        assert_eq!(failure.reason, FailureReason::MessageSize, "{failure}");
    }

    #[test]
    fn an_answer_beyond_max_reply_size_is_a_failure_that_the_instance_survives() {
        let bed = Bed::new();
        let filter = bed.filter("{}", Limits { max_reply_size: 8, ..Limits::default() });
        let mut neighbour = bed.session(&filter);
        assert_eq!(neighbour.on_message(message(b"replaced")).unwrap(), Verdict::Replace(text(b"replaced")));
        for payload in [&b"replaced!"[..], b"send these"] {
            let failure = bed.session(&filter).on_message(message(payload)).unwrap_err();
            assert_eq!(failure.reason, FailureReason::ReplySize, "{failure}");
        }
        assert_eq!(neighbour.on_message(message(b"n")).unwrap(), Verdict::Delay(2), "its state was lost");
    }

    #[test]
    fn the_verdicts_of_one_call_count_together() {
        let bed = Bed::new();
        let filter = bed.filter("{}", Limits { max_reply_size: 8, ..Limits::default() });
        let mut session = bed.session(&filter);
        let failure = session
            .on_messages([message(b"rrrrr"), message(b"sssss")].into_iter(), &mut Verdicts::default())
            .unwrap_err();
        assert_eq!(failure.reason, FailureReason::ReplySize, "{failure}");
    }

    #[test]
    fn an_oversized_answer_is_found_before_it_is_copied() {
        let bed = Bed::new();
        let limits = Limits { max_memory: 128 << 20, max_reply_size: 1 << 20, ..Limits::default() };
        let failure = bed.session(&bed.filter("{}", limits)).on_message(message(b"o")).unwrap_err();
        assert_eq!(failure.reason, FailureReason::ReplySize, "{failure}");
        assert!(failure.message.contains("fuel"), "it was copied: {failure}");
    }
}

mod quarantine {
    use super::*;

    fn limits(max_failures: u32) -> Limits {
        Limits { max_failures: NonZeroU32::new(max_failures), ..Limits::default() }
    }

    /// A filter of which one failure is too many, and has happened.
    fn quarantined(bed: &Bed) -> Arc<FilterUse> {
        let filter = bed.filter("{}", limits(1));
        bed.session(&filter).on_message(message(b"trap")).unwrap_err();
        assert!(filter.any().is_quarantined());
        filter
    }

    fn calls(bed: &Bed) -> u64 {
        bed.with_shard("filter", |shard| shard.call_seconds.counts().sum())
    }

    #[test]
    fn a_use_in_quarantine_is_not_called_and_keeps_no_memory() {
        let bed = Bed::new();
        let filter = bed.filter("{}", limits(2));
        let (mut first, mut second) = (bed.session(&filter), bed.session(&filter));
        let (mut neighbour, leaving) = (bed.session(&filter), bed.session(&filter));
        first.on_message(message(b"C")).unwrap_err();
        assert!(!filter.any().is_quarantined());
        second.on_message(message(b"C")).unwrap_err();
        assert!(filter.any().is_quarantined());
        let before = calls(&bed);
        leaving.on_close(None, None);
        let failure = neighbour.on_message(message(b"x")).unwrap_err();
        assert_eq!(failure.reason, FailureReason::Quarantine, "{failure}");
        assert_eq!(bed.pool.open(&filter, &Rc::new(handshake("/"))).unwrap_err().reason, FailureReason::Quarantine);
        assert_eq!(calls(&bed), before);
        bed.with_shard("filter", |shard| {
            assert_eq!(shard.failures[FailureReason::Quarantine as usize].value(), 2);
            assert_eq!(shard.memory_bytes.value(), 0);
        });
    }

    #[test]
    fn restoring_a_use_has_it_called_again_and_reopens_its_sessions() {
        let bed = Bed::new();
        let filter = bed.filter("{}", limits(1));
        let mut neighbour = bed.session(&filter);
        neighbour.on_message(message(b"x")).unwrap();
        bed.session(&filter).on_message(message(b"C")).unwrap_err();
        drop(bed.pool.open(&filter, &Rc::new(handshake("/"))).unwrap_err());
        assert!(filter.any().restore());
        assert!(!filter.any().restore());
        assert_eq!(neighbour.on_message(message(b"n")).unwrap(), Verdict::Delay(1));
        bed.session(&filter).on_message(message(b"x")).unwrap();
    }

    #[test]
    fn all_workers_share_it_and_the_gauge_shows_it() {
        let bed = Bed::new();
        let filter = quarantined(&bed);
        let elsewhere = bed.host.pool(WorkerIndex(0));
        let failure = elsewhere.open(&filter, &Rc::new(handshake("/"))).unwrap_err();
        assert_eq!(failure.reason, FailureReason::Quarantine);
        let gauge = bed.metrics.quarantined("chat", "filter");
        assert_eq!(gauge.load(Ordering::Relaxed), 1);
        filter.any().restore();
        assert_eq!(gauge.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn other_uses_of_the_component_are_called() {
        let bed = Bed::new();
        let component = bed.host.load("filter", &module(FILTER, "full-filter"), limits(1)).unwrap();
        let uses =
            ["one", "other"].map(|route| component.filter(route, "{}", OnFailure::Close, 1, &bed.metrics).unwrap());
        bed.session(&uses[0]).on_message(message(b"trap")).unwrap_err();
        bed.session(&uses[1]).on_message(message(b"x")).unwrap();
        let places: Vec<_> = uses.iter().map(|filter| (filter.any().place().to_owned(), filter.any())).collect();
        let shown = places.iter().map(|(place, used)| (place.as_str(), used.is_quarantined()));
        assert_eq!(shown.collect::<Vec<_>>(), [("one", true), ("other", false)]);
    }

    #[test]
    fn a_message_that_is_too_large_takes_no_route_from_others() {
        let bed = Bed::new();
        let filter = bed.filter("{}", Limits { max_message_size: Some(4), ..limits(1) });
        bed.session(&filter).on_message(message(b"xxxxx")).unwrap_err();
        assert!(!filter.any().is_quarantined());
    }

    #[test]
    fn predicates_and_balancers_fail_without_a_call() {
        let bed = Bed::new();
        let load = |text, world| bed.host.load(world, &module(text, world), limits(1)).unwrap();
        let predicate = load(PREDICATE, "predicate").predicate("chat", "{}", &bed.metrics).unwrap();
        bed.pool.matches(&predicate, &handshake("/chat")).unwrap();
        let balancer = load(BALANCER, "balancer").balancer("chat", "{}", &bed.metrics).unwrap();
        let endpoints = vec![PickEndpoint { id: 7, weight: 1, about: Arc::default() }];
        let endpoints = Arc::new(PickSet::new(endpoints));
        let pick = |tried: &[u32]| bed.pool.pick(&balancer, &endpoints, &handshake("/"), tried);
        assert_eq!(pick(&[7]).unwrap_err().reason, FailureReason::InvalidAnswer);
        assert_eq!(pick(&[]).unwrap_err().reason, FailureReason::Quarantine);
        assert_eq!(bed.metrics.quarantined("", "balancer").load(Ordering::Relaxed), 1);
        assert!(balancer.any().restore());
        assert_eq!(pick(&[]).unwrap(), Some(Choice::from(7)));
    }

    #[test]
    fn an_instance_that_cannot_be_had_is_nobodys_failure() {
        let host = Host::with(1, None, std::num::NonZeroUsize::new(1), Arc::default()).unwrap();
        let metrics = crate::metrics::Metrics::new(1);
        let limits = Limits { isolation: Isolation::Connection, ..limits(1) };
        let component = host.load("filter", &module(FILTER, "full-filter"), limits).unwrap();
        let filter = component.filter("chat", "{}", OnFailure::Close, 1, &metrics).unwrap();
        let pool = host.pool(WorkerIndex(0));
        let first = pool.open(&filter, &Rc::new(handshake("/"))).unwrap();
        let failure = pool.open(&filter, &Rc::new(handshake("/"))).unwrap_err();
        assert_eq!(failure.reason, FailureReason::IsolatedInstances, "{failure}");
        assert!(!filter.any().is_quarantined());
        drop(first);
        pool.open(&filter, &Rc::new(handshake("/"))).unwrap();
    }
}
