//! Of the readers of gauges, on this host's processes.

use super::*;

#[test]
fn the_peak_is_found_or_absent() {
    let status = b"Name:\tapp\nVmPeak:\t  9000 kB\nVmHWM:\t    1234 kB\nVmRSS:\t 1000 kB\n";
    assert_eq!(vm_hwm(status), Some(1234 * 1024));
    for other in [&b"Name:\tkthreadd\n"[..], b"VmHWM:\t x kB\n", b"VmHWM:\t12", b""] {
        assert_eq!(vm_hwm(other), None, "{other:?}");
    }
}

#[test]
fn two_sizes_are_found_in_statm_or_it_makes_no_sense() {
    for (text, sizes) in [
        (&b"2345 678 9 0 0 0 0\n"[..], Some((2345, 678))),
        (b"0 0 0 0 0 0 0\n", Some((0, 0))),
        (b"12", None),
        (b"1 x 3", None),
        (b"", None),
    ] {
        let told = Statm::parse(text).map(|statm| (statm.size, statm.resident));
        assert_eq!(told, sizes, "{text:?}");
    }
}

#[test]
fn what_a_sample_holds_is_not_read_again() {
    let pid = std::process::id();
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc is mounted");
    let after_name = stat.rsplit(')').next().expect("a name in brackets");
    let start: u64 = after_name
        .split(' ')
        .nth(20)
        .and_then(|ticks| ticks.parse().ok())
        .expect("field 22");
    let me = ProcessKey {
        tgid: crate::process::Tgid(pid),
        start: crate::process::BootTime(start * ProcessKey::TICK_NANOS),
    };
    let read = |noted_rss, vms, fds| {
        let sample = Sample {
            facts: crate::process::FactIds::default(),
            key: me,
            usage: crate::process::Usage::ZERO,
            threads: Some(5),
            address_space: Some(1),
            noted_rss,
            vms,
            fds,
            runnable: None,
            live: true,
        };
        let samples = KeyMap::from_iter([(me, sample)]);
        let mut reader = GaugeReader::new(PathBuf::from("/proc"), 1);
        let mut health = Health::default();
        // Twice: the second time through what was kept open.
        reader.read(&[me], &samples, &mut health);
        reader.read(&[me], &samples, &mut health)[&me]
    };
    let given = read(Some(1 << 50), Some(7), Some(9));
    assert_eq!(
        (given.peak_rss, given.vms, given.fds),
        (Some(1 << 50), Some(7), Some(9))
    );
    let rss = given.rss.expect("known");
    assert!(rss > 100_000, "{rss}");
    let largest = read(Some(1), None, None);
    assert_eq!(largest.peak_rss, largest.rss, "the set is at its largest");
    let from_proc = read(None, None, None);
    assert!(from_proc.peak_rss >= from_proc.rss, "{from_proc:?}");
    assert!(
        from_proc.vms > from_proc.rss && from_proc.fds > Some(2),
        "{from_proc:?}"
    );
}

#[test]
fn without_room_the_size_in_the_sample_tells_whose_the_pid_is() {
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .expect("sleep(1)");
    let statm = |pid: u32| {
        let file = File::open(format!("/proc/{pid}/statm")).expect("it lives");
        Statm::read(&file).expect("numbers")
    };
    // It has executed, and has all its libraries.
    let mut sizes = [statm(child.id()), statm(child.id())];
    while sizes[0] != sizes[1] || sizes[0].size < 100 {
        std::thread::sleep(std::time::Duration::from_millis(50));
        sizes = [sizes[1], statm(child.id())];
    }
    let page = rustix::param::page_size() as u64;
    // No process of this pid began then: who looks closer finds another one.
    let key = ProcessKey {
        tgid: crate::process::Tgid(child.id()),
        start: crate::process::BootTime(10),
    };
    let read = |vms| {
        let sample = Sample {
            facts: crate::process::FactIds::default(),
            key,
            usage: crate::process::Usage::ZERO,
            threads: Some(5),
            address_space: None,
            noted_rss: Some(1),
            vms,
            fds: Some(9),
            runnable: None,
            live: true,
        };
        let mut reader = GaugeReader::new(PathBuf::from("/proc"), 0);
        let samples = KeyMap::from_iter([(key, sample)]);
        reader.read(&[key], &samples, &mut Health::default()).remove(&key)
    };
    let size = sizes[0].size * page;
    let found = read(Some(size)).expect("its size is the one that was told");
    let rss = Some(sizes[0].resident * page);
    assert_eq!((found.rss, found.peak_rss), (rss, rss));
    assert_eq!(
        (found.vms, found.threads, found.fds),
        (Some(size), Some(5), Some(9))
    );
    assert!(read(Some(size + page)).is_none(), "another size");
    assert!(read(None).is_none(), "no size");
    child.kill().expect("it lives");
    child.wait().expect("it was killed");
}

/// Where no descriptor is left, in a process of its own: the limit is the whole process's.
#[test]
fn a_look_without_descriptors_leaves_no_trace() {
    let child = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--ignored", "--exact", "--test-threads=1"])
        .arg("procfs::gauges::tests::looks_without_descriptors")
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "run by a_look_without_descriptors_leaves_no_trace"]
fn looks_without_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let own = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
        let fields = stat.rsplit_once(") ").expect("a name in brackets").1;
        let start = fields
            .split(' ')
            .nth(19)
            .and_then(|ticks| ticks.parse::<u64>().ok());
        ProcessKey {
            tgid: crate::process::Tgid(pid),
            start: crate::process::BootTime(start.expect("field 22") * ProcessKey::TICK_NANOS),
        }
    };
    let (kept, other) = (own(std::process::id()), own(1));
    let mut reader = GaugeReader::new(PathBuf::from("/proc"), 10);
    let none = KeyMap::default();
    reader.read(&[kept], &none, &mut Health::default());
    assert_eq!(reader.kept.len(), 1);
    assert_eq!(reader.look(&[kept, other], &none).len(), 2, "both can be read");
    assert_eq!(reader.kept.len(), 1, "nothing more is kept open");
    let limit = getrlimit(Resource::Nofile);
    let least = Rlimit {
        current: Some(3),
        ..limit
    };
    setrlimit(Resource::Nofile, least).expect("a lower limit");
    let looked = reader.look(&[kept, other], &none);
    setrlimit(Resource::Nofile, limit).expect("the limit as it was");
    assert!(looked[&kept].rss.is_some(), "through what is kept open");
    assert_eq!(looked[&other], Gauges::default(), "unknown");
    assert_eq!((reader.kept.len(), reader.take_out_of_files()), (1, false));
}

/// It ended between the sample, which noted one page as it executed, and the look into /proc.
#[test]
fn a_process_without_memory_has_no_peak() {
    let mut child = std::process::Command::new("true").spawn().expect("true(1)");
    let stat = format!("/proc/{}/stat", child.id());
    let start = loop {
        let text = std::fs::read_to_string(&stat).expect("not reaped yet");
        let fields = text.rsplit_once(") ").expect("a name in brackets").1;
        if fields.starts_with('Z') {
            break fields
                .split(' ')
                .nth(19)
                .and_then(|ticks| ticks.parse::<u64>().ok());
        }
        std::thread::yield_now();
    };
    let key = ProcessKey {
        tgid: crate::process::Tgid(child.id()),
        start: crate::process::BootTime(start.expect("field 22") * ProcessKey::TICK_NANOS),
    };
    let sample = Sample {
        facts: crate::process::FactIds::default(),
        key,
        usage: crate::process::Usage::ZERO,
        threads: Some(1),
        address_space: Some(1),
        noted_rss: Some(4096),
        vms: Some(1),
        fds: Some(1),
        runnable: None,
        live: true,
    };
    let mut reader = GaugeReader::new(PathBuf::from("/proc"), 1);
    let read = reader.read(
        &[key],
        &KeyMap::from_iter([(key, sample)]),
        &mut Health::default(),
    );
    assert_eq!(
        read.get(&key).and_then(|gauges| gauges.peak_rss),
        None,
        "{read:?}"
    );
    assert!(child.wait().expect("our child").success());
}

#[test]
fn descriptors_are_the_same_whichever_way_they_are_counted() {
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .expect("sleep(1)");
    let process = Process::new(i32::try_from(child.id()).expect("a pid")).expect("our child");
    // Its loader opens and closes files for a while.
    while process.stat().expect("our child").state != 'S' {
        std::thread::yield_now();
    }
    let listed = std::fs::read_dir(format!("/proc/{}/fd", child.id()))
        .expect("our child")
        .count();
    let counted = fd_count(&process, false).expect("our child");
    assert_eq!(counted, Some(listed as u64));
    let by_size = fd_count(&process, true).expect("our child");
    // 0 before 6.2, where the reader does not ask for it.
    assert!(by_size == counted || by_size == Some(0), "{by_size:?}");
    child.kill().expect("our child");
    child.wait().expect("our child");
}

#[test]
fn memory_shared_with_another_process_is_told() {
    let me = ProcessKey {
        tgid: crate::process::Tgid(std::process::id()),
        start: crate::process::BootTime(1),
    };
    let same = ProcessKey {
        start: crate::process::BootTime(2),
        ..me
    };
    let init = ProcessKey {
        tgid: crate::process::Tgid(1),
        start: crate::process::BootTime(3),
    };
    let gauge = Gauges {
        rss: Some(4096),
        vms: Some(8192),
        ..Gauges::default()
    };
    let mut gauges = KeyMap::from_iter([(me, gauge), (same, gauge), (init, gauge)]);
    tell_shared_spaces(&mut gauges);
    assert_eq!(gauges[&me].address_space, gauges[&same].address_space);
    assert_ne!(gauges[&me].address_space, gauges[&init].address_space);
}

#[test]
fn a_pid_that_is_another_processs_is_gone() {
    let mut reader = GaugeReader::new(PathBuf::from("/proc"), 1);
    let mut health = Health::default();
    let me = crate::process::Tgid(std::process::id());
    let never = ProcessKey {
        tgid: me,
        start: crate::process::BootTime(10),
    };
    assert!(reader.read(&[never], &KeyMap::default(), &mut health).is_empty());
    assert_eq!(health.get(Soft::Vanished), 1);
}
