//! Other filters for an open connection.

use std::rc::Rc;
use std::sync::Arc;

use crate::component::{FilterUse, Pool};
use crate::metrics::{SwapOutcome, WorkerIndex};

/// The filters that a route has after a reload, for its open connections on one worker.
#[derive(Debug)]
pub struct Change {
    /// Where their instances are.
    pub pool: Rc<Pool>,
    /// In the order of the configuration.
    pub filters: Vec<Arc<FilterUse>>,
}

impl Change {
    /// Counts that a connection could not be changed.
    pub(super) fn refused(&self, worker: WorkerIndex) {
        for filter in &self.filters {
            filter.swapped(worker, SwapOutcome::Failed);
        }
    }
}
