//! The functions that each kind of component exports, found by name when it is loaded and bound by type when it is
//! instantiated.

use thiserror::Error;
use wasmtime::Store;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower, ResourceAny, TypedFunc,
};

use super::guest::Guest;
use super::wire::{
    Admission, Arrival, Choice, CloseFrame, Decision, Endpoint, Handshake, Interest, Message, Part, PartVerdict,
    Reaction, Refusal, Side, Verdict,
};

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

    /// The interfaces that a component of this kind may export beside that one, each a hook that the runtime can do
    /// without.
    pub(super) fn hooks(self) -> impl Iterator<Item = &'static str> {
        self.functions().iter().skip(1).map(|(interface, _)| *interface)
    }

    fn functions(self) -> &'static [Interface] {
        match self {
            Self::Predicate => PredicateExports::FUNCTIONS,
            Self::Balancer => BalancerExports::FUNCTIONS,
            Self::Filter => FilterExports::FUNCTIONS,
        }
    }

    /// Finds the functions of this kind in the exported interfaces of those names, with package and version; the name of
    /// the one that is missing. An interface that is not exported has none.
    pub(super) fn find(self, component: &Component, exported: &[String]) -> Result<Vec<Option<Export>>, String> {
        let mut found = Vec::new();
        for (interface, functions) in self.functions() {
            let Some(full) = exported.iter().find(|full| is_named(full, interface)) else {
                found.extend(functions.iter().map(|_| None));
                continue;
            };
            let instance = component.get_export_index(None, full).ok_or_else(|| full.clone())?;
            for name in *functions {
                let index = component.get_export_index(Some(&instance), *name);
                let index = index.ok_or_else(|| format!("{full}.{name}"))?;
                found.push(Some(Export { name, index }));
            }
        }
        Ok(found)
    }
}

/// An interface of our package, and its functions in the order in which they are bound.
type Interface = (&'static str, &'static [&'static str]);

/// Whether a name with package and version is that of an interface of ours.
pub(super) fn is_named(full: &str, interface: &str) -> bool {
    let name = full.split_once('/').map_or(full, |(_, name)| name);
    name.split_once('@').map_or(name, |(name, _)| name) == interface
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

    /// Their names, in the order in which `bind` takes them: those of the interface that makes the kind, then those of its
    /// hooks.
    const FUNCTIONS: &'static [Interface];

    fn bind(binder: &mut Binder<'_>) -> wasmtime::Result<Self>;

    fn configure(&self, store: &mut Store<Guest>, config: &str) -> wasmtime::Result<Result<Self::Configured, String>>;
}

/// Hands out an instance's functions in their order, each checked against the types it is to be called with.
pub(super) struct Binder<'a> {
    store: &'a mut Store<Guest>,
    instance: Instance,
    exports: std::slice::Iter<'a, Option<Export>>,
}

/// An exported function is not what the contract says.
#[derive(Debug, Error)]
#[error("its export `{name}` has another type than the contract: {why}")]
struct WrongType {
    name: &'static str,
    why: String,
}

impl<'a> Binder<'a> {
    pub(super) fn new(store: &'a mut Store<Guest>, instance: Instance, exports: &'a [Option<Export>]) -> Self {
        Self { store, instance, exports: exports.iter() }
    }

    fn next<P, R>(&mut self) -> wasmtime::Result<TypedFunc<P, R>>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        self.hook()?.ok_or_else(|| wasmtime::Error::msg("bound more functions than were found"))
    }

    /// The next function, if its interface is exported.
    fn hook<P, R>(&mut self) -> wasmtime::Result<Option<TypedFunc<P, R>>>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let Some(Some(export)) = self.exports.next() else { return Ok(None) };
        match self.instance.get_typed_func(&mut *self.store, export.index) {
            Ok(bound) => Ok(Some(bound)),
            Err(error) => Err(WrongType { name: export.name, why: format!("{error:#}") }.into()),
        }
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

    const FUNCTIONS: &'static [Interface] = &[("predicates", &["configure", "matches"])];

    fn bind(binder: &mut Binder<'_>) -> wasmtime::Result<Self> {
        Ok(Self { configure: binder.next()?, matches: binder.next()? })
    }

    fn configure(&self, store: &mut Store<Guest>, config: &str) -> wasmtime::Result<Result<(), String>> {
        Ok(self.configure.call(store, (config,))?.0)
    }
}

pub(super) struct BalancerExports {
    configure: Configure<()>,
    pub(super) update: TypedFunc<(&'static [Endpoint<'static>], &'static [u32]), ()>,
    pub(super) pick: TypedFunc<(Handshake<'static>, &'static [u32]), (Option<Choice>,)>,
}

impl Exports for BalancerExports {
    const KIND: Kind = Kind::Balancer;
    type Configured = ();

    const FUNCTIONS: &'static [Interface] = &[("balancing", &["configure", "update", "pick"])];

    fn bind(binder: &mut Binder<'_>) -> wasmtime::Result<Self> {
        Ok(Self { configure: binder.next()?, update: binder.next()?, pick: binder.next()? })
    }

    fn configure(&self, store: &mut Store<Guest>, config: &str) -> wasmtime::Result<Result<(), String>> {
        Ok(self.configure.call(store, (config,))?.0)
    }
}

/// A batch: whose, who sent it, what has arrived, and the bytes of it.
type Batch<'a> = (ResourceAny, Side, &'a [Arrival], &'a [u8]);

type Closed<'a> = (ResourceAny, Option<Side>, Option<CloseFrame<'a>>);

type Resume = TypedFunc<(Handshake<'static>, &'static [u8]), (Result<ResourceAny, String>,)>;

pub(super) struct FilterExports {
    configure: Configure<Interest>,
    pub(super) open: TypedFunc<(Handshake<'static>,), (Result<Admission, Refusal>,)>,
    pub(super) on_message: TypedFunc<(ResourceAny, Side, Message<'static>), (Verdict,)>,
    pub(super) on_messages: Option<TypedFunc<Batch<'static>, (Vec<Decision>,)>>,
    pub(super) on_close: Option<TypedFunc<Closed<'static>, ()>>,
    pub(super) save: Option<TypedFunc<(ResourceAny,), (Vec<u8>,)>>,
    pub(super) resume: Option<Resume>,
    pub(super) on_timer: Option<TypedFunc<(ResourceAny, u64), (Reaction,)>>,
    pub(super) on_part: Option<TypedFunc<(ResourceAny, Side, Part<'static>), (PartVerdict,)>>,
}

impl Exports for FilterExports {
    const KIND: Kind = Kind::Filter;
    type Configured = Interest;

    const FUNCTIONS: &'static [Interface] = &[
        ("filtering", &["configure", "[static]session.open", "[method]session.on-message"]),
        ("batching", &["on-messages"]),
        ("closing", &["on-close"]),
        ("swapping", &["save", "resume"]),
        ("timing", &["on-timer"]),
        ("streaming", &["on-part"]),
    ];

    fn bind(binder: &mut Binder<'_>) -> wasmtime::Result<Self> {
        Ok(Self {
            configure: binder.next()?,
            open: binder.next()?,
            on_message: binder.next()?,
            on_messages: binder.hook()?,
            on_close: binder.hook()?,
            save: binder.hook()?,
            resume: binder.hook()?,
            on_timer: binder.hook()?,
            on_part: binder.hook()?,
        })
    }

    fn configure(&self, store: &mut Store<Guest>, config: &str) -> wasmtime::Result<Result<Interest, String>> {
        Ok(self.configure.call(store, (config,))?.0)
    }
}
