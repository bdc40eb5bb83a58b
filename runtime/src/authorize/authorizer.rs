//! Who asks, and what comes of it.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::header::{HeaderName, HeaderValue};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::admitted::{Copied, Remembered};
use super::question::{Question, Terms};
use crate::inquiry::{Desk, Inquirer, InquiryError};
use crate::metrics::{AuthorizationMetrics, AuthorizationOutcome, WorkerIndex};

/// Asks whether clients may come in by a route.
#[derive(Debug)]
pub struct Authorizer {
    terms: Terms,
    desk: Desk,
    inquirer: Inquirer,
    /// Places for questions that are under way.
    pending: Semaphore,
    remembered: Option<Remembered>,
    metrics: Arc<AuthorizationMetrics>,
}

/// What was answered.
#[derive(Debug)]
pub enum Verdict {
    /// It may come in, with these fields for the upstream.
    Admitted(Arc<[(HeaderName, HeaderValue)]>),
    /// It may not, and is to be told this.
    Refused(Response<Bytes>),
}

/// Why there is no verdict.
#[derive(Debug, Error)]
pub enum Failure {
    /// Nobody has answered.
    #[error("{0}")]
    Unanswered(#[from] InquiryError),
    /// As many questions as may be are under way.
    #[error("max_pending is reached")]
    Pending,
    /// It cannot be asked.
    #[error("{0}")]
    Unaskable(http::Error),
}

impl Authorizer {
    /// Asks under these terms.
    pub fn new(terms: Terms, desk: Desk, inquirer: Inquirer, metrics: Arc<AuthorizationMetrics>) -> Self {
        let remembered = terms.cache.map(Remembered::new);
        let pending = Semaphore::new(terms.max_pending);
        Self { terms, desk, inquirer, pending, remembered, metrics }
    }

    /// The terms.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Asks, unless it is remembered that the same was admitted. Dropping the future gives the question up.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn ask(&self, question: Question<'_>, worker: WorkerIndex) -> Result<Verdict, Failure> {
        let shard = self.metrics.of(worker);
        let begun = Instant::now();
        let key = self.remembered.as_ref().map(|remembered| (remembered, question.key(&self.terms)));
        if let Some(copied) = key.as_ref().and_then(|(remembered, key)| remembered.find(key, begun)) {
            shard.count(AuthorizationOutcome::Cached);
            return Ok(Verdict::Admitted(copied));
        }
        let asked = self.inquire(&question).await;
        let outcome = match &asked {
            Ok(answer) if answer.status().is_success() => AuthorizationOutcome::Admitted,
            Ok(_) => AuthorizationOutcome::Refused,
            Err(Failure::Pending) => AuthorizationOutcome::Pending,
            Err(_) => AuthorizationOutcome::Failed,
        };
        shard.count(outcome);
        if outcome != AuthorizationOutcome::Pending {
            shard.seconds.observe(begun.elapsed());
        }
        let answer = asked?;
        if outcome == AuthorizationOutcome::Refused {
            return Ok(Verdict::Refused(answer));
        }
        let copied = self.copied(&answer);
        if let Some((remembered, key)) = key {
            remembered.keep(key, &copied, Instant::now());
        }
        Ok(Verdict::Admitted(copied))
    }

    async fn inquire(&self, question: &Question<'_>) -> Result<Response<Bytes>, Failure> {
        let _place = self.pending.try_acquire().map_err(|_| Failure::Pending)?;
        let request = question.request(&self.terms).map_err(Failure::Unaskable)?;
        Ok(self.desk.ask(&self.inquirer, request, MOST, self.terms.timeout).await?)
    }

    fn copied(&self, answer: &Response<Bytes>) -> Copied {
        let values = |name: &HeaderName| {
            let name = name.clone();
            answer.headers().get_all(&name).iter().map(move |value| (name.clone(), value.clone())).collect::<Vec<_>>()
        };
        self.terms.copy.iter().flat_map(values).collect()
    }
}

/// What is read of an answer's body: a page that says why somebody may not come in.
const MOST: usize = 64 << 10;
