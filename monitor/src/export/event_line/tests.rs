use super::{
    super::{logs::tests::*, page::Look},
    *,
};
use crate::process::Tgid;

const CONTAINER: &str =
    "/system.slice/docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope";

/// Three hours ahead of UTC.
fn wall(unix: u64) -> Wall {
    let part = |seconds: u64| u32::try_from(seconds).expect("small");
    Wall {
        hour: part((unix / 3600 + 3) % 24),
        minute: part(unix / 60 % 60),
        second: part(unix % 60),
    }
}

fn placed(event: LiveEvent, user: &str, cgroup: &str) -> LiveEvent {
    LiveEvent {
        facts: Facts {
            uid: Some(33),
            user: Some(user.into()),
            cgroup: Some(cgroup.into()),
            pid_namespace: None,
        },
        ..event
    }
}

fn exec(was: Option<&str>, arguments: Option<Arguments>) -> LiveEvent {
    LiveEvent {
        what: Happened::Exec {
            was: was.map(Arc::from),
            arguments,
        },
        ..LiveEvent::of(start(0, false))
    }
}

fn rename(was: Option<&str>) -> LiveEvent {
    LiveEvent {
        name: "worker 2".into(),
        what: Happened::Rename {
            was: was.map(Arc::from),
        },
        ..LiveEvent::of(start(0, false))
    }
}

fn arguments(shown: &[&str], is_cut: bool) -> Option<Arguments> {
    Some(Arguments {
        shown: shown.iter().map(|&argument| argument.to_owned()).collect(),
        is_cut,
    })
}

fn oom() -> LiveEvent {
    let mut notice = exit(0, 9, None);
    if let What::Exit { ending, .. } = &mut notice.what {
        ending.oom_victim = true;
    }
    LiveEvent::of(notice)
}

/// One of each kind.
fn all() -> Vec<LiveEvent> {
    let by_cron = LiveEvent {
        parent_name: Some("cron".into()),
        ..LiveEvent::of(start(0, false))
    };
    let all_arguments = arguments(&["bash", "/opt/job.sh", "two words", ""], true);
    vec![
        placed(by_cron, "www-data", "/system.slice/cron.service"),
        placed(exec(Some("cron"), None), "www-data", CONTAINER),
        exec(None, all_arguments),
        exec(Some("job.sh"), arguments(&[], false)),
        rename(Some("job.sh")),
        rename(None),
        LiveEvent::of(exit(0, 0, None)),
        LiveEvent::of(exit(0, 0x0700, None)),
        LiveEvent::of(exit(0, 0x8b, None)),
        LiveEvent::of(exit(0, 9, Some(sender(9)))),
        oom(),
        LiveEvent::of(unknown_exit()),
        LiveEvent::of(respawn()),
        LiveEvent::of(reexec()),
    ]
}

fn shown(events: &[LiveEvent], width: Option<usize>, is_tree: bool, colours: bool) -> String {
    let columns = Columns::new(width, is_tree);
    let look = Look { colours, width };
    let mut text = columns.heading().paint(look);
    for event in events {
        text.append(&columns.line(event, None, clock(), wall).paint(look));
    }
    text.as_str().replace('\u{1b}', "␛")
}

#[test]
fn lines_for_people() {
    insta::assert_snapshot!("lines_piped", shown(&all(), None, false, false));
    insta::assert_snapshot!("lines_80", shown(&all(), Some(80), false, false));
    insta::assert_snapshot!("lines_200_coloured", shown(&all(), Some(200), false, true));
    let plugin = plugin("web", false);
    let event = LiveEvent::of(start(0, false));
    let line = Columns::new(None, false).line(&event, Some(&plugin), clock(), wall);
    let told = line.paint(Look::default());
    assert!(told.as_str().ends_with(" [web]\n"), "{told:?}");
}

#[test]
fn a_tree_is_indented() {
    let events: Vec<LiveEvent> = [0, 1, 2, 1, 40]
        .into_iter()
        .map(|depth| LiveEvent {
            depth,
            ..LiveEvent::of(start(0, false))
        })
        .collect();
    insta::assert_snapshot!(shown(&events, None, true, false));
}

#[test]
fn names_of_any_length_and_width() {
    let events: Vec<LiveEvent> = ["日本語サービス", &"long-".repeat(20), "tab\tescape\u{1b}[2J"]
        .into_iter()
        .map(|name| {
            let event = LiveEvent {
                name: name.into(),
                exe: name.into(),
                ..LiveEvent::of(exit(0, 0, None))
            };
            placed(event, name, &format!("/system.slice/{name}.service"))
        })
        .collect();
    insta::assert_snapshot!(shown(&events, None, false, false));
}

#[test]
fn names_do_nothing_to_a_terminal() {
    let everything: String = crate::shown::tests::all().collect();
    let mut plugin = plugin("web", false);
    plugin.name = everything.clone();
    let mut killer = sender(9);
    killer.comm = everything.clone();
    let mut events = all();
    events.push(LiveEvent::of(exit(0, 9, Some(killer))));
    events.push(exec(Some(&everything), arguments(&[&everything], true)));
    for event in events {
        let event = LiveEvent {
            name: everything.as_str().into(),
            exe: everything.as_str().into(),
            parent_name: Some(everything.as_str().into()),
            ..placed(event, &everything, &format!("/{everything}.service"))
        };
        let line = Columns::new(None, true).line(&event, Some(&plugin), clock(), wall);
        let line = line.paint(Look::default());
        let text = line.as_str().trim_end_matches('\n');
        let bad: Vec<char> = text.chars().filter(|c| crate::shown::is_unsafe(*c)).collect();
        assert!(bad.is_empty(), "{bad:?}");
        assert!(text.contains("\\u{202e}"));
    }
}

#[test]
fn arguments_are_quoted_as_a_shell_would() {
    for (given, text) in [
        (&["a", "--port=80", "/x/y"][..], "a --port=80 /x/y"),
        (&["two words", "", "it's"], r"'two words' '' 'it'\''s'"),
        (&["a;b", "$HOME"], "'a;b' '$HOME'"),
    ] {
        let given = arguments(given, false).unwrap();
        assert_eq!(command_line(&given).as_deref(), Some(text));
    }
    assert_eq!(command_line(&Arguments::default()), None);
}

#[test]
fn objects_for_programs() {
    let plugin = plugin("web", false);
    let told = |event: &LiveEvent| event_json(event, &plugin, clock(), clock());
    let beginning = |event: &str, time: &str, parent: &str| {
        format!(
            r#"{{"time":{time},"event":"{event}","plugin":"web","pid":7,"start_time":10000000000,{parent}"name":"job.sh","exe":"bash","role":"root""#
        )
    };
    let parent = r#""parent_pid":1,"#;
    for (notice, rest) in [
        (start(0, false), beginning("start", "10000000000", parent)),
        (
            exit(0, 0x0700, None),
            beginning("exit", "13250000000", parent)
                + r#","reason":"exit","code":7,"lifetime_ns":3250000000,"cpu_time_ns":25000000,"peak_rss_bytes":1572864,"settled":true"#,
        ),
        (
            exit(0, 9, Some(sender(9))),
            beginning("exit", "13250000000", parent)
                + r#","reason":"signal","signal":9,"signal_name":"SIGKILL","core_dumped":false,"sender":{"pid":123,"name":"bash"},"lifetime_ns":3250000000,"cpu_time_ns":25000000,"peak_rss_bytes":1572864,"settled":true"#,
        ),
        (
            unknown_exit(),
            beginning("exit", "13250000000", "")
                + r#","reason":"unknown","cpu_time_ns":25000000,"settled":false"#,
        ),
        (
            respawn(),
            beginning("restart", "10000000000", parent)
                + r#","kind":"respawn","downtime_ns":250000000,"previous":{"pid":5,"start_time":2000000000,"name":"old\u001bjob.sh","reason":"signal","signal":9,"signal_name":"SIGKILL","core_dumped":false,"sender":{"pid":123,"name":"bash"},"ended_ago_ns":250000000}"#,
        ),
        (
            reexec(),
            beginning("restart", "10000000000", parent) + r#","kind":"reexec""#,
        ),
    ] {
        assert_eq!(told(&LiveEvent::of(notice)), rest + "}");
    }
    let stepped = UnixClock::new(1_000_000_000, BootTime(0));
    let told = event_json(&LiveEvent::of(start(0, false)), &plugin, clock(), stepped);
    assert!(
        told.starts_with(r#"{"time":11000000000,"#) && told.contains(r#""start_time":10000000000,"#),
        "{told}"
    );
}

#[test]
fn objects_of_what_a_notice_does_not_tell() {
    let plugin = plugin("web", false);
    let told = |event: LiveEvent| event_json(&event, &plugin, clock(), clock());
    let execs = placed(
        exec(Some("cron"), arguments(&["--port", "80"], true)),
        "root",
        CONTAINER,
    );
    assert_eq!(
        told(execs),
        r#"{"time":10000000000,"event":"exec","plugin":"web","pid":7,"start_time":10000000000,"parent_pid":1,"name":"job.sh","exe":"bash","uid":33,"user":"root","unit":"docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope","container":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","previous_name":"cron","arguments":["--port","80"]}"#
    );
    assert_eq!(
        told(rename(Some("job.sh"))),
        r#"{"time":10000000000,"event":"rename","plugin":"web","pid":7,"start_time":10000000000,"parent_pid":1,"name":"worker 2","exe":"bash","previous_name":"job.sh"}"#
    );
    let key = ProcessKey {
        tgid: Tgid(7),
        start: BootTime(10_000_000_000),
    };
    assert_eq!(rename(None).key, key);
}
