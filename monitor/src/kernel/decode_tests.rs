use super::*;

pub const BLIND: Blind = Blind {
    run_delay: false,
    io: false,
    page_size: 4096,
};

fn bytes<T>(record: &T) -> Vec<u8> {
    // SAFETY: the records have no padding: kevmon-common asserts their sizes.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(record).cast(), size_of::<T>()) }.to_vec()
}

pub fn array<const N: usize>(text: &[u8]) -> [u8; N] {
    // What lies behind a text is whatever the ring held before.
    let mut array = [b'?'; N];
    array[..text.len()].copy_from_slice(text);
    array
}

const KEY: kevmon_common::Key = kevmon_common::Key {
    start_boottime: 5,
    tgid: 7,
    pad: 0,
};
const PARENT: kevmon_common::Key = kevmon_common::Key {
    start_boottime: 1,
    tgid: 2,
    pad: 0,
};

const FACTS: kevmon_common::Facts = kevmon_common::Facts {
    cgroup: 11,
    euid: 33,
    pid_namespace: 12,
};

pub fn header(kind: Kind) -> Header {
    Header {
        kind: kind as u32,
        flags: 0,
        time: 9,
        key: KEY,
    }
}

pub fn end(kind: Kind) -> EndRecord {
    EndRecord {
        header: header(kind),
        status: 0x700,
        pad: 0,
        sender: kevmon_common::Sender::NONE,
        ended: 8,
        usage: kevmon_common::Usage {
            runtime: 3,
            read_bytes: 4,
            run_delay: 1,
            ..Default::default()
        },
        facts: FACTS,
        peak_rss: 2,
    }
}

fn exec() -> ExecRecord {
    ExecRecord {
        head: ExecHead {
            header: header(Kind::Exec),
            sequence: 9,
            parent: PARENT,
            usage: kevmon_common::Usage {
                nvcsw: 6,
                ..Default::default()
            },
            facts: FACTS,
            comm: array(b"python3\0"),
            exe_len: 10,
            filename_len: 11,
            argv_len: 21,
            argv_before: 0,
        },
        exe: array(b"python3.11"),
        filename: array(b"/srv/app.py"),
        argv: array(b"python3\0-u\0\0app\xff\0tail\0"),
    }
}

fn fork() -> ForkRecord {
    ForkRecord {
        header: header(Kind::Fork),
        sequence: 9,
        parent: PARENT,
        facts: FACTS,
    }
}

fn rename() -> RenameRecord {
    RenameRecord {
        header: Header {
            flags: 3,
            ..header(Kind::Rename)
        },
        sequence: 9,
        parent: PARENT,
        usage: kevmon_common::Usage {
            min_flt: 8,
            ..Default::default()
        },
        facts: FACTS,
        comm: array(b"worker\0"),
    }
}

fn process_key() -> ProcessKey {
    ProcessKey {
        tgid: Tgid(7),
        start: BootTime(5),
    }
}

fn parent_key() -> ProcessKey {
    ProcessKey {
        tgid: Tgid(2),
        start: BootTime(1),
    }
}

#[test]
fn an_exec_record() {
    let event = BLIND.event(&bytes(&exec()), &[]);
    let identity = Identity {
        comm: "python3".into(),
        exe: "python3.11".into(),
        filename: "/srv/app.py".into(),
        argv: ["python3", "-u", "", "app\u{fffd}", "tail"]
            .map(Into::into)
            .into(),
        cut: None,
    };
    let expected = Event::Exec {
        key: process_key(),
        time: BootTime(9),
        sequence: 9,
        parent: parent_key(),
        identity,
        usage: Usage::ZERO.with(Counter::Voluntary, Some(6)),
    };
    // The last argument's NUL is cut off: its length says so.
    assert_eq!(event, Some(expected));
}

#[test]
fn lengths_beyond_the_arrays_reach_no_further_than_they() {
    let mut record = exec();
    record.head.exe_len = u32::MAX;
    record.head.filename_len = u32::MAX;
    record.head.argv_len = u32::MAX;
    record.head.comm = [b'c'; 16];
    record.exe = [b'e'; EXE_LEN];
    record.filename = [b'f'; FILENAME_LEN];
    record.argv = [b'a'; ARGV_LEN];
    let Some(Event::Exec { identity, .. }) = BLIND.event(&bytes(&record), &[]) else {
        panic!("not an exec")
    };
    assert_eq!(identity.comm, "c".repeat(16));
    assert_eq!(identity.exe, "e".repeat(EXE_LEN));
    assert_eq!(identity.filename, "f".repeat(FILENAME_LEN));
    assert_eq!(identity.argv, ["a".repeat(ARGV_LEN)]);
}

#[test]
fn fork_and_rename_records() {
    let fork = BLIND.event(&bytes(&fork()), &[]);
    let expected = Event::Fork {
        key: process_key(),
        time: BootTime(9),
        sequence: 9,
        parent: parent_key(),
    };
    assert_eq!(fork, Some(expected));
    let rename = BLIND.event(&bytes(&rename()), &[]);
    let expected = Event::Rename {
        key: process_key(),
        time: BootTime(9),
        sequence: 9,
        parent: parent_key(),
        comm: "worker".into(),
        threads: Some(3),
        unheard: false,
        found: None,
        usage: Usage::ZERO.with(Counter::MinorFaults, Some(8)),
    };
    assert_eq!(rename, Some(expected));
    let mut after_a_loss = self::rename();
    after_a_loss.header.flags |= RENAME_UNHEARD;
    let Some(Event::Rename { threads, unheard, .. }) = BLIND.event(&bytes(&after_a_loss), &[]) else {
        panic!("not a rename");
    };
    assert_eq!((threads, unheard), (Some(3), true));
}

#[test]
fn a_snapshot_record_tells_the_end_of_what_is_not_reaped() {
    let raw = SnapshotRecord {
        key: end(Kind::Exit).header.key,
        parent: end(Kind::Exit).header.key,
        sequence: 6,
        ended: 44,
        peak_rss: 2,
        sender: kevmon_common::Sender {
            tgid: 11,
            signal: 9,
            comm: array(b"bash\0"),
        },
        facts: FACTS,
        status: 9,
        pad: 0,
        flags: SNAPSHOT_MARKED | SNAPSHOT_ENDED | SNAPSHOT_TOLD | SNAPSHOT_OOM,
        exe_len: 0,
        comm: array(b"worker\0"),
        exe: [0; EXE_LEN],
    };
    let told = seen(&raw, &BLIND);
    assert_eq!(told.facts, told_facts());
    assert_eq!(
        (told.sequence, told.told, told.untold, told.renamed, told.ended),
        (Some(6), true, false, false, true)
    );
    let end = told.end.expect("it ended");
    assert_eq!((end.time, end.peak_rss), (BootTime(44), Some(8192)));
    assert_eq!((end.ending.status, end.ending.oom_victim), (Some(9), true));
    assert_eq!(end.ending.sender.map(|sender| sender.tgid), Some(Tgid(11)));
    let live = SnapshotRecord {
        ended: 0,
        flags: SNAPSHOT_MARKED | SNAPSHOT_UNTOLD | SNAPSHOT_RENAMED,
        ..raw
    };
    let live = seen(&live, &BLIND);
    assert_eq!(
        (live.told, live.untold, live.renamed, live.end),
        (false, true, true, None)
    );
}

fn told_facts() -> FactIds {
    FactIds {
        uid: Some(33),
        cgroup: Some(11),
        pid_namespace: Some(12),
    }
}

#[test]
fn every_event_tells_whose_the_process_is() {
    for told in [
        bytes(&exec()),
        bytes(&fork()),
        bytes(&rename()),
        bytes(&end(Kind::Exit)),
        bytes(&end(Kind::Free)),
    ] {
        assert_eq!(facts(&told), told_facts());
        assert_eq!(facts(&told[..60]), FactIds::default(), "cut short");
    }
    let root = kevmon_common::Facts {
        euid: 0,
        ..kevmon_common::Facts::UNKNOWN
    };
    let unknown = FactIds::default();
    assert_eq!(fact_ids(&kevmon_common::Facts::UNKNOWN), unknown);
    assert_eq!(
        fact_ids(&root),
        FactIds {
            uid: Some(0),
            ..unknown
        },
        "root is somebody"
    );
}

#[test]
fn a_cgroup_record() {
    let made = |path: &[u8], path_len: usize| CgroupRecord {
        head: CgroupHead {
            header: header(Kind::Cgroup),
            id: 11,
            path_len: u32::try_from(path_len).unwrap(),
            pad: 0,
        },
        path: array(path),
    };
    let whole = bytes(&made(b"/system.slice/a.service", 23));
    assert_eq!(made_cgroup(&whole), Some((11, "/system.slice/a.service")));
    assert!(is_of_a_cgroup(&whole) && BLIND.event(&whole, &[]).is_none());
    assert_eq!(facts(&whole), FactIds::default());
    let long = [b'a'; CGROUP_PATH_LEN];
    for (unusable, why) in [
        (bytes(&made(b"", 0)), "empty"),
        (
            bytes(&made(&long, CGROUP_PATH_LEN - 1)),
            "as long as is kept: it may be cut",
        ),
        (bytes(&made(b"/\xff", 2)), "no UTF-8"),
        (whole[..100].to_vec(), "cut short"),
        (bytes(&end(Kind::Exit)), "another record"),
    ] {
        assert_eq!(made_cgroup(&unusable), None, "{why}");
    }
}

#[test]
fn both_records_of_an_end_tell_all_of_it() {
    let mut exit = end(Kind::Exit);
    exit.header.flags = END_OOM;
    exit.status = 9;
    exit.sender = kevmon_common::Sender {
        tgid: 11,
        signal: 15,
        comm: array(b"systemd\0"),
    };
    let free = EndRecord {
        header: Header {
            kind: Kind::Free as u32,
            time: 20,
            ..exit.header
        },
        ..exit
    };
    let ending = Ending {
        status: Some(9),
        oom_victim: true,
        sender: Some(Sender {
            tgid: Tgid(11),
            comm: "systemd".into(),
            signal: 15,
        }),
    };
    let usage = Usage::ZERO
        .with(Counter::Runtime, Some(3))
        .with(Counter::ReadBytes, Some(4))
        .with(Counter::RunDelay, Some(1));
    let expected = Event::Exit {
        key: process_key(),
        time: BootTime(9),
        ending: ending.clone(),
        usage,
        peak_rss: Some(8192),
    };
    assert_eq!(BLIND.event(&bytes(&exit), &[]), Some(expected));
    let expected = Event::Free {
        key: process_key(),
        time: BootTime(20),
        ended: Some(BootTime(8)),
        ending,
        usage,
        peak_rss: Some(8192),
    };
    assert_eq!(BLIND.event(&bytes(&free), &[]), Some(expected));
}

#[test]
fn what_the_kernel_does_not_know_is_unknown_and_not_zero() {
    let blind = Blind {
        run_delay: true,
        io: true,
        page_size: 4096,
    };
    let mut record = end(Kind::Free);
    (record.peak_rss, record.ended) = (0, 0);
    let Some(Event::Free {
        usage,
        peak_rss,
        ended,
        ending,
        ..
    }) = blind.event(&bytes(&record), &[])
    else {
        panic!("not a free")
    };
    assert_eq!(
        (usage.get(Counter::ReadBytes), usage.get(Counter::RunDelay)),
        (None, None)
    );
    assert_eq!((peak_rss, ended, ending.sender), (None, None, None));
}

#[test]
fn a_number_that_is_no_signal_has_no_sender() {
    for (signal, told) in [
        (0, None),
        (9, Some(9)),
        (255, Some(255)),
        (256, None),
        (u32::MAX, None),
    ] {
        let raw = kevmon_common::Sender {
            tgid: 1,
            signal,
            comm: [b'x'; 16],
        };
        let sender = sender(&raw);
        assert_eq!(sender.as_ref().map(|sender| sender.signal), told, "{signal}");
        if let Some(sender) = sender {
            assert_eq!(sender.comm, "x".repeat(16), "a name without a NUL");
        }
    }
}

#[test]
fn bytes_that_are_no_record_are_refused() {
    let records = [
        bytes(&exec()),
        bytes(&fork()),
        bytes(&rename()),
        bytes(&end(Kind::Exit)),
        bytes(&end(Kind::Free)),
    ];
    for whole in records {
        assert!(BLIND.event(&whole, &[]).is_some());
        for len in 0..whole.len() {
            assert_eq!(
                BLIND.event(&whole[..len], &[]),
                None,
                "{len} of {} bytes",
                whole.len()
            );
        }
        let mut unknown = whole;
        for kind in [0, 6, 7, 99] {
            unknown[0] = kind;
            assert_eq!(BLIND.event(&unknown, &[]), None, "kind {kind}");
        }
    }
}

#[test]
fn names_are_bounded_by_their_arrays_and_may_be_any_bytes() {
    assert_eq!(prefix(b"abc", 2), b"ab");
    assert_eq!(prefix(b"abc", 9), b"abc", "a length beyond the array");
    assert_eq!(text(until_nul(b"a\xffb\0rest")), "a\u{fffd}b");
}

fn part<const LEN: usize>(offset: usize, text: &[u8]) -> kevmon_common::ArgumentsRecord<LEN> {
    kevmon_common::ArgumentsRecord {
        head: kevmon_common::ArgumentsHead {
            header: header(Kind::Arguments),
            offset: u32::try_from(offset).unwrap(),
            len: u32::try_from(text.len()).unwrap(),
        },
        text: array(text),
    }
}

// SAFETY: repr(C), integers and byte arrays without padding, as kevmon-common asserts.
unsafe impl<const LEN: usize> Record for kevmon_common::ArgumentsRecord<LEN> {}

#[test]
fn parts_of_arguments_stand_before_their_exec() {
    let bytes = bytes(&part::<ARGUMENTS_LEN>(512, b"rest"));
    let found = part_of_arguments(&bytes).unwrap();
    assert_eq!((found.is_first, found.text), (true, &b"rest"[..]));
    let later = self::bytes(&part::<ARGUMENTS_LONG_LEN>(512 + 4096, b""));
    let later = part_of_arguments(&later).unwrap();
    assert_eq!((later.is_first, later.text), (false, &b""[..]));
    for len in 0..bytes.len() {
        assert_eq!(part_of_arguments(&bytes[..len]), None, "{len}");
    }
    assert_eq!(part_of_arguments(&self::bytes(&exec())), None);
}

/// One argument of 600 bytes and a short one: the record holds 512 bytes, the part before it the rest.
#[test]
fn arguments_are_put_together_or_said_to_be_cut() {
    let long = "x".repeat(600);
    let whole = format!("app\0{long}\0-v\0");
    let (begin, rest) = whole.as_bytes().split_at(512);
    let record = |before: usize, flags| {
        let mut record = exec();
        record.head.header.flags = flags;
        record.head.argv_len = 512;
        record.head.argv_before = u32::try_from(before).unwrap();
        record.argv = array(begin);
        bytes(&record)
    };
    let arguments = |before: usize, flags, rest: &[u8]| {
        let Some(Event::Exec { identity, .. }) = BLIND.event(&record(before, flags), rest) else {
            panic!("an exec");
        };
        (identity.argv, identity.cut)
    };
    let cut = Some(long[..508].to_owned());
    assert_eq!(
        arguments(rest.len(), 0, rest),
        (vec!["app".to_owned(), long.clone(), "-v".to_owned()], None)
    );
    assert_eq!(
        arguments(0, EXEC_ARGV_CUT, b""),
        (vec!["app".to_owned()], cut.clone())
    );
    for (lost, told) in [(b"".as_slice(), rest.len()), (&rest[1..], rest.len())] {
        assert_eq!(
            arguments(told, 0, lost),
            (vec!["app".to_owned()], cut.clone()),
            "a lost part"
        );
    }
    assert_eq!(
        arguments(rest.len() - 2, EXEC_ARGV_CUT, &rest[..rest.len() - 2]),
        (vec!["app".to_owned(), long.clone()], Some("-".to_owned())),
        "more than is ever sent"
    );
}

#[test]
fn of_a_path_that_does_not_fit_the_end_is_known() {
    let path = |end: &[u8], flags| {
        let mut record = exec();
        record.head.header.flags = flags;
        record.head.filename_len = u32::try_from(end.len()).unwrap();
        record.filename = array(end);
        let Some(Event::Exec { identity, .. }) = BLIND.event(&bytes(&record), &[]) else {
            panic!("an exec");
        };
        identity.filename
    };
    assert_eq!(path(b"srv/app.awk", 0), "srv/app.awk");
    assert_eq!(
        path(b"srv/app.awk", EXEC_FILENAME_CUT),
        end_of_a_path("srv/app.awk")
    );
    assert_eq!(
        path(b"\xbc/app.awk", EXEC_FILENAME_CUT),
        end_of_a_path("/app.awk"),
        "half a letter"
    );
    assert_eq!(path(b"", EXEC_FILENAME_CUT), "", "nothing is known of it");
}

#[test]
fn an_exec_and_a_free_end_what_is_held_of_arguments() {
    let mut silent = exec();
    silent.head.argv_before = 0;
    for record in [bytes(&exec()), bytes(&silent), bytes(&end(Kind::Free))] {
        assert_eq!(executes_or_is_freed(&record), Some(process_key()));
    }
    for record in [
        bytes(&fork()),
        bytes(&rename()),
        bytes(&end(Kind::Exit)),
        Vec::new(),
    ] {
        assert_eq!(executes_or_is_freed(&record), None);
    }
}
