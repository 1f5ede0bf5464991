//! Metrics over time.

/// Metrics of all vehicles that a page reads.
pub(crate) const MAX_LINES: usize = 512;

/// Values kept of one metric; where there are more, neighbours are put together as the lowest and highest of them.
const MAX_POINTS: usize = 1200;

/// One metric of one vehicle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LineKey {
    pub(crate) name: String,
    pub(crate) vin: String,
    pub(crate) stream: String,
}

/// Its values, as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    points: Vec<(u64, i64)>,
}

impl Line {
    pub(crate) fn push(&mut self, at_ms: u64, value: i64) {
        self.points.push((at_ms, value));
        if self.points.len() >= 4 * MAX_POINTS {
            self.points.sort_by_key(|it| it.0);
            self.points = thin(&self.points);
        }
    }

    /// In order of time, at most [`MAX_POINTS`].
    pub(crate) fn points(&self) -> Vec<(u64, i64)> {
        let mut points = self.points.clone();
        points.sort_by_key(|it| it.0);
        if points.len() > MAX_POINTS { thin(&points) } else { points }
    }
}

/// Keeps the lowest and the highest of each group, so that no peak disappears.
fn thin(points: &[(u64, i64)]) -> Vec<(u64, i64)> {
    let group = points.len().div_ceil(MAX_POINTS / 2).max(1);
    let pick = |points: &[(u64, i64)]| {
        let low = points.iter().enumerate().min_by_key(|(_, it)| it.1).map(|(at, _)| at);
        let high = points.iter().enumerate().max_by_key(|(_, it)| it.1).map(|(at, _)| at);
        let mut picked: Vec<_> = low.into_iter().chain(high).collect();
        picked.sort_unstable();
        picked.dedup();
        picked.into_iter().filter_map(|it| points.get(it).copied()).collect::<Vec<_>>()
    };
    points.chunks(group).flat_map(pick).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_survives_thinning() {
        let mut line = Line::default();
        for at in 0..100_000_u64 {
            line.push(at, if at == 77_777 { 1000 } else { i64::try_from(at % 7).unwrap() });
        }
        let points = line.points();
        assert!(points.len() <= MAX_POINTS, "{}", points.len());
        assert!(points.contains(&(77_777, 1000)));
        assert!(points.is_sorted_by_key(|it| it.0));
    }
}
