//! The host that ids were made on. A state that comes along with a copy of a disk must not lend one host's ids to another:
//! at a receiver, the two would be one.

use rusqlite::{Connection, OptionalExtension};

use super::{
    error::{Doing, StoreError},
    identities::optional_text,
};

/// Who a host is, as far as ids go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdHost {
    /// `host.id`: its machine-id, or what the settings give in its place.
    pub id: Option<String>,
    /// `host.name`.
    pub name: String,
}

/// What the host of a state has become between two runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostChange {
    /// The same, or not known from the state: ids stay.
    None,
    /// Its name is another since a boot, its id is not: it was renamed, or this is a copy that kept its machine-id. Ids stay.
    PerhapsCopied(IdHost),
    /// Another one than this: ids are made for the new one.
    Other(IdHost),
}

/// Compares the host that a state was kept on `before` with the one that it is on `now`. `is_given`: the settings say what
/// `now.id` is, which ids then follow. A boot in between is what a copied disk cannot do without; on a host that has not
/// booted, another name is a renaming, or another container on the same folder.
pub(super) fn compare(before: Option<&IdHost>, now: &IdHost, is_given: bool, same_boot: bool) -> HostChange {
    let Some(before) = before else {
        return HostChange::None;
    };
    let same_name = before.name == now.name || same_boot;
    match (&before.id, &now.id) {
        (Some(one), Some(other)) if one == other => match same_name || is_given {
            true => HostChange::None,
            false => HostChange::PerhapsCopied(before.clone()),
        },
        (Some(_), Some(_)) => HostChange::Other(before.clone()),
        (None, Some(_)) if is_given => HostChange::Other(before.clone()),
        // Without an id on one side the name is all there is. A machine-id that comes late belongs to the same host.
        _ if same_name => HostChange::None,
        _ => HostChange::Other(before.clone()),
    }
}

/// The host that a database's ids were made on; `None` before a first commit, and in one from before they were kept.
pub(super) fn load(connection: &Connection, doing: Doing<'_>) -> Result<Option<IdHost>, StoreError> {
    let row = connection
        .query_row("SELECT host_id, host_name FROM state", [], |row| {
            Ok((optional_text(row, 0)?, optional_text(row, 1)?))
        })
        .optional()
        .map_err(|error| doing.sqlite(error))?;
    Ok(row.and_then(|(id, name)| Some(IdHost { id, name: name? })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_host_it_is() {
        let host = |id: &str, name: &str| IdHost {
            id: (!id.is_empty()).then(|| id.to_owned()),
            name: name.to_owned(),
        };
        for ((before, now), is_given, same_boot, expected) in [
            // The same, whatever happened meanwhile.
            ((("m", "a"), ("m", "a")), false, false, "none"),
            ((("m", "a"), ("m", "a")), false, true, "none"),
            ((("", "a"), ("", "a")), false, false, "none"),
            // A copied image that got a machine-id of its own; another container; another host.id in the settings.
            ((("m", "a"), ("n", "b")), false, false, "other"),
            ((("m", "a"), ("n", "a")), false, false, "other"),
            ((("m", "a"), ("n", "a")), false, true, "other"),
            ((("m", "a"), ("n", "a")), true, true, "other"),
            ((("", "a"), ("n", "a")), true, true, "other"),
            // The same host.id in a container that was made again.
            ((("n", "a"), ("n", "b")), true, false, "none"),
            // Renamed, or copied with its machine-id.
            ((("m", "a"), ("m", "b")), false, false, "perhaps"),
            ((("m", "a"), ("m", "b")), false, true, "none"),
            // A machine-id that comes late, or is lost.
            ((("", "a"), ("m", "a")), false, false, "none"),
            ((("", "a"), ("m", "b")), false, true, "none"),
            ((("", "a"), ("m", "b")), false, false, "other"),
            ((("m", "a"), ("", "a")), false, false, "none"),
            ((("m", "a"), ("", "b")), false, true, "none"),
            ((("m", "a"), ("", "b")), false, false, "other"),
            // Without machine-ids.
            ((("", "a"), ("", "b")), false, true, "none"),
            ((("", "a"), ("", "b")), false, false, "other"),
        ] {
            let (before, now) = (host(before.0, before.1), host(now.0, now.1));
            let told = match compare(Some(&before), &now, is_given, same_boot) {
                HostChange::None => "none",
                HostChange::PerhapsCopied(of) if of == before => "perhaps",
                HostChange::Other(of) if of == before => "other",
                wrong => panic!("{wrong:?}"),
            };
            assert_eq!(
                told, expected,
                "{before:?} {now:?} given: {is_given}, same boot: {same_boot}"
            );
            assert_eq!(compare(None, &now, is_given, same_boot), HostChange::None);
        }
    }
}
