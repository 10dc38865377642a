//! How much work a receiver may make besides answering.
//!
//! A receiver can keep a client busy without ever breaking the protocol: HTTP/2 frames that need an answer (PING, SETTINGS) or none
//! (PRIORITY, WINDOW_UPDATE, empty DATA), interim answers of HTTP/1 without end, bodies of one-byte chunks. The HTTP
//! libraries bound the memory of that, not the time. So a connection has an allowance, counted where its bytes come in:
//!
//! - each read of the socket, each HTTP/2 frame and each piece of an answer's body costs [`TURN`];
//! - what is no part of an answer's body costs its length in bytes;
//! - bytes of a body, and bytes that are sent, are credited: large requests are acknowledged by many WINDOW_UPDATE frames;
//! - with time, [`A_SECOND`] comes back, up to [`FULL`]; each request begins with [`FULL`].
//!
//! A receiver that answers uses a few dozen turns a request. One that exceeds its allowance loses the connection; the request
//! is sent again later, as after any other loss of a connection.

use std::time::Instant;

/// What one read, frame or piece costs, bytes: each costs about as much time as a few hundred bytes do.
const TURN: i64 = 512;

/// The allowance of a request: 2,000 turns, bytes.
const FULL: i64 = 2_000 * TURN;

/// What comes back: 100 turns a second, bytes.
const A_SECOND: i64 = 100 * TURN;

/// Bytes that a receiver may send for one request, whatever they are: twice what is read of an answer.
const MOST: u64 = 32 << 20;

/// Length of an HTTP/2 frame's head, bytes (RFC 9113, 4.1).
const HEAD: usize = 9;

/// Type of HTTP/2's frames of content.
const DATA: u8 = 0;

/// A receiver has exceeded its allowance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flood;

/// What of a stream is an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// HTTP/1: no head has come yet.
    Head,
    /// HTTP/1: the head has come.
    Body,
    /// HTTP/2: frames say it.
    Frames(Frame),
}

/// Where in a frame the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    head: [u8; HEAD],
    /// Bytes of the head that have come.
    known: usize,
    /// Bytes of the payload that are to come.
    left: usize,
}

impl Frame {
    const NONE: Self = Self {
        head: [0; HEAD],
        known: 0,
        left: 0,
    };
}

/// What a receiver may still do on one connection.
#[derive(Debug)]
pub(super) struct Allowance {
    left: i64,
    refreshed: Instant,
    /// Bytes that came since the request began.
    received: u64,
    part: Part,
}

impl Allowance {
    /// Of a connection that was just made.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: FULL,
            refreshed: now,
            received: 0,
            part: Part::Head,
        }
    }

    /// The connection speaks HTTP/2.
    pub(super) fn expect_frames(&mut self) {
        self.part = Part::Frames(Frame::NONE);
    }

    /// A request begins.
    pub(super) fn begin(&mut self) {
        self.left = FULL;
        self.received = 0;
        if self.part == Part::Body {
            self.part = Part::Head;
        }
    }

    /// The head of the answer has come.
    pub(super) fn answered(&mut self) {
        if self.part == Part::Head {
            self.part = Part::Body;
        }
    }

    /// Bytes were sent.
    pub(super) fn sent(&mut self, length: usize) {
        self.left = self.left.saturating_add(signed(length));
    }

    /// A piece of the answer's body was taken.
    pub(super) fn piece(&mut self, now: Instant) -> Result<(), Flood> {
        self.spend(TURN, now)
    }

    /// Bytes have come, by one read.
    pub(super) fn received(&mut self, bytes: &[u8], now: Instant) -> Result<(), Flood> {
        self.received += bytes.len() as u64;
        let length = signed(bytes.len());
        let cost = match self.part {
            Part::Head => length,
            Part::Body => -length,
            Part::Frames(frame) => {
                let (frame, cost) = frames(frame, bytes);
                self.part = Part::Frames(frame);
                cost
            }
        };
        self.spend(TURN + cost, now)
    }

    fn spend(&mut self, cost: i64, now: Instant) -> Result<(), Flood> {
        let passed = now.saturating_duration_since(self.refreshed).as_millis();
        let back = i64::try_from(passed).unwrap_or(i64::MAX).saturating_mul(A_SECOND) / 1_000;
        if back > 0 {
            self.refreshed = now;
            if self.left < FULL {
                self.left = self.left.saturating_add(back).min(FULL);
            }
        }
        self.left = self.left.saturating_sub(cost);
        if self.left < 0 || self.received > MOST {
            return Err(Flood);
        }
        Ok(())
    }
}

/// The place in the stream of frames behind `bytes`, and what they cost.
fn frames(mut frame: Frame, mut bytes: &[u8]) -> (Frame, i64) {
    let mut cost = 0;
    while !bytes.is_empty() {
        if frame.left > 0 {
            let taken = frame.left.min(bytes.len());
            let is_content = frame.head[3] == DATA;
            cost += if is_content { -signed(taken) } else { signed(taken) };
            frame.left -= taken;
            bytes = &bytes[taken..];
            continue;
        }
        let taken = (HEAD - frame.known).min(bytes.len());
        let (head, rest) = bytes.split_at(taken);
        frame.head[frame.known..][..taken].copy_from_slice(head);
        frame.known += taken;
        bytes = rest;
        if frame.known == HEAD {
            let [a, b, c, ..] = frame.head;
            frame.left = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
            frame.known = 0;
            cost += TURN;
        }
    }
    (frame, cost)
}

fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let size = u32::try_from(length).unwrap().to_be_bytes();
        let mut bytes = vec![size[1], size[2], size[3], kind, 0, 0, 0, 0, 1];
        bytes.extend(vec![b'x'; length]);
        bytes
    }

    /// How often `bytes` may come, by reads of `step` bytes, before it is a flood.
    fn borne(mut allowance: Allowance, bytes: &[u8], step: usize) -> usize {
        let now = Instant::now();
        (0..1_000_000)
            .find(|_| {
                let mut reads = bytes.chunks(step);
                reads.any(|read| allowance.received(read, now).is_err())
            })
            .unwrap_or(1_000_000)
    }

    fn http2() -> Allowance {
        let mut allowance = Allowance::new(Instant::now());
        allowance.expect_frames();
        allowance
    }

    #[test]
    fn frames_are_counted_wherever_reads_cut_them() {
        for (kind, length) in [
            (6, 8),
            (4, 0),
            (4, 60),
            (8, 4),
            (3, 4),
            (2, 5),
            (0, 0),
            (0, 1),
            (9, 0),
        ] {
            let bytes = frame(kind, length).repeat(100);
            for step in [1, 7, 9, 17, 4_000] {
                let frames = borne(http2(), &bytes, step) * 100;
                assert!(frames <= 2_000, "{kind} {length} {step}: {frames}");
                // A read costs as much as a frame.
                let reads = bytes.len().div_ceil(step) / 100 + 1;
                assert!(
                    frames + 300 >= 2_000 / (reads + 1),
                    "{kind} {length} {step}: {frames}"
                );
            }
        }
        // Large frames that are no content cost their length.
        assert!(borne(http2(), &frame(9, 16_384), 65_536) < 100);
        // An answer of 16 MiB is none.
        assert!(borne(http2(), &frame(0, 16_384), 8_192) >= 1_024);
        assert!(borne(http2(), &frame(0, 16_384), 65_536) < 2_100, "it has to end");
    }

    #[test]
    fn window_updates_for_what_is_sent_are_none() {
        let (now, mut allowance) = (Instant::now(), http2());
        for _ in 0..100_000 {
            allowance.sent(1_024);
            assert_eq!(allowance.received(&frame(8, 4), now), Ok(()));
        }
    }

    #[test]
    fn over_http1_heads_are_bounded_and_bodies_are_not_cut_small() {
        let new = || Allowance::new(Instant::now());
        let body = || {
            let mut allowance = new();
            allowance.answered();
            allowance
        };
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(2_000);
        assert!(borne(new(), &interim, 65_536) < 25);
        assert!(borne(new(), b"x", 1) <= 2_000);
        assert!(borne(body(), b"x", 1) <= 2_004);
        assert!(borne(body(), &[b'x'; 65_536], 8_192) >= 256, "16 MiB");
        let mut allowance = body();
        let now = Instant::now();
        let pieces = (0..10_000).find(|_| allowance.piece(now).is_err());
        assert_eq!(pieces, Some(2_000));
    }

    #[test]
    fn a_slow_receiver_is_no_flood_and_each_request_has_its_own_allowance() {
        let (start, mut allowance) = (Instant::now(), http2());
        for second in 0..1_000 {
            let now = start + Duration::from_secs(second);
            for _ in 0..40 {
                assert_eq!(allowance.received(&frame(6, 8), now), Ok(()), "{second}");
            }
        }
        for _ in 0..1_000 {
            allowance.begin();
            for _ in 0..900 {
                assert_eq!(allowance.received(&frame(6, 8), start), Ok(()));
            }
        }
    }
}
