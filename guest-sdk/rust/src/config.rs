//! From the text of a configuration to the one configured component of this instance.

pub(crate) mod json;

use std::any::Any;
use std::cell::OnceCell;

thread_local! {
    /// An instance is configured once and lives until it is dropped whole, so what it leaks here it never loses.
    static COMPONENT: OnceCell<&'static dyn Any> = const { OnceCell::new() };
}

/// Keeps the configured component for the life of this instance.
pub(crate) fn install<T: 'static>(component: T) -> Result<&'static T, String> {
    let component: &'static T = Box::leak(Box::new(component));
    COMPONENT
        .with(|slot| slot.set(component))
        .map_err(|_| String::from("configured twice: the runtime calls `configure` once"))?;
    Ok(component)
}

/// The configured component.
pub(crate) fn installed<T: 'static>() -> &'static T {
    match COMPONENT.with(|slot| slot.get().and_then(|component| component.downcast_ref())) {
        Some(component) => component,
        None => not_configured(),
    }
}

#[cold]
#[expect(clippy::panic, reason = "the runtime has broken the contract, and a trap is how it learns of that")]
fn not_configured() -> ! {
    panic!("called before `configure`")
}

/// Sends the text of panics to the log: without WASI there is no standard error that would show it.
pub(crate) fn log_panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| crate::host::log::error(&panic.to_string())));
}
