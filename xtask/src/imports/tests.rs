//! Small sources that keep or break each rule.

use std::path::PathBuf;

use super::judge_all;

/// "line: what" of every violation in one file.
fn judged(name: &str, text: &str) -> Vec<String> {
    judged_files(&[(name, text)])
}

fn judged_files(files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<(PathBuf, String)> = files
        .iter()
        .map(|(name, text)| (PathBuf::from(name), (*text).to_owned()))
        .collect();
    judge_all(&files)
        .unwrap()
        .iter()
        .map(|v| format!("{}: {}", v.line, v.what))
        .collect()
}

#[test]
fn what_the_rules_allow_passes() {
    for (name, text) in [
        (
            "process.rs",
            "use std::time::Duration;\nuse std::collections::HashMap;",
        ),
        (
            "plugin/matching.rs",
            "use crate::process::{Tgid, ProcessKey};\nuse super::rule::Rule;",
        ),
        (
            "metrics/mod.rs",
            "mod catalogue;\nuse self::catalogue::Entry;\nuse crate::plugin::Group;",
        ),
        (
            "config/mod.rs",
            "use crate::plugin::Definition;\nuse std::fs;\nfn f() { fs::read(\"\"); }",
        ),
        (
            "kernel/mod.rs",
            "use aya::Ebpf;\nuse tokio::io::unix::AsyncFd;\nuse crate::process;\nfn f() { process::g() }",
        ),
        (
            "procfs/mod.rs",
            "use procfs::Current;\nuse ::procfs::FromRead;\nuse crate::health::Counter;",
        ),
        (
            "store/mod.rs",
            "use rusqlite::Connection;\nuse crate::metrics::Point;",
        ),
        (
            "export/grpc.rs",
            "use opentelemetry_proto::tonic::X;\nuse tonic::transport::Channel;",
        ),
        (
            "app.rs",
            "use crate::{config, export, kernel, procfs, store};\nuse std::process::ExitCode;",
        ),
        (
            "main.rs",
            "mod app;\nmod cli;\nmod process;\nfn main() -> std::process::ExitCode { app::run(cli::parse()) }",
        ),
    ] {
        assert_eq!(judged(name, text), Vec::<String>::new(), "{name}: {text}");
    }
}

#[test]
fn a_module_must_not_import_what_stands_after_it() {
    for (name, text, expected) in [
        (
            "process.rs",
            "\nuse crate::plugin::Group;",
            "2: `crate::plugin::Group`",
        ),
        (
            "process/table.rs",
            "use super::super::health::Counter;",
            "1: `crate::health::Counter`",
        ),
        (
            "plugin/mod.rs",
            "use crate::{process::Tgid, metrics::{self, Point as P}};",
            "1: `crate::metrics`",
        ),
        (
            "plugin/mod.rs",
            "use super::export::Sender;",
            "1: `crate::export::Sender`",
        ),
        (
            "metrics.rs",
            "fn f() { crate::export::send() }",
            "1: `crate::export::send`",
        ),
        (
            "metrics.rs",
            "fn f(x: Vec<crate::store::Row>) {}",
            "1: `crate::store::Row`",
        ),
        (
            "kernel/mod.rs",
            "mod a { fn f() { super::super::procfs::read() } }",
            "1: `crate::procfs::read`",
        ),
        (
            "config/mod.rs",
            "fn f() { println!(\"{}\", crate::health::COUNT) }",
            "1: `crate::health::COUNT`",
        ),
        ("export/mod.rs", "use crate::store;", "1: `crate::store`"),
        (
            "export/mod.rs",
            "#[derive(crate::config::Derive)]\nstruct S;",
            "1: `crate::config::Derive`",
        ),
        ("cli.rs", "use crate::app;", "1: `crate::app`"),
        ("health.rs", "use crate::process::*;", "1: `crate::process`"),
        (
            "main.rs",
            "mod kernel;\nfn main() { kernel::load() }",
            "2: `crate::kernel::load`",
        ),
    ] {
        assert!(
            judged(name, text).contains(&expected.to_owned()),
            "{name}: {text}: {:?}",
            judged(name, text)
        );
    }
}

#[test]
fn the_direction_holds_in_tests_too() {
    let text = "#[cfg(test)]\nmod tests {\n    use crate::export::Sender;\n}";
    assert_eq!(judged("process.rs", text), ["3: `crate::export::Sender`"]);
}

#[test]
fn a_dependency_has_one_owner() {
    for (name, text, expected) in [
        ("app.rs", "use aya::Ebpf;", "1: the crate `aya`"),
        ("app.rs", "use aya as bpf;", "1: the crate `aya`"),
        ("app.rs", "extern crate btf_rs;", "1: the crate `btf_rs`"),
        (
            "app.rs",
            "fn f(l: aya_log::EbpfLogger) {}",
            "1: the crate `aya_log`",
        ),
        (
            "kernel/mod.rs",
            "use ::procfs::process::Process;",
            "1: the crate `procfs`",
        ),
        (
            "kernel/mod.rs",
            "use procfs::process::Process;",
            "1: the crate `procfs`",
        ),
        (
            "metrics/mod.rs",
            "use opentelemetry_proto::tonic::metrics::v1::Metric;",
            "1: the crate `opentelemetry_proto`",
        ),
        (
            "export/mod.rs",
            "use rusqlite::Connection;",
            "1: the crate `rusqlite`",
        ),
        ("app.rs", "use tonic::Status;", "1: the crate `tonic`"),
        (
            "plugin/mod.rs",
            "#[tokio::test]\nasync fn f() {}",
            "1: the crate `tokio`",
        ),
        (
            "config/mod.rs",
            "fn f() { tokio::spawn(async {}); }",
            "1: the crate `tokio`",
        ),
    ] {
        assert_eq!(judged(name, text), [expected], "{name}: {text}");
    }
}

#[test]
fn an_own_module_is_not_the_crate_of_its_name() {
    assert_eq!(
        judged("app.rs", "use crate::procfs;\nfn f() { procfs::read() }"),
        Vec::<String>::new()
    );
    assert_eq!(
        judged(
            "app.rs",
            "use crate::procfs::{self, Root};\nfn f() { procfs::read() }"
        ),
        Vec::<String>::new()
    );
    let text = "mod procfs;\nmod app;\nfn f() { procfs::read() }";
    assert_eq!(judged("main.rs", text), ["3: `crate::procfs::read`"]);
}

#[test]
fn pure_modules_have_no_clock_and_no_files() {
    for (text, expected) in [
        ("use std::fs;", "1: `std::fs`"),
        (
            "use std::{collections::HashMap, time::{Duration, Instant}};",
            "1: `std::time::Instant`",
        ),
        (
            "use std::time;\nfn f() { time::SystemTime::now(); }",
            "2: `std::time::SystemTime::now`",
        ),
        ("use std::time::*;", "1: `std::time::*`"),
        ("fn f() { std::env::var(\"X\"); }", "1: `std::env::var`"),
        (
            "fn f() { println!(\"{}\", std::process::id()); }",
            "1: `std::process::id`",
        ),
        ("fn f(a: ::std::net::IpAddr) {}", "1: `std::net::IpAddr`"),
        (
            "#[cfg(not(test))]\nmod real {\n    use std::fs::File;\n}",
            "3: `std::fs::File`",
        ),
    ] {
        assert!(
            judged("plugin/mod.rs", text).contains(&expected.to_owned()),
            "{text}: {:?}",
            judged("plugin/mod.rs", text)
        );
    }
}

#[test]
fn tests_of_pure_modules_may_read_files() {
    for text in [
        "#[cfg(test)]\nmod tests {\n    use std::fs;\n    fn f() { fs::read(\"\"); }\n}",
        "#[cfg(test)]\nuse std::time::Instant;",
        "#[cfg(all(test, target_os = \"linux\"))]\nmod tests { use std::env; }",
        "#[test]\nfn f() { std::fs::read(\"\"); }",
    ] {
        assert_eq!(judged("process/mod.rs", text), Vec::<String>::new(), "{text}");
    }
    let parent = ("metrics/mod.rs", "#[cfg(test)]\nmod tests;");
    assert_eq!(
        judged_files(&[parent, ("metrics/tests.rs", "use std::fs;")]),
        Vec::<String>::new()
    );
    assert_eq!(
        judged_files(&[parent, ("metrics/other.rs", "use std::fs;")]),
        ["1: `std::fs`"]
    );
}

#[test]
fn a_module_without_a_rule_is_named() {
    assert_eq!(judged("util.rs", "fn f() {}"), ["1: the module `util`"]);
}

#[test]
fn a_file_that_does_not_parse_is_an_error_with_its_line() {
    let error = judge_all(&[(PathBuf::from("app.rs"), "fn f() {}\nfn (".to_owned())]).unwrap_err();
    assert!(
        format!("{error:#}").contains("monitor/src/app.rs: line 2"),
        "{error:#}"
    );
}
