//! Asking an authority, over the connections that the control runtime keeps.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use crate::inquiry::Inquirer;

/// Asks an authority.
pub(super) struct Asker(pub(super) Inquirer);

impl HttpClient for Asker {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let inquirer = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => Full::new(body.to_bytes()),
                Err(never) => match never {},
            };
            let answer = inquirer.ask(Request::from_parts(head, body), MOST, PATIENCE).await;
            let (parts, body) = answer.map_err(|error| Error::Other(Box::new(error)))?.into_parts();
            Ok(BytesResponse { parts, body: Box::new(body) })
        })
    }
}

/// A chain has some 6 KiB, an order for a hundred names 20.
const MOST: usize = 1 << 20;
/// How long an authority may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
