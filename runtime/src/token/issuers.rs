//! Fetching the keys that issuers publish.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::keys::{APART, KeySet, Keys};
use crate::inquiry::Inquirer;

/// The issuers whose keys are used, by the url of these; each is fetched once for all who use it.
#[derive(Debug)]
pub struct Issuers {
    known: Mutex<HashMap<Uri, Weak<Keys>>>,
    /// No more wait in it than configurations have named since the last look.
    fresh: mpsc::UnboundedSender<(Uri, Weak<Keys>)>,
}

/// Fetches keys, and fetches them again, for as long as it is [served](Self::serve).
#[derive(Debug)]
pub struct Refresher {
    fresh: mpsc::UnboundedReceiver<(Uri, Weak<Keys>)>,
    inquirer: Inquirer,
}

impl Issuers {
    /// No issuers yet, and who will fetch their keys.
    pub fn new() -> (Arc<Self>, Refresher) {
        let (sender, fresh) = mpsc::unbounded_channel();
        (Arc::new(Self { known: Mutex::default(), fresh: sender }), Refresher { fresh, inquirer: Inquirer::new() })
    }

    /// The keys at a url, which are fetched as long as somebody holds them. Called for each configuration, never for a
    /// handshake.
    pub fn keys(&self, url: &Uri) -> Arc<Keys> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, keys| keys.strong_count() > 0);
        if let Some(keys) = known.get(url).and_then(Weak::upgrade) {
            return keys;
        }
        let keys = Arc::new(Keys::unknown());
        known.insert(url.clone(), Arc::downgrade(&keys));
        // Where nobody fetches, as in a check, nobody verifies either.
        let _ = self.fresh.send((url.clone(), Arc::downgrade(&keys)));
        keys
    }
}

impl Refresher {
    /// Fetches. It belongs on the control runtime, and ends when there are no [`Issuers`] any more.
    pub async fn serve(mut self) {
        let mut fetching = JoinSet::new();
        while let Some((url, keys)) = self.fresh.recv().await {
            while fetching.try_join_next().is_some() {}
            fetching.spawn(keep(self.inquirer.clone(), url, keys));
        }
    }
}

/// Keeps the keys at a url fresh, until nobody holds them.
async fn keep(inquirer: Inquirer, url: Uri, keys: Weak<Keys>) {
    let mut was_good = true;
    let shown = without_query(&url);
    loop {
        let Some(held) = keys.upgrade() else { return };
        held.begin(Instant::now());
        let (begun, fetched) = (Instant::now(), fetch(&inquirer, &url, PATIENCE).await);
        let is_good = fetched.is_ok();
        match &fetched {
            Ok(_) if was_good => {}
            Ok(_) => tracing::info!(url = shown, "the keys of a token issuer are there again"),
            Err(error) => {
                tracing::warn!(
                    url = shown,
                    error,
                    "the keys of a token issuer cannot be fetched; those of before stay"
                );
            }
        }
        was_good = is_good;
        held.end(fetched.ok());
        let wanted = held.wanted.clone();
        drop(held);
        let next = begun + if is_good { INTERVAL } else { RETRY };
        // Whoever asks for it has seen to it that it is due; what was asked for meanwhile may not be.
        let _ = timeout(next.saturating_duration_since(Instant::now()), async {
            loop {
                wanted.notified().await;
                if keys.upgrade().is_none_or(|keys| keys.is_due(Instant::now())) {
                    break;
                }
            }
        })
        .await;
        if keys.strong_count() > 0 {
            sleep_until(begun + APART).await;
        }
    }
}

/// A url as the log has it: a query may be secret.
fn without_query(url: &Uri) -> String {
    url.to_string().split('?').next().unwrap_or_default().to_owned()
}

/// Asks once for the keys at a url.
///
/// # Errors
/// Why there are none, as a fragment.
pub async fn ask(url: &Uri, patience: Duration) -> Result<(), String> {
    fetch(&Inquirer::new(), url, patience).await.map(drop)
}

async fn fetch(inquirer: &Inquirer, url: &Uri, patience: Duration) -> Result<KeySet, String> {
    let request = Request::get(url)
        .header(ACCEPT, HeaderValue::from_static("application/jwk-set+json, application/json"))
        .header(USER_AGENT, HeaderValue::from_static("tidegate"))
        .body(Full::<Bytes>::default());
    let request = request.map_err(|error| error.to_string())?;
    let answer = inquirer.ask(request, MAX_SET, patience).await.map_err(|error| error.to_string())?;
    match answer.status() {
        StatusCode::OK => KeySet::read(answer.body()).map_err(|error| format!("the answer {error}")),
        status => Err(format!("the answer is {status}")),
    }
}

/// How old keys become that nobody asks for anew. An issuer announces a key before it uses it; should it not, the first token
/// that is signed with it has them fetched.
const INTERVAL: Duration = Duration::from_secs(300);
/// When it is tried again in vain.
const RETRY: Duration = Duration::from_secs(30);
/// How long an issuer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A large set has 20 KiB.
const MAX_SET: usize = 256 << 10;
