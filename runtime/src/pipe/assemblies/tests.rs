//! Sums and order, against a model that counts anew each time.

use proptest::prelude::*;

use super::*;

fn assemblies(share: usize) -> Rc<Assemblies> {
    Assemblies::new(share, Arc::new(Sharded::new(1, Gauge::default)), WorkerIndex(0))
}

fn begin(assemblies: &Rc<Assemblies>, bytes: usize) -> Assembly {
    let mut assembly = assemblies.begin(Waker::noop());
    assembly.hold(bytes, bytes, None, Waker::noop());
    assembly
}

#[test]
fn who_has_waited_longest_goes_first_and_as_many_as_have_to() {
    let assemblies = assemblies(100);
    let (mut first, second, third) = (begin(&assemblies, 40), begin(&assemblies, 30), begin(&assemblies, 30));
    assert!(!first.is_called());
    // It began first, whoever needs the room.
    let fourth = begin(&assemblies, 1);
    assert!(first.is_called() && !second.is_called());
    first.hold(1000, 1000, None, Waker::noop());
    assert_eq!(assemblies.held.get(), 61);
    assemblies.set_share(31);
    assert!(second.is_called() && !third.is_called() && !fourth.is_called());
    drop((first, second, third, fourth));
    assert_eq!((assemblies.held.get(), assemblies.gauge.of(WorkerIndex(0)).value()), (0, 0));
}

#[test]
fn one_alone_may_be_held_however_large_it_is() {
    let assemblies = assemblies(10);
    let only = begin(&assemblies, 1000);
    assert!(!only.is_called());
    let next = begin(&assemblies, 0);
    assert!(only.is_called() && !next.is_called());
}

#[tokio::test(start_paused = true)]
async fn time_passes_only_while_it_is_waited_for_and_each_64_kib_give_a_second_more() {
    let assemblies = assemblies(usize::MAX);
    let second = Duration::from_secs(1);
    let mut assembly = assemblies.begin(Waker::noop());
    assembly.hold(1, 1, Some(30 * second), Waker::noop());
    tokio::time::advance(100 * second).await;
    assert!(!assembly.stop_waiting());
    assembly.wait();
    assert_eq!(assembly.ends_at(), Some(Instant::now() + 30 * second));
    tokio::time::advance(29 * second).await;
    assert!(!assembly.stop_waiting());
    assembly.hold(STEP, STEP, Some(30 * second), Waker::noop());
    assembly.wait();
    assert_eq!(assembly.ends_at(), Some(Instant::now() + 2 * second));
    tokio::time::advance(2 * second).await;
    assert!(assembly.stop_waiting());
}

/// What happens to one of eight.
#[derive(Clone, Debug)]
enum Step {
    Hold(usize, usize),
    End(usize),
    Share(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..8usize, 0..100usize).prop_map(|(which, bytes)| Step::Hold(which, bytes)),
        2 => (0..8usize).prop_map(Step::End),
        1 => (0..300usize).prop_map(Step::Share),
    ]
}

proptest! {
    #[test]
    fn what_is_held_is_the_sum_of_those_that_wait_and_fits_unless_one_waits_alone(
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let assemblies = assemblies(200);
        let mut all: [Option<Assembly>; 8] = Default::default();
        for step in steps {
            match step {
                Step::Hold(which, bytes) => {
                    let assembly = all[which].get_or_insert_with(|| assemblies.begin(Waker::noop()));
                    assembly.hold(bytes, bytes, None, Waker::noop());
                }
                Step::End(which) => all[which] = None,
                Step::Share(share) => assemblies.set_share(share),
            }
            let waiting: Vec<&Assembly> = all.iter().flatten().filter(|it| !it.is_called()).collect();
            let sum: usize = waiting.iter().map(|it| it.ticket.bytes.get()).sum();
            prop_assert_eq!(assemblies.held.get(), sum);
            prop_assert!(sum <= assemblies.share.get() || waiting.len() == 1);
            // Nobody was called who began later than one that waits.
            let last_called = all.iter().flatten().filter(|it| it.is_called()).map(|it| it.number).max();
            let first_waiting = waiting.iter().map(|it| it.number).min();
            prop_assert!(last_called.zip(first_waiting).is_none_or(|(called, waiting)| called < waiting));
        }
    }
}
