//! Components that choose endpoints.

use std::cell::RefCell;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::Handshake;
use crate::bindings::balancer::exports::tidegate::edge::balancing;
pub use crate::bindings::balancer::exports::tidegate::edge::balancing::Endpoint;
use crate::config;

/// Chooses the endpoint of an upstream that gets a connection. Export it with
/// [`export_balancer!`](crate::export_balancer).
///
/// **Each worker thread runs an instance of its own, and none knows of the others**: what it remembers is per worker.
/// [`endpoint_stats`](crate::endpoint_stats) counts over all of them.
///
/// ```
/// use serde::Deserialize;
/// use tidegate_guest::{Balancer, Endpoint, Handshake, endpoint_stats, export_balancer};
///
/// /// The endpoint with the fewest connections, without a look at weights.
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Fewest {
///     #[serde(skip)]
///     ids: Vec<u32>,
/// }
///
/// impl Balancer for Fewest {
///     fn update(&mut self, endpoints: Vec<Endpoint>) {
///         self.ids = endpoints.iter().map(|endpoint| endpoint.id).collect();
///     }
///
///     fn pick(&mut self, _: &Handshake, tried: &[u32]) -> Option<u32> {
///         let untried = self.ids.iter().copied().filter(|id| !tried.contains(id));
///         untried.min_by_key(|id| endpoint_stats::active(*id))
///     }
/// }
///
/// export_balancer!(Fewest);
///
/// # fn main() {
/// let mut fewest = Fewest { ids: Vec::new() };
/// fewest.update(vec![Endpoint { id: 1, ..Endpoint::default() }, Endpoint { id: 2, ..Endpoint::default() }]);
/// tidegate_guest::testing::set_active(1, 7);
/// assert_eq!(fewest.pick(&Handshake::default(), &[]), Some(2));
/// assert_eq!(fewest.pick(&Handshake::default(), &[2]), Some(1));
/// # }
/// ```
pub trait Balancer: DeserializeOwned + 'static {
    /// Checks the configuration beyond what its types say. The error is shown to the operator: say what is wrong and
    /// what to write instead.
    fn configured(self) -> Result<Self, String> {
        Ok(self)
    }

    /// Replaces the set of endpoints. Called before the first `pick`, and again whenever the set or a weight has
    /// changed; a changed weight is no reason to start a cycle over.
    fn update(&mut self, endpoints: Vec<Endpoint>);

    /// Picks an endpoint by id. `tried` holds the ids that have already failed for this handshake: answer another
    /// while there is one. `None` refuses the handshake with 503.
    fn pick(&mut self, handshake: &Handshake, tried: &[u32]) -> Option<u32>;
}

/// Exports a type that implements [`Balancer`] as the component that this crate is.
#[macro_export]
macro_rules! export_balancer {
    ($type:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "exported functions have names of their own in the binary")]
        const _: () = {
            type Exported = $crate::__private::BalancerExport<$type>;
    $crate::__private::balancer::export_world!(Exported with_types_in $crate::__private::balancer);
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn is_a_balancer<T: $crate::Balancer>() {}
            is_a_balancer::<$type>()
        };
    };
}

/// A [`Balancer`] behind the generated interface.
pub struct Export<T>(PhantomData<T>);

impl<T: Balancer> balancing::Guest for Export<T> {
    fn configure(text: String) -> Result<(), String> {
        config::log_panics();
        config::install(RefCell::new(config::json::read::<T>(&text)?.configured()?)).map(drop)
    }

    fn update(endpoints: Vec<Endpoint>) {
        config::installed::<RefCell<T>>().borrow_mut().update(endpoints);
    }

    fn pick(handshake: Handshake, tried: Vec<u32>) -> Option<u32> {
        config::installed::<RefCell<T>>().borrow_mut().pick(&handshake, &tried)
    }
}
