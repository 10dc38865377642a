//! Blocks, as they are read: see the layout in [`super`]. What cannot be right is refused, whatever its checksum says.

use std::collections::BTreeMap;

use super::{
    Cause, Event, EventKind, Flags, Group, Trigger, VERSION,
    bytes::Reader,
    encode::{END, EVENT, FRAME, GAP, GROUP, HEADER, Kind, LEFT_OUT, LONGEST, MAGIC, STEP, TRIGGER, crc32},
    is_id,
    values::{FIELDS, Values},
};
use crate::process::Reason;

/// Why a file's header is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is not the recorder's.
    Foreign,
    /// It is of this version.
    Version(u32),
    /// The bytes end before the header does, or its checksum does not hold.
    Damaged,
}

/// A file's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Unix ns.
    pub(super) created: u64,
    pub(super) sequence: u64,
}

/// Reads a header off the beginning of `bytes`.
pub(super) fn header(bytes: &[u8]) -> Result<Header, Refused> {
    let magic = &bytes[..bytes.len().min(MAGIC.len())];
    if !MAGIC.starts_with(magic) {
        return Err(Refused::Foreign);
    }
    let header = bytes.get(..HEADER).ok_or(Refused::Damaged)?;
    let word = |at: usize| header.get(at..at + 4).and_then(|word| word.try_into().ok());
    let word = |at| word(at).map(u32::from_le_bytes).ok_or(Refused::Damaged);
    let long = |at| Ok(u64::from(word(at)?) | u64::from(word(at + 4)?) << 32);
    if word(HEADER - 4)? != crc32(&[&header[..HEADER - 4]]) {
        return Err(Refused::Damaged);
    }
    let version = word(8)?;
    if version != VERSION {
        return Err(Refused::Version(version));
    }
    let kind = match word(12)? {
        1 => Kind::Ring,
        2 => Kind::Incident,
        _ => return Err(Refused::Damaged),
    };
    Ok(Header {
        kind,
        created: long(16)?,
        sequence: long(24)?,
    })
}

/// What a block says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Group(usize, Group),
    Step {
        /// Unix ns.
        time: u64,
        flags: Flags,
        groups: Vec<(usize, Values)>,
    },
    Event(usize, Event),
    Gap {
        /// Unix ns.
        time: u64,
        steps: u64,
    },
    Trigger(usize, Trigger),
    End,
    LeftOut(u64),
}

/// The blocks of a file, until the first that cannot be read.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    time: u64,
    last: BTreeMap<usize, [u64; FIELDS]>,
}

impl<'a> Decoder<'a> {
    /// Of a whole file.
    pub(super) fn new(bytes: &'a [u8]) -> Result<(Header, Self), Refused> {
        let header = header(bytes)?;
        let decoder = Self {
            bytes,
            at: HEADER,
            time: header.created,
            last: BTreeMap::new(),
        };
        Ok((header, decoder))
    }

    /// Where the first block begins that has not been read. At the end of the iteration: how much of the file is good.
    pub(super) fn good(&self) -> usize {
        self.at
    }

    /// The rest is shorter than its frame says, or than a frame.
    pub(super) fn is_cut(&self) -> bool {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest
            .first_chunk()
            .map(|length| u32::from_le_bytes(*length) as usize);
        length.is_none_or(|length| length <= LONGEST && rest.len() < FRAME + length)
    }

    fn block(&mut self) -> Option<Item> {
        let rest = self.bytes.get(self.at..)?;
        let (frame, rest) = rest.split_at_checked(FRAME)?;
        let (length, checksum) = frame.split_at(FRAME / 2);
        let checksum = u32::from_le_bytes(checksum.try_into().ok()?);
        let bytes = u32::from_le_bytes(length.try_into().ok()?) as usize;
        if bytes > LONGEST {
            return None;
        }
        let payload = rest.get(..bytes)?;
        if crc32(&[length, payload]) != checksum {
            return None;
        }
        let mut reader = Reader(payload);
        let item = self.item(&mut reader)?;
        if !reader.0.is_empty() {
            return None;
        }
        self.at += FRAME + bytes;
        Some(item)
    }

    fn item(&mut self, from: &mut Reader<'_>) -> Option<Item> {
        Some(match from.byte()? {
            GROUP => {
                let index = index(from)?;
                let group = Group {
                    step: from.varint()?,
                    detailed: from.flag()?,
                    key: from.text()?,
                    plugin: from.text()?,
                    label: from.text()?,
                };
                self.last.insert(index, [0; FIELDS]);
                Item::Group(index, group)
            }
            STEP => {
                let time = from.difference(self.time)?;
                let flags = flags(from)?;
                let groups = self.values(from)?;
                self.time = time;
                Item::Step { time, flags, groups }
            }
            EVENT => Item::Event(self.known(from)?, event(from)?),
            GAP => Item::Gap {
                time: from.varint()?,
                steps: from.varint()?,
            },
            TRIGGER => {
                let id = from.text().filter(|id| is_id(id))?;
                let index = self.known(from)?;
                Item::Trigger(index, trigger(id, from)?)
            }
            END => Item::End,
            LEFT_OUT => Item::LeftOut(from.varint()?),
            _ => return None,
        })
    }

    /// An index that a block before this one has given to a group.
    fn known(&self, from: &mut Reader<'_>) -> Option<usize> {
        index(from).filter(|index| self.last.contains_key(index))
    }

    fn values(&mut self, from: &mut Reader<'_>) -> Option<Vec<(usize, Values)>> {
        let count = from.varint()?;
        let mut groups = Vec::new();
        for _ in 0..count {
            let index = index(from)?;
            let (present, changed) = (from.varint()?, from.varint()?);
            if present >> FIELDS != 0 || changed & !present != 0 {
                return None;
            }
            let last = self.last.get_mut(&index)?;
            let mut values = Values::default();
            for (bit, (value, last)) in values.0.iter_mut().zip(last).enumerate() {
                if changed >> bit & 1 == 1 {
                    *last = from.difference(*last)?;
                }
                *value = (present >> bit & 1 == 1).then_some(*last);
            }
            groups.push((index, values));
        }
        Some(groups)
    }
}

impl Iterator for Decoder<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        self.block()
    }
}

fn index(from: &mut Reader<'_>) -> Option<usize> {
    usize::try_from(from.varint()?).ok()
}

fn flags(from: &mut Reader<'_>) -> Option<Flags> {
    let byte = from.byte().filter(|byte| *byte < 4)?;
    Some(Flags {
        is_lossy: byte & 1 != 0,
        begins: byte & 2 != 0,
    })
}

fn pid(from: &mut Reader<'_>) -> Option<u32> {
    u32::try_from(from.varint()?).ok()
}

fn event(from: &mut Reader<'_>) -> Option<Event> {
    let time = from.varint()?;
    let pid = pid(from)?;
    let name = from.text()?;
    let kind = match from.byte()? {
        1 => EventKind::Start { worker: from.flag()? },
        2 => EventKind::Exit {
            worker: from.flag()?,
            reason: reason(from)?,
            sender: sender(from)?,
            lifetime: from.optional()?,
            peak_rss: from.optional()?,
        },
        3 => EventKind::Restart {
            reexec: from.flag()?,
            downtime: from.optional()?,
        },
        _ => return None,
    };
    let incident = from.text().filter(|id| id.is_empty() || is_id(id))?;
    Some(Event {
        time,
        pid,
        name,
        kind,
        incident,
    })
}

fn reason(from: &mut Reader<'_>) -> Option<Reason> {
    let (kind, number, core_dumped) = (from.byte()?, from.byte()?, from.flag()?);
    Some(match kind {
        1 => Reason::Exit { code: number },
        2 => Reason::Signal { number, core_dumped },
        3 => Reason::Oom,
        4 => Reason::Unknown,
        _ => return None,
    })
}

fn sender(from: &mut Reader<'_>) -> Option<Option<(u32, String)>> {
    let pid = from.optional()?;
    let name = from.text()?;
    match pid {
        Some(pid) => Some(Some((u32::try_from(pid).ok()?, name))),
        None => Some(None),
    }
}

fn trigger(id: String, from: &mut Reader<'_>) -> Option<Trigger> {
    let trigger = Trigger {
        id,
        time: from.varint()?,
        from: from.varint()?,
        until: from.varint()?,
        cause: match from.byte()? {
            1 => Cause::Crash,
            2 => Cause::Oom,
            3 => Cause::CrashLoop,
            _ => return None,
        },
        pid: pid(from)?,
        name: from.text()?,
    };
    (trigger.from <= trigger.time && trigger.time <= trigger.until).then_some(trigger)
}
