//! What `wit-bindgen` makes of `wit/`, one module per world. Hand-written code stays out of this file, and only the
//! types that the crate's root re-exports are anybody else's business.
//!
//! The three worlds share one set of types and host functions: those of the balancer, whose imports are a superset.

pub mod balancer {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "balancer",
        generate_all,
        generate_unused_types: true,
        additional_derives: [PartialEq, Eq],
        additional_type_attributes: {
            "tidegate:edge/types@0.2.0/handshake": [#[derive(Default)]],
            "tidegate:edge/balancing@0.2.0/endpoint": [#[derive(Default)]],
        },
        pub_export_macro: true,
        export_macro_name: "export_world",
        default_bindings_module: "tidegate_guest::__private::balancer",
    });
}

pub mod filter {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "full-filter",
        with: {
            "tidegate:edge/types@0.2.0": crate::bindings::balancer::tidegate::edge::types,
            "tidegate:edge/log@0.2.0": crate::bindings::balancer::tidegate::edge::log,
            "tidegate:edge/clock@0.2.0": crate::bindings::balancer::tidegate::edge::clock,
            "tidegate:edge/random@0.2.0": crate::bindings::balancer::tidegate::edge::random,
            "tidegate:edge/timer@0.2.0": generate,
            "tidegate:edge/connection@0.2.0": generate,
            "tidegate:edge/filtering@0.2.0": generate,
            "tidegate:edge/batching@0.2.0": generate,
            "tidegate:edge/closing@0.2.0": generate,
            "tidegate:edge/swapping@0.2.0": generate,
            "tidegate:edge/timing@0.2.0": generate,
            "tidegate:edge/streaming@0.2.0": generate,
        },
        additional_derives: [PartialEq, Eq],
        additional_derives_ignore: ["admission"],
        pub_export_macro: true,
        export_macro_name: "export_world",
        default_bindings_module: "tidegate_guest::__private::filter",
    });
}

pub mod predicate {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "predicate",
        with: {
            "tidegate:edge/types@0.2.0": crate::bindings::balancer::tidegate::edge::types,
            "tidegate:edge/log@0.2.0": crate::bindings::balancer::tidegate::edge::log,
            "tidegate:edge/clock@0.2.0": crate::bindings::balancer::tidegate::edge::clock,
            "tidegate:edge/random@0.2.0": crate::bindings::balancer::tidegate::edge::random,
            "tidegate:edge/predicates@0.2.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_world",
        default_bindings_module: "tidegate_guest::__private::predicate",
    });
}
