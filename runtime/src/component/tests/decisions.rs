//! Predicates and balancers.

use super::*;

#[test]
fn a_predicate_sees_the_handshake() {
    let bed = Bed::new();
    let predicate = bed.load(PREDICATE, "predicate").unwrap().predicate("chat", "{}", &bed.metrics).unwrap();
    assert!(bed.pool.matches(&predicate, &handshake("/chat")).unwrap());
    assert!(!bed.pool.matches(&predicate, &handshake("/")).unwrap());
}

fn endpoint(id: u32, active: u32) -> PickEndpoint {
    let counts = EndpointCounts { active: AtomicU32::new(active), ..EndpointCounts::default() };
    let about = EndpointFacts { counts: counts.into(), ..EndpointFacts::default() };
    PickEndpoint { id, weight: 50, about: about.into() }
}

fn set(endpoints: &[PickEndpoint]) -> Arc<PickSet> {
    Arc::new(PickSet::new(endpoints.to_vec()))
}

fn id(picked: Result<Option<Choice>, Failure>) -> Option<u32> {
    picked.unwrap().map(|choice| choice.endpoint)
}

#[test]
fn a_balancer_picks_and_reads_live_counts() {
    let bed = Bed::new();
    let balancer = bed.load(BALANCER, "balancer").unwrap().balancer("chat", "{}", &bed.metrics).unwrap();
    let endpoints = [endpoint(7, 0), endpoint(9, 9)];
    let set = set(&endpoints);
    let pick = |tried: &[u32]| bed.pool.pick(&balancer, &set, &handshake("/"), tried);
    assert_eq!(pick(&[]).unwrap(), Some(Choice::from(7)));
    assert_eq!(pick(&[7, 9]).unwrap(), None);
    endpoints[0].about.counts.active.store(9, Ordering::Relaxed);
    assert_eq!(id(pick(&[1, 2, 3])), Some(9));
}

#[test]
fn an_endpoint_that_does_not_exist_is_a_failure() {
    let bed = Bed::new();
    let balancer = bed.load(BALANCER, "balancer").unwrap().balancer("chat", "{}", &bed.metrics).unwrap();
    let failure = bed.pool.pick(&balancer, &set(&[endpoint(7, 0)]), &handshake("/"), &[7]).unwrap_err();
    assert_eq!(failure.reason, FailureReason::InvalidAnswer);
}

#[test]
fn headers_go_with_a_choice_within_the_limits_and_but_for_those_of_the_runtime() {
    let (bed, limits) = (Bed::new(), Limits::default());
    let picked = |limits: Limits, tried: &[u32]| {
        let component = bed.host.load("balancer", &module(BALANCER, "balancer"), limits).unwrap();
        let balancer = component.balancer("chat", "{}", &bed.metrics).unwrap();
        bed.pool.pick(&balancer, &set(&[endpoint(7, 0)]), &handshake("/"), tried)
    };
    let Some(Choice { endpoint: 7, client_headers }) = picked(limits.clone(), &[0; 6]).unwrap() else {
        panic!("another endpoint")
    };
    let [HeaderEdit::Append(name, value)] = &client_headers[..] else { panic!("{client_headers:?}") };
    assert_eq!((name.as_str(), value.len()), ("x-told", 130));
    let reason = |limits, tried: &[u32]| picked(limits, tried).unwrap_err().reason;
    assert_eq!(reason(limits.clone(), &[0; 7]), FailureReason::InvalidAnswer);
    let small = Limits { max_attachment_size: 135, ..limits.clone() };
    assert_eq!(reason(small, &[0; 6]), FailureReason::Attachments);
    assert_eq!(reason(Limits { max_attachments: 0, ..limits }, &[0; 6]), FailureReason::Attachments);
}

#[test]
fn endpoints_are_told_when_they_change_and_to_every_new_instance() {
    let bed = Bed::new();
    let balancer = bed.load(BALANCER, "balancer").unwrap().balancer("chat", "{}", &bed.metrics).unwrap();
    let endpoints = [endpoint(1, 0), endpoint(2, 0)];
    let (first, same) = (set(&endpoints), set(&endpoints));
    let others = set(&[endpoints[0].clone(), PickEndpoint { weight: 7, ..endpoints[1].clone() }]);
    let updates = |set: &Arc<PickSet>| id(bed.pool.pick(&balancer, set, &handshake("/"), &[0; 4]));
    assert_eq!(updates(&first), Some(1));
    assert_eq!(updates(&first), Some(1));
    // Nothing is another in it.
    assert_eq!(updates(&same), Some(1));
    assert_eq!(updates(&others), Some(2));
    bed.pool.pick(&balancer, &others, &handshake("/"), &[0; 5]).unwrap_err();
    assert_eq!(updates(&others), Some(1));
}

#[test]
fn many_endpoints_are_told_of_in_several_calls() {
    let bed = Bed::new();
    let balancer = bed.load(BALANCER, "balancer").unwrap().balancer("chat", "{}", &bed.metrics).unwrap();
    let many = set(&(0..2_000).map(|id| endpoint(id, 0)).collect::<Vec<_>>());
    assert_eq!(id(bed.pool.pick(&balancer, &many, &handshake("/"), &[0; 4])), Some(2));
}
