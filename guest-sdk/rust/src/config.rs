//! From the text of a configuration to the one configured component of this instance.

use std::any::Any;
use std::cell::OnceCell;

use serde::de::DeserializeOwned;

thread_local! {
    /// An instance is configured once and lives until it is dropped whole, so what it leaks here it never loses.
    static COMPONENT: OnceCell<&'static dyn Any> = const { OnceCell::new() };
}

/// Reads the JSON text of a configuration. The error is for the operator.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| {
        // The operator wrote TOML: a position in the JSON that the runtime made of it would mislead.
        let message = error.to_string();
        let position = format!(" at line {} column {}", error.line(), error.column());
        message.strip_suffix(&position).map(str::to_owned).unwrap_or(message)
    })
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
#[expect(
    clippy::panic,
    reason = "the runtime has broken the contract, and a trap is how it learns of that"
)]
fn not_configured() -> ! {
    panic!("called before `configure`")
}

/// Sends the text of panics to the log: without WASI there is no standard error that would show it.
pub(crate) fn log_panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| crate::host::log::error(&panic.to_string())));
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[expect(dead_code, reason = "only parsing is of interest")]
        limit: u32,
    }

    #[test]
    fn an_unknown_key_is_named_together_with_the_known_ones() {
        let error = parse::<Settings>(r#"{"limit": 1, "limits": 2}"#).unwrap_err();
        assert_eq!(error, "unknown field `limits`, expected `limit`");
    }

    #[test]
    fn a_wrong_type_is_reported_without_a_position_that_the_operator_never_wrote() {
        let error = parse::<Settings>(r#"{"limit": "ten"}"#).unwrap_err();
        assert_eq!(error, "invalid type: string \"ten\", expected u32");
    }

    #[test]
    fn a_missing_key_is_named() {
        assert_eq!(parse::<Settings>("{}").unwrap_err(), "missing field `limit`");
    }
}
