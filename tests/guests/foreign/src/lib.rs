//! A filter that imports what nobody lends: a store.

use serde::Deserialize;
use tidegate_guest::{Admission, Filter, Handshake, Refusal, export_filter};

#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code, reason = "an import is a foreign function")]
#[expect(missing_docs, reason = "generated")]
mod keyvalue {
    wit_bindgen::generate!({
        inline: "
            package wasi:keyvalue@0.2.0;
            interface batch {
                batch: func() -> u32;
            }
            world needs-keyvalue {
                import batch;
            }
        ",
    });
}

#[derive(Deserialize)]
struct Foreign {}

impl Filter for Foreign {
    type Session = ();

    fn open(&self, _: &Handshake) -> Result<Admission<()>, Refusal> {
        #[cfg(target_arch = "wasm32")]
        std::hint::black_box(keyvalue::wasi::keyvalue::batch::batch());
        Ok(Admission::of(()))
    }
}

export_filter!(Foreign);
