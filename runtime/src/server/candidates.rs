//! Candidates of filters, as the admin API shows them.

use crate::admin::{CandidateView, DecisionsView, SampleView, SampledMessageView};
use crate::rollout::{Candidate, Mode, Sample, SampledMessage, Standing};

/// A candidate and what has come of it so far.
pub(super) fn candidate(candidate: &Candidate) -> CandidateView {
    let terms = candidate.terms();
    let [agreed, diverged, failed, skipped] = candidate.outcomes();
    let (mode, canary) = match terms.mode {
        Mode::Shadow => ("shadow", None),
        Mode::Canary { of_ten_thousand } => ("canary", Some(percentage(of_ten_thousand))),
    };
    CandidateView {
        route: candidate.route().to_owned(),
        filter: candidate.of().to_owned(),
        component: candidate.filter().component().name().to_owned(),
        mode,
        canary,
        standing: label(candidate.standing()),
        connections: candidate.connections() as u64,
        failures: candidate.failures(),
        max_failures: terms.max_failures.map(Into::into),
        decisions: (terms.mode == Mode::Shadow).then_some(DecisionsView { agreed, diverged, failed, skipped }),
        samples: candidate.samples().into_iter().map(sample).collect(),
    }
}

/// What has become of a candidate, in a word.
pub(super) fn label(standing: Standing) -> &'static str {
    match standing {
        Standing::OnTrial => "on_trial",
        Standing::Promoted => "promoted",
        Standing::RolledBack => "rolled_back",
        Standing::Failed => "failed",
    }
}

fn sample(sample: Sample) -> SampleView {
    let Sample { connection, message, filter, candidate } = sample;
    let message = message.map(|SampledMessage { origin, kind, size, payload }| SampledMessageView {
        origin: origin.label(),
        kind: kind.label(),
        size,
        payload,
    });
    SampleView { connection, message, filter, candidate }
}

/// As the configuration writes it.
fn percentage(of_ten_thousand: u16) -> String {
    format!("{}%", f64::from(of_ten_thousand) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_told_as_it_was_written() {
        let shares = [(1, "0.01%"), (50, "0.5%"), (500, "5%"), (1_234, "12.34%"), (10_000, "100%")];
        for (share, written) in shares {
            assert_eq!(percentage(share), written);
        }
    }
}
