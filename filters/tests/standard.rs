//! What every standard component promises.

use tidegate_filters::{Standard, all, find};
use wasmparser::{Parser, Payload, Result};

/// The names of what a component imports and of what it exports.
fn interfaces(bytes: &[u8]) -> Result<(Vec<String>, Vec<String>)> {
    let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

#[test]
fn a_standard_component_imports_only_what_the_proxy_lends() {
    for Standard { name, bytes, .. } in all() {
        let (imports, _) = interfaces(bytes).unwrap();
        let foreign: Vec<_> = imports.iter().filter(|import| !import.starts_with("tidegate:edge/")).collect();
        assert!(foreign.is_empty(), "{name} imports {foreign:?}");
    }
}

#[test]
fn a_standard_component_exports_the_interfaces_of_its_kind() {
    for Standard { name, kind, bytes } in all() {
        let expected: &[&str] = match *kind {
            "predicate" => &["predicates"],
            "balancer" => &["balancing"],
            _ => &["batching", "closing", "filtering", "streaming", "swapping", "timing"],
        };
        let mut exports = interfaces(bytes).unwrap().1;
        exports.sort();
        let expected: Vec<_> = expected.iter().map(|name| format!("tidegate:edge/{name}@0.2.0")).collect();
        assert_eq!(exports, expected, "{name}");
    }
}

#[test]
fn a_standard_component_stays_small() {
    for Standard { name, bytes, .. } in all() {
        assert!(bytes.len() < 192 * 1024, "{name} has {} bytes", bytes.len());
    }
}

#[test]
fn a_standard_component_is_found_by_its_name() {
    let filters = ["access", "json-guard", "log-messages", "rate-limit", "renew-token", "rewrite"];
    assert!(filters.iter().all(|name| find(name).is_some_and(|standard| standard.kind == "filter")));
    assert_eq!(find("no-such-component"), None);
}
