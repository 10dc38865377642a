//! Plugin files that change while kevmon runs: what changes takes effect within two seconds, everything else goes on.

use std::{
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use kevmon_tests::{
    checks,
    kevmon::Daemon as Kevmon,
    plugin_dir::PluginDir,
    scratch::Scratch,
    tick::{Group, Tick},
    wait,
    workload::{Program, Running},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
/// What a change of a file may take until it shows.
const EFFECT: Duration = Duration::from_secs(2);
/// For everything else.
const LIMIT: Duration = Duration::from_secs(15);
const INTERVAL: &str = "100ms";

fn plugin(name: &str, pattern: &str, interval: &str) -> String {
    format!(
        "schema = 1\n[plugin]\nname = \"{name}\"\n[service]\nnamespace = \"Kvt\"\nprocess_name = '{pattern}'\n\
         [monitoring]\ninterval = \"{interval}\"\n"
    )
}

/// A plugin `steady` on a program that works, and a folder to change plugins in.
struct Setup {
    folder: PluginDir,
    steady: Program,
    running: Running,
}

impl Setup {
    fn new() -> Self {
        let folder = PluginDir::new();
        let steady = Program::new(WORKLOAD, "steady");
        folder.write("steady", &plugin("steady", &steady.pattern(), INTERVAL));
        let running = steady.start(&["work"]);
        Self {
            folder,
            steady,
            running,
        }
    }

    fn start(&self) -> Kevmon {
        Kevmon::start(&["--plugins-dir", self.folder.path()])
    }

    fn at(&self, path: &str) -> PathBuf {
        PathBuf::from(self.folder.path()).join(path)
    }
}

/// The first tick that holds after a change, which has to come in time.
fn after_change(kevmon: &mut Kevmon, what: &str, holds: impl Fn(&Tick) -> bool) -> Tick {
    let changed = Instant::now();
    let tick = kevmon.wait_until(what, LIMIT, holds);
    let took = changed.elapsed();
    assert!(took <= EFFECT, "{what} took {took:?}");
    tick
}

/// No sum of the plugin's has fallen, and its group is the one it was at the first tick.
fn goes_on(kevmon: &Kevmon, plugin: &str) {
    checks::assert_sum_rule(kevmon.ticks(), plugin);
    let groups = kevmon.ticks().iter().filter_map(|tick| tick.group(plugin));
    let starts: std::collections::BTreeSet<u64> = groups
        .map(|group| group.0["watch_start_time"].as_u64().unwrap())
        .collect();
    assert_eq!(starts.len(), 1, "{plugin} began anew");
}

#[test]
fn a_plugin_that_comes_counts_what_runs_and_one_that_goes_is_told_once_more() {
    let mut setup = Setup::new();
    let mut kevmon = setup.start();
    // Judged to be of no interest, under kevmon's eyes, before the plugin comes; and one that was there before kevmon.
    let late = Program::new(WORKLOAD, "late");
    let mut process = late.start(&["work"]);
    kevmon.next_tick(LIMIT);
    setup
        .folder
        .write("late", &plugin("late", &late.pattern(), INTERVAL));
    let tick = after_change(&mut kevmon, "the new plugin", |tick| tick.group("late").is_some());
    let group = tick.expect_group("late");
    assert_eq!(
        (
            group.int("process_count"),
            group.int("starts"),
            group.int("joins")
        ),
        (1, 0, 1),
        "{}",
        group.0
    );
    // Its life is followed from now on.
    assert_eq!(process.ask("user 100"), "ok");
    let ended = process.finish();
    let tick = kevmon.wait_until("its end", LIMIT, |tick| {
        let has_settled = |group: Group<'_>| group.int("exits") == 1 && group.0["unsettled"] == 0;
        tick.group("late").is_some_and(has_settled)
    });
    checks::assert_cpu(tick.expect_group("late"), &ended.truth);
    let _again = late.start(&["work"]);
    kevmon.wait_until("a start", LIMIT, |tick| {
        tick.group("late").is_some_and(|group| group.int("starts") == 1)
    });

    fs::remove_file(setup.at("late/plugin.toml")).unwrap();
    let deleted = wait::unix_now();
    wait::until("its end to be told", EFFECT, || {
        kevmon.stderr().contains("ended: late").then_some(())
    });
    let ended = wait::unix_now();
    kevmon.tick_after(ended, Duration::from_millis(500), LIMIT);
    let mut told = kevmon.ticks().iter().rev();
    let last = told.find(|tick| tick.group("late").is_some()).unwrap();
    assert!(
        (deleted..ended).contains(&last.time()),
        "the last collection of it is out of its turn, and none comes after it: {}",
        last.0
    );
    assert_eq!(last.expect_group("late").int("process_count"), 1);
    assert_eq!(setup.running.ask("user 10"), "ok");
    goes_on(&kevmon, "steady");
    kevmon.terminate();
}

#[test]
fn only_a_changed_match_begins_anew() {
    let setup = Setup::new();
    let mut kevmon = setup.start();
    let file = setup.folder.write(
        "steady",
        &(plugin("steady", &setup.steady.pattern(), "150ms")
            + "restart_window = \"1m\"\n[processes]\nenabled = true\n[events]\nenabled = true\n"),
    );
    wait::until("the change to be told", EFFECT, || {
        kevmon.stderr().contains("changed: steady").then_some(())
    });
    kevmon.tick_after(wait::unix_now(), Duration::from_millis(500), LIMIT);
    let times: Vec<u64> = kevmon.ticks().iter().rev().take(4).map(Tick::time).collect();
    let apart = (times[0] - times[3]) / 3;
    assert!(
        (140_000_000..200_000_000).contains(&apart),
        "collected every {apart} ns"
    );
    goes_on(&kevmon, "steady");

    // Moved to another folder, with the same name; saved as editors do.
    fs::create_dir(setup.at("elsewhere")).unwrap();
    fs::rename(&file, setup.at("elsewhere/plugin.toml")).unwrap();
    kevmon.tick_after(wait::unix_now(), EFFECT, LIMIT);
    goes_on(&kevmon, "steady");

    let begun = wait::unix_now();
    let text = plugin("steady", &format!("({})", setup.steady.pattern()), INTERVAL);
    fs::write(setup.at("elsewhere/.plugin.toml.swp"), text).unwrap();
    fs::rename(
        setup.at("elsewhere/.plugin.toml.swp"),
        setup.at("elsewhere/plugin.toml"),
    )
    .unwrap();
    let tick = after_change(&mut kevmon, "a new series", |tick| {
        tick.group("steady")
            .is_some_and(|group| group.0["watch_start_time"].as_u64().unwrap() >= begun)
    });
    let group = tick.expect_group("steady");
    assert_eq!(
        (group.int("starts"), group.int("process_count")),
        (0, 1),
        "{}",
        group.0
    );
    // Not ended in order: that would assert that no sum has fallen over all lines, and here one series follows another.
}

#[test]
fn a_broken_file_keeps_the_old_plugin_running_and_says_so() {
    let setup = Setup::new();
    let mut kevmon = setup.start();
    for (broken, fault) in [
        ("", "steady/plugin.toml: service.process_name: is missing"),
        ("schema = 1\n[plugin]\nna", "steady/plugin.toml:3: "),
        (
            "schema = 1\n[service]\nproces_name = 'x'\n",
            "steady/plugin.toml:3: service.proces_name: ",
        ),
    ] {
        setup.folder.write("steady", broken);
        wait::until("the fault to be told", EFFECT, || {
            kevmon.stderr().contains(fault).then_some(())
        });
        let next = kevmon.tick_after(wait::unix_now(), Duration::from_millis(300), LIMIT);
        assert_eq!(next.expect_group("steady").int("process_count"), 1);
    }
    let log = kevmon.stderr();
    assert!(
        log.contains("steady: goes on as it was, because its file or folder has faults"),
        "{log}"
    );
    setup
        .folder
        .write("steady", &plugin("steady", &setup.steady.pattern(), INTERVAL));
    wait::until("the end of the faults", EFFECT, || {
        kevmon
            .stderr()
            .contains("no plugin file has faults any more")
            .then_some(())
    });
    kevmon.next_tick(LIMIT);
    goes_on(&kevmon, "steady");
    kevmon.terminate();
}

#[test]
fn a_mounted_volume_swaps_all_its_files_at_once() {
    let volume = Scratch::new();
    let program = Program::new(WORKLOAD, "volume");
    let _running = program.start(&["work"]);
    let write = |version: &str, name: &str| {
        let folder = volume.path().join(version);
        fs::create_dir(&folder).unwrap();
        fs::write(
            folder.join("plugin.toml"),
            plugin(name, &program.pattern(), INTERVAL),
        )
        .unwrap();
    };
    write("..1", "one");
    symlink("..1", volume.path().join("..data")).unwrap();
    symlink("..data/plugin.toml", volume.path().join("plugin.toml")).unwrap();
    let mut kevmon = Kevmon::start(&["--plugins-dir", volume.path().to_str().unwrap()]);
    kevmon.wait_until("the first", LIMIT, |tick| tick.group("one").is_some());
    write("..2", "two");
    symlink("..2", volume.path().join("..data_tmp")).unwrap();
    fs::rename(volume.path().join("..data_tmp"), volume.path().join("..data")).unwrap();
    fs::remove_dir_all(volume.path().join("..1")).unwrap();
    after_change(&mut kevmon, "the second", |tick| {
        tick.group("two")
            .is_some_and(|group| group.int("process_count") == 1)
    });
    kevmon.terminate();
}

#[test]
fn what_inotify_cannot_tell_is_seen_all_the_same() {
    let setup = Setup::new();
    let elsewhere = Scratch::new();
    let file = elsewhere.path().join("linked.toml");
    fs::write(&file, plugin("linked", &setup.steady.pattern(), INTERVAL)).unwrap();
    fs::create_dir(setup.at("linked")).unwrap();
    symlink(&file, setup.at("linked/plugin.toml")).unwrap();
    let mut kevmon = setup.start();

    // More than the queue holds (fs.inotify.max_queued_events), while nobody takes any.
    kevmon.stall();
    let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    for number in 0..=queue.trim().parse::<u32>().unwrap() / 2 {
        let path = setup.at(&format!("steady/{number}"));
        fs::write(&path, "").unwrap();
        fs::remove_file(&path).unwrap();
    }
    setup
        .folder
        .write("second", &plugin("second", &setup.steady.pattern(), INTERVAL));
    kevmon.resume();
    after_change(&mut kevmon, "the second plugin", |tick| {
        tick.group("second").is_some()
    });

    // Behind a link no watch is: the look every half minute finds it.
    fs::write(&file, plugin("other", &setup.steady.pattern(), INTERVAL)).unwrap();
    kevmon.wait_until("the linked file", Duration::from_secs(35), |tick| {
        tick.group("other").is_some()
    });
    goes_on(&kevmon, "steady");
    kevmon.terminate();
}

#[test]
fn a_hangup_reads_everything_again_and_names_what_needs_a_restart() {
    let setup = Setup::new();
    let settings = Scratch::new();
    let file = settings.path().join("kevmon.toml");
    fs::write(&file, "schema = 1\n[spool]\nmax_age = \"1h\"\n").unwrap();
    let mut kevmon = Kevmon::start(&[
        "--plugins-dir",
        setup.folder.path(),
        "--config",
        file.to_str().unwrap(),
    ]);
    kevmon.hang_up();
    wait::until("the hangup to be told", EFFECT, || {
        kevmon
            .stderr()
            .contains("SIGHUP: the configuration is read again")
            .then_some(())
    });
    fs::write(&file, "schema = 1\n[spool]\nmax_age = \"2h\"\n").unwrap();
    kevmon.hang_up();
    wait::until("what needs a restart", EFFECT, || {
        let log = kevmon.stderr();
        log.contains("take effect when kevmon is restarted, and not before: [spool]")
            .then_some(())
    });
    kevmon.next_tick(LIMIT);
    goes_on(&kevmon, "steady");
    kevmon.terminate();
}

/// A file system that keeps whole seconds alone: ext2 with inodes of 128 bytes.
struct WholeSeconds(Scratch);

impl WholeSeconds {
    fn mounted() -> Self {
        let scratch = Scratch::new();
        let image = scratch.path().join("image");
        fs::File::create(&image)
            .and_then(|file| file.set_len(2 << 20))
            .expect("an image");
        fs::create_dir(scratch.path().join("plugins")).expect("a folder");
        let this = Self(scratch);
        run(Command::new("mkfs.ext2").args(["-q", "-I", "128"]).arg(&image));
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(this.folder()));
        this
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("plugins")
    }
}

impl Drop for WholeSeconds {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder()).status();
    }
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
}

#[test]
fn a_second_change_within_a_second_takes_effect_where_times_are_whole_seconds() {
    let mounted = WholeSeconds::mounted();
    let (folder, program) = (mounted.folder(), Program::new(WORKLOAD, "seconds"));
    fs::create_dir(folder.join("seconds")).expect("a folder");
    let file = folder.join("seconds/plugin.toml");
    // Of one length.
    let write = |name: &str| {
        fs::write(&file, plugin(name, &program.pattern(), INTERVAL)).expect("a file");
    };
    write("z0");
    let mut kevmon = Kevmon::start(&["--plugins-dir", folder.to_str().expect("UTF-8")]);
    kevmon.next_tick(LIMIT);
    for round in 1..4 {
        // Both changes fall into one second of the file system.
        let nanos = wait::unix_now() % 1_000_000_000;
        std::thread::sleep(Duration::from_nanos(1_000_000_000 - nanos));
        for change in ["a", "b"] {
            let name = format!("{change}{round}");
            write(&name);
            after_change(&mut kevmon, &name, |tick| tick.group(&name).is_some());
        }
    }
    kevmon.terminate();
}
