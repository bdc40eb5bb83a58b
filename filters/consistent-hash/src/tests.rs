use tidegate_guest::testing::EndpointChanges;

use super::*;

fn balancer(config: &str, weights: &[u32]) -> ConsistentHash {
    let mut balancer = configured(config).expect("a configuration");
    balancer.update(endpoints(weights), &[]);
    balancer
}

/// Endpoints on ports from 8001 on, with their ports as ids.
fn endpoints(weights: &[u32]) -> Vec<Endpoint> {
    let endpoint = |(id, weight): (u32, &u32)| {
        let url = format!("ws://127.0.0.1:{id}");
        Endpoint { id, url, weight: *weight, ..Endpoint::default() }
    };
    (8001..).zip(weights).map(endpoint).collect()
}

fn client(address: &str) -> Handshake {
    Handshake { client_address: address.into(), ..Handshake::default() }
}

/// Reads a configuration in JSON, as the runtime hands it over.
fn configured(config: &str) -> Result<ConsistentHash, String> {
    serde_json::from_str(config).map_err(|error| error.to_string())
}

fn pick(balancer: &mut ConsistentHash, address: &str, tried: &[u32]) -> Option<u32> {
    balancer.pick(&client(address), tried).map(|choice| choice.endpoint)
}

#[test]
fn compat_shenyu_sends_clients_where_shenyu_does() {
    let mut balancer = balancer(r#"{"compat": "shenyu"}"#, &[50, 1, 0]);
    for (address, expected) in [
        ("127.0.0.1", 8003),
        ("10.0.0.1", 8003),
        ("10.0.0.2", 8001),
        ("192.168.1.1", 8003),
        ("192.168.1.2", 8001),
        ("203.0.113.7", 8003),
        ("::1", 8001),
        ("10.0.0.7", 8002),
    ] {
        assert_eq!(pick(&mut balancer, address, &[]), Some(expected), "{address}");
    }
}

#[test]
fn the_same_key_goes_to_the_same_endpoint() {
    let mut balancer = balancer(r#"{"key": "header:x-user"}"#, &[1, 1, 1, 1]);
    let user = |name: &str, address: &str| Handshake {
        headers: vec![("x-user".into(), name.as_bytes().to_vec())],
        ..client(address)
    };
    let ann = balancer.pick(&user("ann", "10.0.0.1"), &[]);
    balancer.update(endpoints(&[1, 1, 1, 1]), &[]);

    assert!((2..50).all(|host| balancer.pick(&user("ann", &format!("10.0.0.{host}")), &[]) == ann));
    assert!((0..50).any(|number| balancer.pick(&user(&format!("user-{number}"), "10.0.0.1"), &[]) != ann));
}

#[test]
fn a_handshake_without_the_key_goes_by_its_address() {
    let (mut by_header, mut by_address) =
        (balancer(r#"{"key": "header:x-user"}"#, &[1; 9]), balancer(r#"{"key": "client-ip"}"#, &[1; 9]));
    for address in (0..50).map(|host| format!("10.0.0.{host}")) {
        assert_eq!(pick(&mut by_header, &address, &[]), pick(&mut by_address, &address, &[]));
    }
}

/// As the runtime gives the ids to pass over.
fn ascending(tried: &[u32]) -> Vec<u32> {
    let mut tried = tried.to_vec();
    tried.sort_unstable();
    tried
}

#[test]
fn passing_an_endpoint_over_moves_no_key_of_another() {
    for config in ["{}", r#"{"compat": "shenyu"}"#] {
        let mut balancer = balancer(config, &[5, 3, 1, 4]);
        for address in (0..1_000).map(|host| format!("10.1.{}.{}", host / 250, host % 250)) {
            let owner = pick(&mut balancer, &address, &[]);
            let other = pick(&mut balancer, &address, &[8002]);
            assert!(owner == other || owner == Some(8002), "{config} {address}");
            assert_ne!(other, Some(8002), "{config} {address}");
        }
    }
}

#[test]
fn each_try_goes_to_another_endpoint_while_there_is_one() {
    for config in ["{}", r#"{"compat": "shenyu"}"#] {
        let mut balancer = balancer(config, &[5, 3, 1, 0]);
        let mut tried = Vec::new();
        for _ in 0..4 {
            tried.extend(pick(&mut balancer, "10.0.0.1", &ascending(&tried)));
        }
        let again = pick(&mut balancer, "10.0.0.1", &ascending(&tried));

        assert_eq!(again, tried.first().copied(), "{config}");
        assert_eq!(ascending(&tried), [8001, 8002, 8003, 8004], "{config}");
    }
}

#[test]
fn the_keys_of_a_failed_endpoint_spread_over_the_others() {
    let mut balancer = balancer("{}", &[1, 1, 1]);
    let addresses = (0..600).map(|host| format!("10.0.{}.{}", host / 250, host % 250));
    let orphans: Vec<_> = addresses.filter(|address| pick(&mut balancer, address, &[]) == Some(8001)).collect();

    let heirs = orphans.iter().map(|address| pick(&mut balancer, address, &[8001]));

    let second = heirs.filter(|heir| *heir == Some(8002)).count();
    assert!(orphans.len() > 120 && second * 3 > orphans.len() && second * 3 < orphans.len() * 2, "{second}");
}

#[test]
fn endpoints_without_weight_own_nothing_unless_all_are() {
    let mut balancer = balancer("{}", &[0, 1, 0]);
    assert!((0..50).all(|host| pick(&mut balancer, &format!("10.0.0.{host}"), &[]) == Some(8002)));
    balancer.update(endpoints(&[0, 0, 0]), &[]);
    assert!((0..50).any(|host| pick(&mut balancer, &format!("10.0.0.{host}"), &[]) != Some(8002)));
}

#[test]
fn one_that_is_told_what_changes_picks_as_one_that_is_told_all() {
    for (config, seeds) in [("{}", 0..3), (r#"{"compat": "shenyu"}"#, 0..20)] {
        for seed in seeds {
            let mut by_changes = configured(config).unwrap();
            for change in EndpointChanges::of(seed).take(20) {
                by_changes.update(change.changed, &change.gone);
                let mut anew = configured(config).unwrap();
                anew.update(change.all, &[]);
                for address in (0..50).map(|host| format!("10.0.0.{host}")) {
                    for tried in [&[][..], &[1], &[0, 2, 3]] {
                        let picked = pick(&mut by_changes, &address, tried);
                        assert_eq!(picked, pick(&mut anew, &address, tried), "{config}, seed {seed}, {address}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_change_that_moves_no_key_leaves_the_table_as_it_is() {
    let mut balancer = balancer("{}", &[5, 3]);
    pick(&mut balancer, "10.0.0.1", &[]);
    let [first, _] = &endpoints(&[5, 3])[..] else { panic!("two endpoints") };
    balancer.update(vec![Endpoint { zone: Some("there".into()), ..first.clone() }], &[]);
    assert!(balancer.table.is_some());
    balancer.update(vec![Endpoint { weight: 4, ..first.clone() }], &[]);
    assert!(balancer.table.is_none());
}

#[test]
fn no_endpoint_is_no_pick() {
    for config in ["{}", r#"{"compat": "shenyu"}"#] {
        assert_eq!(pick(&mut balancer(config, &[]), "10.0.0.1", &[]), None);
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_what_to_write() {
    for (config, expected) in [
        (r#"{"keys": "client-ip"}"#, "unknown field `keys`, expected `key` or `compat`"),
        (r#"{"key": "ip"}"#, "key: \"ip\" is unknown; one of \"client-ip\""),
        (r#"{"compat": "nginx"}"#, "compat: \"nginx\" is unknown; write \"shenyu\""),
    ] {
        let error = configured(config).expect_err(config);
        assert!(error.starts_with(expected), "{config}: {error}");
    }
}
