//! Spans of time and numbers of octets, short.

/// Returns a span of time in its two greatest units.
pub(super) fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// Returns octets in a suitable unit.
pub(super) fn octets(octets: u64) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (unit, name) in units {
        if octets >= unit {
            let tenths = u128::from(octets) * 10 / u128::from(unit);
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
    }
    format!("{octets} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_octets_are_short() {
        let spans = [0, 59, 60, 3_599, 3_600, 86_399, 86_400, 200_000].map(span);
        assert_eq!(spans, ["0 s", "59 s", "1 min", "59 min", "1 h 0 min", "23 h 59 min", "1 d 0 h", "2 d 7 h"]);
        let sizes = [0, 1_023, 1_024, 1_536, 10 << 20, u64::MAX].map(octets);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "10.0 MiB", "16777215.9 TiB"]);
    }
}
