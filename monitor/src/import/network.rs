//! Whether a Python module needs the network: collectors have none unless their plugin file says so.

use super::{
    Imported, Note,
    python::{self, Spot, Token},
};

/// Packages that speak to servers, by the first part of their names.
const PACKAGES: &[&str] = &[
    "MySQLdb",
    "aiohttp",
    "boto",
    "boto3",
    "dns",
    "easysnmp",
    "elasticsearch",
    "ftplib",
    "http",
    "httplib",
    "httpx",
    "imaplib",
    "kafka",
    "ldap",
    "memcache",
    "mysql",
    "ntplib",
    "paramiko",
    "pika",
    "ping",
    "poplib",
    "psycopg2",
    "puresnmp",
    "pymongo",
    "pymysql",
    "pysnmp",
    "redis",
    "requests",
    "smtplib",
    "snimpy",
    "socket",
    "socketserver",
    "ssl",
    "telnetlib",
    "urllib",
    "urllib2",
    "urllib3",
    "websocket",
    "xmlrpc",
    "xmlrpclib",
];
/// Scalyr's own monitors that do, for configurations that come without the source.
const MONITORS: &[&str] = &[
    "apache_monitor",
    "docker_monitor",
    "graphite_monitor",
    "kubernetes_events_monitor",
    "kubernetes_monitor",
    "mysql_monitor",
    "nginx_monitor",
    "openmetrics_monitor",
    "postgres_monitor",
    "postgresql_monitor",
    "redis_monitor",
    "snmp_monitor",
    "syslog_monitor",
    "tomcat_monitor",
    "url_monitor",
];

/// Adds `allow_network = true` to the collector of a plugin that runs a module which needs it, with a note.
pub(super) fn allow(plugin: &mut Imported, source: Option<&str>) {
    let Some(file) = &plugin.module else {
        return; // nothing of it is run
    };
    let module = file.strip_suffix(".py").unwrap_or(file);
    let why = match source.map(imported) {
        Some(Some(package)) => format!("it imports {package}"),
        Some(None) => return,
        None if MONITORS.contains(&module) => format!("{module} speaks to a server"),
        None => return,
    };
    let Some(at) = plugin.toml.find("\ncommand = [").map(|at| at + 1) else {
        return;
    };
    let end = plugin.toml[at..]
        .find('\n')
        .map_or(plugin.toml.len(), |length| at + length);
    plugin.toml.insert_str(end, "\nallow_network = true");
    plugin.notes.push(Note {
        line: None,
        text: format!("allow_network = true is set: {why}; remove it if the network is not needed"),
    });
}

/// The first of [`PACKAGES`] that the module imports.
fn imported(source: &str) -> Option<&'static str> {
    let spots = python::tokens(source).ok()?;
    spots.iter().enumerate().find_map(|(at, spot)| {
        let Token::Name(word) = &spot.token else {
            return None;
        };
        // import a, b.c as d / from a.b import c; `import` after `from` names what is within.
        match word.as_str() {
            "from" => package(spots.get(at + 1)?),
            "import" if !is_within_from(&spots[..at]) => statement(&spots[at + 1..]),
            _ => None,
        }
    })
}

fn is_within_from(before: &[Spot]) -> bool {
    let statement = before.iter().rev().take_while(|spot| spot.token != Token::End);
    statement
        .into_iter()
        .any(|spot| matches!(&spot.token, Token::Name(name) if name == "from"))
}

/// A package that begins the list, or stands behind a comma.
fn statement(spots: &[Spot]) -> Option<&'static str> {
    let mut begins = true;
    for spot in spots.iter().take_while(|spot| spot.token != Token::End) {
        if begins && let Some(package) = package(spot) {
            return Some(package);
        }
        begins = spot.token == Token::Sign(',');
    }
    None
}

fn package(spot: &Spot) -> Option<&'static str> {
    let Token::Name(name) = &spot.token else {
        return None;
    };
    PACKAGES.iter().find(|package| *package == name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_found_and_nothing_else() {
        for (source, expected) in [
            ("import socket\n", Some("socket")),
            ("import os, urllib2 as u\n", Some("urllib2")),
            ("from urllib.request import urlopen\n", Some("urllib")),
            (
                "try:\n    import http.client\nexcept ImportError:\n    pass\n",
                Some("http"),
            ),
            ("def f():\n    import redis\n", Some("redis")),
            ("import os.path\nsocket = 1\n", None),
            ("from os import socket\n", None),
            ("import os as socket\n", None),
            ("'''\nimport socket\n'''\n# import socket\n", None),
            ("import random\nfrom scalyr_agent import ScalyrMonitor\n", None),
        ] {
            assert_eq!(imported(source), expected, "{source}");
        }
    }

    #[test]
    fn a_plugin_says_so_where_its_module_needs_it() {
        let plugin = |name: &str, text: &str, module: Option<&str>| {
            super::super::import(name, text.as_bytes(), module.map(str::as_bytes))
                .unwrap()
                .remove(0)
        };
        let monitor =
            |name: &str| format!("monitors: [ {{ module: \"scalyr_agent.builtin_monitors.{name}\" }} ]");
        let scalyr = "from scalyr_agent import ScalyrMonitor\n";
        let cases = [
            (
                plugin("agent.json", &format!("{{ {} }}", monitor("url_monitor")), None),
                true,
            ),
            (
                plugin("agent.json", &format!("{{ {} }}", monitor("shell_monitor")), None),
                false,
            ),
            // The source knows better.
            (
                plugin(
                    "agent.json",
                    &format!("{{ {} }}", monitor("url_monitor")),
                    Some("import os\n"),
                ),
                false,
            ),
            (
                plugin(
                    "agent.json",
                    &format!("{{ {} }}", monitor("mine")),
                    Some("import socket\n"),
                ),
                true,
            ),
            (
                plugin("mine.py", &format!("{scalyr}import urllib2\n"), None),
                true,
            ),
            (plugin("mine.py", &format!("{scalyr}import json\n"), None), false),
        ];
        for (plugin, expected) in cases {
            let table: toml::Table = plugin.toml.parse().unwrap();
            let allowed = table["collector"][0]
                .get("allow_network")
                .and_then(toml::Value::as_bool);
            assert_eq!(allowed, expected.then_some(true), "{}", plugin.toml);
            let noted = plugin
                .notes
                .iter()
                .any(|note| note.text.contains("allow_network"));
            assert_eq!(noted, expected, "{:?}", plugin.notes);
        }
    }
}
