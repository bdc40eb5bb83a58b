//! The part of WASI 0.2 that is lent empty: files, sockets and HTTP. The standard libraries of many languages import them
//! whether a program uses them or not.
//!
//! Nothing is granted. No directory is open, which is all that such a library asks when it starts, and every other function
//! is a trap that names it. What is defined follows from what a component imports, so any release of 0.2 will do.

use std::borrow::Cow;

use wasmtime::component::types::{ComponentInstance, ComponentItem};
use wasmtime::component::{Component, Linker, LinkerInstance, ResourceType, Val};

use super::guest::Guest;
use super::wasi::{self, Denied};

/// Whether an interface, by its name without version, is lent empty.
pub(super) fn is_hollow(interface: &str) -> bool {
    PACKAGES.iter().any(|package| interface.starts_with(package))
}

/// The linker for a component: with what it imports of these, if it does.
pub(super) fn lend<'a>(linker: &'a Linker<Guest>, component: &Component) -> wasmtime::Result<Cow<'a, Linker<Guest>>> {
    let outside = component.component_type();
    let mut linker = Cow::Borrowed(linker);
    let mut resources = Resources::default();
    for (name, item) in outside.imports(component.engine()) {
        let ComponentItem::ComponentInstance(instance) = item.ty else { continue };
        if is_hollow(name) {
            define(&mut linker.to_mut().instance(name)?, name, &instance, component, &resources)?;
        } else {
            resources.learn(&instance, component);
        }
    }
    Ok(linker)
}

const PACKAGES: &[&str] = &["wasi:filesystem/", "wasi:sockets/", "wasi:http/"];

/// The one function that answers: the directories that are open, of which there are none.
const DIRECTORIES: &str = "get-directories";

/// A resource of which there is none.
struct Hollow;

/// The resources of what is really lent, which the empty interfaces use, under other names now and then.
#[derive(Default)]
struct Resources(Vec<(ResourceType, ResourceType)>);

impl Resources {
    fn learn(&mut self, instance: &ComponentInstance, component: &Component) {
        for (name, item) in instance.exports(component.engine()) {
            if let ComponentItem::Resource(resource) = item.ty
                && let Some(lent) = wasi::resource(name)
            {
                self.0.push((resource, lent));
            }
        }
    }

    fn find(&self, resource: ResourceType) -> ResourceType {
        let known = self.0.iter().find(|(known, _)| *known == resource);
        known.map_or_else(ResourceType::host::<Hollow>, |(_, lent)| *lent)
    }
}

fn define(
    lent: &mut LinkerInstance<'_, Guest>,
    interface: &str,
    instance: &ComponentInstance,
    component: &Component,
    resources: &Resources,
) -> wasmtime::Result<()> {
    for (name, item) in instance.exports(component.engine()) {
        match item.ty {
            ComponentItem::ComponentFunc(_) if name == DIRECTORIES => {
                lent.func_new(name, |_, _, _, results| {
                    if let Some(answer) = results.first_mut() {
                        *answer = Val::List(Vec::new());
                    }
                    Ok(())
                })?;
            }
            ComponentItem::ComponentFunc(_) => {
                let function = format!("{interface}.{name}");
                lent.func_new(name, move |_, _, _, _| Err(Denied::Absent(function.clone()).into()))?;
            }
            ComponentItem::Resource(resource) => {
                lent.resource(name, resources.find(resource), |_, _| Ok(()))?;
            }
            _ => {}
        }
    }
    Ok(())
}
