//! Whether another process takes the place of this one. What that one would not know of is refused from the moment on in
//! which it is asked for, since nobody can tell how much of the configuration it has read already.

use std::future::pending;

use tokio::sync::watch;

use crate::admin::Superseded;

/// How far an upgrade of this process is.
#[derive(Debug)]
pub(super) struct Succession(watch::Sender<Stage>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is none.
    Alone,
    Underway,
    /// A new process serves in place of this one.
    Over,
}

impl Default for Succession {
    fn default() -> Self {
        Self(watch::Sender::new(Stage::Alone))
    }
}

impl Succession {
    /// An upgrade has been asked for.
    pub(super) fn begin(&self) {
        self.0.send_replace(Stage::Underway);
    }

    /// It has come to nothing: this process goes on.
    pub(super) fn fail(&self) {
        self.0.send_replace(Stage::Alone);
    }

    /// The new process has been told to serve.
    pub(super) fn complete(&self) {
        self.0.send_replace(Stage::Over);
    }

    /// Whether a new process has taken over.
    pub(super) fn is_over(&self) -> bool {
        *self.0.borrow() == Stage::Over
    }

    /// # Errors
    /// When what this process is told would be lost.
    pub(super) fn none(&self) -> Result<(), Superseded> {
        match *self.0.borrow() {
            Stage::Alone => Ok(()),
            Stage::Underway => Err(Superseded::Underway),
            Stage::Over => Err(Superseded::Over),
        }
    }

    /// Waits until a new process has taken over.
    pub(super) fn until_over(&self) -> impl Future<Output = ()> + Send + use<> {
        self.until(|stage| stage == Stage::Over)
    }

    /// Waits until an upgrade is under way or over.
    pub(super) fn until_superseded(&self) -> impl Future<Output = ()> + Send + use<> {
        self.until(|stage| stage != Stage::Alone)
    }

    /// Waits until no upgrade is under way, nor over.
    pub(super) fn until_alone(&self) -> impl Future<Output = ()> + Send + use<> {
        self.until(|stage| stage == Stage::Alone)
    }

    fn until(&self, reached: fn(Stage) -> bool) -> impl Future<Output = ()> + Send + use<> {
        let mut stage = self.0.subscribe();
        async move {
            if stage.wait_for(|stage| reached(*stage)).await.is_err() {
                pending().await
            }
        }
    }
}
