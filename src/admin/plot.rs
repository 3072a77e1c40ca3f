//! Small plots of the last hours, as paths of an SVG that is drawn here, without scripts or
//! external images.

use gatepost_telemetry::history::{MINUTES, Minute};

/// Bars of a plot. Each covers [`MINUTES_PER_BAR`] minutes.
const BARS: usize = 72;
const MINUTES_PER_BAR: usize = MINUTES / BARS;
/// Width of a bar, in units of the picture.
const BAR: usize = 5;
pub(super) const WIDTH: usize = BARS * BAR;
pub(super) const HEIGHT: usize = 64;
/// The title of the plot that is drawn as lines.
pub(super) const LATENCY: &str = "Microsoft response time";

/// One plot.
pub(super) struct Plot {
    pub(super) title: &'static str,
    /// The value of the top line.
    pub(super) top: String,
    /// The plot in words, for readers who cannot see it.
    pub(super) summary: String,
    pub(super) series: Vec<Series>,
}

/// The part of a plot drawn in one color.
pub(super) struct Series {
    pub(super) name: &'static str,
    /// A class of the style sheet.
    pub(super) class: &'static str,
    /// Its latest or total value, in words.
    pub(super) figure: String,
    pub(super) path: String,
}

/// Groups the minutes into bars. The last one contains the present minute. If the service is
/// younger, the first ones are empty.
fn bars(minutes: &[Minute]) -> Vec<Vec<Minute>> {
    let latest = minutes.len().saturating_sub(MINUTES);
    let minutes = minutes.get(latest..).unwrap_or_default();
    let mut padded = vec![None; MINUTES - minutes.len().min(MINUTES)];
    padded.extend(minutes.iter().copied().map(Some));
    padded.chunks(MINUTES_PER_BAR).map(|bar| bar.iter().flatten().copied().collect()).collect()
}

/// Returns the plots of logins, traffic and waiting times.
pub(super) fn plots(minutes: &[Minute]) -> Vec<Plot> {
    let bars = bars(minutes);
    vec![logins(&bars), traffic(&bars), latency(&bars)]
}

fn logins(bars: &[Vec<Minute>]) -> Plot {
    let sum = |of: fn(&Minute) -> u32| -> Vec<u64> {
        bars.iter().map(|bar| bar.iter().map(|minute| u64::from(of(minute))).sum()).collect()
    };
    let (accepted, refused) = (sum(|minute| minute.accepted), sum(|minute| minute.refused));
    let top = accepted.iter().zip(&refused).map(|(a, b)| a + b).max().unwrap_or(0).max(1);
    let (all_accepted, all_refused) = (accepted.iter().sum::<u64>(), refused.iter().sum::<u64>());
    Plot {
        title: "Logins",
        top: if all_accepted + all_refused > 0 { format!("{top} in {MINUTES_PER_BAR} min") } else { String::new() },
        summary: format!("In the last six hours {all_accepted} logins were accepted and {all_refused} refused."),
        series: vec![
            Series {
                name: "accepted",
                class: "good",
                figure: all_accepted.to_string(),
                path: stack(&accepted, &[], top),
            },
            Series {
                name: "refused",
                class: "bad",
                figure: all_refused.to_string(),
                path: stack(&refused, &accepted, top),
            },
        ],
    }
}

fn traffic(bars: &[Vec<Minute>]) -> Plot {
    let octets: Vec<u64> = bars.iter().map(|bar| bar.iter().map(|minute| minute.bytes).sum()).collect();
    let top = octets.iter().copied().max().unwrap_or(0);
    let shown = format!("{} in {MINUTES_PER_BAR} min", super::units::octets(top));
    let all = super::units::octets(octets.iter().sum());
    Plot {
        title: "Traffic",
        top: if top > 0 { shown } else { String::new() },
        summary: format!("In the last six hours {all} went through sessions."),
        series: vec![Series { name: "both ways", class: "calm", figure: all, path: stack(&octets, &[], top) }],
    }
}

fn latency(bars: &[Vec<Minute>]) -> Plot {
    let mean = |of: fn(&Minute) -> Option<u32>| -> Vec<Option<u64>> {
        let of_bar = |bar: &Vec<Minute>| {
            let known: Vec<u64> = bar.iter().filter_map(of).map(u64::from).collect();
            known.iter().sum::<u64>().checked_div(known.len() as u64)
        };
        bars.iter().map(of_bar).collect()
    };
    let (token, connect) = (mean(|minute| minute.token), mean(|minute| minute.connect));
    let top = token.iter().chain(&connect).flatten().copied().max();
    let (shown, top) = (top.map_or_else(String::new, |top| format!("{top} ms")), top.unwrap_or(1));
    let last = |series: &[Option<u64>]| {
        series.iter().rev().flatten().next().map_or_else(|| "none yet".to_owned(), |millis| format!("{millis} ms"))
    };
    let (last_token, last_connect) = (last(&token), last(&connect));
    Plot {
        title: LATENCY,
        top: shown,
        summary: format!(
            "Latest mean time of a token request: {last_token}. Of a login at the mail server: {last_connect}."
        ),
        series: vec![
            Series { name: "token", class: "calm", figure: last_token, path: line(&token, top) },
            Series { name: "mail server", class: "warm", figure: last_connect, path: line(&connect, top) },
        ],
    }
}

/// Returns the height of a value. A value above zero is always visible.
fn height(value: u64, top: u64) -> u64 {
    let height = u128::from(value) * HEIGHT as u128 / u128::from(top.max(1));
    u64::try_from(height).unwrap_or(HEIGHT as u64).max(u64::from(value > 0))
}

/// Draws bars on top of those of `below`.
fn stack(values: &[u64], below: &[u64], top: u64) -> String {
    let mut path = String::new();
    for (at, value) in values.iter().enumerate().filter(|(_, value)| **value > 0) {
        let foot = HEIGHT as u64 - height(below.get(at).copied().unwrap_or(0), top).min(HEIGHT as u64);
        let high = height(*value, top).min(foot);
        path.push_str(&format!("M{} {}v-{high}h{}v{high}z", at * BAR, foot, BAR - 1));
    }
    path
}

/// Draws a short line for each bar that has a value, joined to the previous bar's if that has a
/// value too.
fn line(values: &[Option<u64>], top: u64) -> String {
    let mut path = String::new();
    let mut joined = false;
    for (at, value) in values.iter().enumerate() {
        let Some(value) = value else {
            joined = false;
            continue;
        };
        let y = HEIGHT as u64 - height(*value, top);
        path.push_str(&format!("{}{} {y}h{}", if joined { 'L' } else { 'M' }, at * BAR, BAR - 1));
        joined = true;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_minute_is_at_the_right_and_stacks_do_not_overlap() {
        let mut minutes = vec![Minute::default(); 9];
        minutes.push(Minute { accepted: 3, refused: 1, bytes: 2_048, token: Some(120), ..Minute::default() });
        let plots = plots(&minutes);
        let paths: Vec<&str> = plots.iter().flat_map(|plot| &plot.series).map(|series| &*series.path).collect();
        assert_eq!(paths, ["M355 64v-48h4v48z", "M355 16v-16h4v16z", "M355 64v-64h4v64z", "M355 0h4", ""]);
        assert_eq!(plots[0].top, "4 in 5 min");
        assert_eq!(plots[1].series[0].figure, "2.0 KiB");
        assert_eq!((&*plots[2].series[0].figure, &*plots[2].series[1].figure), ("120 ms", "none yet"));
    }

    #[test]
    fn any_number_of_minutes_and_any_value_fit_into_the_picture() {
        let loud = Minute {
            accepted: u32::MAX,
            refused: 1,
            bytes: u64::MAX / 1_000,
            token: Some(u32::MAX),
            connect: Some(0),
            sessions: 0,
        };
        for count in [0, 1, 5, 359, 360, 361, 1_000] {
            for plot in plots(&vec![loud; count]) {
                for series in plot.series {
                    let numbers = series.path.split(|c: char| !c.is_ascii_digit()).filter(|text| !text.is_empty());
                    assert!(numbers.map(|n| n.parse::<usize>().unwrap()).all(|n| n <= WIDTH), "{}", series.path);
                }
            }
        }
    }
}
