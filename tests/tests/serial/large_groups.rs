//! Groups of more than a thousand processes.

use std::{os::unix::process::CommandExt, process::Command, time::Duration};

use kevmon_tests::{kevmon::Daemon, plugin_dir::PluginDir, workload::Program};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(30);

/// A plugin with very many processes is read by itself: what is due beside it goes first.
#[test]
fn a_crowd_is_collected_apart() {
    const CROWD: u64 = 1100;
    let program = Program::new(WORKLOAD, "beside-a-crowd");
    let _one = program.start(&["idle"]);
    let crowd = format!("kvt-crowd-{}", std::process::id());
    let folder = PluginDir::new();
    for (name, pattern) in [("crowd", format!("^{crowd}$")), ("one", program.pattern())] {
        let text = format!(
            "schema = 1\n[service]\nnamespace = \"Kvt\"\nprocess_name = '{pattern}'\n[monitoring]\ninterval = \"200ms\"\n"
        );
        folder.write(name, &text);
    }
    let script = format!("for (2 .. {CROWD}) {{ if (!fork) {{ sleep 120; exit }} }} sleep 120");
    let mut parent = Command::new("/usr/bin/perl");
    let mut parent = parent
        .arg0(&crowd)
        .args(["-e", &script])
        .process_group(0)
        .spawn()
        .expect("perl");
    let mut daemon = Daemon::start(&["--plugins-dir", folder.path()]);
    daemon.wait_until("the crowd", LIMIT, |tick| {
        tick.group("crowd")
            .is_some_and(|group| group.int("process_count") == CROWD)
    });
    let (mut of_crowd, mut of_one) = (0, 0);
    while of_crowd < 5 {
        let tick = daemon.next_tick(LIMIT);
        let (crowd, one) = (tick.group("crowd").is_some(), tick.group("one").is_some());
        assert!(
            crowd != one,
            "one of the two at a time: {}",
            tick.0["plugins"].as_array().map_or(0, Vec::len)
        );
        of_crowd += u32::from(crowd);
        of_one += u32::from(one);
    }
    assert!(of_one >= 4, "the other one had its turns: {of_one}");
    let group = i32::try_from(parent.id()).expect("a pid");
    // SAFETY: kill(2) takes plain integers; the group is our child's own.
    assert_eq!(unsafe { libc::kill(-group, libc::SIGKILL) }, 0);
    parent.wait().expect("our child");
    daemon.wait_until("their ends", LIMIT, |tick| {
        tick.group("crowd")
            .is_some_and(|group| group.int("exits") == CROWD)
    });
    daemon.terminate();
}
