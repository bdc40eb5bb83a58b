//! Token buckets: what may pass in a burst, refilled at a steady rate.

use std::time::Duration;

/// How fast a bucket refills and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    per_second: f64,
    burst: f64,
}

impl Rate {
    /// Reads the two keys of a rate. A burst that is not given is what a second brings, and 1 at least.
    pub(crate) fn configured(
        rate_key: &str,
        per_second: Option<f64>,
        burst_key: &str,
        burst: Option<f64>,
    ) -> Result<Option<Self>, String> {
        let Some(per_second) = per_second else {
            return match burst {
                Some(_) => Err(format!("`{burst_key}` without `{rate_key}`; write both or neither")),
                None => Ok(None),
            };
        };
        if !(per_second > 0.0 && per_second.is_finite()) {
            return Err(format!("`{rate_key}` is not above 0; write a number above 0"));
        }
        let burst = burst.unwrap_or(per_second.max(1.0));
        if !(burst >= 1.0 && burst.is_finite()) {
            return Err(format!("`{burst_key}` is less than 1; write 1 or more"));
        }
        Ok(Some(Self { per_second, burst }))
    }
}

/// A bucket of tokens. Less than none is a debt.
#[derive(Debug)]
pub(crate) struct Bucket {
    tokens: f64,
    refilled: Duration,
}

impl Bucket {
    /// A bucket that a burst fits through; of what has no rate, one that nobody asks.
    pub(crate) fn full(rate: Option<Rate>, now: Duration) -> Self {
        Self { tokens: rate.map_or(0.0, |rate| rate.burst), refilled: now }
    }

    /// Adds what the time since the last call has brought.
    pub(crate) fn refill(&mut self, rate: Rate, now: Duration) {
        let elapsed = now.saturating_sub(self.refilled).as_secs_f64();
        self.tokens = (self.tokens + elapsed * rate.per_second).min(rate.burst);
        self.refilled = now;
    }

    /// Takes tokens out, into debt if need be.
    pub(crate) fn take(&mut self, tokens: f64) {
        self.tokens -= tokens;
    }

    /// Whether so many tokens are there. Adding up many small refills may miss a whole token by a rounding error, which
    /// is no reason to wait.
    pub(crate) fn holds(&self, tokens: f64) -> bool {
        self.tokens >= tokens - ROUNDING
    }

    /// How long it takes until so many tokens are there.
    pub(crate) fn time_until(&self, rate: Rate, tokens: f64) -> Duration {
        match self.holds(tokens) {
            true => Duration::ZERO,
            false => Duration::try_from_secs_f64((tokens - self.tokens) / rate.per_second).unwrap_or(Duration::MAX),
        }
    }

    /// What a successor has to know.
    pub(crate) fn save(&self) -> [u8; 8] {
        self.tokens.to_le_bytes()
    }

    /// Takes over what a predecessor has saved; anything but a smaller number of tokens would be a gift.
    pub(crate) fn restore(&mut self, saved: [u8; 8]) {
        self.tokens = self.tokens.min(f64::from_le_bytes(saved));
    }
}

const ROUNDING: f64 = 1e-6;
