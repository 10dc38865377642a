//! Users by name and by number, as the host's name service has them (getpwnam(3): /etc/passwd, LDAP, sssd).

use std::{
    collections::{HashMap, VecDeque},
    ffi::{CStr, CString},
    sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// A user's name is asked for again after this long.
const FRESH: Duration = Duration::from_secs(60);

/// The first answer about a user is waited for so long.
const PATIENCE: Duration = Duration::from_millis(10);

/// Users that wait to be asked for, at most.
const WAITING: usize = 1024;

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
    .ok()
    .flatten()
}

/// The user with this number.
pub fn by_uid(uid: u32) -> Option<Entry> {
    look_up_uid(uid).ok().flatten()
}

fn look_up_uid(uid: u32) -> Result<Option<Entry>, i32> {
    // SAFETY: the memory that `look_up` vouches for.
    look_up(|entry, buffer, length, found| unsafe { libc::getpwuid_r(uid, entry, buffer, length, found) })
}

/// Whether a group has this number.
pub fn has_group(gid: u32) -> bool {
    // SAFETY: the memory that `look_up_group` vouches for.
    let found = look_up_group(|entry, buffer, length, found| unsafe {
        libc::getgrgid_r(gid, entry, buffer, length, found)
    });
    // ERANGE: there is one, and its entry is longer than any that is read.
    matches!(found, Ok(Some(_)) | Err(libc::ERANGE))
}

/// The number of the group called `name`; `None` where the host knows none.
pub fn group(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: a NUL-terminated name, and the memory that `look_up_group` vouches for.
    let found = look_up_group(|entry, buffer, length, found| unsafe {
        libc::getgrnam_r(name.as_ptr(), entry, buffer, length, found)
    });
    found.ok().flatten()
}

/// The number of the group that `call` finds, which is given an entry, a buffer of a length, and a place for the result.
fn look_up_group(
    call: impl Fn(*mut libc::group, *mut libc::c_char, usize, *mut *mut libc::group) -> i32,
) -> Result<Option<u32>, i32> {
    let mut length = 1024;
    loop {
        let mut buffer: Vec<libc::c_char> = vec![0; length];
        let mut entry = std::mem::MaybeUninit::<libc::group>::uninit();
        let mut found = std::ptr::null_mut();
        match call(entry.as_mut_ptr(), buffer.as_mut_ptr(), length, &raw mut found) {
            libc::ERANGE if length < LONGEST => length *= 2,
            0 if found.is_null() => return Ok(None),
            // SAFETY: the call has filled the entry in, which `found` points to.
            0 => return Ok(Some(unsafe { (*found).gr_gid })),
            error => return Err(error),
        }
    }
}

/// The name of the user with this number, as of a minute ago; `None` where there is none, and for as long as the name service
/// does not answer: nobody waits for it longer than [`PATIENCE`].
pub fn name_of(uid: u32) -> Option<Arc<str>> {
    static NAMES: LazyLock<Names> = LazyLock::new(|| Names::new(look_up_uid));
    NAMES.of(uid)
}

/// Names by number, asked for on a thread of their own: a directory service may take seconds.
struct Names(Arc<Asked>);

struct Asked {
    look_up: fn(u32) -> Result<Option<Entry>, i32>,
    state: Mutex<State>,
    /// Something was answered.
    answered: Condvar,
}

#[derive(Default)]
struct State {
    /// When each was answered last, and how.
    known: HashMap<u32, (Instant, Option<Arc<str>>)>,
    /// To be asked for, oldest first.
    queue: VecDeque<u32>,
    /// What the thread asks for now, and since when; `None`: there is no thread.
    asking: Option<(u32, Instant)>,
}

impl Names {
    fn new(look_up: fn(u32) -> Result<Option<Entry>, i32>) -> Self {
        Self(Arc::new(Asked {
            look_up,
            state: Mutex::default(),
            answered: Condvar::new(),
        }))
    }

    fn of(&self, uid: u32) -> Option<Arc<str>> {
        let mut state = self.0.state();
        let known = state.known.get(&uid).cloned();
        if let Some((at, name)) = &known
            && at.elapsed() < FRESH
        {
            return name.clone();
        }
        self.ask(&mut state, uid);
        if let Some((_, name)) = known {
            return name; // until the answer comes
        }
        let begin = Instant::now();
        while let Some(left) = PATIENCE.checked_sub(begin.elapsed()) {
            // A service that lets another question wait for so long will not answer this one in time.
            let is_slow = |&(_, since): &(u32, Instant)| since.elapsed() > PATIENCE;
            if state.asking.as_ref().is_none_or(is_slow) {
                break;
            }
            let waited = self.0.answered.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if let Some((_, name)) = state.known.get(&uid) {
                return name.clone();
            }
        }
        None
    }

    fn ask(&self, state: &mut State, uid: u32) {
        let is_asked = state.asking.is_some_and(|(asked, _)| asked == uid) || state.queue.contains(&uid);
        if is_asked || state.queue.len() >= WAITING {
            return;
        }
        state.queue.push_back(uid);
        if state.asking.is_none() {
            let asked = Arc::clone(&self.0);
            let thread = thread::Builder::new().name("kevmon-users".to_owned());
            // Without a thread it is asked for again by whoever wants it next.
            match thread.spawn(move || asked.serve()) {
                Ok(_) => state.asking = Some((uid, Instant::now())),
                Err(_) => state.queue.clear(),
            }
        }
    }
}

impl Asked {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks until nothing waits.
    fn serve(&self) {
        loop {
            let uid = {
                let mut state = self.state();
                let next = state.queue.pop_front();
                state.asking = next.map(|uid| (uid, Instant::now()));
                match next {
                    Some(uid) => uid,
                    None => return,
                }
            };
            let found = (self.look_up)(uid);
            let mut state = self.state();
            let name = match found {
                Ok(user) => user.map(|user| Arc::from(user.name)),
                // A service that is away takes no name back.
                Err(_) => state.known.get(&uid).and_then(|(_, name)| name.clone()),
            };
            state.known.insert(uid, (Instant::now(), name));
            drop(state);
            self.answered.notify_all();
        }
    }
}

/// # Errors
/// The name service's, as an errno: whether there is such a user is not known.
fn look_up(
    call: impl Fn(*mut libc::passwd, *mut libc::c_char, usize, *mut *mut libc::passwd) -> libc::c_int,
) -> Result<Option<Entry>, i32> {
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
        // Some services say that there is none by an error (getpwnam_r(3)).
        if matches!(error, 0 | libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM) && found.is_null() {
            return Ok(None);
        }
        if error != 0 || found.is_null() {
            return Err(error);
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
        let entry = name.into_string().ok().map(|name| Entry { name, uid, gid });
        return Ok(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name() {
        assert_eq!(group("root"), Some(0));
        assert_eq!(group("kevmon-no-such-group"), None);
        assert_eq!(group("a\0b"), None);
        assert!(has_group(0));
    }

    #[test]
    fn users_are_found_both_ways() {
        let root = by_name("root").expect("every host has one");
        assert_eq!((root.uid, by_uid(0)), (0, Some(root.clone())));
        assert_eq!(by_name("no such user"), None);
        assert_eq!(by_name("with\0NUL"), None);
        assert!(has_group(0), "every host has root's");
        assert!(!has_group(3_999_999_999));
    }

    /// A service that takes its time holds nobody up, and a name that was known stays until there is another one.
    #[test]
    fn a_slow_name_service_is_not_waited_for() {
        fn slow(uid: u32) -> Result<Option<Entry>, i32> {
            static FIRST: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);
            std::thread::sleep(Duration::from_millis(300));
            if uid == 1 && !FIRST.swap(false, std::sync::atomic::Ordering::Relaxed) {
                return Err(libc::EIO);
            }
            Ok((uid != 9).then(|| Entry {
                name: format!("u{uid}"),
                uid,
                gid: 0,
            }))
        }
        let names = Names::new(slow);
        let begin = Instant::now();
        let first: Vec<_> = [1, 2, 9, 1, 2, 9].map(|uid| names.of(uid)).into();
        let took = begin.elapsed();
        assert!(first.iter().all(Option::is_none), "{first:?}");
        assert!(took < Duration::from_millis(200), "waited for {took:?}");
        let end = begin + Duration::from_secs(10);
        while names.of(2).is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(
            [1, 2].map(|uid| names.of(uid)),
            [Some("u1".into()), Some("u2".into())]
        );
        let old = Instant::now()
            .checked_sub(2 * FRESH)
            .expect("a machine that runs for two minutes");
        let of_old = |state: &mut State| state.known.values_mut().for_each(|(at, _)| *at = old);
        of_old(&mut names.0.state());
        let begin = Instant::now();
        assert_eq!(
            names.of(1),
            Some("u1".into()),
            "as it was, while it is asked for again"
        );
        assert!(begin.elapsed() < Duration::from_millis(200));
        // The service has failed by then.
        std::thread::sleep(Duration::from_millis(600));
        assert_eq!(
            names.of(1),
            Some("u1".into()),
            "nobody has said that there is none"
        );
    }

    #[test]
    fn a_quick_name_service_answers_at_once() {
        let names = Names::new(look_up_uid);
        assert_eq!(names.of(0).as_deref(), Some("root"));
        assert_eq!(names.of(0x7fff_fff0), None);
    }
}
