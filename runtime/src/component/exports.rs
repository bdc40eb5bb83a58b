//! The functions that each kind of component exports, found by name when it is loaded and bound by type when it is
//! instantiated.

use thiserror::Error;
use wasmtime::Store;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower, ResourceAny, TypedFunc,
};

use super::guest::Guest;
use super::wire::{Admission, CloseFrame, Endpoint, Handshake, Interest, Message, MessageKind, Refusal, Side, Verdict};

/// What a component decides; there is one world for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whether a route applies (`tidegate:edge/predicates`).
    Predicate,
    /// Which endpoint gets a connection (`tidegate:edge/balancing`).
    Balancer,
    /// What happens to handshakes and messages (`tidegate:edge/filtering`).
    Filter,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Predicate, Self::Balancer, Self::Filter];

    /// The kind in a word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Predicate => "predicate",
            Self::Balancer => "balancer",
            Self::Filter => "filter",
        }
    }

    /// The interface that a component of this kind exports, without package and version.
    pub(super) fn interface(self) -> &'static str {
        match self {
            Self::Predicate => "predicates",
            Self::Balancer => "balancing",
            Self::Filter => "filtering",
        }
    }

    fn functions(self) -> &'static [&'static str] {
        match self {
            Self::Predicate => PredicateExports::FUNCTIONS,
            Self::Balancer => BalancerExports::FUNCTIONS,
            Self::Filter => FilterExports::FUNCTIONS,
        }
    }

    /// Finds the functions of this kind in the exported interface of that name; the name of the one that is missing.
    pub(super) fn find(self, component: &Component, interface: &str) -> Result<Vec<Export>, String> {
        let instance = component.get_export_index(None, interface).ok_or_else(|| interface.to_owned())?;
        let find = |name: &&'static str| match component.get_export_index(Some(&instance), *name) {
            Some(index) => Ok(Export { name, index }),
            None => Err(format!("{interface}.{name}")),
        };
        self.functions().iter().map(find).collect()
    }
}

/// An exported function of a compiled component.
pub(super) struct Export {
    name: &'static str,
    index: ComponentExportIndex,
}

/// The functions of one instance.
pub(super) trait Exports: Sized {
    /// What components with these exports decide.
    const KIND: Kind;

    /// What `configure` answers.
    type Configured;

    /// Their names, in the order in which `bind` takes them.
    const FUNCTIONS: &'static [&'static str];

    fn bind(binder: &mut Binder<'_>) -> wasmtime::Result<Self>;

    fn configure(&self, store: &mut Store<Guest>, config: &str) -> wasmtime::Result<Result<Self::Configured, String>>;
}

/// Hands out an instance's functions in their order, each checked against the types it is to be called with.
pub(super) struct Binder<'a> {
    store: &'a mut Store<Guest>,
    instance: Instance,
    exports: std::slice::Iter<'a, Export>,
}

/// An exported function is not what the contract says.
#[derive(Debug, Error)]
#[error("its export `{name}` has another type than the contract: {why}")]
struct WrongType {
    name: &'static str,
    why: String,
}

impl<'a> Binder<'a> {
    pub(super) fn new(store: &'a mut Store<Guest>, instance: Instance, exports: &'a [Export]) -> Self {
        Self { store, instance, exports: exports.iter() }
    }

    fn next<P, R>(&mut self) -> wasmtime::Result<TypedFunc<P, R>>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let Some(export) = self.exports.next() else {
            return Err(wasmtime::Error::msg("bound more functions than were found"));
        };
        let bound = self.instance.get_typed_func(&mut *self.store, export.index);
        bound.map_err(|error| WrongType { name: export.name, why: format!("{error:#}") }.into())
    }
}

type Configure<T> = TypedFunc<(&'static str,), (Result<T, String>,)>;

pub(super) struct PredicateExports {
    configure: Configure<()>,
    pub(super) matches: TypedFunc<(Handshake<'static>,), (bool,)>,
}

impl Exports for PredicateExports {
    const KIND: Kind = Kind::Predicate;
    type Configured = ();

    const FUNCTIONS: &'static [&'static str] = &["configure", "matches"];

    fn bind(binder: &mut Binder<'_>) -> wasmtime::Result<Self> {
        Ok(Self { configure: binder.next()?, matches: binder.next()? })
    }

    fn configure(&self, store: &mut Store<Guest>, config: &str) -> wasmtime::Result<Result<(), String>> {
        Ok(self.configure.call(store, (config,))?.0)
    }
}

pub(super) struct BalancerExports {
    configure: Configure<()>,
    pub(super) update: TypedFunc<(&'static [Endpoint<'static>],), ()>,
    pub(super) pick: TypedFunc<(Handshake<'static>, &'static [u32]), (Option<u32>,)>,
}

impl Exports for BalancerExports {
    const KIND: Kind = Kind::Balancer;
    type Configured = ();

    const FUNCTIONS: &'static [&'static str] = &["configure", "update", "pick"];

    fn bind(binder: &mut Binder<'_>) -> wasmtime::Result<Self> {
        Ok(Self { configure: binder.next()?, update: binder.next()?, pick: binder.next()? })
    }

    fn configure(&self, store: &mut Store<Guest>, config: &str) -> wasmtime::Result<Result<(), String>> {
        Ok(self.configure.call(store, (config,))?.0)
    }
}

/// A session and the fields of a message.
type FlatMessage<'a> = (ResourceAny, Side, MessageKind, u64, &'a [u8]);

type Resumed = (Result<ResourceAny, String>,);

pub(super) struct FilterExports {
    configure: Configure<Interest>,
    pub(super) open: TypedFunc<(Handshake<'static>,), (Result<Admission, Refusal>,)>,
    pub(super) on_message: TypedFunc<FlatMessage<'static>, (Verdict,)>,
    pub(super) on_messages: TypedFunc<(ResourceAny, &'static [Message<'static>]), (Vec<Verdict>,)>,
    pub(super) on_close: TypedFunc<(ResourceAny, Option<Side>, Option<CloseFrame<'static>>), ()>,
    pub(super) save: TypedFunc<(ResourceAny,), (Vec<u8>,)>,
    pub(super) resume: TypedFunc<(Handshake<'static>, &'static [u8]), Resumed>,
}

impl Exports for FilterExports {
    const KIND: Kind = Kind::Filter;
    type Configured = Interest;

    const FUNCTIONS: &'static [&'static str] = &[
        "configure",
        "[static]session.open",
        "[method]session.on-message",
        "[method]session.on-messages",
        "[method]session.on-close",
        "[method]session.save",
        "[static]session.resume",
    ];

    fn bind(binder: &mut Binder<'_>) -> wasmtime::Result<Self> {
        Ok(Self {
            configure: binder.next()?,
            open: binder.next()?,
            on_message: binder.next()?,
            on_messages: binder.next()?,
            on_close: binder.next()?,
            save: binder.next()?,
            resume: binder.next()?,
        })
    }

    fn configure(&self, store: &mut Store<Guest>, config: &str) -> wasmtime::Result<Result<Interest, String>> {
        Ok(self.configure.call(store, (config,))?.0)
    }
}
