//! The encoding, the ring and incidents against damage, bounds and time.

use std::{fs, path::PathBuf, time::Duration};

use super::{
    decode::{Decoder, Item},
    encode::{self, Encoder, Kind},
    read::{Recording, Step},
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
                let is_lossy = random.below(9) == 0;
                let mut groups = Vec::new();
                for (index, last) in last.iter_mut().enumerate() {
                    if random.below(5) > 0 {
                        let values = random.values(last);
                        *last = values;
                        groups.push((index, values));
                    }
                }
                (
                    encoder.step(time, is_lossy, &groups),
                    Item::Step {
                        time,
                        is_lossy,
                        groups,
                    },
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
    let step = encoder.step(BEGAN, false, &[(0, Values::default())]);
    let file = [encode::header(Kind::Ring, BEGAN, 1), step].concat();
    assert_eq!(decoded(&file), [], "of a group that no block has told");
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

#[test]
fn a_ring_keeps_an_hour_over_restarts() {
    let scratch = Scratch::new("hour");
    fill(&mut scratch.ring(), 0..3_000);
    fill(&mut scratch.ring(), 3_010..7_200);
    let recording = scratch.read();
    assert_eq!(recording.faults, []);
    assert_eq!(recording.groups, [group("web"), group("db")]);
    let steps = steps(&recording);
    let (first, last) = (steps[0].0, steps[steps.len() - 1].0);
    assert_eq!(last, 7_199);
    assert!(
        (3_000..=3_600).contains(&first),
        "an hour, and a 12th of it more at most: {first}"
    );
    assert_eq!(steps.len() as u64, 7_200 - first.max(3_010));
    assert!(steps.iter().all(|(second, rss)| *rss == Some(second * 4096)));
    let part = read(&scratch.folder(), BEGAN + 5_000 * SECOND..=BEGAN + 5_009 * SECOND).unwrap();
    assert_eq!(part.steps.len(), 10);
    assert_eq!(part.groups.len(), 2);
}

#[test]
fn a_ring_keeps_to_its_bytes() {
    let scratch = Scratch::new("bytes");
    let bounds = Bounds {
        bytes: 1 << 20,
        ..BOUNDS
    };
    let mut ring = Ring::open(&scratch.folder(), bounds);
    ring.plan((0..20).map(|index| (index, group(&format!("g{index}")))));
    let mut random = Random(5);
    let mut last = Values::default();
    for millis in 0..3_000 {
        last = random.values(&last);
        let groups: Vec<_> = (0..20).map(|index| (index, last)).collect();
        ring.step(BEGAN + millis * 1_000_000, false, &groups);
        if millis % 50 == 0 {
            let sizes = scratch
                .files("kfr")
                .into_iter()
                .map(|path| fs::metadata(path).unwrap().len());
            let all: u64 = sizes.sum();
            assert!(all <= (1 << 20) + 4096, "{all} bytes at {millis} ms");
        }
    }
    assert!(scratch.files("kfr").len() >= 12);
}

#[test]
fn a_torn_end_is_cut_off_and_the_rest_is_read() {
    let scratch = Scratch::new("torn");
    fill(&mut scratch.ring(), 0..10);
    let file = scratch.files("kfr").pop().unwrap();
    let bytes = fs::read(&file).unwrap();
    // A write that was cut by the end of the machine, and what another program wrote behind it.
    for (end, tail) in [(bytes.len() - 3, &b""[..]), (bytes.len(), b"something else")] {
        fs::write(&file, [&bytes[..end], tail].concat()).unwrap();
        let before = steps(&scratch.read());
        assert_eq!(before.len(), if tail.is_empty() { 9 } else { 10 });
        drop(Ring::open(&scratch.folder(), BOUNDS));
        let recording = scratch.read();
        assert_eq!((steps(&recording), recording.faults), (before, vec![]), "cut");
        fs::write(&file, &bytes).unwrap();
    }
    // A damaged block in an older segment costs what follows in that segment alone.
    fill(&mut scratch.ring(), 20..30);
    let mut damaged = bytes.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&file, damaged).unwrap();
    let recording = scratch.read();
    assert!(
        matches!(recording.faults[..], [Fault::Damaged { .. }]),
        "{:?}",
        recording.faults
    );
    let read = steps(&recording);
    assert!((11..20).contains(&read.len()), "{read:?}");
    assert!(read.iter().all(|(second, rss)| *rss == Some(second * 4096)));
}

#[test]
fn foreign_files_and_other_versions_are_named_and_left() {
    let scratch = Scratch::new("foreign");
    fill(&mut scratch.ring(), 0..3);
    let folder = scratch.folder();
    let foreign = folder.join("ring-0000000000000009.kfr");
    fs::write(&foreign, "somebody's notes").unwrap();
    let other = folder.join("ring-0000000000000008.kfr");
    let mut bytes = encode::header(Kind::Ring, BEGAN, 8);
    bytes[8] = 9;
    let checksum = super::crc::crc32(&[&bytes[..36]]).to_le_bytes();
    bytes[36..].copy_from_slice(&checksum);
    fs::write(&other, bytes).unwrap();
    let mut ring = scratch.ring();
    fill(&mut ring, 3..6);
    let recording = scratch.read();
    let faults: Vec<String> = recording.faults.iter().map(ToString::to_string).collect();
    assert!(
        faults
            .iter()
            .any(|fault| fault.contains("no file of the flight recorder")),
        "{faults:?}"
    );
    assert!(
        faults.iter().any(|fault| fault.contains("layout 9")),
        "{faults:?}"
    );
    assert_eq!(steps(&recording).len(), 6);
    // The age of another version's file is that of the file, which is new.
    fill(&mut ring, 10_000..10_003);
    assert_eq!(fs::read_to_string(&foreign).unwrap(), "somebody's notes");
}

#[test]
fn lost_steps_are_a_gap() {
    let scratch = Scratch::new("gap");
    let mut ring = scratch.ring();
    fill(&mut ring, 0..2);
    ring.note_lost(5);
    fill(&mut ring, 7..8);
    let recording = scratch.read();
    let gaps: Vec<_> = recording.gaps.iter().map(|gap| (gap.time, gap.steps)).collect();
    assert_eq!(gaps, [(BEGAN + 7 * SECOND, 5)]);
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

#[test]
fn an_incident_has_the_minute_before_and_the_minute_after() {
    let scratch = Scratch::new("incident");
    let incidents = Incidents::new(&scratch.folder());
    let mut ring = scratch.ring();
    fill(&mut ring, 0..100);
    let trigger = trigger("a-7", BEGAN + 100 * SECOND);
    ring.event(0, &end(100));
    ring.trigger(0, &trigger);
    let read = || incidents.read("a-7").unwrap().unwrap();
    let seconds = |incident: &Incident| -> Vec<u64> {
        incident
            .steps
            .keys()
            .map(|time| (time - BEGAN) / SECOND)
            .collect()
    };
    // Before there is a file, a reader has it from the ring.
    assert_eq!(seconds(&read()), (40..100).collect::<Vec<_>>());
    incidents.freeze(&group("web"), &trigger, false).unwrap();
    fill(&mut ring, 101..130);
    assert_eq!(seconds(&read()).len(), 60 + 29, "it goes on");
    assert_eq!(incidents.unfinished().unwrap(), [(group("web"), trigger.clone())]);
    // kevmon is killed, and the next run goes on.
    drop(ring);
    let mut ring = scratch.ring();
    fill(&mut ring, 133..200);
    incidents.freeze(&group("web"), &trigger, true).unwrap();
    drop(ring);
    for path in scratch.files("kfr") {
        fs::remove_file(path).unwrap();
    }
    let incident = read();
    let expected: Vec<u64> = (40..100).chain(101..130).chain(133..=160).collect();
    assert_eq!(seconds(&incident), expected);
    assert_eq!(incident.events, [end(100)]);
    assert!(incident.is_whole);
    assert_eq!(incidents.unfinished().unwrap(), []);
    assert_eq!(incidents.list().unwrap().incidents, [incident]);
    assert!(incidents.read("../../etc/passwd").unwrap().is_none());
    assert!(incidents.read("a-8").unwrap().is_none());
}

#[test]
fn a_group_that_crashes_all_day_leaves_others_their_incidents() {
    let scratch = Scratch::new("bounds");
    let incidents = Incidents::new(&scratch.folder());
    incidents
        .freeze(&group("db"), &trigger("db-1", BEGAN), true)
        .unwrap();
    for number in 1..(MOST_TRIED + 1) {
        let trigger = trigger(&format!("web-{number}"), BEGAN + number * SECOND);
        incidents.freeze(&group("web"), &trigger, true).unwrap();
    }
    let ids: Vec<String> = incidents
        .list()
        .unwrap()
        .incidents
        .into_iter()
        .map(|incident| incident.trigger.id)
        .collect();
    assert_eq!(ids.len(), incident::MOST);
    assert_eq!(ids[0], "db-1");
    assert_eq!(ids[ids.len() - 1], format!("web-{MOST_TRIED}"));
}

const MOST_TRIED: u64 = 70;

#[test]
fn a_damaged_incident_is_named_and_the_others_are_read() {
    let scratch = Scratch::new("damaged");
    let incidents = Incidents::new(&scratch.folder());
    let mut ring = scratch.ring();
    fill(&mut ring, 0..100);
    for id in ["a-1", "a-2"] {
        incidents
            .freeze(&group("web"), &trigger(id, BEGAN + 90 * SECOND), true)
            .unwrap();
    }
    let file = scratch.files("kfi").remove(0);
    let bytes = fs::read(&file).unwrap();
    let mut damaged = bytes.clone();
    damaged[50] ^= 1;
    fs::write(&file, damaged).unwrap();
    let listed = incidents.list().unwrap();
    assert_eq!(listed.incidents.len(), 1);
    assert_eq!(listed.faults.len(), 1, "{:?}", listed.faults);
    // Cut in its steps: what is left is read, and the ring has the rest.
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let incident = incidents.read("a-1").unwrap().unwrap();
    assert!(!incident.is_whole);
    assert_eq!(incident.steps.len(), 70);
}
