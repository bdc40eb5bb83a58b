use std::collections::BTreeMap;
use std::path::PathBuf;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::mpsc;

use super::*;
use crate::balance::{Balance, JustStarted};
use crate::discovery::Source;
use crate::metrics::Metrics;

const GRACE: Duration = Duration::from_secs(30);

/// What a source of a test says, in its order.
#[derive(Debug)]
enum Saying {
    Found(Vec<Entry>),
    Unreadable,
    Lost,
}

/// A follower of a source that says what it is told to.
struct Bed {
    balance: Arc<Balance>,
    standing: Arc<Standing>,
    metrics: Arc<Metrics>,
    sayings: mpsc::Sender<Saying>,
}

impl Bed {
    fn new(empty_grace: Option<Duration>) -> Self {
        let metrics = Metrics::new(1);
        let balance = Arc::new(Balance::new("chat", JustStarted::Least));
        let standing = Arc::new(Standing::new("chat", "file", metrics.discovery("chat", "file")));
        let terms = Terms { source: Source::File(PathBuf::new()), empty_grace };
        let feed = Feed::new(balance.clone(), metrics.clone());
        let follower = Follower::new(terms, feed, standing.clone());
        let (sayings, told) = mpsc::channel(1);
        let told = Arc::new(tokio::sync::Mutex::new(told));
        tokio::spawn(follower.follow_by(move |report: Report| {
            let told = told.clone();
            async move {
                loop {
                    let saying = told.lock().await.recv().await;
                    match saying {
                        Some(Saying::Found(entries)) => report.found(entries).await,
                        Some(Saying::Unreadable) => report.unreadable("it is nonsense".to_owned()).await,
                        Some(Saying::Lost) | None => return Lost::because("it is gone"),
                    }
                }
            }
        }));
        Self { balance, standing, metrics, sayings }
    }

    /// Has the source say something, and waits until it was heard; less than any grace.
    async fn say(&self, saying: Saying) {
        self.sayings.send(saying).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    async fn find(&self, entries: &[(&str, &str)]) {
        self.say(Saying::Found(entries.iter().map(|(key, value)| Entry::read(*key, value.as_bytes())).collect())).await;
    }

    fn urls(&self) -> Vec<String> {
        self.balance.set().endpoints().iter().map(|endpoint| endpoint.url().to_owned()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_source_has_said_last_stays_while_it_is_lost_and_is_told_with_its_age() {
    let bed = Bed::new(Some(GRACE));
    assert_eq!((bed.standing.age(), bed.standing.remark()), (None, None));
    bed.say(Saying::Lost).await;
    let unknown = "upstream chat: its endpoints are not known yet, because of its file: it is gone";
    assert_eq!(bed.standing.remark().as_deref(), Some(unknown));
    bed.find(&[("a", "h:1"), ("b", "h:2")]).await;
    assert_eq!(bed.urls(), ["ws://h:1", "ws://h:2"]);
    assert_eq!((bed.standing.is_up(), bed.standing.age(), bed.standing.remark()), (true, Some(Duration::ZERO), None));
    bed.say(Saying::Lost).await;
    assert_eq!((bed.standing.is_up(), bed.urls().len()), (false, 2));
    tokio::time::sleep(Duration::from_secs(59)).await;
    let remark = "upstream chat: its endpoints are those of 60 s ago, because of its file: it is gone";
    assert_eq!(bed.standing.remark().as_deref(), Some(remark));
    let shown = bed.metrics.encode();
    for line in [
        "tidegate_discovery_up{upstream=\"chat\",source=\"file\"} 0",
        "tidegate_discovery_set_age_seconds{upstream=\"chat\",source=\"file\"} 60",
        "tidegate_discovery_failures_total{upstream=\"chat\",source=\"file\"} 2",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    bed.find(&[("b", "h:2")]).await;
    assert_eq!((bed.urls(), bed.standing.remark()), (vec!["ws://h:2".to_owned()], None));
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_cannot_be_read_leaves_what_was_read_under_its_key() {
    let bed = Bed::new(Some(GRACE));
    bed.find(&[("a", "h:1"), ("b", "ftp://h:2")]).await;
    assert_eq!(bed.urls(), ["ws://h:1"]);
    bed.find(&[("a", "{"), ("b", "h:2")]).await;
    assert_eq!(bed.urls(), ["ws://h:1", "ws://h:2"]);
    let trouble = bed.standing.trouble().unwrap();
    assert!(bed.standing.is_up() && trouble.starts_with("a: EOF while parsing"), "{trouble}");
    bed.find(&[("b", "h:2")]).await;
    assert_eq!((bed.urls(), bed.standing.trouble()), (vec!["ws://h:2".to_owned()], None));
}

#[tokio::test(start_paused = true)]
async fn that_no_endpoint_is_left_is_believed_after_the_grace_and_not_before() {
    let bed = Bed::new(Some(GRACE));
    bed.find(&[("a", "h:1")]).await;
    bed.find(&[]).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    bed.find(&[]).await;
    assert_eq!(bed.urls(), ["ws://h:1"]);
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(bed.urls().is_empty());

    bed.find(&[("a", "h:1")]).await;
    bed.find(&[]).await;
    bed.find(&[("b", "h:2")]).await;
    tokio::time::sleep(2 * GRACE).await;
    assert_eq!(bed.urls(), ["ws://h:2"]);

    // Who cannot be asked any more does not say so for certain.
    bed.find(&[]).await;
    bed.say(Saying::Lost).await;
    tokio::time::sleep(2 * GRACE).await;
    assert_eq!(bed.urls(), ["ws://h:2"]);

    let bed = Bed::new(None);
    bed.find(&[("a", "h:1")]).await;
    bed.find(&[]).await;
    assert!(bed.urls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_set_that_is_far_too_large_is_not_taken() {
    let bed = Bed::new(None);
    bed.find(&[("a", "h:1")]).await;
    let many = (0..=MOST_ENDPOINTS).map(|number| Entry::read(number.to_string(), b"h:1"));
    bed.say(Saying::Found(many.collect())).await;
    assert_eq!(bed.urls(), ["ws://h:1"]);
    let trouble = "it has 20001 entries, and an upstream may have 20000 endpoints";
    assert_eq!(bed.standing.trouble().as_deref(), Some(trouble));
}

#[test]
fn pauses_grow_to_less_than_a_second_and_differ() {
    let longest: Vec<_> = (0..6).map(|failures| pause(failures, 1.0).as_millis()).collect();
    assert_eq!(longest, [100, 200, 400, 800, 800, 800]);
    assert_eq!(pause(u32::MAX, 0.5).as_millis(), 400);
}

/// What must be true of the endpoints after all that was said.
#[derive(Debug, Default)]
struct Model {
    /// What is in force, by key.
    set: BTreeMap<String, String>,
    /// How long it has been said that nothing is left.
    empty_for: Option<u64>,
}

#[tokio::test(start_paused = true)]
async fn whatever_is_said_in_whatever_order_the_endpoints_are_those_of_the_model() {
    for seed in 0..50 {
        // Everything happens at whole seconds, and this never at the same time.
        let bed = Bed::new(Some(GRACE.saturating_sub(Duration::from_millis(500))));
        let mut model = Model::default();
        let mut random = StdRng::seed_from_u64(seed);
        for step in 0..60 {
            let mut passed = 1;
            match random.random_range(0..8) {
                0 => bed.say(Saying::Lost).await,
                1 => bed.say(Saying::Unreadable).await,
                2 => {
                    passed = random.random_range(1..20);
                    tokio::time::sleep(Duration::from_secs(passed)).await;
                }
                3 => {
                    bed.find(&[]).await;
                    if !model.set.is_empty() {
                        model.empty_for.get_or_insert(0);
                    }
                }
                _ => {
                    let mut entries = BTreeMap::new();
                    let mut next = BTreeMap::new();
                    for key in ["a", "b", "c", "d"] {
                        if random.random_range(0..2) == 0 {
                            continue;
                        }
                        let url = format!("ws://{key}:{}", random.random_range(1..3));
                        if random.random_range(0..4) == 0 {
                            entries.insert(key, "{".to_owned());
                            next.extend(model.set.get(key).map(|before| (key.to_owned(), before.clone())));
                        } else {
                            entries.insert(key, url.clone());
                            next.insert(key.to_owned(), url);
                        }
                    }
                    let entries: Vec<_> = entries.iter().map(|(key, value)| (*key, value.as_str())).collect();
                    bed.find(&entries).await;
                    if !next.is_empty() {
                        model = Model { set: next, empty_for: None };
                    } else if !model.set.is_empty() {
                        model.empty_for.get_or_insert(0);
                    }
                }
            }
            if !bed.standing.is_up() && bed.standing.trouble().as_deref() == Some("it is gone") {
                model.empty_for = None;
            }
            if let Some(empty_for) = &mut model.empty_for {
                *empty_for += passed;
                if *empty_for >= GRACE.as_secs() {
                    model = Model::default();
                }
            }
            let expected: Vec<_> = model.set.values().cloned().collect();
            assert_eq!(bed.urls(), expected, "seed {seed}, step {step}");
        }
    }
}
