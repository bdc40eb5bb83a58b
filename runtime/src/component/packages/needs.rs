//! Which packages the interfaces of an embedded component type need, read from its bytes: the parser would follow a circle
//! of them for ever, so it must not see one.

use std::collections::{BTreeMap, BTreeSet};

use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentOuterAliasKind, ComponentType, ComponentTypeDeclaration,
    ComponentTypeRef, InstanceTypeDeclaration, Parser, Payload, TypeBounds,
};

/// Packages, with name and version, each with those that it needs.
pub(super) type Needs = BTreeMap<String, BTreeSet<String>>;

/// Reads an embedded component type.
pub(super) fn read(component_type: &[u8]) -> Result<Needs, BinaryReaderError> {
    let mut needs = Needs::new();
    for payload in Parser::new(0).parse_all(component_type) {
        if let Payload::ComponentTypeSection(types) = payload? {
            for ty in types {
                if let ComponentType::Component(declarations) = ty? {
                    Scope::default().read(&declarations, &mut needs);
                }
            }
        }
    }
    Ok(needs)
}

/// What was declared so far of a component's outside.
#[derive(Default)]
struct Scope {
    /// Of each type, the packages that it is made of.
    types: Vec<BTreeSet<String>>,
    /// Of each instance, the package of its name.
    instances: Vec<Option<String>>,
}

impl Scope {
    fn read(&mut self, declarations: &[ComponentTypeDeclaration<'_>], needs: &mut Needs) {
        for declaration in declarations {
            match declaration {
                ComponentTypeDeclaration::CoreType(_) => {}
                ComponentTypeDeclaration::Type(ty) => self.define(ty, needs),
                ComponentTypeDeclaration::Alias(alias) => self.alias(alias),
                ComponentTypeDeclaration::Export { name, ty } => self.name(name.name, *ty, needs),
                ComponentTypeDeclaration::Import(import) => self.name(import.name.name, import.ty, needs),
            }
        }
    }

    fn define(&mut self, ty: &ComponentType<'_>, needs: &mut Needs) {
        let made_of = match ty {
            ComponentType::Instance(declarations) => self.outer_types(declarations),
            // A world, which needs whatever it imports and exports.
            ComponentType::Component(declarations) => {
                let mut world = Self::default();
                world.read(declarations, needs);
                world.instances.into_iter().flatten().collect()
            }
            // Of a world's own; whatever was there before may be in it.
            ComponentType::Defined(_) | ComponentType::Func(_) => self.types.iter().flatten().cloned().collect(),
            ComponentType::Resource { .. } => BTreeSet::new(),
        };
        self.types.push(made_of);
    }

    /// The packages of the types that an instance takes from around it.
    fn outer_types(&self, declarations: &[InstanceTypeDeclaration<'_>]) -> BTreeSet<String> {
        let mut packages = BTreeSet::new();
        for declaration in declarations {
            if let InstanceTypeDeclaration::Alias(ComponentAlias::Outer {
                kind: ComponentOuterAliasKind::Type,
                index,
                ..
            }) = declaration
            {
                packages.extend(self.made_of(*index));
            }
        }
        packages
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) {
        match alias {
            ComponentAlias::InstanceExport {
                kind: wasmparser::ComponentExternalKind::Type, instance_index, ..
            } => {
                let package = self.instances.get(*instance_index as usize).cloned().flatten();
                self.types.push(package.into_iter().collect());
            }
            ComponentAlias::InstanceExport { kind: wasmparser::ComponentExternalKind::Instance, .. } => {
                self.instances.push(None);
            }
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Type, index, .. } => {
                self.types.push(self.made_of(*index));
            }
            _ => {}
        }
    }

    /// An import or an export.
    fn name(&mut self, name: &str, ty: ComponentTypeRef, needs: &mut Needs) {
        match ty {
            ComponentTypeRef::Instance(index) => {
                let package = package(name);
                if let Some(package) = &package {
                    needs.entry(package.clone()).or_default().extend(self.made_of(index));
                }
                self.instances.push(package);
            }
            ComponentTypeRef::Component(index) => {
                if let Some(package) = package(name) {
                    needs.entry(package).or_default().extend(self.made_of(index));
                }
            }
            ComponentTypeRef::Type(TypeBounds::Eq(index)) => self.types.push(self.made_of(index)),
            ComponentTypeRef::Type(TypeBounds::SubResource) => self.types.push(BTreeSet::new()),
            _ => {}
        }
    }

    fn made_of(&self, index: u32) -> BTreeSet<String> {
        self.types.get(index as usize).cloned().unwrap_or_default()
    }
}

/// The package, with its version, of an interface's name such as `wasi:io/streams@0.2.0`.
fn package(interface: &str) -> Option<String> {
    let (package, rest) = interface.split_once('/')?;
    Some(match rest.split_once('@') {
        Some((_, version)) => format!("{package}@{version}"),
        None => package.to_owned(),
    })
}
