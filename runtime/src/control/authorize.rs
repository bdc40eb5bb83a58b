//! Whom routes ask whether clients may come in.

use super::build::Means;
use super::findings::Findings;
use super::sources::Sources;
use super::tls::issuers;
use crate::authorize::Authorizer;
use crate::config::Route;
use crate::inquiry::Inquirer;
use crate::tls::Trust;

/// Whom a route asks; `None` where it asks nobody, or where something is wrong, which is among the findings then.
pub(super) fn authorizer(
    route: &Route,
    sources: &Sources,
    means: &Means<'_>,
    findings: &mut Findings,
) -> Option<Authorizer> {
    let wanted = route.authorize.as_ref()?;
    let inquirer = match &wanted.ca {
        None => means.desk.inquirer().clone(),
        Some(ca) => {
            let trust = Trust::Issuers(issuers(ca, sources, findings)?);
            let made = Inquirer::trusting(trust);
            made.map_err(|error| findings.add(&ca.place, error, "name other authorities")).ok()?
        }
    };
    let metrics = means.metrics.authorizations(&route.name);
    Some(Authorizer::new(wanted.terms.clone(), means.desk.clone(), inquirer, metrics))
}
