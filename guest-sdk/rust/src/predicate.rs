//! Components that decide whether a route applies.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::Handshake;
use crate::bindings::predicate::exports::tidegate::edge::predicates;
use crate::config;

/// Decides whether a route applies to a handshake. Export it with [`export_predicate!`](crate::export_predicate).
///
/// **Each worker thread runs an instance of its own, and none knows of the others**: what one counts or remembers, the
/// others do not.
///
/// ```
/// use serde::Deserialize;
/// use tidegate_guest::{Handshake, Predicate, export_predicate};
///
/// /// Routes of clients that speak one of these subprotocols.
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Speaks {
///     protocols: Vec<String>,
/// }
///
/// impl Predicate for Speaks {
///     fn configured(self) -> Result<Self, String> {
///         if self.protocols.is_empty() {
///             return Err("`protocols` is empty: name at least one, such as [\"chat.v2\"]".to_owned());
///         }
///         Ok(self)
///     }
///
///     fn matches(&self, handshake: &Handshake) -> bool {
///         handshake.protocols.iter().any(|offered| self.protocols.contains(offered))
///     }
/// }
///
/// export_predicate!(Speaks);
///
/// # fn main() {
/// let speaks = Speaks { protocols: vec!["chat.v2".to_owned()] };
/// let handshake = Handshake { protocols: vec!["chat.v1".to_owned(), "chat.v2".to_owned()], ..Handshake::default() };
/// assert!(speaks.matches(&handshake));
/// # }
/// ```
pub trait Predicate: DeserializeOwned + 'static {
    /// Checks the configuration beyond what its types say, and builds what `matches` needs. The error is shown to the
    /// operator: say what is wrong and what to write instead.
    fn configured(self) -> Result<Self, String> {
        Ok(self)
    }

    /// Whether the route applies. When it does not, the next candidate route is tried.
    fn matches(&self, handshake: &Handshake) -> bool;
}

/// Exports a type that implements [`Predicate`] as the component that this crate is.
#[macro_export]
macro_rules! export_predicate {
    ($type:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "exported functions have names of their own in the binary")]
        const _: () = {
            type Exported = $crate::__private::PredicateExport<$type>;
    $crate::__private::predicate::export_world!(Exported with_types_in $crate::__private::predicate);
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn is_a_predicate<T: $crate::Predicate>() {}
            is_a_predicate::<$type>()
        };
    };
}

/// A [`Predicate`] behind the generated interface.
pub struct Export<T>(PhantomData<T>);

impl<T: Predicate> predicates::Guest for Export<T> {
    fn configure(text: String) -> Result<(), String> {
        config::log_panics();
        config::install(config::json::read::<T>(&text)?.configured()?).map(drop)
    }

    fn matches(handshake: Handshake) -> bool {
        config::installed::<T>().matches(&handshake)
    }
}
