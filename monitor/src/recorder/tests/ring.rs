//! The ring: its bounds, and what it makes of damage, of foreign files and of trouble.

use super::*;

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
    let checksum = encode::crc32(&[&bytes[..36]]).to_le_bytes();
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

/// The seconds of the steps that begin.
fn beginnings(recording: &Recording) -> Vec<u64> {
    let steps = recording.steps.iter().filter(|step| step.flags.begins);
    steps.map(|step| (step.time - BEGAN) / SECOND).collect()
}

#[test]
fn the_first_step_of_a_group_in_a_run_does_not_go_on_from_those_before() {
    let scratch = Scratch::new("begins");
    fill(&mut scratch.ring(), 0..3);
    let mut ring = scratch.ring();
    fill(&mut ring, 3..5);
    assert_eq!(beginnings(&scratch.read()), [0, 3]);
    // A plan with one more group breaks nobody else's sums.
    ring.plan([(0, group("web")), (1, group("db")), (2, group("new"))]);
    ring.step(BEGAN + 5 * SECOND, false, &[(0, rss(5)), (2, rss(5))]);
    let recording = scratch.read();
    let new = &recording.steps[recording.steps.len() - 1];
    assert_eq!(beginnings(&recording), [0, 3, 5]);
    assert_eq!(
        (new.groups.len(), recording.groups[new.groups[0].0].label.as_str()),
        (1, "new(one)")
    );
    // Another group under a known number does.
    ring.plan([(0, group("other"))]);
    ring.step(BEGAN + 6 * SECOND, false, &[(0, rss(6))]);
    assert_eq!(beginnings(&scratch.read()), [0, 3, 5, 6]);
}

#[test]
fn steps_of_groups_without_a_plan_cost_nothing_of_what_follows() {
    let scratch = Scratch::new("unknown");
    let mut ring = scratch.ring();
    ring.note_lost(5);
    ring.step(BEGAN, false, &[(9, rss(1))]);
    ring.events(&[(9, end(0))]);
    ring.trigger(9, &trigger("a-1", BEGAN));
    ring.step(BEGAN + SECOND, false, &[(0, rss(1)), (1, rss(2)), (9, rss(1))]);
    fill(&mut ring, 2..5);
    let recording = scratch.read();
    assert_eq!(recording.faults, []);
    assert_eq!(
        steps(&recording),
        (1..5)
            .map(|second| (second, Some(second * 4096)))
            .collect::<Vec<_>>()
    );
    assert_eq!(recording.gaps.len(), 1);
    assert_eq!(recording.gaps[0].steps, 5, "still counted");
}

#[test]
fn a_step_of_very_many_groups_is_read() {
    let scratch = Scratch::new("many");
    let mut ring = Ring::open(&scratch.folder(), BOUNDS);
    ring.plan((0..7_000).map(|index| (index, group(&format!("g{index}")))));
    let values = Values([Some(1 << 63); FIELDS]);
    let groups: Vec<_> = (0..7_000).map(|index| (index, values)).collect();
    ring.step(BEGAN, false, &groups);
    ring.step(BEGAN + SECOND, false, &groups);
    let recording = scratch.read();
    assert_eq!(recording.faults, []);
    let read = recording.steps.iter().map(|step| step.groups.len());
    assert_eq!(read.sum::<usize>(), 14_000);
}

#[test]
fn a_ring_that_could_not_be_looked_at_goes_on_from_it_later() {
    let scratch = Scratch::new("later");
    fill(&mut scratch.ring(), 0..3);
    let aside = scratch.0.join("aside");
    fs::rename(scratch.folder(), &aside).unwrap();
    fs::write(scratch.folder(), "no folder").unwrap();
    let mut ring = scratch.ring();
    fs::remove_file(scratch.folder()).unwrap();
    fs::rename(&aside, scratch.folder()).unwrap();
    std::thread::sleep(Duration::from_millis(1_100));
    fill(&mut ring, 3..6);
    assert_eq!(steps(&scratch.read()).len(), 6);
    // It knows the first segment, too, and removes it with its age.
    fill(&mut ring, 10_000..10_003);
    let files = scratch.files("kfr");
    assert!(
        !files
            .iter()
            .any(|file| file.ends_with("ring-0000000000000001.kfr")),
        "{files:?}"
    );
}

#[test]
fn of_a_file_the_header_is_read_and_then_so_much_at_most() {
    let scratch = Scratch::new("limit");
    let mut ring = scratch.ring();
    fill(&mut ring, 0..3);
    let own = scratch.files("kfr").remove(0);
    let mut file = fs::read(&own).unwrap();
    let folder = existing(&scratch.folder()).unwrap().unwrap();
    let name = own.file_name().unwrap().to_str().unwrap();
    let mut opened = Opened::new(&folder, name).unwrap().unwrap();
    assert_eq!(
        opened.bytes,
        file[..encode::HEADER],
        "what is foreign is read no further"
    );
    opened.read(100).unwrap();
    assert_eq!(opened.bytes, file[..100]);
    // Longer than any file of the recorder, and each block of it is right.
    let long = Event {
        name: "x".repeat(1024),
        ..end(0)
    };
    let block = encode::event(0, &long);
    while file.len() as u64 <= LONGEST_FILE {
        file.extend(&block);
    }
    fs::write(&own, &file).unwrap();
    let recording = scratch.read();
    assert_eq!(steps(&recording).len(), 3);
    let [Fault::Damaged { at, left, .. }] = &recording.faults[..] else {
        panic!("{:?}", recording.faults);
    };
    assert!(
        *at <= LONGEST_FILE && at + left == file.len() as u64,
        "{at} {left}"
    );
}

#[test]
fn the_usual_distance_of_steps_is_what_was_asked_for_or_more() {
    let every = |apart: u64| (0..20).map(move |number| number * apart);
    assert_eq!(spacing(10, every(10)), 10);
    assert_eq!(spacing(10, every(2)), 10);
    assert_eq!(spacing(10, every(50)), 50);
    assert_eq!(spacing(10, [0, 500].into_iter()), 10, "too few tell nothing");
    assert_eq!(
        spacing(10, [0, 10, 20, 500, 510, 520].into_iter()),
        10,
        "a hole is no rule"
    );
    assert_eq!(
        spacing(10, [9, 5, u64::MAX, 0, 1].into_iter()),
        10,
        "a clock that was set back"
    );
}
