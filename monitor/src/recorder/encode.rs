//! Blocks, as they are written: see the layout in [`super`].

use std::collections::BTreeMap;

use flate2::Crc;

use super::{
    Cause, Event, EventKind, Flags, Group, Trigger, VERSION, bytes::Writer, values::FIELDS, values::Values,
};
use crate::process::Reason;

pub(super) const MAGIC: &[u8; 8] = b"KEVMONFR";
pub(super) const HEADER: usize = 40;
/// Length and checksum.
pub(super) const FRAME: usize = 8;
/// Bytes of the longest payload.
pub(super) const LONGEST: usize = 1 << 20;

pub(super) const GROUP: u8 = 1;
pub(super) const STEP: u8 = 2;
pub(super) const EVENT: u8 = 3;
pub(super) const GAP: u8 = 4;
pub(super) const TRIGGER: u8 = 5;
pub(super) const END: u8 = 6;
pub(super) const LEFT_OUT: u8 = 7;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ring = 1,
    Incident = 2,
}

/// A file's beginning.
pub(super) fn header(kind: Kind, created: u64, sequence: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(kind as u32).to_le_bytes());
    bytes.extend_from_slice(&created.to_le_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    bytes.extend_from_slice(&crc32(&[&bytes]).to_le_bytes());
    bytes
}

/// The blocks of one file, in their order: each depends on those before it.
#[derive(Debug)]
pub(super) struct Encoder {
    time: u64,
    last: BTreeMap<usize, [u64; FIELDS]>,
}

impl Encoder {
    /// For a file that was created then.
    pub(super) fn new(created: u64) -> Self {
        Self {
            time: created,
            last: BTreeMap::new(),
        }
    }

    /// `index` stands for this group from here on.
    pub(super) fn group(&mut self, index: usize, group: &Group) -> Vec<u8> {
        self.last.insert(index, [0; FIELDS]);
        let mut out = Writer(vec![GROUP]);
        out.varint(index as u64);
        out.varint(group.step);
        out.byte(u8::from(group.detailed));
        out.text(&group.key);
        out.text(&group.plugin);
        out.text(&group.label);
        framed(&out.0)
    }

    /// Whether `index` stands for a group.
    pub(super) fn knows(&self, index: usize) -> bool {
        self.last.contains_key(&index)
    }

    /// The values of groups at `time`, Unix ns. Groups without a block of their own before this one are left out.
    pub(super) fn step(&mut self, time: u64, flags: Flags, groups: &[(usize, Values)]) -> Vec<u8> {
        let mut out = Writer(vec![STEP]);
        out.difference(self.time, time);
        self.time = time;
        out.byte(u8::from(flags.is_lossy) | u8::from(flags.begins) << 1);
        let known = groups.iter().filter(|(index, _)| self.last.contains_key(index));
        out.varint(known.count() as u64);
        for (index, values) in groups {
            let Some(last) = self.last.get_mut(index) else {
                continue;
            };
            out.varint(*index as u64);
            let (mut present, mut changed) = (0, 0);
            for (bit, value) in values.0.iter().enumerate() {
                if let Some(value) = *value {
                    present |= 1 << bit;
                    changed |= u64::from(value != last[bit]) << bit;
                }
            }
            out.varint(present);
            out.varint(changed);
            for (value, last) in values.0.iter().zip(last) {
                if let Some(value) = value.filter(|value| value != last) {
                    out.difference(*last, value);
                    *last = value;
                }
            }
        }
        framed(&out.0)
    }
}

/// Something happened to a member of the group `index`.
pub(super) fn event(index: usize, event: &Event) -> Vec<u8> {
    let mut out = Writer(vec![EVENT]);
    out.varint(index as u64);
    out.varint(event.time);
    out.varint(event.pid.into());
    out.text(&event.name);
    match &event.kind {
        EventKind::Start { worker } => {
            out.byte(1);
            out.byte(u8::from(*worker));
        }
        EventKind::Exit {
            worker,
            reason,
            sender,
            lifetime,
            peak_rss,
        } => {
            out.byte(2);
            out.byte(u8::from(*worker));
            let (kind, number, core_dumped) = match *reason {
                Reason::Exit { code } => (1, code, false),
                Reason::Signal { number, core_dumped } => (2, number, core_dumped),
                Reason::Oom => (3, 0, false),
                Reason::Unknown => (4, 0, false),
            };
            out.byte(kind);
            out.byte(number);
            out.byte(u8::from(core_dumped));
            out.optional(sender.as_ref().map(|(pid, _)| u64::from(*pid)));
            out.text(sender.as_ref().map_or("", |(_, name)| name));
            out.optional(*lifetime);
            out.optional(*peak_rss);
        }
        EventKind::Restart { reexec, downtime } => {
            out.byte(3);
            out.byte(u8::from(*reexec));
            out.optional(*downtime);
        }
    }
    out.text(&event.incident);
    framed(&out.0)
}

/// So many steps were lost before `time`, Unix ns.
pub(super) fn gap(time: u64, steps: u64) -> Vec<u8> {
    let mut out = Writer(vec![GAP]);
    out.varint(time);
    out.varint(steps);
    framed(&out.0)
}

/// An incident of the group `index` begins.
pub(super) fn trigger(index: usize, trigger: &Trigger) -> Vec<u8> {
    let mut out = Writer(vec![TRIGGER]);
    out.text(&trigger.id);
    out.varint(index as u64);
    for time in [trigger.time, trigger.from, trigger.until] {
        out.varint(time);
    }
    out.byte(match trigger.cause {
        Cause::Crash => 1,
        Cause::Oom => 2,
        Cause::CrashLoop => 3,
    });
    out.varint(trigger.pid.into());
    out.text(&trigger.name);
    framed(&out.0)
}

/// So many events were left out of the incident for their number.
pub(super) fn left_out(events: u64) -> Vec<u8> {
    let mut out = Writer(vec![LEFT_OUT]);
    out.varint(events);
    framed(&out.0)
}

/// The incident is whole.
pub(super) fn end() -> Vec<u8> {
    framed(&[END])
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let checksum = crc32(&[&length, payload]).to_le_bytes();
    [&length[..], &checksum, payload].concat()
}

/// The CRC-32 of `parts`, one after the other, as zlib has it (ISO 3309).
pub(super) fn crc32(parts: &[&[u8]]) -> u32 {
    let mut crc = Crc::new();
    parts.iter().for_each(|part| crc.update(part));
    crc.sum()
}
