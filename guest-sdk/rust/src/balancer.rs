//! Components that choose endpoints.

mod endpoints;

use std::cell::RefCell;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

pub use self::endpoints::Endpoints;
use crate::bindings::balancer::exports::tidegate::edge::balancing;
pub use crate::bindings::balancer::exports::tidegate::edge::balancing::{Choice, Endpoint};
use crate::config;
use crate::{Handshake, HeaderEdit};

/// Chooses the endpoint of an upstream that gets a connection. Export it with
/// [`export_balancer!`](crate::export_balancer).
///
/// **Each worker thread runs an instance of its own, and none knows of the others**: what it remembers is per worker.
/// [`endpoint_stats`](crate::endpoint_stats) counts over all of them.
///
/// ```
/// use serde::Deserialize;
/// use tidegate_guest::{Balancer, Choice, Endpoint, Endpoints, Handshake, endpoint_stats, export_balancer};
///
/// /// The endpoint with the fewest connections, without a look at weights.
/// #[derive(Default, Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Fewest {
///     #[serde(skip)]
///     endpoints: Endpoints,
/// }
///
/// impl Balancer for Fewest {
///     fn update(&mut self, changed: Vec<Endpoint>, gone: &[u32]) {
///         self.endpoints.update(changed, gone);
///     }
///
///     fn pick(&mut self, _: &Handshake, tried: &[u32]) -> Option<Choice> {
///         let untried = self.endpoints.iter().map(|endpoint| endpoint.id).filter(|id| !tried.contains(id));
///         untried.min_by_key(|id| endpoint_stats::active(*id)).map(Choice::of)
///     }
/// }
///
/// export_balancer!(Fewest);
///
/// # fn main() {
/// let mut fewest = Fewest::default();
/// let endpoint = |id| Endpoint { id, ..Endpoint::default() };
/// fewest.update(vec![endpoint(1), endpoint(2)], &[]);
/// tidegate_guest::testing::set_active(1, 7);
/// assert_eq!(fewest.pick(&Handshake::default(), &[]), Some(Choice::of(2)));
/// assert_eq!(fewest.pick(&Handshake::default(), &[2]), Some(Choice::of(1)));
/// fewest.update(Vec::new(), &[2]);
/// assert_eq!(fewest.pick(&Handshake::default(), &[]), Some(Choice::of(1)));
/// # }
/// ```
pub trait Balancer: DeserializeOwned + 'static {
    /// Checks the configuration beyond what its types say. The error is shown to the operator: say what is wrong and
    /// what to write instead.
    fn configured(self) -> Result<Self, String> {
        Ok(self)
    }

    /// Takes note of endpoints that are new or have changed, and of the ids of those that are gone, both in ascending
    /// order of ids. Called before the first `pick`, with all endpoints, and again when there is something to tell; what
    /// has not changed is not told again, and what is much is told in several calls. A changed weight is no reason to
    /// start a cycle over. [`Endpoints`] keeps the set that follows.
    fn update(&mut self, changed: Vec<Endpoint>, gone: &[u32]);

    /// Picks an endpoint. `tried` holds, in ascending order, the ids to pass over: answer another while there is one.
    /// `None` refuses the handshake with 503.
    fn pick(&mut self, handshake: &Handshake, tried: &[u32]) -> Option<Choice>;
}

impl Choice {
    /// The endpoint of this id.
    #[must_use]
    pub fn of(endpoint: u32) -> Self {
        Self { endpoint, client_headers: Vec::new() }
    }

    /// Edits the header fields of the 101 answer that goes to the client, if this endpoint takes the connection.
    ///
    /// ```
    /// use tidegate_guest::{Choice, HeaderEdit};
    ///
    /// let sticky = Choice::of(7).client_header(HeaderEdit::append("set-cookie", "endpoint=a; Path=/; HttpOnly"));
    /// assert_eq!(sticky.client_headers.len(), 1);
    /// ```
    #[must_use]
    pub fn client_header(mut self, edit: HeaderEdit) -> Self {
        self.client_headers.push(edit);
        self
    }
}

impl From<u32> for Choice {
    fn from(endpoint: u32) -> Self {
        Self::of(endpoint)
    }
}

impl Endpoint {
    /// What the operator says of it under this name.
    pub fn metadata_named(&self, name: &str) -> Option<&str> {
        let place = self.metadata.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        self.metadata.get(place).map(|(_, value)| value.as_str())
    }
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

    fn update(changed: Vec<Endpoint>, gone: Vec<u32>) {
        config::installed::<RefCell<T>>().borrow_mut().update(changed, &gone);
    }

    fn pick(handshake: Handshake, tried: Vec<u32>) -> Option<Choice> {
        config::installed::<RefCell<T>>().borrow_mut().pick(&handshake, &tried)
    }
}
