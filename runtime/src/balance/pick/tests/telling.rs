//! Whatever becomes of a set of endpoints, what its balancer has been told by and by is the set.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::{IndexedMutRandom, IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

use super::*;
use crate::component::guests::{BALANCER, handshake, module};
use crate::component::{BalancerUse, HeaderEdit, Host, Limits, Pool};

/// A worker with its instance of the balancer.
struct Instance {
    pool: Pool,
    /// What it has been told of which ids: weight, and length of the zone. `None`: there is no instance.
    told: Option<BTreeMap<u32, (u32, usize)>>,
    /// How many endpoints had changed and gone when it was last told.
    last: (usize, usize),
}

/// Ids of nobody.
const NOBODY: [u32; 6] = [900, 901, 902, 903, 904, 905];

impl Instance {
    /// Has the balancer trap.
    fn trap(&mut self, balance: &Balance, balancer: &Arc<BalancerUse>, now: Instant) {
        let pick = |set: &_, _: &_| self.pool.pick(balancer, set, &handshake("/"), &NOBODY[..5]);
        balance.lease(WORKER, now, &[], pick).unwrap();
        self.told = None;
    }

    /// Has the balancer say what it knows: that is what there is, and it has been told no more than what is another.
    fn look(&mut self, balance: &Balance, balancer: &Arc<BalancerUse>, now: Instant, said: &str) {
        let mut dump = Vec::new();
        let pick = |set: &_, _: &_| {
            let choice = self.pool.pick(balancer, set, &handshake("/"), &NOBODY)?;
            if let Some([HeaderEdit::Append(_, value)]) = choice.as_ref().map(|choice| &choice.client_headers[..]) {
                dump.clone_from(value);
            }
            Ok(choice)
        };
        balance.lease(WORKER, now, &[], pick).unwrap();
        let number = |byte: &u8| u32::from(*byte) - 0x40;
        let known: BTreeMap<u32, (u32, usize)> = (0..64)
            .zip(dump.chunks(2))
            .filter(|(_, entry)| entry != b"??")
            .map(|(id, entry)| (id, (number(&entry[0]), number(&entry[1]) as usize)))
            .collect();
        let there = there(balance, now);
        assert_eq!(known, there, "{said}");

        let all = BTreeMap::new();
        let before = self.told.as_ref().unwrap_or(&all);
        let changed = there.iter().filter(|(id, endpoint)| before.get(*id) != Some(endpoint)).count();
        let gone = before.keys().filter(|id| !there.contains_key(id)).count();
        if self.told.is_none() || changed + gone > 0 {
            self.last = (changed, gone);
        }
        let last = (number(&dump[128]) as usize, number(&dump[129]) as usize);
        assert_eq!(last, self.last, "{said}");
        self.told = Some(there);
    }
}

/// What a balancer is to know.
fn there(balance: &Balance, now: Instant) -> BTreeMap<u32, (u32, usize)> {
    let set = balance.set();
    let facts = set.enabled().iter().map(|endpoint| {
        let weight = endpoint.effective_weight(now, JustStarted::Least);
        (endpoint.id(), (weight, endpoint.zone().map_or(0, str::len)))
    });
    facts.collect()
}

fn change(specs: &mut Vec<EndpointSpec>, random: &mut StdRng) {
    for _ in 0..random.random_range(0..4) {
        match random.random_range(0..6) {
            0 => specs.retain(|_| random.random_range(0..4) > 0),
            1 => specs.shuffle(random),
            what => {
                let port = random.random_range(1..12);
                let address = Address::parse(&format!("127.0.0.1:{port}")).unwrap();
                let place = specs.iter().position(|spec| spec.address.url() == address.url());
                let Some(spec) = place.and_then(|place| specs.get_mut(place)) else {
                    let warmup = [0, 50, 400].choose(random).copied().unwrap_or_default();
                    specs.push(spec(port, random.random_range(0..31), warmup, true));
                    continue;
                };
                match what {
                    2 => spec.enabled = !spec.enabled,
                    3 => spec.weight = random.random_range(0..31),
                    4 => spec.zone = Some("z".repeat(random.random_range(1..9))),
                    _ => spec.zone = None,
                }
            }
        }
    }
}

#[test]
fn what_a_balancer_has_been_told_of_changes_is_the_set_over_reloads_traps_and_warm_ups() {
    let (host, metrics) = (Host::new(2).unwrap(), Metrics::new(2));
    let component = host.load("balancer", &module(BALANCER, "balancer"), Limits::default()).unwrap();
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let balancer = component.balancer("chat", "{}", &metrics).unwrap();
        let instance = |worker| Instance { pool: host.pool(WorkerIndex(worker)), told: None, last: (0, 0) };
        let mut instances = [instance(0), instance(1)];
        let mut specs = vec![spec(1, 20, 400, true), spec(2, 5, 0, true)];
        let mut now = Instant::now();
        let current = balance(specs.clone(), now);
        for step in 0..60 {
            match random.random_range(0..4) {
                0 => now += Duration::from_millis(random.random_range(0..100)),
                _ => {
                    change(&mut specs, &mut random);
                    replace(&current, specs.clone(), now);
                }
            }
            if each(&current, Endpoint::id).iter().any(|id| *id > 60) {
                break;
            }
            if there(&current, now).is_empty() {
                continue;
            }
            let instance = instances.choose_mut(&mut random).unwrap();
            if random.random_range(0..6) == 0 {
                instance.trap(&current, &balancer, now);
            }
            instance.look(&current, &balancer, now, &format!("seed {seed}, step {step}"));
        }
    }
}
