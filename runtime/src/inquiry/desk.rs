//! Questions of workers, which are asked on the control runtime.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::{Inquirer, InquiryError};

/// Where workers leave questions. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Desk {
    errands: mpsc::Sender<Errand>,
    inquirer: Inquirer,
}

/// Asks what is left there, for as long as it is [served](Self::serve).
#[derive(Debug)]
pub struct Clerk(mpsc::Receiver<Errand>);

type Errand = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Desk {
    /// One without questions, and who will ask them.
    pub fn new() -> (Self, Clerk) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self { errands: sender, inquirer: Inquirer::new() }, Clerk(receiver))
    }

    /// Who asks, where only whom the system believes is believed.
    pub fn inquirer(&self) -> &Inquirer {
        &self.inquirer
    }

    /// Has a question [asked](Inquirer::ask_whether). Dropping the future gives it up.
    ///
    /// # Errors
    /// When there is no such answer within the time, or too many wait already.
    pub async fn ask(
        &self,
        inquirer: &Inquirer,
        request: Request<Full<Bytes>>,
        most: usize,
        patience: Duration,
    ) -> Result<Response<Bytes>, InquiryError> {
        let (mut answer, answered) = oneshot::channel();
        let inquirer = inquirer.clone();
        let errand = Box::pin(async move {
            tokio::select! {
                asked = inquirer.ask_whether(request, most, patience) => drop(answer.send(asked)),
                () = answer.closed() => {}
            }
        });
        self.errands.try_send(errand).map_err(|_| InquiryError::Busy)?;
        answered.await.unwrap_or(Err(InquiryError::Busy))
    }
}

impl Clerk {
    /// Asks. It belongs on the control runtime, and ends with the last [`Desk`].
    pub async fn serve(mut self) {
        let mut under_way = JoinSet::new();
        while let Some(errand) = self.0.recv().await {
            while under_way.try_join_next().is_some() {}
            under_way.spawn(errand);
        }
    }
}

/// The control runtime takes them at once; a heap of them says that it does not keep up.
const WAITING: usize = 1024;
