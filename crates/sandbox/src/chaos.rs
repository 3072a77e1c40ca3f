//! Faults at random, as a bad day at Microsoft has them: a share of all calls to Graph and of all
//! messages over SMTP meets one. The numbers come from a seed, so that a run can be repeated as far
//! as its timing can.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use super::http::fault::HttpFault;
use super::mode::Service;
use super::smtp_fault::SmtpFault;

/// How bad the day is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chaos {
    /// Where the random numbers begin.
    pub seed: u64,
    /// Of a hundred calls or messages, how many meet a fault.
    pub percent: u8,
    /// The longest time that a late answer is late.
    pub slow: Duration,
}

/// The faults of an HTTP service; the share of those with an unclear end is as large as the rest.
const HTTP: [HttpFault; 8] = [
    HttpFault::throttled(Duration::from_secs(1)),
    HttpFault::status(503),
    HttpFault::status(504),
    HttpFault::RefuseWhenDone(504),
    HttpFault::Cut,
    HttpFault::CutWhenDone,
    HttpFault::CutInAnswer,
    HttpFault::Slow(Duration::MAX),
];

/// The faults of SMTP.
const SMTP: [SmtpFault; 8] = [
    SmtpFault::RefuseSender("432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending"),
    SmtpFault::RefuseSender("421 4.3.2 Service not active"),
    SmtpFault::RefuseRecipients("451 4.7.500 Server busy. Please try again later"),
    SmtpFault::RefuseMessage("451 4.3.0 STOREDRV.Submission; temporary failure"),
    SmtpFault::CutBeforeContent,
    SmtpFault::Cut,
    SmtpFault::CutWhenDone,
    SmtpFault::Slow(Duration::MAX),
];

/// The services on which it is such a day.
#[derive(Default)]
pub(super) struct Weather(Mutex<HashMap<Service, (Chaos, u64)>>);

impl Weather {
    pub(super) fn set(&self, service: Service, chaos: Option<Chaos>) {
        let mut services = self.0.lock();
        match chaos {
            Some(chaos) => services.insert(service, (chaos, chaos.seed)),
            None => services.remove(&service),
        };
    }

    /// The fault that meets a call to an HTTP service.
    pub(super) fn http(&self, service: Service) -> Option<HttpFault> {
        let (fault, late) = self.draw(service, &HTTP)?;
        Some(if matches!(fault, HttpFault::Slow(_)) { HttpFault::Slow(late) } else { fault })
    }

    /// The fault that meets a message over SMTP.
    pub(super) fn smtp(&self) -> Option<SmtpFault> {
        let (fault, late) = self.draw(Service::Smtp, &SMTP)?;
        Some(if matches!(fault, SmtpFault::Slow(_)) { SmtpFault::Slow(late) } else { fault })
    }

    /// One of the faults, for the share of calls that meets one, and how long an answer is late.
    fn draw<F: Clone>(&self, service: Service, faults: &[F]) -> Option<(F, Duration)> {
        let mut services = self.0.lock();
        let (chaos, state) = services.get_mut(&service)?;
        if below(state, 100) >= u64::from(chaos.percent) {
            return None;
        }
        let at = usize::try_from(below(state, faults.len() as u64)).unwrap_or_default();
        let late = chaos.slow.mul_f64(below(state, 1_000) as f64 / 1_000.0);
        Some((faults.get(at)?.clone(), late))
    }
}

/// The next number below `bound` (SplitMix64).
fn below(state: &mut u64, bound: u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % bound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_kept_each_fault_comes_and_the_seed_decides() {
        let chaos = Chaos { seed: 7, percent: 30, slow: Duration::from_secs(2) };
        let draw = || {
            let weather = Weather::default();
            weather.set(Service::Graph, Some(chaos));
            (0..2_000).map(|_| weather.http(Service::Graph)).collect::<Vec<_>>()
        };
        let drawn = draw();
        let met: Vec<_> = drawn.iter().flatten().collect();
        assert!((500..700).contains(&met.len()), "{}", met.len());
        for fault in &HTTP[..7] {
            assert!(met.contains(&fault), "{fault:?}");
        }
        assert!(met.iter().any(|fault| matches!(fault, HttpFault::Slow(late) if *late < chaos.slow)));
        assert_eq!(drawn, draw());
        let weather = Weather::default();
        weather.set(Service::Smtp, Some(Chaos { percent: 100, ..chaos }));
        assert!(weather.smtp().is_some() && weather.http(Service::Graph).is_none());
        weather.set(Service::Smtp, None);
        assert!(weather.smtp().is_none());
    }
}
