//! From a core module to a component.

use wit_component::{ComponentEncoder, DecodedWasm};

/// Makes a component of a core module that carries its component type, as the SDK's export macros leave it. Keeps the
/// names of functions, so that a trap has a readable backtrace.
pub fn encode(module: &[u8]) -> Result<Vec<u8>, String> {
    let encoder = ComponentEncoder::default().validate(true).module(module);
    encoder.and_then(|mut encoder| encoder.encode()).map_err(|error| format!("{error:#}"))
}

/// The names of the interfaces that a component imports and exports.
pub(crate) fn interfaces(component: &[u8]) -> Result<(Vec<String>, Vec<String>), String> {
    match wit_component::decode(component).map_err(|error| format!("{error:#}"))? {
        DecodedWasm::WitPackage(..) => Err("it is a WIT package".into()),
        DecodedWasm::Component(resolve, world) => {
            let world = resolve.worlds.get(world).ok_or("its world is missing")?;
            let imports = world.imports.keys().map(|key| resolve.name_world_key(key)).collect();
            let exports = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
            Ok((imports, exports))
        }
    }
}
