//! How long a publisher may be silent.
//!
//! In: when its audio and video messages come. Out: the time after which it is taken for gone: a few of the pauses it makes, so that one
//! that sends a picture every half a minute may do so, and one that sends all the time is not waited for longer than configured. Pure.

use std::time::{Duration, Instant};

/// With so few messages nobody knows yet how often they come: sequence headers and a first picture.
const FEW: u32 = 3;
/// The longest that the second picture is waited for: one every half a minute, and half as much again.
const UNKNOWN: Duration = Duration::from_secs(45);
/// Pauses that may pass without anything.
const PAUSES: u32 = 3;
/// Longest silence of anybody: a picture a minute.
const LONGEST: Duration = Duration::from_secs(180);

/// How often a publisher sends.
#[derive(Debug, Default)]
pub(super) struct Pace {
    messages: u32,
    last: Option<Instant>,
    longest: Duration,
}

impl Pace {
    /// A message of audio or video came.
    pub(super) fn note(&mut self, now: Instant) {
        self.messages = self.messages.saturating_add(1);
        let pause = self.last.replace(now).map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.longest = self.longest.max(pause);
    }

    /// How long it may be silent from here on, where `idle` is configured.
    pub(super) fn silence(&self, idle: Duration) -> Duration {
        match self.messages {
            0 => idle,
            1..=FEW => idle.max(UNKNOWN),
            _ => idle.max((self.longest * PAUSES).min(LONGEST)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a virtual clock has to begin somewhere
mod tests {
    use super::*;

    #[test]
    fn silence_goes_by_the_pauses() {
        let idle = Duration::from_secs(10);
        // When messages come (s), and how long nothing may come after the last one (s).
        let table: [(&[u64], u64); 7] = [
            (&[], 10),
            (&[0, 0], 45),
            (&[0, 0, 0], 45),
            (&[0, 0, 0, 0, 1, 2], 10),
            (&[0, 0, 0, 30], 90),
            (&[0, 0, 0, 0, 5, 5], 15),
            (&[0, 0, 0, 100], 180),
        ];
        let begin = Instant::now();
        for (messages, silence) in table {
            let mut pace = Pace::default();
            messages.iter().for_each(|at| pace.note(begin + Duration::from_secs(*at)));
            assert_eq!(pace.silence(idle), Duration::from_secs(silence), "{messages:?}");
        }
    }
}
