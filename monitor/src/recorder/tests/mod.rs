//! The encoding against damage, and what the tests of the ring and of incidents share.

mod incidents;
mod ring;

use std::{fs, path::PathBuf, time::Duration};

use super::{
    decode::{Decoder, Item},
    encode::{self, Encoder, Kind},
    read::{LONGEST_FILE, Opened, Recording, Step, existing},
    *,
};

const SECOND: u64 = 1_000_000_000;
const BEGAN: u64 = 1_790_000_000 * SECOND;

/// A sequence that looks random and is the same each time (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Of any size, the extremes among them.
    fn any(&mut self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => u64::MAX - 1,
            3 => 1 << 63,
            _ => self.next() >> self.below(64),
        }
    }

    fn text(&mut self) -> String {
        let texts = ["", "web", "<script>", "\u{202e}gpj.exe", "名前", "a\0b\n"];
        texts[self.below(6) as usize].to_owned()
    }

    fn values(&mut self, last: &Values) -> Values {
        let mut values = *last;
        for value in &mut values.0 {
            match self.below(6) {
                0 => *value = None,
                1 => *value = Some(self.any()),
                2 => *value = value.map(|value| value.saturating_add(self.below(1000))),
                _ => {}
            }
        }
        values
    }

    fn event(&mut self) -> Event {
        let (pid, worker) = (self.next() as u32, self.below(2) == 1);
        let optional = |random: &mut Self| (random.below(2) == 1).then(|| random.any());
        let kind = match self.below(3) {
            0 => EventKind::Start { worker },
            1 => EventKind::Exit {
                worker,
                reason: [
                    Reason::Exit { code: 255 },
                    Reason::Signal {
                        number: 11,
                        core_dumped: worker,
                    },
                    Reason::Oom,
                    Reason::Unknown,
                ][self.below(4) as usize],
                sender: (self.below(2) == 1).then(|| (pid, self.text())),
                lifetime: optional(self),
                peak_rss: optional(self),
            },
            _ => EventKind::Restart {
                reexec: worker,
                downtime: optional(self),
            },
        };
        Event {
            time: self.any(),
            pid,
            name: self.text(),
            kind,
            incident: ["", "20260101T000000Z-1"][self.below(2) as usize].to_owned(),
        }
    }
}

fn group(name: &str) -> Group {
    Group {
        key: format!("key of {name}"),
        plugin: name.to_owned(),
        label: format!("{name}(one)"),
        step: SECOND,
        detailed: false,
    }
}

fn trigger(id: &str, time: u64) -> Trigger {
    Trigger {
        id: id.to_owned(),
        cause: Cause::Oom,
        time,
        from: time - 60 * SECOND,
        until: time + 60 * SECOND,
        pid: 7,
        name: "web".to_owned(),
    }
}

/// A file of `blocks` random blocks, and what it says.
fn random_file(seed: u64, blocks: u64) -> (Vec<u8>, Vec<Item>) {
    let mut random = Random(seed);
    let mut encoder = Encoder::new(BEGAN);
    let mut bytes = encode::header(Kind::Ring, BEGAN, 3);
    let mut items = Vec::new();
    let mut last = [Values::default(); 4];
    for index in 0..4 {
        bytes.extend(encoder.group(index, &group(&format!("g{index}"))));
        items.push(Item::Group(index, group(&format!("g{index}"))));
    }
    let mut time = BEGAN;
    for _ in 0..blocks {
        let (block, item) = match random.below(10) {
            0 => {
                let event = random.event();
                (encode::event(2, &event), Item::Event(2, event))
            }
            1 => {
                let (at, steps) = (random.any(), random.any());
                (encode::gap(at, steps), Item::Gap { time: at, steps })
            }
            2 => {
                let trigger = trigger("a-1", BEGAN + random.below(SECOND));
                (encode::trigger(1, &trigger), Item::Trigger(1, trigger))
            }
            _ => {
                // A clock may be set back.
                time = time.wrapping_add(SECOND + random.below(1000)).wrapping_sub(500);
                let flags = Flags {
                    is_lossy: random.below(9) == 0,
                    begins: random.below(9) == 0,
                };
                let mut groups = Vec::new();
                for (index, last) in last.iter_mut().enumerate() {
                    if random.below(5) > 0 {
                        let values = random.values(last);
                        *last = values;
                        groups.push((index, values));
                    }
                }
                (
                    encoder.step(time, flags, &groups),
                    Item::Step { time, flags, groups },
                )
            }
        };
        bytes.extend(block);
        items.push(item);
    }
    (bytes, items)
}

fn decoded(bytes: &[u8]) -> Vec<Item> {
    Decoder::new(bytes).map_or_else(|_| Vec::new(), |(_, blocks)| blocks.collect())
}

#[test]
fn what_is_written_is_read() {
    for seed in 0..200 {
        let (bytes, items) = random_file(seed, 40);
        assert_eq!(decoded(&bytes), items, "seed {seed}");
    }
}

#[test]
fn a_truncated_file_is_read_up_to_a_point() {
    for seed in 0..8 {
        let (bytes, items) = random_file(seed, 12);
        let mut lengths = Vec::new();
        for length in 0..bytes.len() {
            let read = decoded(&bytes[..length]);
            assert_eq!(read, items[..read.len()], "seed {seed}, {length} bytes");
            lengths.push(read.len());
        }
        assert!(lengths.is_sorted(), "more bytes say no less");
        assert_eq!(lengths.last(), Some(&(items.len() - 1)));
    }
}

#[test]
fn a_flipped_byte_is_read_up_to_it_or_refused_and_no_number_is_wrong() {
    for seed in 0..4 {
        let (bytes, items) = random_file(seed, 12);
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff, 1 << (at % 8)] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let read = decoded(&damaged);
                assert!(read.len() < items.len(), "seed {seed}, byte {at}: not noticed");
                assert_eq!(read, items[..read.len()], "seed {seed}, byte {at} ^ {flip:#x}");
            }
        }
    }
}

#[test]
fn nonsense_is_refused() {
    let mut random = Random(1);
    for length in 0..2_000 {
        let mut bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        assert_eq!(decoded(&bytes), [], "no header");
        let mut file = encode::header(Kind::Ring, BEGAN, 1);
        file.append(&mut bytes);
        assert_eq!(decoded(&file), [], "no block");
    }
    // What a checksum vouches for is not believed either, where no writer says it.
    let mut encoder = Encoder::new(BEGAN);
    encoder.group(0, &group("web"));
    let step = encoder.step(BEGAN, Flags::default(), &[(0, Values::default())]);
    let file = [encode::header(Kind::Ring, BEGAN, 1), step].concat();
    assert_eq!(decoded(&file), [], "of a group that no block has told");
    let mut encoder = Encoder::new(BEGAN);
    let web = encoder.group(0, &group("web"));
    let backwards = Trigger {
        from: BEGAN + 1,
        ..trigger("a-1", BEGAN)
    };
    let file = [
        encode::header(Kind::Ring, BEGAN, 1),
        web,
        encode::trigger(0, &backwards),
    ];
    assert_eq!(
        decoded(&file.concat()).len(),
        1,
        "an incident that ends before it begins"
    );
}

/// A folder of the test's own.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kevmon-recorder-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn folder(&self) -> PathBuf {
        self.0.join("metadata.db.recorder")
    }

    fn ring(&self) -> Ring {
        let mut ring = Ring::open(&self.folder(), BOUNDS);
        ring.plan([(0, group("web")), (1, group("db"))]);
        ring
    }

    fn files(&self, suffix: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder()).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == suffix));
        files.sort();
        files
    }

    fn read(&self) -> Recording {
        read(&self.folder(), 0..=u64::MAX).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _: io::Result<()> = fs::remove_dir_all(&self.0);
    }
}

const BOUNDS: Bounds = Bounds {
    bytes: 64 << 20,
    age: Duration::from_secs(3600),
};

fn rss(second: u64) -> Values {
    Values::default().with(Field::Rss, second * 4096)
}

/// Steps of both groups, one a second.
fn fill(ring: &mut Ring, seconds: std::ops::Range<u64>) {
    for second in seconds {
        ring.step(
            BEGAN + second * SECOND,
            false,
            &[(0, rss(second)), (1, rss(2 * second))],
        );
    }
}

/// Seconds of the steps, and the resident set of the first group in them.
fn steps(recording: &Recording) -> Vec<(u64, Option<u64>)> {
    let steps = recording.steps.iter();
    let value = |step: &Step| step.groups.first().and_then(|(_, values)| values.get(Field::Rss));
    steps
        .map(|step| ((step.time - BEGAN) / SECOND, value(step)))
        .collect()
}

fn end(second: u64) -> Event {
    Event {
        time: BEGAN + second * SECOND,
        pid: 7,
        name: "web".to_owned(),
        kind: EventKind::Exit {
            worker: false,
            reason: Reason::Oom,
            sender: None,
            lifetime: Some(SECOND),
            peak_rss: None,
        },
        incident: "a-7".to_owned(),
    }
}
