use super::*;

/// A set of endpoints with these weights, ids from 0 on, as owners of slots by id.
fn owners(weights: &[u32]) -> Vec<u32> {
    let urls: Vec<_> = (0..weights.len()).map(url).collect();
    let members = members(weights, &urls);
    let table = Table::new(members);
    table.owners.iter().map(|owner| table.ids[usize::from(*owner)]).collect()
}

fn url(index: usize) -> String {
    format!("ws://10.0.{}.{}:9000", index / 250, index % 250 + 1)
}

fn members<'a>(weights: &[u32], urls: &'a [String]) -> Vec<Member<'a>> {
    let present = (0..).zip(weights.iter().zip(urls)).filter(|(_, (weight, _))| **weight > 0);
    present.map(|(id, (weight, url))| Member { id, url, weight: *weight }).collect()
}

/// The slots that changed hands although neither owner is `changed`, in percent of all.
fn disturbance(before: &[u32], after: &[u32], changed: u32) -> f64 {
    let moved =
        before.iter().zip(after).filter(|(before, after)| before != after && **before != changed && **after != changed);
    moved.count() as f64 * 100.0 / SLOTS as f64
}

#[test]
fn slots_are_shared_by_weight() {
    for weights in [vec![1], vec![1; 7], vec![50, 30, 20], vec![1, 1_000], vec![u32::MAX, 1, u32::MAX], vec![3; 100]] {
        let owners = owners(&weights);
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        for (id, weight) in (0..).zip(&weights) {
            let slots = owners.iter().filter(|owner| **owner == id).count() as f64;
            let share = f64::from(*weight) / total * SLOTS as f64;
            assert!(slots >= 1.0 && (slots - share).abs() <= 2.0, "{slots} of {share} for {id} in {weights:?}");
        }
    }
}

#[test]
fn an_endpoint_that_leaves_moves_only_its_keys_and_a_percent_of_the_others() {
    for count in [2_u32, 3, 10, 50] {
        let weights = vec![50; count as usize];
        let before = owners(&weights);
        for leaving in [0, 1, count - 1] {
            let mut weights = weights.clone();
            weights[leaving as usize] = 0;
            let disturbance = disturbance(&before, &owners(&weights), leaving);
            assert!(disturbance < 1.5, "{leaving} of {count}: {disturbance} %");
        }
    }
}

#[test]
fn a_step_of_warming_up_leaves_the_other_endpoints_their_keys() {
    for count in [2, 10, 50] {
        let mut weights = vec![50; count];
        weights[0] = 1;
        let cold = owners(&weights);
        let mut before = cold.clone();
        for weight in 2..=50 {
            weights[0] = weight;
            let after = owners(&weights);
            let disturbance = disturbance(&before, &after, 0);
            assert!(disturbance < 0.5, "weight {weight} among {count}: {disturbance} %");
            before = after;
        }
        let disturbance = disturbance(&cold, &before, 0);
        assert!(disturbance < 1.5, "all steps among {count}: {disturbance} %");
    }
}

#[test]
fn an_endpoint_keeps_the_keys_it_has_while_it_warms_up() {
    let (cold, warm) = (owners(&[50, 5, 50]), owners(&[50, 25, 50]));

    let lost = cold.iter().zip(&warm).filter(|(before, after)| **before == 1 && **after != 1).count();

    assert!(lost * 100 < SLOTS, "{lost} slots lost");
}

#[test]
fn the_table_does_not_depend_on_the_order_of_the_endpoints() {
    let urls: Vec<_> = (0..5).map(url).collect();
    let forward = members(&[5, 4, 3, 2, 1], &urls);
    let backward = forward.iter().rev().cloned().collect();

    assert_eq!(Table::new(forward), Table::new(backward));
}

#[test]
fn a_walk_visits_every_endpoint_and_starts_at_the_key() {
    let urls: Vec<_> = (0..3).map(url).collect();
    let table = Table::new(members(&[1, 1, 1], &urls));

    let firsts: Vec<_> = (0..300).filter_map(|key| table.walk(format!("key-{key}").as_bytes()).next()).collect();
    let mut visited: Vec<_> = table.walk(b"key-0").collect();
    visited.sort_unstable();
    visited.dedup();

    assert!((0..3).all(|id| firsts.iter().filter(|first| **first == id).count() > 70), "{firsts:?}");
    assert_eq!(visited, [0, 1, 2]);
    assert_eq!(table.walk(b"key-0").count(), SLOTS);
}

#[test]
fn no_endpoint_and_more_endpoints_than_slots_are_tables_too() {
    assert!(owners(&[]).is_empty());

    let mut crowd = owners(&vec![1; SLOTS + 10]);
    crowd.sort_unstable();
    crowd.dedup();
    assert_eq!(crowd.len(), SLOTS);
}

#[test]
fn the_number_of_slots_is_prime() {
    assert!((2..128).all(|divisor| !SLOTS.is_multiple_of(divisor)));
}
