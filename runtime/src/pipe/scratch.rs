//! The buffers that all connections of a worker share, because one reads at a time.

use std::cell::{RefCell, RefMut};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
#[cfg(any(fuzzing, test))]
use std::sync::Arc;

use super::assemblies::Assemblies;
use super::chain::Batch;
use super::item::Finds;
#[cfg(any(fuzzing, test))]
use crate::metrics::{Gauge, Sharded, WorkerIndex};
use crate::ws::Deflater;

/// The shared buffers of a worker. An idle connection owns none of its own.
#[derive(Debug)]
pub struct Scratch {
    /// What a read goes to.
    pub(super) read: Box<[u8]>,
    /// Room for the next large message that has to be whole.
    pub(super) spare: Vec<u8>,
    pub(super) finds: Finds,
    pub(super) batch: Batch,
    /// What goes on, where that is not simply what came.
    pub(super) wire: Vec<u8>,
    pub(super) deflater: Deflater,
    /// One frame's payload on its way to `wire`.
    pub(super) deflated: Vec<u8>,
    /// What is held of messages that have begun and not ended.
    pub(super) assemblies: Rc<Assemblies>,
}

impl Scratch {
    /// One read's worth.
    pub(super) const READ: usize = 64 << 10;

    /// One read's worth where bytes come faster than that. More at a time means fewer wake-ups of the receiver, and it
    /// still fits in the second-level cache together with what is written of it.
    pub(super) const BULK: usize = 256 << 10;

    /// The buffers of one worker.
    pub fn new(assemblies: Rc<Assemblies>) -> Self {
        Self {
            read: vec![0; Self::BULK].into_boxed_slice(),
            spare: Vec::new(),
            finds: Finds::default(),
            batch: Batch::default(),
            wire: Vec::new(),
            deflater: Deflater::default(),
            deflated: Vec::new(),
            assemblies,
        }
    }

    /// The buffers for one turn of one connection.
    pub(super) fn lend(scratch: &RefCell<Self>) -> Lent<'_> {
        Lent(scratch.borrow_mut())
    }

    /// Gives back what an exceptionally large message made them grow to.
    pub(super) fn shrink(&mut self) {
        for buffer in [&mut self.finds.unmasked, &mut self.finds.inflated, &mut self.wire, &mut self.deflated] {
            if buffer.capacity() > Self::KEPT {
                buffer.clear();
                buffer.shrink_to(Self::KEPT);
            }
        }
    }

    /// Buffers up to this size are kept: allocating them for each large message would cost more than they hold.
    pub(super) const KEPT: usize = 4 << 20;
}

/// The buffers while a connection has its turn. Where that ends in a panic, whatever it has left in them goes with it: the
/// next connection finds them as a new worker does.
#[derive(Debug)]
pub(super) struct Lent<'a>(RefMut<'a, Scratch>);

impl Deref for Lent<'_> {
    type Target = Scratch;

    fn deref(&self) -> &Scratch {
        &self.0
    }
}

impl DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut Scratch {
        &mut self.0
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0 = Scratch::new(self.0.assemblies.clone());
        }
    }
}

#[cfg(any(fuzzing, test))]
impl Default for Scratch {
    /// With room for everything.
    fn default() -> Self {
        let gauge = Arc::new(Sharded::new(1, Gauge::default));
        Self::new(Assemblies::new(usize::MAX, gauge, WorkerIndex(0)))
    }
}
