//! Incidents: what they hold, and what becomes of damage and of what is none.

use super::*;

#[test]
fn an_incident_has_the_minute_before_and_the_minute_after() {
    let scratch = Scratch::new("incident");
    let incidents = Incidents::new(&scratch.folder());
    let mut ring = scratch.ring();
    fill(&mut ring, 0..100);
    let trigger = trigger("a-7", BEGAN + 100 * SECOND);
    ring.events(&[(0, end(100))]);
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
    assert_eq!(
        incidents.unfinished().unwrap().open,
        [(group("web"), trigger.clone())]
    );
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
    assert_eq!(incidents.unfinished().unwrap(), incident::Unfinished::default());
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

#[test]
fn a_damaged_incident_is_never_written_over() {
    let scratch = Scratch::new("keep");
    let incidents = Incidents::new(&scratch.folder());
    let mut ring = scratch.ring();
    fill(&mut ring, 0..100);
    let (whole, open) = (
        trigger("a-1", BEGAN + 80 * SECOND),
        trigger("a-2", BEGAN + 90 * SECOND),
    );
    incidents.freeze(&group("web"), &whole, true).unwrap();
    incidents.freeze(&group("web"), &open, false).unwrap();
    let files = scratch.files("kfi");
    for file in &files {
        let mut bytes = fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(file, bytes).unwrap();
    }
    let before: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    // One was whole, and stays so; the other one is not made whole of what is left of it.
    assert_eq!(
        incidents.unfinished().unwrap().open,
        [(group("web"), open.clone())]
    );
    for trigger in [&whole, &open] {
        let error = incidents.freeze(&group("web"), trigger, true).unwrap_err();
        assert!(error.to_string().contains("damaged at byte"), "{error}");
    }
    let after: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(before == after, "they are as they were");
    let incident = incidents.read("a-1").unwrap().unwrap();
    assert!(!incident.is_whole);
    assert!(matches!(incident.damage, Some(Fault::Damaged { .. })));
}

#[test]
fn what_was_lost_before_a_crash_and_what_was_left_out_are_both_known() {
    const SURPLUS: u64 = 30;
    let scratch = Scratch::new("both");
    let incidents = Incidents::new(&scratch.folder());
    let mut ring = scratch.ring();
    let crash = BEGAN + 100 * SECOND;
    let starts = (0..incident::MOST_EVENTS as u64 / 2 - 1 + SURPLUS).map(|number| {
        let start = Event {
            time: crash - SECOND + number,
            kind: EventKind::Start { worker: true },
            ..end(0)
        };
        (0, start)
    });
    ring.events(&starts.collect::<Vec<_>>());
    ring.note_lost(5);
    ring.events(&[(0, end(100))]);
    ring.trigger(0, &trigger("a-7", crash));
    for is_whole in [false, true] {
        incidents
            .freeze(&group("web"), &trigger("a-7", crash), is_whole)
            .unwrap();
        let incident = incidents.read("a-7").unwrap().unwrap();
        let gaps: Vec<_> = incident.gaps.iter().map(|gap| (gap.time, gap.steps)).collect();
        assert_eq!(gaps, [(crash, 5)]);
        assert_eq!(incident.left_out, SURPLUS);
        assert_eq!(incident.events.len(), incident::MOST_EVENTS / 2);
        assert_eq!(incident.events.last(), Some(&end(100)));
    }
}

#[test]
fn what_is_named_like_an_incident_and_is_none_stays_and_is_named() {
    let scratch = Scratch::new("others");
    let incidents = Incidents::new(&scratch.folder());
    incidents
        .freeze(&group("db"), &trigger("db-1", BEGAN), true)
        .unwrap();
    let own = scratch.files("kfi").remove(0);
    let path = |name: &str| scratch.folder().join(format!("incident-{name}.kfi"));
    fs::create_dir(path("a-folder")).unwrap();
    std::os::unix::fs::symlink(&own, path("a-link")).unwrap();
    fs::write(path("a-note"), "somebody's notes").unwrap();
    fs::copy(&own, path("another-name")).unwrap();
    fs::write(path("no-bytes"), "").unwrap();
    fs::write(path("torn"), "KEVMONFR").unwrap();
    let named = incidents.list().unwrap().faults;
    assert_eq!(named.len(), 5, "each once: {named:?}");
    assert_eq!(incidents.unfinished().unwrap().faults.len(), 5);
    let error = incidents
        .freeze(&group("db"), &trigger("a-note", BEGAN), true)
        .unwrap_err();
    assert!(
        error.to_string().contains("no file of the flight recorder"),
        "{error}"
    );
    for number in 1..(MOST_TRIED + 1) {
        let trigger = trigger(&format!("web-{number}"), BEGAN + number * SECOND);
        incidents.freeze(&group("web"), &trigger, true).unwrap();
    }
    for name in ["a-folder", "a-link", "a-note", "another-name"] {
        assert!(path(name).symlink_metadata().is_ok(), "{name} is gone");
    }
    for name in ["no-bytes", "torn"] {
        assert!(!path(name).exists(), "{name} holds nothing, and makes room first");
    }
    assert_eq!(incidents.list().unwrap().incidents.len(), incident::MOST);
}
