//! Who keeps certificates: orders them when they are due, by turns with other processes, and shows what there is.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::challenges::Challenges;
use super::order::{Issued, OrderError, Orderer, publish, withdraw};
use super::store::{Kept, Lease, Store};
use super::terms::Terms;
use crate::inquiry::Inquirer;
use crate::metrics::{AcmeOrders, Metrics};
use crate::tls::{Certificate, Issuers, Renewed, Trust};

/// The certificates that renew themselves, by their terms; each is kept once for all who show it.
#[derive(Debug)]
pub struct Acme {
    known: Mutex<HashMap<Terms, Known>>,
    /// No more wait in it than configurations in force have named since the last look.
    fresh: mpsc::UnboundedSender<(Terms, Weak<Renewed>)>,
    challenges: Arc<Challenges>,
    troubles: Arc<Troubles>,
}

/// A certificate that somebody has asked for.
#[derive(Debug)]
struct Known {
    renewed: Weak<Renewed>,
    /// Whether it is in force, so that it is ordered.
    is_kept: bool,
}

/// What is wrong with the certificates at the moment, by their files: two may have the same first name.
type Troubles = Mutex<BTreeMap<PathBuf, String>>;

/// Keeps certificates, for as long as it is [served](Self::serve).
#[derive(Debug)]
pub struct Keeper {
    fresh: mpsc::UnboundedReceiver<(Terms, Weak<Renewed>)>,
    challenges: Arc<Challenges>,
    troubles: Arc<Troubles>,
}

impl Acme {
    /// No certificates yet, and who will keep them.
    pub fn new() -> (Arc<Self>, Keeper) {
        let (sender, fresh) = mpsc::unbounded_channel();
        let (challenges, troubles) = (Arc::<Challenges>::default(), Arc::<Troubles>::default());
        let keeper = Keeper { fresh, challenges: challenges.clone(), troubles: troubles.clone() };
        (Arc::new(Self { known: Mutex::default(), fresh: sender, challenges, troubles }), keeper)
    }

    /// The certificate under these terms: what there is on disk, and what is ordered once it is [kept](Self::keep), as long as
    /// somebody holds it. Called for each configuration, also for those that never come into force.
    pub fn certificate(&self, terms: &Terms) -> Arc<Renewed> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, known| known.renewed.strong_count() > 0);
        if let Some(renewed) = known.get(terms).and_then(|known| known.renewed.upgrade()) {
            return renewed;
        }
        let renewed = Arc::new(Renewed::new(terms.domains.clone()));
        // What cannot be read is told by whoever keeps it.
        let store = Store::of(terms);
        let kept = store.certificate().ok().flatten().and_then(|kept| Certificate::read(&kept, &kept, None).ok());
        if let Some(certificate) = kept.or_else(|| stopgap(&store, &terms.domains, SystemTime::now())) {
            renewed.show(certificate);
        }
        known.insert(terms.clone(), Known { renewed: Arc::downgrade(&renewed), is_kept: false });
        renewed
    }

    /// Has a certificate ordered and renewed that has come into force; one that is kept already goes on.
    pub fn keep(&self, renewed: &Arc<Renewed>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let renewed = Arc::downgrade(renewed);
        let wanted = known.iter_mut().find(|(_, known)| known.renewed.ptr_eq(&renewed));
        if let Some((terms, known)) = wanted.filter(|(_, known)| !known.is_kept) {
            known.is_kept = true;
            // Who keeps none any more has left all of them to another process.
            let _ = self.fresh.send((terms.clone(), renewed));
        }
    }

    /// What is to be answered in clear text.
    pub fn challenges(&self) -> Arc<Challenges> {
        self.challenges.clone()
    }

    /// What is wrong, a sentence each.
    pub fn remarks(&self) -> Vec<String> {
        troubles(&self.troubles).values().cloned().collect()
    }
}

impl Keeper {
    /// Keeps them. It belongs on the control runtime, and ends when there is no [`Acme`] any more. Dropping it leaves everything to
    /// another process.
    pub async fn serve(mut self, metrics: Arc<Metrics>) {
        let mut kept = JoinSet::new();
        while let Some((terms, renewed)) = self.fresh.recv().await {
            while kept.try_join_next().is_some() {}
            let (challenges, troubles) = (self.challenges.clone(), self.troubles.clone());
            let orders = metrics.acme_orders(terms.name());
            kept.spawn(async move {
                match Keeping::new(terms, challenges, troubles, orders) {
                    Ok(keeping) => keeping.keep(renewed).await,
                    // The authorities were read before, with the configuration.
                    Err(error) => tracing::error!(error, "a certificate cannot be kept"),
                }
            });
        }
    }
}

/// What one certificate is kept with.
struct Keeping {
    terms: Terms,
    store: Store,
    challenges: Arc<Challenges>,
    troubles: Arc<Troubles>,
    orders: Arc<AcmeOrders>,
    inquirer: Inquirer,
    lease: Option<Lease>,
    /// What another process has to have answered, by its tokens.
    followed: Vec<Kept>,
    /// What was last found on disk.
    seen: Vec<u8>,
    /// When the certificate is to be renewed; `None`: there is none.
    due: Option<SystemTime>,
    failures: u32,
    /// When it may be tried again.
    retry_at: Option<Instant>,
}

impl Keeping {
    fn new(
        terms: Terms,
        challenges: Arc<Challenges>,
        troubles: Arc<Troubles>,
        orders: Arc<AcmeOrders>,
    ) -> Result<Self, String> {
        let inquirer = match &terms.server_ca {
            None => Inquirer::new(),
            Some(ca) => Inquirer::trusting(Trust::Issuers(Issuers::read(ca).map_err(|error| error.to_string())?))?,
        };
        let store = Store::of(&terms);
        let (lease, followed, seen, due) = (None, Vec::new(), Vec::new(), None);
        let (failures, retry_at) = (0, None);
        Ok(Self {
            terms,
            store,
            challenges,
            troubles,
            orders,
            inquirer,
            lease,
            followed,
            seen,
            due,
            failures,
            retry_at,
        })
    }

    /// Keeps the certificate until nobody holds it.
    async fn keep(mut self, renewed: Weak<Renewed>) {
        while let Some(held) = renewed.upgrade() {
            if self.retry_at.is_none_or(|at| at <= Instant::now())
                && let Err(error) = self.turn(&held).await
            {
                self.fail(&held, &error);
            }
            drop(held);
            sleep(LOOK).await;
        }
        self.untrouble();
    }

    /// Looks whether there is something to do, and does it.
    async fn turn(&mut self, renewed: &Arc<Renewed>) -> Result<(), OrderError> {
        if self.lease.is_none() {
            // Whoever has it may have got another certificate.
            self.lease = self.store.lease()?;
            self.take_up(renewed)?;
            self.follow(renewed)?;
        }
        if self.lease.is_none() || self.due.is_some_and(|due| SystemTime::now() < due) {
            return Ok(());
        }
        let name = self.terms.name().to_owned();
        tracing::info!(name, server = %self.terms.server, "a certificate is ordered");
        let (terms, store, challenges, inquirer) = (&self.terms, &self.store, &self.challenges, &self.inquirer);
        let http_first = !terms.ways.tls || terms.ways.http && self.failures % 2 == 1;
        let issued = Orderer { terms, store, renewed, challenges, inquirer }.order(http_first).await?;
        let Issued { key, chain } = issued;
        self.store.keep_certificate(&key, &chain)?;
        self.take_up(renewed)?;
        self.orders.issued();
        tracing::info!(name, "a certificate was issued");
        Ok(())
    }

    /// Shows what is on disk, if that is another.
    fn take_up(&mut self, renewed: &Renewed) -> Result<(), OrderError> {
        let Some(found) = self.store.certificate()?.filter(|found| *found != self.seen) else { return Ok(()) };
        self.seen = found;
        match Certificate::read(&self.seen, &self.seen, None) {
            Ok(certificate) => {
                self.due = Some(renewal(&certificate));
                renewed.show(certificate);
                (self.failures, self.retry_at) = (0, None);
                self.untrouble();
            }
            Err(error) => {
                let file = self.store.path().display();
                tracing::warn!(%file, "a certificate that was kept {error}; it is ordered anew");
            }
        }
        Ok(())
    }

    /// Answers what another process has to have answered, or nothing where this one orders.
    fn follow(&mut self, renewed: &Renewed) -> Result<(), OrderError> {
        let asked = if self.lease.is_some() { Vec::new() } else { self.store.challenges()? };
        let is_ours = |kept: &Kept| !kept.over_tls || self.terms.domains.contains(&kept.domain);
        let asked: Vec<_> = asked.into_iter().filter(is_ours).collect();
        for gone in self.followed.iter().filter(|kept| !asked.contains(kept)) {
            withdraw(gone, renewed, &self.challenges);
        }
        for fresh in asked.iter().filter(|kept| !self.followed.contains(kept)) {
            publish(fresh, renewed, &self.challenges).map_err(OrderError::Proof)?;
        }
        self.followed = asked;
        Ok(())
    }

    /// Tells that something is wrong, and leaves it alone for a while.
    fn fail(&mut self, renewed: &Renewed, error: &OrderError) {
        self.failures = self.failures.saturating_add(1);
        let pause = pause(self.failures);
        self.retry_at = Some(Instant::now() + pause);
        self.orders.failed();
        let name = self.terms.name();
        let now = SystemTime::now();
        let left = renewed.certificate().map(|it| it.not_after().duration_since(now).unwrap_or_default());
        let what = match left {
            None => format!("there is no certificate for {name}"),
            Some(_) if self.due.is_none() => {
                format!("there is no certificate for all names beside {name}, and one of before is shown")
            }
            Some(left) => {
                format!("the certificate for {name}, which ends in {} h, was not renewed", left.as_secs() / 3600)
            }
        };
        tracing::warn!(name, %error, retry_in_seconds = pause.as_secs(), "{what}");
        troubles(&self.troubles).insert(self.store.path().to_owned(), format!("{what}: {error}"));
    }

    fn untrouble(&self) {
        troubles(&self.troubles).remove(self.store.path());
    }
}

/// What there is for as many of these names as possible, and holds for longest: who adds a name goes on showing the certificate for
/// the others until there is one for all.
fn stopgap(store: &Store, domains: &[String], now: SystemTime) -> Option<Certificate> {
    let others = store.other_certificates().into_iter().filter_map(|kept| Certificate::read(&kept, &kept, None).ok());
    let counted = others.map(|it| (it.names().iter().filter(|name| domains.contains(name)).count(), it));
    let useful = counted.filter(|(count, it)| *count > 0 && it.expired_for(now).is_none());
    useful.max_by_key(|(count, it)| (*count, it.not_after())).map(|(_, certificate)| certificate)
}

fn troubles(troubles: &Troubles) -> MutexGuard<'_, BTreeMap<PathBuf, String>> {
    troubles.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When a certificate is to be renewed: after two thirds of its time, give or take a thirtieth of it.
fn renewal(certificate: &Certificate) -> SystemTime {
    let (begin, end) = (certificate.not_before(), certificate.not_after());
    let lifetime = end.duration_since(begin).unwrap_or_default();
    begin + lifetime.mul_f64(2.0 / 3.0 + (rand::random::<f64>() - 0.5) / 15.0)
}

/// How long an order that has failed so often in a row is left alone: a minute, twice as long each time, an hour at most; longer
/// or shorter by up to a fifth.
fn pause(failures: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << (failures.saturating_sub(1)).min(6)).min(LONGEST_PAUSE);
    doubled.mul_f64(0.8 + 0.4 * rand::random::<f64>())
}

/// How often it is looked whether one is due, because the clock of the wall may be set, and what another process has got that
/// orders.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// Public authorities allow five failures an hour for a name.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use http::Uri;

    use super::super::terms::Ways;
    use super::*;

    #[test]
    fn what_does_not_come_into_force_is_not_ordered_and_what_does_is_kept_once() {
        let directory = tempfile::tempdir().unwrap();
        let terms = Terms {
            domains: vec!["chat.example".to_owned()],
            contact: None,
            server: Uri::from_static("https://acme.example/directory"),
            server_ca: None,
            directory: directory.path().to_owned(),
            ways: Ways { tls: true, http: false },
        };
        let (acme, mut keeper) = Acme::new();
        // As in a dry run.
        drop(acme.certificate(&terms));
        let renewed = acme.certificate(&terms);
        assert!(keeper.fresh.try_recv().is_err());
        acme.keep(&renewed);
        acme.keep(&acme.certificate(&terms));
        let (ordered, kept) = keeper.fresh.try_recv().unwrap();
        assert_eq!(ordered, terms);
        assert!(kept.ptr_eq(&Arc::downgrade(&renewed)));
        assert!(keeper.fresh.try_recv().is_err());
    }

    #[test]
    fn what_fails_is_left_alone_for_longer_each_time_and_for_an_hour_at_most() {
        for (failures, seconds) in [(1, 60), (2, 120), (3, 240), (7, 3600), (1000, 3600)] {
            for _ in 0..100 {
                let pause = pause(failures).as_secs_f64();
                assert!((0.8..=1.2).contains(&(pause / f64::from(seconds))), "{failures}: {pause}");
            }
        }
    }
}
