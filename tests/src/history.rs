//! `kevmon history`: the rows that a daemon's state keeps.

use std::path::Path;

use serde_json::Value;

use crate::kevmon;

/// Every row of the state in `database`, oldest first, of one plugin or of all.
pub fn rows(database: &Path, plugin: Option<&str>) -> Vec<Value> {
    let database = database.to_str().expect("a UTF-8 path");
    let mut args = vec!["history", "--json", "--metadata-db-path", database];
    if let Some(plugin) = plugin {
        args.extend(["--plugin", plugin]);
    }
    let output = kevmon::run(&args);
    output.assert_code(0);
    let rows = output.stdout.lines().map(serde_json::from_str);
    rows.collect::<Result<Vec<Value>, _>>()
        .unwrap_or_else(|error| panic!("not JSON: {error}:\n{}", output.stdout))
}

/// The one row of this event and pid.
pub fn row<'a>(rows: &'a [Value], event: &str, pid: u32) -> &'a Value {
    let mut found = rows
        .iter()
        .filter(|row| row["event"] == event && row["pid"] == pid);
    let row = found
        .next()
        .unwrap_or_else(|| panic!("no {event} of {pid} in {rows:?}"));
    assert!(found.next().is_none(), "{event} of {pid} twice in {rows:?}");
    row
}
