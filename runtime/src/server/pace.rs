//! At which moments a drain closes connections: evenly over a time, so that clients do not come back in one wave.

use std::time::Duration;

use tokio::time::Instant;

use crate::reactor::sleep_until;

/// How fast one worker closes its share of what several close together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    /// The time over which all of them are closed; zero: at once.
    pub(super) over: Duration,
    /// Where in the gap between two closes the first one falls, from 0 to below 1. Workers with different phases close
    /// between each other's closes and not at the same moments.
    pub(super) phase: f64,
}

impl Pace {
    /// The pace of one of `workers`, so that the closes of all are even as a whole.
    pub(super) fn of(worker: usize, workers: usize, over: Duration) -> Self {
        Self { over, phase: worker as f64 / workers.max(1) as f64 }
    }

    /// The moment of each of `count` closes, counted from the start, in ascending order and none later than `over`.
    /// `shift` is asked for each and moves it by that part of a gap, from -[`MOST_SHIFT`] to [`MOST_SHIFT`].
    pub(super) fn moments(self, count: usize, mut shift: impl FnMut() -> f64) -> impl Iterator<Item = Duration> {
        let Self { over, phase } = self;
        let gap = over.div_f64(count.max(1) as f64);
        (0..count).map(move |index| gap.mul_f64((index as f64 + phase + shift()).max(0.0)).min(over))
    }

    /// Calls `act` for each of `all` at its moment. What has ended meanwhile is to be passed over by `act`: the pace is
    /// that of the start, because the others lose nothing by it.
    pub(super) async fn each<T>(self, all: Vec<T>, mut act: impl FnMut(T)) {
        let start = Instant::now();
        let moments = self.moments(all.len(), || rand::random_range(-MOST_SHIFT..=MOST_SHIFT));
        for (one, moment) in all.into_iter().zip(moments) {
            sleep_until(start + moment).await;
            act(one);
        }
    }
}

/// Two neighbours that both move by a tenth of the gap change it by a fifth.
const MOST_SHIFT: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    const OVER: Duration = Duration::from_secs(10);

    fn gaps(moments: &[Duration]) -> Vec<f64> {
        moments.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn closes_are_even_over_the_time_and_each_gap_within_a_fifth_of_it() {
        let start = Instant::now();
        let mut closed = Vec::new();
        Pace::of(0, 1, OVER).each((0..100).collect(), |index: usize| closed.push((index, start.elapsed()))).await;

        let (order, moments): (Vec<_>, Vec<_>) = closed.into_iter().unzip();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
        // The clock of the runtime counts in whole milliseconds.
        assert!(gaps(&moments).iter().all(|gap| (0.078..=0.122).contains(gap)), "{moments:?}");
        assert!(moments[0] < Duration::from_millis(12) && moments[99] > Duration::from_millis(9_880), "{moments:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_time_all_are_closed_at_once() {
        let (start, mut closed) = (Instant::now(), 0);
        Pace::of(1, 2, Duration::ZERO).each(vec![(); 1000], |()| closed += 1).await;
        assert_eq!((closed, start.elapsed()), (1000, Duration::ZERO));
    }

    #[test]
    fn the_closes_of_several_workers_are_even_as_a_whole() {
        let of = |worker: usize| Pace::of(worker, 4, OVER).moments(25, || 0.0);
        let mut moments: Vec<_> = (0..4).flat_map(of).collect();
        moments.sort();
        assert!(gaps(&moments).iter().all(|gap| (gap - 0.1).abs() < 1e-6), "{moments:?}");
    }

    #[test]
    fn no_close_is_later_than_the_time_or_before_the_one_ahead_of_it() {
        for (shift, count) in [(MOST_SHIFT, 1), (-MOST_SHIFT, 1), (MOST_SHIFT, 7), (-MOST_SHIFT, 7)] {
            let moments: Vec<_> = Pace { over: OVER, phase: 0.99 }.moments(count, || shift).collect();
            assert!(moments.is_sorted() && moments.iter().all(|moment| *moment <= OVER), "{moments:?}");
        }
        assert_eq!(Pace::of(0, 0, OVER).moments(0, || 0.0).count(), 0);
    }
}
