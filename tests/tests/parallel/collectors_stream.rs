//! Collectors whose program stays running: its values come as they are written, it is confined and bounded whatever it does,
//! started again when it ends, and ends with kevmon.

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use kevmon_tests::{
    kevmon::{self, Daemon},
    scratch::unique,
    script::{PLUGIN, Script, marked, values},
    tick::Tick,
    wait,
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(30);
const STREAM: &str = "stream = true";

/// Integers of a metric, in the order in which they came.
fn integers(ticks: &[Tick], name: &str) -> Vec<i64> {
    let all = ticks.iter().flat_map(|tick| values(tick, name));
    all.map(|value| value["value"].as_i64().unwrap()).collect()
}

/// Waits until this kind of failure is told, and returns the log.
fn failure(daemon: &Daemon, kind: &str) -> String {
    let told = format!("{PLUGIN}: c: {kind}: ");
    wait::until(&told, LIMIT, || {
        let log = daemon.stderr();
        log.contains(&told).then_some(log)
    })
}

fn gone(mark: &str) {
    wait::until(&format!("the end of {mark}"), LIMIT, || {
        marked(mark).is_empty().then_some(())
    });
}

#[test]
fn every_line_comes_once_and_in_order() {
    let counter = "n=0; while :; do n=$((n+1)); echo \"n $n count=$n\"; sleep 0.05; done";
    let script = Script::new(STREAM, counter);
    let mut daemon = script.start(&[]);
    daemon.wait_until("twenty values", LIMIT, |tick| {
        values(tick, "n")
            .iter()
            .any(|value| value["value"].as_i64() >= Some(20))
    });
    let found = integers(daemon.ticks(), "n");
    let expected: Vec<i64> = (1..=i64::try_from(found.len()).unwrap()).collect();
    assert_eq!(found, expected, "none twice, none lost");
    let times: Vec<u64> = daemon
        .ticks()
        .iter()
        .flat_map(|tick| values(tick, "n"))
        .map(|value| value["time"].as_u64().unwrap())
        .collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    daemon.terminate();
}

#[test]
fn it_is_confined_like_any_other() {
    let script = Script::new(
        STREAM,
        "grep -E 'CapEff|CapPrm|CapBnd|CapAmb|NoNewPrivs|^Uid' /proc/self/status | while read key a rest; do
            echo \"$(echo $key | tr -d :).x \\\"$a\\\"\"; done
         if cat /etc/shadow >/dev/null 2>&1; then echo shadow 1; else echo shadow 0; fi
         if echo x 2>/dev/null >/tmp/kvt-stream; then echo writes 1; else echo writes 0; fi
         echo interval $KEVMON_INTERVAL
         echo \"fds.x \\\"$(ls /proc/self/fd | tr '\\n' ' ')\\\"\"
         sleep 300",
    );
    let mut daemon = script.start(&[]);
    daemon.wait_until("its values", LIMIT, |tick| !values(tick, "fds.x").is_empty());
    // A busy host may bring the first lines in an earlier collection than the last one.
    let value = |name: &str| {
        let mut all = daemon.ticks().iter().flat_map(|tick| values(tick, name));
        all.next().unwrap()["value"].clone()
    };
    for set in ["CapEff.x", "CapPrm.x", "CapBnd.x", "CapAmb.x"] {
        assert_eq!(value(set), "0000000000000000", "{set}");
    }
    assert_eq!(value("NoNewPrivs.x"), "1");
    let uid: u32 = value("Uid.x").as_str().unwrap().parse().unwrap();
    assert!((60_706..=61_183).contains(&uid), "{uid}");
    assert_eq!((value("shadow"), value("writes")), (0.into(), 0.into()));
    assert_eq!(value("interval"), 0.3);
    assert_eq!(
        value("fds.x").as_str().unwrap().trim(),
        "0 1 2 3",
        "ls opens the directory itself"
    );
    daemon.terminate();
}

/// It ignores signals, and its children are in sessions of their own: all of them end, when kevmon ends and when it is killed.
#[test]
fn it_ends_with_kevmon_and_with_all_that_it_started() {
    for killed in [false, true] {
        let mark = format!("kvt-stream-{}", unique());
        let script = Script::new(
            STREAM,
            &format!(
                "trap '' TERM HUP INT
                 for i in 1 2 3; do setsid sh -c \"trap '' TERM; while :; do sleep 1; done; : {mark}\" & done
                 (setsid sh -c \"sleep 300; : {mark}\" &) &
                 echo ready 1
                 while :; do sleep 1; done; : {mark}"
            ),
        );
        let mut daemon = script.start(&[]);
        daemon.wait_until("its value", LIMIT, |tick| !values(tick, "ready").is_empty());
        assert!(marked(&mark).len() >= 4, "it runs: {:?}", marked(&mark));
        if killed {
            daemon.kill();
        } else {
            daemon.terminate();
        }
        gone(&mark);
    }
}

#[test]
fn a_reload_ends_what_it_changes_and_nothing_else() {
    let mark = format!("kvt-stream-{}", unique());
    let run = format!("n=0; while :; do n=$((n+1)); echo \"n $n of=$1\"; sleep 0.05; done; : {mark}");
    let keys = |word: &str| format!("command = [\"./run.sh\", \"{word}\", \"{mark}\"]\n{STREAM}");
    let script = Script::new(STREAM, &run);
    script.write_plugin(&keys("first"));
    let mut daemon = script.start(&[]);
    let of = |tick: &Tick, word: &str| {
        let all = values(tick, "n");
        let own = all.iter().filter(|value| value["attributes"]["of"] == word);
        own.filter_map(|value| value["value"].as_i64()).max()
    };
    daemon.wait_until("its values", LIMIT, |tick| of(tick, "first") > Some(5));
    // Another plugin comes: this one goes on counting.
    script
        .folder()
        .write("other", "schema = 1\n[service]\nprocess_name = 'kvt-none'\n");
    daemon.wait_until("the other plugin", LIMIT, |tick| tick.group("other").is_some());
    daemon.wait_until("more values", LIMIT, |tick| of(tick, "first") > Some(15));
    assert_eq!(
        integers(daemon.ticks(), "n").iter().filter(|n| **n == 1).count(),
        1,
        "never started again"
    );
    // It changes itself: the one before it has ended when the next begins.
    let before = marked(&mark);
    script.write_plugin(&keys("second"));
    daemon.hang_up();
    daemon.wait_until("the next one's values", LIMIT, |tick| {
        of(tick, "second").is_some()
    });
    assert!(
        before.iter().all(|pid| !marked(&mark).contains(pid)),
        "never two at once"
    );
    let after = daemon.next_tick(LIMIT);
    assert_eq!(of(&after, "first"), None);
    // It is no more.
    fs::remove_dir_all(std::path::Path::new(script.path()).join(PLUGIN)).unwrap();
    daemon.hang_up();
    gone(&mark);
    daemon.terminate();
}

#[test]
fn one_that_ends_at_once_is_started_again_later_each_time() {
    for (end, kind, reason) in [
        ("exit 3", "exit_status", "it ended with exit code 3"),
        ("exit 0", "ended", "a stream goes on until kevmon ends it"),
    ] {
        let script = Script::new(STREAM, &format!("echo began 1; echo why >&2; {end}"));
        let mut daemon = script.start(&[]);
        let began = Instant::now();
        let log = failure(&daemon, kind);
        assert!(log.contains(reason), "{log}");
        // At 0, 1, 3, 7, … seconds.
        while began.elapsed() < Duration::from_secs(5) {
            daemon.next_tick(LIMIT);
        }
        let starts = integers(daemon.ticks(), "began").len();
        assert!((2..=3).contains(&starts), "{starts} starts in 5 s of {end:?}");
        let log = daemon.stderr();
        assert_eq!(log.matches(&format!(": {kind}: ")).count(), 1, "told once: {log}");
        daemon.terminate();
    }
}

#[test]
fn half_a_line_is_no_value() {
    let script = Script::new(STREAM, "echo whole 1; printf 'half 12'; exit 1");
    let mut daemon = script.start(&[]);
    let log = failure(&daemon, "parse");
    assert!(log.contains("the last line had no end and is left out"), "{log}");
    daemon.wait_until("the whole line", LIMIT, |tick| !values(tick, "whole").is_empty());
    daemon.next_tick(LIMIT);
    assert_eq!(integers(daemon.ticks(), "half"), [0_i64; 0]);
    daemon.terminate();
}

#[test]
fn one_that_closes_its_output_and_lives_on_is_ended() {
    let mark = format!("kvt-stream-{}", unique());
    let script = Script::new(
        STREAM,
        &format!("echo began 1; exec >&-; trap '' TERM; sleep 300; : {mark}"),
    );
    script.write_plugin(&format!("command = [\"./run.sh\", \"{mark}\"]\n{STREAM}"));
    let mut daemon = script.start(&[]);
    let log = failure(&daemon, "closed_output");
    assert!(log.contains("closed its standard output and went on"), "{log}");
    daemon.wait_until("a second start", LIMIT, |_| true);
    wait::until("a second start", LIMIT, || {
        daemon.next_tick(LIMIT);
        (integers(daemon.ticks(), "began").len() >= 2).then_some(())
    });
    assert!(
        marked(&mark).len() <= 3,
        "not one beside the other: {:?}",
        marked(&mark)
    );
    daemon.terminate();
    gone(&mark);
}

/// Resident memory of a process, bytes.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .unwrap()
        * 1024
}

/// A gigabyte of one line, of lines, and of messages: kevmon's memory stays, and another plugin is collected in time.
#[test]
fn floods_wait_and_delay_no_other() {
    let mib = 1 << 20;
    for (flood, kind) in [
        ("exec head -c 1000000000 /dev/zero", "output_limit"),
        ("exec tr '\\0' x </dev/zero", "output_limit"),
        ("exec yes 'a.b 1'", "flood"),
        ("exec yes >&2", ""),
    ] {
        let script = Script::new(STREAM, flood);
        let program = Program::new(WORKLOAD, "other");
        let _running = program.start(&["work"]);
        let text = format!(
            "schema = 1\n[service]\nprocess_name = '{}'\n[monitoring]\ninterval = \"100ms\"\n",
            program.pattern()
        );
        script.folder().write("other", &text);
        let mut daemon = script.start(&[]);
        daemon.wait_until("the other plugin", LIMIT, |tick| tick.group("other").is_some());
        if kind.is_empty() {
            wait::until("the end of the burst", LIMIT, || {
                daemon
                    .stderr()
                    .contains("bytes of its log are left out")
                    .then_some(())
            });
        } else {
            failure(&daemon, kind);
        }
        let before = resident(daemon.pid());
        // The host may be busy for a while; a flood that is not held delays each collection by seconds.
        let deadline = Instant::now() + LIMIT;
        let (times, brought) = loop {
            let (times, brought) = collections_of_another(&mut daemon);
            let apart = (times[29] - times[0]) / 29;
            if (95_000_000..250_000_000).contains(&apart) {
                break (times, brought);
            }
            assert!(Instant::now() < deadline, "{flood}: collected every {apart} ns");
        };
        let grown = resident(daemon.pid()).saturating_sub(before);
        assert!(grown < 40 * mib, "{flood}: {grown} bytes more");
        let seconds = (times[29] - times[0]) / 1_000_000_000 + 1;
        let most = 1_000 * usize::try_from(seconds).unwrap() + 8_000; // and what few reads may hold
        assert!(brought <= most, "{flood}: {brought} values in {seconds} s");
        daemon.terminate();
    }
}

/// Times of the next 30 collections of the plugin `other`, and how many values of the flood came meanwhile.
fn collections_of_another(daemon: &mut Daemon) -> (Vec<u64>, usize) {
    let (mut times, mut brought) = (Vec::new(), 0);
    while times.len() < 30 {
        let tick = daemon.next_tick(LIMIT);
        brought += values(&tick, "a.b").len();
        if tick.group("other").is_some() {
            times.push(tick.time());
        }
    }
    (times, brought)
}

#[test]
fn one_that_forks_without_end_is_held_and_ended() {
    let mark = format!("kvt-stream-{}", unique());
    let script = Script::new(
        STREAM,
        &format!(
            "echo began 1
             i=0; while [ $i -lt 60 ]; do i=$((i+1)); setsid sh -c \"trap '' TERM; sleep 300; : {mark}\" & done
             echo forked $i; exit 5"
        ),
    );
    let mut daemon = script.start(&[]);
    daemon.wait_until("its children", LIMIT, |tick| !values(tick, "forked").is_empty());
    failure(&daemon, "exit_status");
    // It is started again in a second: what it left of the first time is gone by then.
    assert!(marked(&mark).len() <= 61, "{} processes", marked(&mark).len());
    daemon.terminate();
    gone(&mark);
}

#[test]
fn silence_is_told_and_no_value_is_repeated() {
    let script = Script::new(
        "stream = true\nsilence = \"1s\"",
        "echo a.b 1; sleep 4; echo a.b 2; sleep 300",
    );
    let mut daemon = script.start(&[]);
    daemon.wait_until("its value", LIMIT, |tick| !values(tick, "a.b").is_empty());
    let log = failure(&daemon, "silent");
    assert!(
        log.contains("has written no value for longer than silence"),
        "{log}"
    );
    daemon.wait_until("the next value", LIMIT, |tick| {
        values(tick, "a.b").iter().any(|value| value["value"] == 2)
    });
    assert_eq!(integers(daemon.ticks(), "a.b"), [1, 2], "each once");
    assert!(!log.contains("closed_output"), "it goes on running: {log}");
    daemon.terminate();
}

/// A flow of bytes that are no values, of every kind at once.
#[test]
fn what_cannot_be_read_takes_nothing_else_along() {
    let script = Script::new(
        STREAM,
        "while :; do printf 'good 1\\n\\000\\377\\376 1\\n1bad 2\\n[]\\nname\\nx nan\\ngood2 2\\n'; sleep 0.1; done",
    );
    let mut daemon = script.start(&[]);
    let tick = daemon.wait_until("its values", LIMIT, |tick| !values(tick, "good2").is_empty());
    assert!(!values(&tick, "good").is_empty() && values(&tick, "x").is_empty());
    failure(&daemon, "parse");
    daemon.terminate();
}

#[test]
fn one_look_and_a_trial_show_its_values() {
    let script = Script::new(
        STREAM,
        "n=0; while :; do n=$((n+1)); echo \"n $n count=$n\"; sleep 0.2; done",
    );
    let output = with_a_user_id(&["--run-once", "--plugins-dir", script.path(), "--output", "json"]);
    output.assert_code(0);
    let found = integers(&[output.json()], "n");
    assert!(found.len() >= 2 && found[0] == 1, "{found:?}");
    let args = [
        "plugin",
        "run",
        PLUGIN,
        "--plugins-dir",
        script.path(),
        "--interval",
        "500ms",
        "--count",
        "3",
    ];
    let output = with_a_user_id(&args);
    output.assert_code(0);
    let shown = |n: usize| {
        output
            .stdout
            .contains(&format!(" [{PLUGIN}()] n {n} count={n}\n"))
    };
    assert!((1..=5).all(shown), "{}", output.stdout);
    let times: BTreeSet<&str> = output.stdout.lines().map(|line| &line[..24]).collect();
    assert!(times.len() >= 5, "each with its own time: {}", output.stdout);
    // One that never says a word does not hold up a single look for ever.
    let script = Script::new(STREAM, "sleep 300");
    let output = kevmon::run_once(&["--plugins-dir", script.path(), "--output", "json"]);
    output.assert_code(1);
}

/// Runs kevmon until its collector had a user id that no collector of another kevmon on this host had at that moment: each
/// takes one at random, and the next run another one.
fn with_a_user_id(args: &[&str]) -> kevmon::Output {
    wait::until("a user id of its own", LIMIT, || {
        let output = kevmon::run(args);
        let is_of_others = output.stderr.contains("a process of others has the user id");
        (!is_of_others).then_some(output)
    })
}
