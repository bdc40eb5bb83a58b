//! A filter that imports what nobody lends: sockets.

use serde::Deserialize;
use tidegate_guest::{Admission, Filter, Handshake, Refusal, export_filter};

#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code, reason = "an import is a foreign function")]
#[expect(missing_docs, reason = "generated")]
mod sockets {
    wit_bindgen::generate!({
        inline: "
            package wasi:sockets@0.2.0;
            interface instance-network {
                instance-network: func() -> u32;
            }
            world needs-sockets {
                import instance-network;
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
        std::hint::black_box(sockets::wasi::sockets::instance_network::instance_network());
        Ok(Admission::of(()))
    }
}

export_filter!(Foreign);
