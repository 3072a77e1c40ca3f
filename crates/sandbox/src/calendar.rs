//! Dates as mail and Entra write them, in UTC, on the proleptic Gregorian calendar.
//!
//! Instants are whole seconds since 1970-01-01T00:00:00Z; days are counted from the same point.

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const SECONDS_PER_DAY: i64 = 86_400;

struct Civil {
    year: i64,
    month: usize,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    weekday: &'static str,
}

/// The day of an instant.
pub(super) fn day_of(instant: i64) -> i64 {
    instant.div_euclid(SECONDS_PER_DAY)
}

/// The calendar year of an instant.
pub(super) fn year_of(instant: i64) -> i64 {
    civil(instant).year
}

// Both conversions count years from March, so that the leap day is the last of its year.
fn civil(instant: i64) -> Civil {
    let days = day_of(instant);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let second_of_day = instant.rem_euclid(SECONDS_PER_DAY);
    Civil {
        year: year_of_era + era * 400 + i64::from(month <= 2),
        month: usize::try_from(month - 1).unwrap_or(0),
        day: day_of_year - (153 * from_march + 2) / 5 + 1,
        hour: second_of_day / 3_600,
        minute: second_of_day / 60 % 60,
        second: second_of_day % 60,
        weekday: WEEKDAYS[usize::try_from(days.rem_euclid(7)).unwrap_or(0)],
    }
}

fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let from_march = (month + 9) % 12;
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// `17-Jul-1996 02:44:25 +0000`, the day padded with a space (RFC 9051 `date-time`).
pub(super) fn internal_date(instant: i64) -> String {
    let c = civil(instant);
    let month = MONTHS[c.month];
    format!("{:2}-{month}-{:04} {:02}:{:02}:{:02} +0000", c.day, c.year, c.hour, c.minute, c.second)
}

/// `Wed, 17 Jul 1996 02:44:25 +0000` (RFC 5322 §3.3).
pub(super) fn message_date(instant: i64) -> String {
    let c = civil(instant);
    let month = MONTHS[c.month];
    format!("{}, {} {month} {:04} {:02}:{:02}:{:02} +0000", c.weekday, c.day, c.year, c.hour, c.minute, c.second)
}

/// `2026-11-22 08:00:00Z`, as Entra stamps its errors.
pub(super) fn entra_timestamp(instant: i64) -> String {
    let c = civil(instant);
    format!("{:04}-{:02}-{:02} {:02}:{:02}:{:02}Z", c.year, c.month + 1, c.day, c.hour, c.minute, c.second)
}

/// `2026-11-22T08:00:00Z` (RFC 3339).
pub(super) fn iso(instant: i64) -> String {
    entra_timestamp(instant).replace(' ', "T")
}

/// The instant of `2026-11-22T08:00:00Z`; fractions of a second are cut off, and a date alone is
/// its midnight.
pub(super) fn parse_iso(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
    let mut parts = date.split('-');
    let year = number(parts.next()?, 1..=9999)?;
    let month = number(parts.next()?, 1..=12)?;
    let day = number(parts.next()?, 1..=31)?;
    if parts.next().is_some() {
        return None;
    }
    let time = time.strip_suffix('Z')?;
    let seconds = parse_time(time.split_once('.').map_or(time, |(whole, _)| whole))?;
    Some(day_number(year, month, day) * SECONDS_PER_DAY + seconds)
}

fn month_number(name: &str) -> Option<i64> {
    let index = MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name))?;
    i64::try_from(index + 1).ok()
}

fn number(text: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| digits && range.contains(n))
}

/// The day of an IMAP `date`, such as `1-Feb-1994`.
pub(super) fn parse_date(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let day = number(parts.next()?, 1..=31)?;
    let month = month_number(parts.next()?)?;
    let year = number(parts.next()?, 1..=9999)?;
    parts.next().is_none().then(|| day_number(year, month, day))
}

/// The instant of an IMAP `date-time`, such as `17-Jul-1996 02:44:25 -0700`.
pub(super) fn parse_date_time(text: &str) -> Option<i64> {
    let mut parts = text.split_ascii_whitespace();
    let day = parse_date(parts.next()?)?;
    let time = parse_time(parts.next()?)?;
    let offset = parse_zone(parts.next()?)?;
    parts.next().is_none().then_some(day * SECONDS_PER_DAY + time - offset)
}

/// The day that a `Date` header names, in its own zone (RFC 9051: `SENTON` and its kin disregard
/// time and zone).
pub(super) fn parse_message_day(header: &str) -> Option<i64> {
    let date = header.split_once(',').map_or(header, |(_, rest)| rest);
    let mut parts = date.split_ascii_whitespace();
    let day = number(parts.next()?, 1..=31)?;
    let month = month_number(parts.next()?)?;
    let year = number(parts.next()?, 1..=9999)?;
    Some(day_number(year, month, day))
}

/// The instant of a `Date` header (RFC 5322 §3.3). A zone in letters counts as UTC.
pub(super) fn parse_message_date(header: &str) -> Option<i64> {
    let date = header.split_once(',').map_or(header, |(_, rest)| rest);
    let mut parts = date.split_ascii_whitespace().skip(3);
    let time = parts.next()?;
    // Seconds may be left out.
    let seconds = parse_time(time).or_else(|| parse_time(&format!("{time}:00")))?;
    let offset = parts.next().and_then(parse_zone).unwrap_or(0);
    Some(parse_message_day(header)? * SECONDS_PER_DAY + seconds - offset)
}

fn parse_time(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let hour = number(parts.next()?, 0..=23)?;
    let minute = number(parts.next()?, 0..=59)?;
    let second = number(parts.next()?, 0..=60)?;
    parts.next().is_none().then_some(hour * 3_600 + minute * 60 + second)
}

fn parse_zone(text: &str) -> Option<i64> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = digits.split_at_checked(2).filter(|_| digits.len() == 4)?;
    Some(sign * (number(hours, 0..=23)? * 3_600 + number(minutes, 0..=59)? * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_each_side_wants_them() {
        // RFC 3501's own example, in UTC.
        let instant = parse_date_time("17-Jul-1996 02:44:25 -0700").unwrap();
        assert_eq!(instant, 837_596_665);
        assert_eq!(internal_date(instant), "17-Jul-1996 09:44:25 +0000");
        assert_eq!(message_date(instant), "Wed, 17 Jul 1996 09:44:25 +0000");
        assert_eq!(entra_timestamp(instant), "1996-07-17 09:44:25Z");
        assert_eq!(internal_date(0), " 1-Jan-1970 00:00:00 +0000");
    }

    #[test]
    fn instants_are_read_as_they_are_written() {
        let instant = 837_596_665;
        assert_eq!(iso(instant), "1996-07-17T09:44:25Z");
        assert_eq!(parse_iso("1996-07-17T09:44:25.1230000Z"), Some(instant));
        assert_eq!(parse_iso("1970-01-02"), Some(SECONDS_PER_DAY));
        assert_eq!(parse_iso("1996-07-17T09:44:25"), None);
        for header in ["Wed, 17 Jul 1996 02:44:25 -0700 (PDT)", "17 Jul 1996 09:44:25 GMT"] {
            assert_eq!(parse_message_date(header), Some(instant), "{header}");
        }
        assert_eq!(parse_message_date("17 Jul 1996 09:44"), Some(instant - 25));
        assert_eq!(parse_message_date("17 Jul 1996"), None);
    }

    #[test]
    fn a_day_survives_the_round_trip() {
        for (text, days) in [("1-Jan-1970", 0), ("29-Feb-2024", 19_782), ("1-Mar-2024", 19_783), ("31-Dec-1969", -1)] {
            assert_eq!(parse_date(text), Some(days), "{text}");
            let written = internal_date(days * SECONDS_PER_DAY);
            assert_eq!(parse_date_time(written.trim_start()), Some(days * SECONDS_PER_DAY), "{text}");
        }
        assert_eq!(parse_message_day("Wed, 17 Jul 1996 02:44:25 -0700"), parse_date("17-Jul-1996"));
        assert_eq!(parse_message_day("17 Jul 1996 02:44 GMT"), parse_date("17-Jul-1996"));
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in ["", "1-Feb", "0-Feb-1994", "1-Foo-1994", "1-Feb-1994-2", "+1-Feb-1994"] {
            assert_eq!(parse_date(text), None, "{text}");
        }
        for text in ["17-Jul-1996", "17-Jul-1996 25:00:00 +0000", "17-Jul-1996 02:44:25 0000"] {
            assert_eq!(parse_date_time(text), None, "{text}");
        }
    }
}
