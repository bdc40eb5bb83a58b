//! The list of what a batch holds: derived, it would be checked and stored field by field, which small messages feel.

use wasmtime::component::__internal::{InterfaceType, LowerContext};
use wasmtime::component::{ComponentType, Lower};

use super::{MessageKind, saturated};
use crate::component::types;

#[derive(Clone, Copy, Debug, ComponentType)]
#[component(record)]
pub(in crate::component) struct Arrival {
    kind: MessageKind,
    size: u32,
    length: u32,
}

impl Arrival {
    /// As the canonical ABI lays it out.
    fn bytes(self) -> [u8; SIZE] {
        let kind = u32::from(self.kind as u8).to_le_bytes();
        let mut bytes = [0; SIZE];
        let (fields, _) = bytes.as_chunks_mut();
        for (field, value) in fields.iter_mut().zip([kind, self.size.to_le_bytes(), self.length.to_le_bytes()]) {
            *field = value;
        }
        bytes
    }
}

const SIZE: usize = 12;
const _: () = assert!(<Arrival as ComponentType>::SIZE32 == SIZE);

#[expect(
    unsafe_code,
    reason = "wasmtime asks for this word; what stands here writes to the guest's memory and nowhere else"
)]
// SAFETY: nothing is written but within the memory that the context gives, and no value is left unwritten.
unsafe impl Lower for Arrival {
    fn linear_lower_to_flat<T>(
        &self,
        _: &mut LowerContext<'_, T>,
        _: InterfaceType,
        _: &mut std::mem::MaybeUninit<Self::Lower>,
    ) -> wasmtime::Result<()> {
        Err(wasmtime::Error::msg("no function takes a single arrival"))
    }

    fn linear_lower_to_memory<T>(
        &self,
        context: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        offset: usize,
    ) -> wasmtime::Result<()> {
        Self::linear_store_list_to_memory(context, ty, offset, std::slice::from_ref(self))
    }

    fn linear_store_list_to_memory<T>(
        context: &mut LowerContext<'_, T>,
        _: InterfaceType,
        offset: usize,
        arrivals: &[Self],
    ) -> wasmtime::Result<()> {
        let room = context.as_slice_mut().get_mut(offset..).unwrap_or_default();
        let (places, _) = room.as_chunks_mut::<SIZE>();
        if places.len() < arrivals.len() {
            return Err(wasmtime::Error::msg("the guest's memory ends within the list of arrivals"));
        }
        for (place, arrival) in places.iter_mut().zip(arrivals) {
            *place = arrival.bytes();
        }
        Ok(())
    }
}

impl From<&types::Message<'_>> for Arrival {
    #[inline]
    fn from(message: &types::Message<'_>) -> Self {
        let types::Message { kind, size, payload, .. } = *message;
        // What is here fits into 32 bits, as the memory of the guest does.
        Self { kind: kind.into(), size: saturated(size), length: saturated(payload.len() as u64) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_is_laid_out_as_the_canonical_abi_has_it() {
        let arrival = Arrival { kind: MessageKind::Binary, size: 0x0102_0304, length: 5 };
        assert_eq!(arrival.bytes(), [1, 0, 0, 0, 4, 3, 2, 1, 5, 0, 0, 0]);
    }
}
