//! Users by name and by number, as the host's name service has them (getpwnam(3): /etc/passwd, LDAP, sssd).

use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A user's name is asked for again after this long.
const FRESH: Duration = Duration::from_secs(60);

/// Longest entry that is read, bytes.
const LONGEST: usize = 64 << 10;

/// One user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name.
    pub name: String,
    /// Number.
    pub uid: u32,
    /// Main group.
    pub gid: u32,
}

/// The user called `name`; `None` where the host knows none.
pub fn by_name(name: &str) -> Option<Entry> {
    let name = CString::new(name).ok()?;
    // SAFETY: a NUL-terminated name, and the memory that `look_up` vouches for.
    look_up(|entry, buffer, length, found| unsafe {
        libc::getpwnam_r(name.as_ptr(), entry, buffer, length, found)
    })
}

/// The user with this number.
pub fn by_uid(uid: u32) -> Option<Entry> {
    // SAFETY: the memory that `look_up` vouches for.
    look_up(|entry, buffer, length, found| unsafe { libc::getpwuid_r(uid, entry, buffer, length, found) })
}

/// Whether a group has this number.
pub fn has_group(gid: u32) -> bool {
    let mut length = 1024;
    loop {
        let mut buffer: Vec<libc::c_char> = vec![0; length];
        let mut entry = std::mem::MaybeUninit::<libc::group>::uninit();
        let mut found = std::ptr::null_mut();
        // SAFETY: an entry and a buffer of the length that is given, and a place for the result.
        let error = unsafe {
            libc::getgrgid_r(
                gid,
                entry.as_mut_ptr(),
                buffer.as_mut_ptr(),
                length,
                &raw mut found,
            )
        };
        if error != libc::ERANGE || length >= LONGEST {
            // ERANGE: there is one, and its entry is longer than any that is read.
            return !found.is_null() || error == libc::ERANGE;
        }
        length *= 2;
    }
}

/// The name of the user with this number, as of a minute ago at most.
pub fn name_of(uid: u32) -> Option<Arc<str>> {
    type Known = HashMap<u32, (Instant, Option<Arc<str>>)>;
    static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    match known.get(&uid) {
        Some((at, name)) if at.elapsed() < FRESH => name.clone(),
        _ => {
            let name = by_uid(uid).map(|user| Arc::from(user.name));
            known.insert(uid, (Instant::now(), name.clone()));
            name
        }
    }
}

fn look_up(
    call: impl Fn(*mut libc::passwd, *mut libc::c_char, usize, *mut *mut libc::passwd) -> libc::c_int,
) -> Option<Entry> {
    let mut length = 1024;
    loop {
        let mut buffer: Vec<libc::c_char> = vec![0; length];
        let mut entry = std::mem::MaybeUninit::<libc::passwd>::uninit();
        let mut found = std::ptr::null_mut();
        let error = call(entry.as_mut_ptr(), buffer.as_mut_ptr(), length, &raw mut found);
        if error == libc::ERANGE && length < LONGEST {
            length *= 2;
            continue;
        }
        if error != 0 || found.is_null() {
            return None;
        }
        // SAFETY: the call succeeded and filled the entry, whose strings lie in `buffer`, which still lives.
        let (name, uid, gid) = unsafe {
            let entry = entry.assume_init();
            (
                CStr::from_ptr(entry.pw_name).to_owned(),
                entry.pw_uid,
                entry.pw_gid,
            )
        };
        return Some(Entry {
            name: name.into_string().ok()?,
            uid,
            gid,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_both_ways() {
        let root = by_name("root").expect("every host has one");
        assert_eq!((root.uid, by_uid(0)), (0, Some(root.clone())));
        assert_eq!(by_name("no such user"), None);
        assert_eq!(by_name("with\0NUL"), None);
        assert!(has_group(0), "every host has root's");
        assert!(!has_group(3_999_999_999));
    }
}
