//! What was kept of roots decides over the first start after a restart of kevmon.

use super::*;
use crate::plugin::{KeptGroup, SavedGroup, SavedMember};

/// A process by its executable and arguments, as an exec record tells it.
fn called(exe: &str, filename: &str, argv: &[&str]) -> Identity {
    let comm = filename.rsplit('/').next().unwrap_or(exe);
    Identity {
        comm: comm.chars().take(15).collect(),
        exe: exe.to_owned(),
        filename: filename.to_owned(),
        argv: argv.iter().map(|&argument| argument.to_owned()).collect(),
        cut: None,
    }
}

/// The same as it is found running: without the path that was executed, and with `title` over the arguments.
fn found(mut identity: Identity, title: Option<&str>) -> Identity {
    identity.filename = String::new();
    if let Some(title) = title {
        identity.argv = vec![title.to_owned()];
    }
    identity
}

fn started(time: u64, key: ProcessKey, identity: &Identity) -> Event {
    match exec(time, key, INIT, "", 0) {
        Event::Exec {
            key,
            time,
            sequence,
            parent,
            usage,
            ..
        } => Event::Exec {
            key,
            time,
            sequence,
            parent,
            usage,
            identity: identity.clone(),
        },
        other => other,
    }
}

fn kept(tracker: &mut Tracker, time: u64) -> SavedGroup {
    read(tracker, 0, time);
    let mut saved = tracker.saved(&[GroupId(0)], &|_| 1, &|_| 1);
    saved.remove(0).1
}

/// A pattern, what starts, the title that it writes, what starts in its place, and whether that is a restart.
type Case = (&'static str, Identity, Option<&'static str>, Identity, bool);

fn cases() -> Vec<Case> {
    let java = |class: &str| called("java", "/usr/bin/java", &["java", "-cp", "/opt/x", class]);
    let jar = |jar: &str| called("java", "/usr/bin/java", &["java", "-jar", jar]);
    let python = |script: &str| called("python3.11", "/usr/bin/python3", &["python3", script]);
    let shell = |text: &str| called("dash", "/bin/sh", &["sh", "-c", text]);
    let code = |text: &str| called("python3.11", "/usr/bin/python3", &["python3", "-c", text]);
    let gunicorn = || {
        called(
            "python3.11",
            "/usr/bin/gunicorn",
            &["/usr/bin/python3", "/usr/bin/gunicorn"],
        )
    };
    let perl = |script: &str| called("perl", "/usr/bin/perl", &["perl", script]);
    let app = |path: &str| called(path.rsplit('/').next().unwrap(), path, &[path]);
    vec![
        (
            "^java$",
            java("com.example.Main"),
            None,
            java("com.example.Main"),
            true,
        ),
        (
            "^java$",
            java("com.example.Main"),
            None,
            java("com.example.Other"),
            false,
        ),
        (
            "^java$",
            jar("/opt/shop-1.2.jar"),
            None,
            jar("/opt/shop-1.3.jar"),
            true,
        ),
        (
            "^java$",
            jar("/opt/shop-1.2.jar"),
            None,
            jar("/opt/stock-1.2.jar"),
            false,
        ),
        ("^python3", python("x.py"), None, python("x.py"), true),
        ("^python3", python("x.py"), None, python("y.py"), false),
        ("^x.py$", python("x.py"), None, python("x.py"), true),
        (
            "^(dash|sh)$",
            shell("exec app --one"),
            None,
            shell("exec app --one"),
            true,
        ),
        (
            "^(dash|sh)$",
            shell("exec app --one"),
            None,
            shell("exec app --two"),
            false,
        ),
        ("^python3", code("import x"), None, code("import x"), true),
        ("^python3", code("import x"), None, code("import y"), false),
        (
            "gunicorn",
            gunicorn(),
            Some("gunicorn: master [app]"),
            gunicorn(),
            true,
        ),
        (
            "^python3",
            gunicorn(),
            Some("gunicorn: master [app]"),
            gunicorn(),
            true,
        ),
        (
            "perl|shop",
            perl("shop.pl"),
            Some("shop: master /etc/x"),
            perl("shop.pl"),
            true,
        ),
        ("^app", app("/opt/app-1.2"), None, app("/opt/app-1.3"), true),
        ("^app", app("/opt/app"), None, app("/opt/app"), true),
        ("^app", app("/opt/app-web"), None, app("/opt/app-worker"), false),
    ]
}

fn respawns(tracker: &mut Tracker, time: u64) -> u64 {
    let happened = read(tracker, 0, time).happened;
    assert_eq!(happened.reexecs, 0);
    happened.respawns
}

/// The first run saw the start and its title, or found it running with that; a second one goes on from there.
#[test]
fn the_first_restart_after_a_restart_of_kevmon_is_counted() {
    let root = key(10, 100);
    for (pattern, identity, title, next, is_restart) in cases() {
        for seen_early in [true, false] {
            let mut first = tracker(&[pattern]);
            let late = Seen {
                identity: found(identity.clone(), title),
                ..seen(root, "")
            };
            if seen_early {
                first.apply(started(100, root, &identity));
                if let Some(title) = title {
                    let arguments = crate::process::Arguments {
                        whole: vec![title.to_owned()],
                        cut: None,
                    };
                    first.retitle(root, arguments, BootTime(150 * MS));
                }
            } else {
                first.discover(&late, BootTime(100 * MS), None);
            }
            let saved = kept(&mut first, 200);
            // Of a script that nobody saw, behind a title, any restart of the interpreter may be one.
            let case = format!("{pattern} {identity:?} {seen_early}");

            // A daemon: it finds the root, which ends and starts under its eyes.
            let mut daemon = tracker(&[pattern]);
            daemon.restore(GroupId(0), &saved, true, BootTime(1_000 * MS));
            daemon.discover(&late, BootTime(1_001 * MS), None);
            end(&mut daemon, 20_000, root, 0, 1);
            daemon.apply(started(20_100, key(11, 20_100), &next));
            assert_eq!(
                respawns(&mut daemon, 21_000),
                u64::from(is_restart),
                "daemon: {case}"
            );

            // One that never sees it again.
            for same_boot in [true, false] {
                let mut cron = tracker(&[pattern]);
                let group = KeptGroup {
                    saved: saved.clone(),
                    same_boot,
                };
                cron.restore(GroupId(0), &saved, same_boot, BootTime(20_000 * MS));
                let since = BootTime(if same_boot { 1_000 * MS } else { 0 });
                cron.compare(GroupId(0), &group, since, BootTime(20_000 * MS));
                cron.end_missing(
                    &KeySet::default(),
                    BootTime(20_000 * MS),
                    BootTime(20_000 * MS),
                    false,
                );
                let next = Seen {
                    identity: found(next.clone(), None),
                    ..seen(key(11, 10_000), "")
                };
                cron.discover(&next, BootTime(20_001 * MS), None);
                cron.end_comparison();
                assert_eq!(
                    respawns(&mut cron, 21_000),
                    u64::from(is_restart),
                    "cron, same boot {same_boot}: {case}"
                );
            }
        }
    }
}

/// Without a restart of kevmon: found with its title, its next start is the script's.
#[test]
fn the_first_restart_of_what_was_found_with_a_title_is_counted() {
    let root = key(10, 100);
    for (pattern, identity, title, next, is_restart) in cases() {
        let mut daemon = tracker(&[pattern]);
        let late = Seen {
            identity: found(identity.clone(), title),
            ..seen(root, "")
        };
        daemon.discover(&late, BootTime(100 * MS), None);
        end(&mut daemon, 20_000, root, 0, 1);
        daemon.apply(started(20_100, key(11, 20_100), &next));
        assert_eq!(
            respawns(&mut daemon, 21_000),
            u64::from(is_restart),
            "{pattern} {identity:?}"
        );
    }
}

/// The first exec of a root that was kept is a restart in place, as it is of one that was seen.
#[test]
fn a_root_that_was_kept_and_executes_itself_restarts_in_place() {
    let root = key(10, 100);
    let java = |jar: &str| called("java", "/usr/bin/java", &["java", "-jar", jar]);
    let mut first = tracker(&["^java$"]);
    first.apply(started(100, root, &java("/opt/shop-1.2.jar")));
    let saved = kept(&mut first, 200);
    for (jar, reexecs) in [
        ("/opt/shop-1.2.jar", 1),
        ("/opt/shop-1.3.jar", 1),
        ("/opt/other.jar", 0),
    ] {
        let mut second = tracker(&["^java$"]);
        second.restore(GroupId(0), &saved, true, BootTime(1_000 * MS));
        let seen = Seen {
            identity: found(java("/opt/shop-1.2.jar"), None),
            ..seen(root, "")
        };
        second.discover(&seen, BootTime(1_001 * MS), None);
        second.apply(started(5_000, root, &java(jar)));
        assert_eq!(read(&mut second, 0, 6_000).happened.reexecs, reexecs, "{jar}");
    }
}

#[test]
fn a_kept_member_is_listed_under_its_name() {
    for (name, exe) in [
        ("nginx", "nginx"),
        ("x.sh", "bash"),
        ("a-script-of-more-than-15", "mawk"),
        ("nginx: worker process /x", "nginx"),
        ("gunicorn: master [app]", "python3.11"),
        ("a-name-of-more-than-15-bytes", ""),
        ("kworker/0:1", ""),
        ("shop worker a/b", "perl"),
    ] {
        let saved = {
            let mut first = tracker(&["."]);
            first.apply(exec(100, key(10, 100), INIT, "x", 0));
            kept(&mut first, 200)
        };
        let member = SavedMember {
            name: name.into(),
            exe: exe.into(),
            ..saved.members[0].clone()
        };
        let plugin = plugin(&regex::escape(name));
        assert_eq!(plugin.name_of(&member.names()), name, "{exe}");
    }
}
