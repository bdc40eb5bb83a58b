//! Reading a component without compiling it: what kind it is and what it imports. Compiling takes a second for each
//! megabyte or so, and a refusal should not wait for it.

use wasmparser::{Parser, Payload};
use wasmtime::Engine;
use wasmtime::component::Component as Compiled;

use super::exports::Kind;
use super::hollow;
use super::load::{Import, LoadError};
use super::packages::Packages;
use super::wasi;

/// What the outside of a component says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Survey {
    pub(super) kind: Kind,
    /// The exported interfaces that this host calls, with package and version.
    pub(super) exports: Vec<String>,
    pub(super) imports: Vec<Import>,
}

/// What bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Component,
    CoreModule,
}

impl Form {
    /// Tells a component from a core module by the layer in the preamble.
    pub(super) fn of(bytes: &[u8]) -> Result<Self, LoadError> {
        if Parser::is_component(bytes) {
            Ok(Self::Component)
        } else if Parser::is_core_wasm(bytes) {
            Ok(Self::CoreModule)
        } else if std::str::from_utf8(bytes).is_ok_and(|text| text.trim_start().starts_with('(')) {
            Err(LoadError::Text)
        } else {
            Err(LoadError::NotWasm)
        }
    }
}

/// Checks that a core module can be made a component: it must say its component type.
pub(super) fn check_core_module(bytes: &[u8]) -> Result<(), LoadError> {
    let mut has_type = false;
    let mut packages = Packages::default();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(malformed)? {
            Payload::CustomSection(section) if section.name().starts_with("component-type") => {
                has_type = true;
                packages.read(section.data())?;
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    if import.map_err(malformed)?.module == "wasi_snapshot_preview1" {
                        return Err(LoadError::Preview1);
                    }
                }
            }
            _ => {}
        }
    }
    if has_type { packages.check() } else { Err(LoadError::NoComponentType) }
}

/// Reads a component's exports and imports.
pub(super) fn survey(bytes: &[u8]) -> Result<Survey, LoadError> {
    let (imports, exports) = names(bytes)?;
    survey_of(imports, exports)
}

/// As [`survey`], from a component that was compiled before.
pub(super) fn survey_compiled(compiled: &Compiled, engine: &Engine) -> Result<Survey, LoadError> {
    let outside = compiled.component_type();
    let imports = outside.imports(engine).map(|(name, _)| name.to_owned()).collect();
    let exports = outside.exports(engine).map(|(name, _)| name.to_owned()).collect();
    survey_of(imports, exports)
}

fn survey_of(imports: Vec<String>, exports: Vec<String>) -> Result<Survey, LoadError> {
    let (kind, exports) = world(exports)?;
    let mut permissions = Vec::new();
    let mut foreign = Vec::new();
    for name in imports {
        match permission(kind, &name) {
            Permission::Needless => {}
            Permission::Lent(permission) => permissions.push(Import { name, permission: permission.to_owned() }),
            Permission::Foreign => foreign.push(name),
        }
    }
    if !foreign.is_empty() {
        return Err(LoadError::ForeignImports(foreign));
    }
    Ok(Survey { kind, exports, imports: permissions })
}

fn malformed(error: wasmparser::BinaryReaderError) -> LoadError {
    LoadError::Malformed(error.to_string())
}

/// The names of the outermost imports and exports.
fn names(bytes: &[u8]) -> Result<(Vec<String>, Vec<String>), LoadError> {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(malformed)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import.map_err(malformed)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.map_err(malformed)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

/// What a component is by the interfaces of ours that it exports, and those of them that a host calls. Others of a
/// version that it speaks belong to a later one, which can do without a host that knows them.
fn world(exports: Vec<String>) -> Result<(Kind, Vec<String>), LoadError> {
    let mut kinds: Vec<(Kind, String)> = Vec::new();
    let mut interfaces = Vec::new();
    for name in exports {
        let Some((interface, version)) = ours(&name) else { continue };
        let kind = Kind::ALL.into_iter().find(|kind| kind.interface() == interface);
        let is_hook = || Kind::ALL.into_iter().any(|kind| kind.hooks().any(|hook| hook == interface));
        if kind.is_none() && !is_hook() {
            continue;
        }
        if !is_supported(version) {
            return Err(LoadError::OtherVersion(name));
        }
        kinds.extend(kind.map(|kind| (kind, name.clone())));
        interfaces.push(name);
    }
    match <[_; 1]>::try_from(kinds) {
        Ok([(kind, _)]) => Ok((kind, interfaces)),
        Err(found) if found.is_empty() => Err(LoadError::NoWorld),
        Err(found) => Err(LoadError::SeveralWorlds(found.into_iter().map(|(_, name)| name).collect())),
    }
}

/// Splits the name of an interface of our package into interface and version.
fn ours(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("tidegate:edge/")?.split_once('@')
}

/// Whether this host speaks that version: all of 0.2.
fn is_supported(version: &str) -> bool {
    version.starts_with("0.2.")
}

enum Permission {
    /// The import holds types only.
    Needless,
    Lent(&'static str),
    Foreign,
}

fn permission(kind: Kind, import: &str) -> Permission {
    if let Some((interface, version)) = ours(import) {
        return match interface {
            _ if !is_supported(version) => Permission::Foreign,
            "types" => Permission::Needless,
            "log" => Permission::Lent("write to the log"),
            "clock" => Permission::Lent("tell the time"),
            "random" => Permission::Lent("draw random numbers, not for secrets"),
            "endpoint-stats" if kind == Kind::Balancer => {
                Permission::Lent("see the live connections to endpoints, and how often each was picked")
            }
            "timer" if kind == Kind::Filter => Permission::Lent("be called back after a time"),
            "connection" if kind == Kind::Filter => {
                Permission::Lent("set attributes of its connections, and renew its leases on them")
            }
            _ => Permission::Foreign,
        };
    }
    match import.split_once('@') {
        Some((interface, version)) if wasi::INTERFACES.contains(&interface) && version.starts_with("0.2.") => {
            Permission::Lent(wasi_permission(interface))
        }
        Some((interface, version)) if hollow::is_hollow(interface) && version.starts_with("0.2.") => {
            Permission::Lent("find that there are no files and no network")
        }
        _ => Permission::Foreign,
    }
}

fn wasi_permission(interface: &str) -> &'static str {
    match interface {
        "wasi:cli/environment" => "read an environment that is empty",
        "wasi:cli/exit" => "end itself, which is a failure",
        "wasi:cli/stdin" => "read an input that has ended",
        "wasi:cli/stdout" | "wasi:cli/stderr" => "write to the log",
        "wasi:clocks/monotonic-clock" | "wasi:clocks/wall-clock" => "tell the time",
        "wasi:random/random" => "draw random numbers",
        "wasi:random/insecure" | "wasi:random/insecure-seed" => "draw random numbers, not for secrets",
        "wasi:io/error" | "wasi:io/poll" | "wasi:io/streams" => "use the streams of its standard output",
        _ => "find that there is no terminal",
    }
}
