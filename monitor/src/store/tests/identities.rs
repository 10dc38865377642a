//! Ids: the original's are kept, and none is given twice.

use std::path::Path;

use super::{
    NOW, Scratch, count,
    fixtures::{ORIGINALS, SERVICE_ROWS, metric_id},
    open,
};
use crate::{
    plugin::{Plugin, service::ServiceName},
    store::{Commit, HostChange, IdHost, Store},
};

fn plugin(name: &str, namespace: &str, service: &str) -> Plugin {
    let pattern = regex::Regex::new(name).unwrap();
    Plugin::new(name, ServiceName::new(namespace, service), vec![pattern])
}

fn identify(store: &mut Store, plugins: &[Plugin]) -> Vec<String> {
    let plugins: Vec<_> = plugins
        .iter()
        .map(|plugin| {
            (
                plugin,
                format!("given-{}-{}", plugin.name, plugin.service.original),
            )
        })
        .collect();
    let ids = store.identify(("web1", "machine-id"), &plugins);
    store
        .commit(Commit {
            time: NOW,
            ..Commit::default()
        })
        .unwrap();
    ids
}

fn one(path: &Path, sql: &str) {
    assert_eq!(count(path, sql), 1, "{sql}");
}

#[test]
fn a_plugin_takes_its_originals_service_over() {
    let [first, second, third] = SERVICE_ROWS.map(|(id, ..)| id);
    let cases = [
        // By the plugin's name, by the service's, and where the original knew no namespace.
        (plugin("m8mulprc", "Strategy₿", "Strategy₿.M8MulPrc"), Some(first)),
        (plugin("m8", "Strategy₿", "Strategy.M8RefSvr"), Some(second)),
        (
            plugin("com.instana.plugin.python.mstrsvr", "S", "S.mstrsvr"),
            Some(third),
        ),
        // Another namespace's, and nobody's.
        (plugin("m8mulprc", "Other", "Other.M8MulPrc"), None),
        (plugin("nginx", "Strategy₿", "Strategy₿.nginx"), None),
    ];
    for (plugin, expected) in cases {
        let scratch = Scratch::new();
        ORIGINALS[5].create(&scratch.store());
        let mut store = open(&scratch.store());
        let given = format!("given-{}-{}", plugin.name, plugin.service.original);
        let expected = expected.unwrap_or(&given);
        // Now, again, and after a restart.
        assert_eq!(identify(&mut store, std::slice::from_ref(&plugin)), [expected]);
        assert_eq!(identify(&mut store, std::slice::from_ref(&plugin)), [expected]);
        drop(store);
        let mut store = open(&scratch.store());
        assert_eq!(identify(&mut store, std::slice::from_ref(&plugin)), [expected]);
        let service = &plugin.service;
        assert_eq!(
            store.service_id(&service.namespace, &service.original).as_deref(),
            Some(expected)
        );
    }
}

#[test]
fn two_plugins_never_share_an_id() {
    let scratch = Scratch::new();
    ORIGINALS[5].create(&scratch.store());
    let mut store = open(&scratch.store());
    let plugins = [
        plugin("m8mulprc", "Strategy₿", "a"),
        plugin("m8mulprc-2", "Strategy₿", "m8mulprc"),
        plugin("M8MulPrc", "Strategy₿", "b"),
    ];
    let ids = identify(&mut store, &plugins);
    assert_eq!(
        ids,
        [SERVICE_ROWS[0].0, "given-m8mulprc-2-m8mulprc", "given-M8MulPrc-b"]
    );
    drop(store);
    // In another order as well: the first one has taken it for good.
    let mut store = open(&scratch.store());
    let reversed: Vec<_> = plugins.into_iter().rev().collect();
    let mut again = identify(&mut store, &reversed);
    again.reverse();
    assert_eq!(again, ids);
}

#[test]
fn a_renamed_service_is_a_new_one() {
    let scratch = Scratch::new();
    let mut store = open(&scratch.store());
    let old = identify(&mut store, &[plugin("web", "ns", "old")]);
    let new = identify(&mut store, &[plugin("web", "ns", "new")]);
    assert_ne!(old, new);
    assert_eq!(identify(&mut store, &[plugin("web", "ns", "old")]), old);
}

#[test]
fn metrics_keep_the_originals_ids_and_get_units_and_types() {
    let scratch = Scratch::new();
    ORIGINALS[4].create(&scratch.store());
    let mut store = open(&scratch.store());
    identify(&mut store, &[plugin("m8mulprc", "Strategy₿", "x")]);
    let path = scratch.store();
    let [id, first_seen] = [
        metric_id(0, 1),
        "unixepoch('2025-06-25T10:00:00', 'utc')".to_owned(),
    ];
    one(
        &path,
        &format!(
            "SELECT count(*) FROM metric WHERE id = '{id}' AND name = 'disk_read_bytes' AND unit = 'bytes'
             AND instrument = 'Counter' AND display_name = 'Disk Read Bytes'
             AND first_seen / 1000000000 = {first_seen} AND last_seen = {NOW}"
        ),
    );
    one(
        &path,
        "SELECT count(*) FROM metric WHERE display_name = 'CPU User Time Total'",
    );
    // One that kevmon does not have stays as it was.
    one(
        &path,
        &format!(
            "SELECT count(*) FROM metric WHERE id = '{}' AND last_seen < {NOW}",
            metric_id(0, 2)
        ),
    );
    one(
        &path,
        &format!("SELECT count(*) FROM host WHERE id = 'host-1' AND last_seen = {NOW}"),
    );
    one(
        &path,
        &format!("SELECT count(*) FROM namespace WHERE id = 'ns-1' AND last_seen = {NOW}"),
    );
    one(
        &path,
        "SELECT count(*) FROM service WHERE host_id = 'host-1' AND namespace_id = 'ns-1' AND plugin = 'm8mulprc'
         AND name = 'x' AND stored_name = 'x' AND display_name = 'X' AND original_name = 'm8mulprc'",
    );
    assert_eq!(store.host_id("web1").as_deref(), Some("host-1"));
}

#[test]
fn a_host_may_be_renamed() {
    let scratch = Scratch::new();
    let mut store = open(&scratch.store());
    for name in ["old", "new", "old"] {
        store.identify((name, "machine-id"), &[]);
        store.commit(Commit::default()).unwrap();
    }
    drop(store);
    let mut store = open(&scratch.store());
    store.identify(("newest", "machine-id"), &[]);
    store.commit(Commit::default()).unwrap();
    one(&scratch.store(), "SELECT count(*) FROM host");
    assert_eq!(store.host_id("newest").as_deref(), Some("machine-id"));
}

fn host(id: Option<&str>, name: &str) -> IdHost {
    IdHost {
        id: id.map(str::to_owned),
        name: name.to_owned(),
    }
}

#[test]
fn a_copied_state_makes_new_ids_and_keeps_everything_else() {
    let scratch = Scratch::new();
    ORIGINALS[5].create(&scratch.store());
    let of_original = plugin("m8mulprc", "Strategy₿", "Strategy₿.M8MulPrc");
    let mut store = open(&scratch.store());
    assert_eq!(store.on_host(host(Some("one"), "web1"), false), HostChange::None);
    assert_eq!(
        identify(&mut store, std::slice::from_ref(&of_original)),
        [SERVICE_ROWS[0].0]
    );
    drop(store);
    let kept = count(&scratch.store(), "SELECT count(*) FROM namespace");
    let mut store = open(&scratch.store());
    assert_eq!(
        store.on_host(host(Some("two"), "web1"), false),
        HostChange::Other(host(Some("one"), "web1"))
    );
    let given = format!("given-m8mulprc-{}", of_original.service.original);
    assert_eq!(
        identify(&mut store, std::slice::from_ref(&of_original)),
        [given.as_str()]
    );
    drop(store);
    for sql in [
        "SELECT count(*) FROM service",
        "SELECT count(*) FROM host WHERE id = 'machine-id' AND name = 'web1'",
        "SELECT count(*) FROM host",
        "SELECT count(*) FROM state WHERE host_id = 'two' AND host_name = 'web1'",
    ] {
        one(&scratch.store(), sql);
    }
    assert_eq!(
        count(&scratch.store(), "SELECT count(*) FROM namespace"),
        kept,
        "namespaces are nobody's"
    );
    let orphans = "SELECT count(*) FROM metric WHERE service_id NOT IN (SELECT id FROM service)";
    assert_eq!(count(&scratch.store(), orphans), 0);
    // From now on it is the copy's.
    let mut store = open(&scratch.store());
    assert_eq!(
        store.on_host(host(Some("two"), "web2"), false),
        HostChange::None,
        "the same boot"
    );
    assert_eq!(
        identify(&mut store, std::slice::from_ref(&of_original)),
        [given.as_str()]
    );
}

#[test]
fn another_host_is_forgotten_with_the_first_commit_and_not_before() {
    let scratch = Scratch::new();
    let web = plugin("web", "ns", "web");
    let mut store = open(&scratch.store());
    store.on_host(host(Some("one"), "web1"), false);
    identify(&mut store, std::slice::from_ref(&web));
    drop(store);
    let mut store = open(&scratch.store());
    store.on_host(host(Some("two"), "web2"), false);
    let ids = store.identify(("web2", "two"), &[(&web, "new".to_owned())]);
    assert_eq!(ids, ["new"]);
    one(
        &scratch.store(),
        "SELECT count(*) FROM service WHERE id = 'given-web-web'",
    );
    // Killed before a commit, the next run finds the same.
    drop(store);
    let mut store = open(&scratch.store());
    assert_eq!(
        store.on_host(host(Some("two"), "web2"), false),
        HostChange::Other(host(Some("one"), "web1"))
    );
}

#[test]
fn a_name_that_changes_while_kevmon_runs_is_kept() {
    let scratch = Scratch::new();
    let mut store = open(&scratch.store());
    store.on_host(host(None, "web1"), false);
    identify(&mut store, &[plugin("web", "ns", "web")]);
    store.host_is_now(host(Some("late"), "web2"));
    store.commit(Commit::default()).unwrap();
    one(
        &scratch.store(),
        "SELECT count(*) FROM state WHERE host_id = 'late' AND host_name = 'web2'",
    );
}

#[test]
fn what_is_shown_is_what_is_sent() {
    let scratch = Scratch::new();
    let mut store = open(&scratch.store());
    let mut web = plugin("web", "ns", "web");
    web.service.given = Some("Check-out".to_owned());
    identify(&mut store, &[web]);
    one(
        &scratch.store(),
        "SELECT count(*) FROM service WHERE display_name = 'Check-out' AND stored_name = 'web'",
    );
}

#[test]
fn last_seen_follows_now_and_then() {
    const MINUTE: u64 = 60_000_000_000;
    let scratch = Scratch::new();
    let mut store = open(&scratch.store());
    identify(&mut store, &[plugin("web", "ns", "web")]);
    for (minutes, expected) in [(1, 0), (4, 0), (5, 5), (9, 5), (11, 11)] {
        store
            .commit(Commit {
                time: NOW + minutes * MINUTE,
                ..Commit::default()
            })
            .unwrap();
        let expected = NOW + expected * MINUTE;
        for table in ["host", "namespace", "service", "metric"] {
            let sql = format!("SELECT min(last_seen) = {expected} AND max(first_seen) = {NOW} FROM {table}");
            assert_eq!(count(&scratch.store(), &sql), 1, "{table} after {minutes} min");
        }
    }
}
