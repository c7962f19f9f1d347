//! What was received of one stream: counts, loss, jitter, and the report block that says so (RFC 3550 section 6.4.1, appendix A).
//!
//! In: extended sequence numbers, timestamps, sizes, sender reports, and when each came. Out: report blocks and figures.

use std::time::{Duration, Instant};

use super::rtcp::ReportBlock;
use crate::base::NtpTime;

/// Jumps of the transit time beyond this are a changed clock, not jitter.
const MAX_TRANSIT_STEP_S: i64 = 10;

/// Statistics of one received stream.
#[derive(Debug, Clone)]
pub(crate) struct ReceiveStats {
    clock_rate: u32,
    epoch: Option<Instant>,
    base_seq: u64,
    /// What the first packet's extension added: the wire counts cycles from 0.
    first_cycle: u64,
    highest_seq: u64,
    /// Packets that count for the loss, repetitions too (RFC 3550 appendix A.3).
    received: u64,
    bytes: u64,
    /// Packets that came as retransmissions, by RTX or in place.
    recovered: u64,
    expected_prior: u64,
    received_prior: u64,
    /// Timestamp of the packet before, and the transit time then (in ticks).
    transit: Option<(u32, i32)>,
    /// In ticks, scaled by 16 (RFC 3550 appendix A.8).
    jitter_q4: u32,
    last_sr: Option<(NtpTime, Instant)>,
}

impl ReceiveStats {
    /// Of a stream with this clock rate in Hz, of which nothing has come.
    pub(crate) fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate: clock_rate.max(1),
            epoch: None,
            base_seq: 0,
            first_cycle: 0,
            highest_seq: 0,
            received: 0,
            bytes: 0,
            recovered: 0,
            expected_prior: 0,
            received_prior: 0,
            transit: None,
            jitter_q4: 0,
            last_sr: None,
        }
    }

    /// A packet of the stream came, with its extended sequence number and its whole length.
    pub(crate) fn on_packet(&mut self, now: Instant, seq: u64, timestamp: u32, len: usize) {
        let epoch = *self.epoch.get_or_insert(now);
        if self.received == 0 {
            self.base_seq = seq;
            self.first_cycle = seq & !0xFFFF;
            self.highest_seq = seq;
        }
        // Reordering at the very beginning.
        self.base_seq = self.base_seq.min(seq);
        self.received += 1;
        self.bytes += len as u64;
        // A late packet's timestamp against its arrival says something on retransmission, not on jitter.
        if seq >= self.highest_seq {
            self.highest_seq = seq;
            self.update_jitter(now.saturating_duration_since(epoch), timestamp);
        }
    }

    /// A packet came by RTX: it counts as received, but not for the jitter.
    pub(crate) fn on_recovered(&mut self, seq: u64, len: usize) {
        if self.received > 0 && seq >= self.base_seq && seq < self.highest_seq {
            self.received += 1;
            self.bytes += len as u64;
            self.recovered += 1;
        }
    }

    pub(crate) fn on_sender_report(&mut self, now: Instant, ntp: NtpTime) {
        self.last_sr = Some((ntp, now));
    }

    /// The report block for this stream, `None` before its first packet. Loss is counted from the previous call on.
    pub(crate) fn report_block(&mut self, now: Instant, ssrc: u32) -> Option<ReportBlock> {
        if self.received == 0 {
            return None;
        }
        let expected = self.expected();
        let expected_interval = expected.saturating_sub(self.expected_prior);
        let lost_interval = expected_interval as i64 - (self.received - self.received_prior) as i64;
        self.expected_prior = expected;
        self.received_prior = self.received;
        let fraction = if lost_interval <= 0 { 0 } else { (lost_interval << 8) / expected_interval.max(1) as i64 };
        let (last_sr, delay) = match self.last_sr {
            Some((ntp, at)) => (ntp.middle(), now.saturating_duration_since(at).as_micros() * 65_536 / 1_000_000),
            None => (0, 0),
        };
        Some(ReportBlock {
            ssrc,
            fraction_lost: fraction.min(255) as u8,
            cumulative_lost: (expected as i64 - self.received as i64).clamp(-0x80_0000, 0x7F_FFFF) as i32,
            highest_seq: self.highest_seq.saturating_sub(self.first_cycle) as u32,
            jitter: self.jitter_q4 >> 4,
            last_sr,
            delay_since_last_sr: u32::try_from(delay).unwrap_or(u32::MAX),
        })
    }

    /// Packets received, recovered ones included.
    #[cfg(test)]
    pub(crate) fn packets(&self) -> u64 {
        self.received
    }

    /// Bytes received, headers included.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Packets that came by retransmission.
    #[cfg(test)]
    pub(crate) fn recovered(&self) -> u64 {
        self.recovered
    }

    /// Packets that have not come.
    pub(crate) fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received)
    }

    pub(crate) fn jitter(&self) -> Duration {
        Duration::from_secs_f64(f64::from(self.jitter_q4) / 16.0 / f64::from(self.clock_rate))
    }

    fn expected(&self) -> u64 {
        if self.received == 0 { 0 } else { self.highest_seq - self.base_seq + 1 }
    }

    fn update_jitter(&mut self, since_epoch: Duration, timestamp: u32) {
        let rate = u128::from(self.clock_rate);
        let arrival = (since_epoch.as_nanos() * rate / 1_000_000_000) as u32;
        let transit = arrival.wrapping_sub(timestamp) as i32;
        // Packets of one picture share a timestamp and are sent in a burst: that spread is not the network's.
        let before = match self.transit {
            Some((before, _)) if before == timestamp => return,
            other => other,
        };
        self.transit = Some((timestamp, transit));
        let Some((_, before)) = before else { return };
        let step = i64::from(transit.wrapping_sub(before)).abs();
        if step > MAX_TRANSIT_STEP_S * i64::from(self.clock_rate) {
            return;
        }
        let jitter = i64::from(self.jitter_q4) + step - ((i64::from(self.jitter_q4) + 8) >> 4);
        self.jitter_q4 = u32::try_from(jitter).unwrap_or(if jitter < 0 { 0 } else { u32::MAX });
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // the origin of the virtual clock
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn loss_since_the_last_report_and_in_all() {
        let start = Instant::now();
        let mut stats = ReceiveStats::new(90_000);
        assert_eq!(stats.report_block(start, 1), None);
        for seq in (65_530..65_530 + 100u64).filter(|seq| seq % 4 != 0) {
            stats.on_packet(start, 65_536 + seq, 0, 100);
        }
        // 65532, 65536, … 65628 are missing: 25 of 100.
        let block = stats.report_block(start, 7).unwrap();
        assert_eq!((block.ssrc, block.fraction_lost, block.cumulative_lost), (7, 64, 25));
        assert_eq!(block.highest_seq, 65_629);
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0, 0));
        stats.on_recovered(65_536 + 65_532, 100);
        let block = stats.report_block(start, 7).unwrap();
        assert_eq!((block.fraction_lost, block.cumulative_lost), (0, 24));
        assert_eq!((stats.packets(), stats.bytes(), stats.lost(), stats.recovered()), (76, 7600, 24, 1));
        // Duplicates make it negative.
        for _ in 0..30 {
            stats.on_packet(start, 65_536 + 65_629, 0, 100);
        }
        assert_eq!(stats.report_block(start, 7).unwrap().cumulative_lost, -6);
    }

    #[test]
    fn reordering_at_the_very_beginning() {
        let start = Instant::now();
        let mut stats = ReceiveStats::new(90_000);
        for seq in [65_536, 65_535, 65_537] {
            stats.on_packet(start, seq, 0, 100);
        }
        let block = stats.report_block(start, 7).unwrap();
        assert_eq!((block.highest_seq, block.cumulative_lost, block.fraction_lost), (1, 0, 0));
    }

    #[test]
    fn when_the_last_sender_report_came() {
        let start = Instant::now();
        let mut stats = ReceiveStats::new(48_000);
        stats.on_packet(start, 70_000, 0, 1);
        stats.on_sender_report(start, NtpTime(0x1111_2222_3333_4444));
        let block = stats.report_block(start + ms(1500), 7).unwrap();
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0x2222_3333, 98_304));
    }

    #[test]
    fn jitter_settles_at_the_mean_deviation() {
        let start = Instant::now();
        for begin in [0u32, u32::MAX - 90_000] {
            let mut stats = ReceiveStats::new(90_000);
            for i in 0..2000u64 {
                // Every other packet is 10 ms late.
                let at = start + ms(20 * i + if i % 2 == 0 { 10 } else { 0 });
                stats.on_packet(at, 70_000 + i, begin.wrapping_add(1800 * i as u32), 1000);
            }
            let jitter = stats.jitter();
            assert!((ms(9)..ms(11)).contains(&jitter), "{jitter:?}");
            // A timestamp jump of a minute is not jitter.
            stats.on_packet(start + ms(40_000), 72_000, begin.wrapping_add(1800 * 2000 + 90_000 * 60), 1000);
            assert!(stats.jitter() < ms(11));
        }
    }

    #[test]
    fn a_burst_of_one_picture_is_not_jitter() {
        let start = Instant::now();
        let mut stats = ReceiveStats::new(90_000);
        for i in 0..100u64 {
            for part in 0..10 {
                stats.on_packet(start + ms(33 * i + part), 70_000 + 10 * i + part, 2970 * i as u32, 1000);
            }
        }
        assert_eq!(stats.jitter(), Duration::ZERO);
    }
}
