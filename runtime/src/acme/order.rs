//! One order, from the account to the chain (RFC 8555 section 7.1).

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use thiserror::Error;
use tokio::time::sleep;

use super::ask::Asker;
use super::challenges::Challenges;
use super::store::{Kept, Store};
use super::terms::Terms;
use crate::inquiry::Inquirer;
use crate::tls::Renewed;

/// Why there is no certificate.
#[derive(Debug, Error)]
pub(super) enum OrderError {
    /// The authority cannot be asked, or has something against what was asked.
    #[error("{}", said(.0))]
    Authority(#[from] Error),
    /// It has not convinced itself that a name is ours.
    #[error("{0} was not validated: {1}")]
    NotValidated(String, String),
    /// It offers no way to do so that there is here.
    #[error("the authority validates {0} in no way that can be answered here")]
    NoWay(String),
    /// It does not say why.
    #[error("the authority has not validated all names, and does not say why")]
    NotReady,
    /// Something cannot be kept on disk.
    #[error("{0}")]
    Store(#[from] std::io::Error),
    /// A certificate for a challenge cannot be made.
    #[error("{0}")]
    Proof(String),
}

/// Who orders.
pub(super) struct Orderer<'a> {
    pub(super) terms: &'a Terms,
    pub(super) store: &'a Store,
    pub(super) renewed: &'a Arc<Renewed>,
    pub(super) challenges: &'a Arc<Challenges>,
    pub(super) inquirer: &'a Inquirer,
}

/// A key and the chain for it, in PEM.
pub(super) struct Issued {
    pub(super) key: String,
    pub(super) chain: String,
}

impl Orderer<'_> {
    /// Orders a certificate; over HTTP or over TLS first.
    pub(super) async fn order(&self, http_first: bool) -> Result<Issued, OrderError> {
        let names: Vec<_> = self.terms.domains.iter().cloned().map(Identifier::Dns).collect();
        let mut order = match self.account().await?.new_order(&NewOrder::new(&names)).await {
            // An account that the authority has forgotten is made anew.
            Err(Error::Api(problem)) if is_about_no_account(problem.r#type.as_deref()) => {
                self.store.forget_account()?;
                self.account().await?.new_order(&NewOrder::new(&names)).await?
            }
            order => order?,
        };
        let answers = self.answer(&mut order, http_first).await?;
        // Others that the authority may come to find out first.
        sleep(FOLLOWED).await;
        self.ready(&mut order, &answers).await?;
        match order.poll_ready(&PATIENCE).await {
            Ok(OrderStatus::Ready) => {}
            Ok(_) => return Err(why(&mut order).await.unwrap_or(OrderError::NotReady)),
            Err(error) => return Err(why(&mut order).await.unwrap_or(error.into())),
        }
        drop(answers);
        let key = order.finalize().await?;
        let chain = order.poll_certificate(&PATIENCE).await?;
        Ok(Issued { key, chain })
    }

    /// The account that was kept, or a new one.
    async fn account(&self) -> Result<Account, OrderError> {
        let builder = || Account::builder_with_http(Box::new(Asker(self.inquirer.clone())));
        if let Some(kept) = self.store.account()? {
            let credentials: AccountCredentials = serde_json::from_slice(&kept).map_err(Error::from)?;
            return Ok(builder().from_credentials(credentials).await?);
        }
        let contact: Vec<_> = self.terms.contact.iter().map(String::as_str).collect();
        let account = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let (account, credentials) = builder().create(&account, self.terms.server.to_string(), None).await?;
        self.store.keep_account(&serde_json::to_vec(&credentials).map_err(Error::from)?)?;
        Ok(account)
    }

    /// Makes the answers to what the authority will ask.
    async fn answer(&self, order: &mut Order, http_first: bool) -> Result<Vec<Answered<'_>>, OrderError> {
        let mut answers = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let domain = authorization.identifier().to_string();
            let (tls, http) = (ChallengeType::TlsAlpn01, ChallengeType::Http01);
            let mut ways = vec![(self.terms.ways.tls, tls), (self.terms.ways.http, http)];
            if http_first {
                ways.reverse();
            }
            let offered = |kind: &ChallengeType| authorization.challenges.iter().any(|offer| offer.r#type == *kind);
            let way = ways.into_iter().find(|(is_open, kind)| *is_open && offered(kind)).map(|(_, kind)| kind);
            let way = way.ok_or_else(|| OrderError::NoWay(domain.clone()))?;
            let Some(challenge) = authorization.challenge(way.clone()) else { return Err(OrderError::NoWay(domain)) };
            let authorized = challenge.key_authorization();
            let over_tls = way == ChallengeType::TlsAlpn01;
            let key_authorization = authorized.as_str().to_owned();
            let kept = Kept { token: challenge.token.clone(), domain, key_authorization, over_tls };
            answers.push(Answered::new(self, kept)?);
        }
        Ok(answers)
    }

    /// Tells the authority that all of it can be asked.
    async fn ready(&self, order: &mut Order, answers: &[Answered<'_>]) -> Result<(), OrderError> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            let domain = authorization.identifier().to_string();
            let Some(Answered { kept, .. }) = answers.iter().find(|it| it.kept.domain == domain) else { continue };
            let way = if kept.over_tls { ChallengeType::TlsAlpn01 } else { ChallengeType::Http01 };
            if let Some(mut challenge) = authorization.challenge(way) {
                challenge.set_ready().await?;
            }
        }
        Ok(())
    }
}

/// What is answered to an authority, until it is dropped.
struct Answered<'a> {
    orderer: &'a Orderer<'a>,
    kept: Kept,
}

impl<'a> Answered<'a> {
    fn new(orderer: &'a Orderer<'a>, kept: Kept) -> Result<Self, OrderError> {
        publish(&kept, orderer.renewed, orderer.challenges).map_err(OrderError::Proof)?;
        let answered = Self { orderer, kept };
        orderer.store.keep_challenge(&answered.kept)?;
        Ok(answered)
    }
}

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        withdraw(&self.kept, self.orderer.renewed, self.orderer.challenges);
        // One that stays is answered for nobody.
        let _ = self.orderer.store.forget_challenge(&self.kept.token);
    }
}

/// Has a challenge answered.
pub(super) fn publish(kept: &Kept, renewed: &Renewed, challenges: &Challenges) -> Result<(), String> {
    match kept.over_tls {
        true => renewed.prove(&kept.domain, kept.key_authorization.as_bytes()),
        false => {
            challenges.expect(&kept.token, &kept.key_authorization);
            Ok(())
        }
    }
}

/// Has it answered no more.
pub(super) fn withdraw(kept: &Kept, renewed: &Renewed, challenges: &Challenges) {
    match kept.over_tls {
        true => renewed.withdraw(&kept.domain),
        false => challenges.forget(&kept.token),
    }
}

/// What the authority has against a name.
async fn why(order: &mut Order) -> Option<OrderError> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        // What it was before says less.
        let _ = authorization.refresh().await;
        if let Some(error) = authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            let why = error.detail.clone().unwrap_or_else(|| error.to_string());
            return Some(OrderError::NotValidated(authorization.identifier().to_string(), why));
        }
    }
    None
}

/// An error in the words of the authority, if it has said any.
fn said(error: &Error) -> String {
    match error {
        Error::Api(problem) => match (&problem.detail, &problem.r#type) {
            (Some(detail), Some(kind)) => format!("the authority says: {detail} ({kind})"),
            (Some(what), None) | (None, Some(what)) => format!("the authority says: {what}"),
            (None, None) => problem.to_string(),
        },
        error => error.to_string(),
    }
}

/// RFC 8555 section 6.7.
fn is_about_no_account(kind: Option<&str>) -> bool {
    kind == Some("urn:ietf:params:acme:error:accountDoesNotExist")
}

/// Until all processes that share the directory answer.
const FOLLOWED: Duration = super::keeper::LOOK.saturating_mul(2);
/// How long an authority may take to validate, and to issue.
const PATIENCE: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(500)).backoff(1.5).timeout(Duration::from_secs(120));
