//! Maintenance windows, in UTC.

use lograft_crds::log_cluster::Weekday;

const DAY_SECONDS: i64 = 86_400;
/// 1970-01-01 was a Thursday: its place in the week from Monday.
const FIRST_WEEKDAY: i64 = 3;

/// A maintenance window in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Days on which it opens; none: every day.
    pub days: Vec<Weekday>,
    /// Second of the day at which it opens.
    pub start_second: i64,
    /// Time for which it is open, at most a day.
    pub duration_seconds: i64,
}

impl Window {
    fn opens_on(&self, day: i64) -> bool {
        let place = usize::try_from((day + FIRST_WEEKDAY).rem_euclid(7)).unwrap_or(0);
        self.days.is_empty()
            || Weekday::ALL
                .get(place)
                .is_some_and(|it| self.days.contains(it))
    }
}

/// When the next window opens, seconds since 1970; none if one is open or there are none.
pub(crate) fn next_opening(windows: &[Window], now_unix_seconds: i64) -> Option<i64> {
    let today = now_unix_seconds.div_euclid(DAY_SECONDS);
    // A window of yesterday may still be open, and one of each weekday opens within a week.
    let openings = windows.iter().flat_map(|window| {
        let days = (today - 1..=today + 7).filter(|day| window.opens_on(*day));
        days.map(|day| {
            let opens = day * DAY_SECONDS + window.start_second;
            (opens, opens + window.duration_seconds)
        })
    });
    let ahead: Vec<_> = openings
        .filter(|(_, closes)| *closes > now_unix_seconds)
        .collect();
    let next = ahead.iter().map(|(opens, _)| *opens).min()?;
    (next > now_unix_seconds).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sunday 2026-11-29, 00:00 UTC.
    const SUNDAY: i64 = 1_795_910_400;
    const HOUR: i64 = 3600;

    fn window(days: &[Weekday], start_hour: i64, hours: i64) -> Window {
        Window {
            days: days.to_vec(),
            start_second: start_hour * HOUR,
            duration_seconds: hours * HOUR,
        }
    }

    #[test]
    fn without_windows_nothing_waits() {
        assert_eq!(next_opening(&[], SUNDAY), None);
    }

    #[test]
    fn a_window_is_open_from_its_start_to_its_end() {
        let daily = [window(&[], 2, 4)];
        let next = |hour| next_opening(&daily, SUNDAY + hour * HOUR);
        assert_eq!(next(0), Some(SUNDAY + 2 * HOUR));
        assert_eq!(
            next_opening(&daily, SUNDAY + 2 * HOUR - 1),
            Some(SUNDAY + 2 * HOUR)
        );
        assert_eq!(next(2), None);
        assert_eq!(next_opening(&daily, SUNDAY + 6 * HOUR - 1), None);
        assert_eq!(next(6), Some(SUNDAY + 26 * HOUR));
    }

    #[test]
    fn a_window_goes_over_midnight() {
        let saturday = [window(&[Weekday::Sat], 22, 5)];
        assert_eq!(next_opening(&saturday, SUNDAY + 2 * HOUR), None);
        let next_saturday = SUNDAY + 6 * 24 * HOUR + 22 * HOUR;
        assert_eq!(
            next_opening(&saturday, SUNDAY + 3 * HOUR),
            Some(next_saturday)
        );
    }

    #[test]
    fn the_first_of_several_windows_counts() {
        let some = [window(&[Weekday::Wed], 1, 1), window(&[Weekday::Mon], 3, 1)];
        assert_eq!(next_opening(&some, SUNDAY), Some(SUNDAY + 27 * HOUR));
        let full = [window(&[], 0, 24)];
        assert_eq!(next_opening(&full, SUNDAY + 5), None);
    }

    #[test]
    fn a_clock_before_1970_is_no_problem() {
        let daily = [window(&[], 2, 4)];
        assert_eq!(
            next_opening(&daily, -DAY_SECONDS),
            Some(2 * HOUR - DAY_SECONDS)
        );
    }
}
