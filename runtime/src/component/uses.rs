//! A use of a component: the component with one configuration, at one place of ours.
//!
//! A use is immutable and shared by all threads. Making one runs `configure` on the control thread, so whatever a
//! component has to say about its configuration is said before the configuration is in force.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use thiserror::Error;

use super::configuration::{Configuration, Words};
use super::exports::{BalancerExports, Exports, FilterExports, Kind, PredicateExports};
use super::instance::{Slot, StartError};
use super::limits::Limits;
use super::load::Component;
use super::order::Moment;
use super::probation::Probation;
use super::quarantine::Quarantine;
use super::types::{Failure, Interest};
use crate::metrics::{ComponentMetrics, FailureReason, Metrics, SwapOutcome, UseMetrics, Version, WorkerIndex};

/// A predicate of a route.
#[derive(Debug)]
pub struct PredicateUse {
    recipe: Arc<Recipe>,
}

/// The balancer of an upstream.
#[derive(Debug)]
pub struct BalancerUse {
    recipe: Arc<Recipe>,
}

/// A filter of a route.
#[derive(Debug)]
pub struct FilterUse {
    recipe: Arc<Recipe>,
    interest: Interest,
    hooks: Hooks,
    on_failure: OnFailure,
    version: Arc<Version>,
}

/// Which of the hooks a filter has that it is asked about at each call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hooks {
    /// Whether it can be shown several messages in one call.
    pub(super) batching: bool,
    /// Whether it can be called back.
    pub(super) timing: bool,
}

/// What becomes of a connection whose filter fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It is closed with 1011, or refused with 503 before it is open.
    #[default]
    Close,
    /// It goes on without the filter.
    Bypass,
}

/// A component does not serve with the configuration it was given.
#[derive(Debug, Error)]
pub enum ConfigureError {
    /// The component refused the configuration, in these words, which may quote it.
    #[error("it refuses its configuration")]
    Rejected(Words),
    /// The component decides something else.
    #[error("component `{component}` is a {}, and a {} is needed here", .is.label(), .expected.label())]
    WrongKind {
        /// The component's name.
        component: String,
        /// The kind that the place needs.
        expected: Kind,
        /// The kind that the component is.
        is: Kind,
    },
    /// The component failed in `configure`, or before.
    #[error("{failure}")]
    Failed {
        /// How.
        failure: Failure,
        /// What it logged until then, which may quote the configuration.
        words: Option<Words>,
    },
}

impl Component {
    /// Puts this component before a route.
    pub fn predicate(
        &self,
        route: &str,
        config: impl Into<Configuration>,
        metrics: &Metrics,
    ) -> Result<Arc<PredicateUse>, ConfigureError> {
        let (recipe, ()) = self.configured::<PredicateExports>(route, config.into(), metrics, route, None)?;
        Ok(Arc::new(PredicateUse { recipe }))
    }

    /// Makes this component choose the endpoints of an upstream.
    pub fn balancer(
        &self,
        upstream: &str,
        config: impl Into<Configuration>,
        metrics: &Metrics,
    ) -> Result<Arc<BalancerUse>, ConfigureError> {
        let (recipe, ()) = self.configured::<BalancerExports>(upstream, config.into(), metrics, "", None)?;
        Ok(Arc::new(BalancerUse { recipe }))
    }

    /// Puts this component into a route's chain of filters, for the first time in this `generation` of the configuration.
    pub fn filter(
        &self,
        route: &str,
        config: impl Into<Configuration>,
        on_failure: OnFailure,
        generation: u64,
        metrics: &Metrics,
    ) -> Result<Arc<FilterUse>, ConfigureError> {
        self.filter_on_probation(route, config.into(), on_failure, generation, metrics, None)
    }

    /// As [`filter`](Self::filter); on this probation, if there is one.
    pub fn filter_on_probation(
        &self,
        route: &str,
        config: Configuration,
        on_failure: OnFailure,
        generation: u64,
        metrics: &Metrics,
        probation: Option<Arc<dyn Probation>>,
    ) -> Result<Arc<FilterUse>, ConfigureError> {
        let (recipe, interest) = self.configured::<FilterExports>(route, config, metrics, route, probation)?;
        let interest = interest.into();
        self.check_hooks(&interest)?;
        let version = metrics.version(route, self.name(), generation);
        let has = |hook| self.hooks().contains(&hook);
        let hooks = Hooks { batching: has("batching"), timing: has("timing") };
        Ok(Arc::new(FilterUse { recipe, interest, hooks, on_failure, version }))
    }

    /// That it can be shown what it selects.
    fn check_hooks(&self, interest: &Interest) -> Result<(), ConfigureError> {
        let selections = [interest.from_client, interest.from_upstream];
        if self.hooks().contains(&"streaming") || selections.iter().all(|selection| !selection.need.is_of_parts()) {
            return Ok(());
        }
        let message =
            "it selects parts of messages, by `stream` or `rewrite`, and does not export `streaming`".to_owned();
        let failure = Failure { component: self.name().to_owned(), reason: FailureReason::InvalidAnswer, message };
        Err(ConfigureError::Failed { failure, words: None })
    }

    /// Makes what uses of this component with this configuration are made from. `route` is the label of the verdicts.
    fn recipe(
        &self,
        place: &str,
        config: Configuration,
        metrics: &Metrics,
        route: &str,
        probation: Option<Arc<dyn Probation>>,
    ) -> Arc<Recipe> {
        Arc::new(Recipe {
            id: Moment::now().number(),
            component: self.clone(),
            place: place.to_owned(),
            config,
            metrics: metrics.component(self.name()),
            verdicts: metrics.component_use(route, self.name()),
            quarantine: Quarantine::new(self.limits(), metrics.quarantined(route, self.name())),
            probation,
        })
    }

    /// Runs `configure` in an instance that is dropped afterwards. `route` is the label of the verdicts.
    fn configured<E: Exports>(
        &self,
        place: &str,
        config: Configuration,
        metrics: &Metrics,
        route: &str,
        probation: Option<Arc<dyn Probation>>,
    ) -> Result<(Arc<Recipe>, E::Configured), ConfigureError> {
        let expected = E::KIND;
        if self.kind() != expected {
            return Err(ConfigureError::WrongKind { component: self.name().to_owned(), expected, is: self.kind() });
        }
        let recipe = self.recipe(place, config, metrics, route, probation);
        let _control = self.host().control();
        let Some(beat) = self.host().beat() else {
            let component = self.name().to_owned();
            let message = "deadlines are no longer kept".to_owned();
            let failure = Failure { component, reason: FailureReason::Start, message };
            return Err(ConfigureError::Failed { failure, words: None });
        };
        let slot = Slot::<E>::new(Arc::clone(&recipe), metrics.control(), Rc::new(beat), None);
        match slot.configure() {
            Ok(configured) => Ok((recipe, configured)),
            Err(StartError::Rejected(words)) => Err(ConfigureError::Rejected(words)),
            Err(StartError::Failed { failure, words }) => Err(ConfigureError::Failed { failure, words }),
        }
    }
}

/// What the three uses have in common.
macro_rules! common {
    ($($name:ident),*) => { $(
        impl $name {
            /// Names this use as long as the process lives.
            pub fn id(&self) -> u64 {
                self.recipe.id
            }

            /// The route or the upstream that it is for.
            pub fn place(&self) -> &str {
                self.recipe.place()
            }

            /// The component.
            pub fn component(&self) -> &Component {
                &self.recipe.component
            }

            /// Its configuration.
            pub fn config(&self) -> &Configuration {
                &self.recipe.config
            }

            /// The same, whatever its kind.
            pub fn any(&self) -> AnyUse {
                AnyUse(Arc::clone(&self.recipe))
            }

            pub(super) fn recipe(&self) -> &Arc<Recipe> {
                &self.recipe
            }
        }
    )* };
}

common!(PredicateUse, BalancerUse, FilterUse);

impl PredicateUse {
    /// The same component with the same configuration before another route. It has taken that configuration, so it is
    /// not asked again.
    pub fn again(&self, route: &str, metrics: &Metrics) -> Arc<Self> {
        let Recipe { component, config, .. } = &*self.recipe;
        Arc::new(Self { recipe: component.recipe(route, config.clone(), metrics, route, None) })
    }
}

impl BalancerUse {
    /// The same component with the same configuration for another upstream. It has taken that configuration, so it is not
    /// asked again.
    pub fn again(&self, upstream: &str, metrics: &Metrics) -> Arc<Self> {
        let Recipe { component, config, .. } = &*self.recipe;
        Arc::new(Self { recipe: component.recipe(upstream, config.clone(), metrics, "", None) })
    }
}

impl FilterUse {
    /// The same component with the same configuration in another chain, for the first time in this `generation` of the
    /// configuration. It has taken that configuration and said what it wants, so it is not asked again.
    pub fn again(&self, route: &str, on_failure: OnFailure, generation: u64, metrics: &Metrics) -> Arc<Self> {
        self.again_on_probation(route, on_failure, generation, metrics, None)
    }

    /// As [`FilterUse::again`]; on this probation, if there is one.
    pub fn again_on_probation(
        &self,
        route: &str,
        on_failure: OnFailure,
        generation: u64,
        metrics: &Metrics,
        probation: Option<Arc<dyn Probation>>,
    ) -> Arc<Self> {
        let Recipe { component, config, .. } = &*self.recipe;
        let version = metrics.version(route, component.name(), generation);
        let recipe = component.recipe(route, config.clone(), metrics, route, probation);
        let Self { interest, hooks, .. } = *self;
        Arc::new(Self { recipe, interest, hooks, on_failure, version })
    }

    /// What it wants of a connection's messages, as it said when it was configured.
    pub fn interest(&self) -> Interest {
        self.interest
    }

    #[inline]
    pub(super) fn hooks(&self) -> Hooks {
        self.hooks
    }

    /// What becomes of a connection when it fails.
    pub fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    /// The open connections that it serves, over all workers; as a shadow, too.
    pub fn connections(&self) -> usize {
        self.version.connections.load(Ordering::Relaxed)
    }

    /// Counts a connection that changed to it from its former version, or could not.
    pub fn swapped(&self, worker: WorkerIndex, outcome: SwapOutcome) {
        self.recipe.verdicts().of(worker).swap(outcome);
    }

    /// Counts a connection until the answer is dropped.
    pub(super) fn serve(self: &Arc<Self>) -> Serving {
        self.version.connections.fetch_add(1, Ordering::Relaxed);
        Serving(Arc::clone(self))
    }
}

/// A filter, counted as serving one connection.
#[derive(Debug)]
pub(super) struct Serving(Arc<FilterUse>);

impl Serving {
    pub(super) fn shared(&self) -> &Arc<FilterUse> {
        &self.0
    }
}

impl std::ops::Deref for Serving {
    type Target = FilterUse;

    fn deref(&self) -> &FilterUse {
        &self.0
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.version.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A use of any kind, as an operator sees it.
#[derive(Clone, Debug)]
pub struct AnyUse(Arc<Recipe>);

impl AnyUse {
    /// Names this use as long as the process lives.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The component's name in the configuration.
    pub fn component(&self) -> &str {
        self.0.name()
    }

    /// The route or, for a balancer, the upstream.
    pub fn place(&self) -> &str {
        self.0.place()
    }

    /// Whether it is called no more, because it failed too often.
    pub fn is_quarantined(&self) -> bool {
        self.0.quarantine.is_on()
    }

    /// Has it called again, and forgets its failures; whether it was in quarantine.
    pub fn restore(&self) -> bool {
        let lifted = self.0.quarantine.lift();
        if lifted {
            self.tell_lifted("an operator");
        }
        lifted
    }

    /// Says that a reload has replaced it: it no longer shows up as one in quarantine.
    pub fn retire(&self) {
        if self.0.quarantine.retire() {
            self.tell_lifted("a reload");
        }
    }

    fn tell_lifted(&self, by: &str) {
        let (component, place) = (self.component(), self.place());
        tracing::info!(target: "tidegate::component", component, place, by, "its quarantine is lifted");
    }
}

/// What an instance of a use is made from.
#[derive(Debug)]
pub(super) struct Recipe {
    id: u64,
    component: Component,
    place: String,
    config: Configuration,
    metrics: Arc<ComponentMetrics>,
    verdicts: Arc<UseMetrics>,
    quarantine: Quarantine,
    probation: Option<Arc<dyn Probation>>,
}

impl Recipe {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn component(&self) -> &Component {
        &self.component
    }

    pub(super) fn name(&self) -> &str {
        self.component.name()
    }

    /// The route or the upstream.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn config(&self) -> &Configuration {
        &self.config
    }

    pub(super) fn limits(&self) -> &Limits {
        self.component.limits()
    }

    pub(super) fn metrics(&self) -> &Arc<ComponentMetrics> {
        &self.metrics
    }

    pub(super) fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    pub(super) fn probation(&self) -> Option<&dyn Probation> {
        self.probation.as_deref()
    }

    pub(super) fn verdicts(&self) -> &UseMetrics {
        &self.verdicts
    }
}
