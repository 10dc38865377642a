//! Disks that are full or read-only.

use super::{ROOMY, drain, parcel, spool};
use crate::store::{
    StoreError,
    spool::{Parcel, Spool},
    tests::{NOW, Scratch, disk::Disk, files},
};

#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    Disk::with(8_192, |disk| {
        let mut spool = spool(&disk.store(), ROOMY);
        let kept: Vec<Parcel> = (0..10).map(|number| parcel("a", number, 20_000)).collect();
        spool.push(&kept, NOW).unwrap();
        let before: Vec<_> = spool.lanes().map(|(_, state)| state).collect();
        disk.fill();
        let late = [parcel("a", 10, 500_000), parcel("b", 11, 500_000)];
        for _ in 0..3 {
            let error = spool.push(&late, NOW).unwrap_err();
            assert!(matches!(error, StoreError::Full { .. }), "{error}");
            let after: Vec<_> = spool.lanes().map(|(_, state)| state).collect();
            assert_eq!(after, before);
        }
        assert_eq!(spool.peek("a").unwrap().unwrap().parcel, kept[0]);
        disk.free();
        spool.push(&late, NOW).unwrap();
        drop(spool);
        let mut spool = super::spool(&disk.store(), ROOMY);
        let a: Vec<Parcel> = kept.iter().chain(&late[..1]).cloned().collect();
        assert!(drain(&mut spool, "a") == a);
        assert!(drain(&mut spool, "b") == late[1..]);
    });
}

/// The receiver has them: they must not be sent again because they cannot be deleted.
#[test]
fn what_is_removed_on_a_full_disk_does_not_come_back() {
    Disk::with(4_096, |disk| {
        let mut spool = spool(&disk.store(), ROOMY);
        let kept: Vec<Parcel> = (0..80).map(|number| parcel("a", number, 5_000)).collect();
        spool.push(&kept, NOW).unwrap();
        disk.fill();
        let mut failed = 0;
        for expected in &kept[..60] {
            let oldest = spool.peek("a").unwrap().unwrap();
            assert_eq!(oldest.parcel, *expected);
            failed += u32::from(spool.remove(&oldest).is_err());
        }
        assert!(failed > 0, "the log has no room");
        disk.free();
        spool.expire(NOW).unwrap();
        drop(spool);
        let mut spool = super::spool(&disk.store(), ROOMY);
        assert!(drain(&mut spool, "a") == kept[60..]);
    });
}

#[test]
fn a_crash_on_a_full_disk_loses_nothing_kept() {
    Disk::with(2_048, |disk| {
        let mut spool = spool(&disk.store(), ROOMY);
        let kept: Vec<Parcel> = (0..10).map(|number| parcel("a", number, 20_000)).collect();
        spool.push(&kept, NOW).unwrap();
        disk.fill();
        spool.push(&[parcel("a", 10, 900_000)], NOW).unwrap_err();
        let copy = Scratch::new();
        for (path, content) in files(&disk.0) {
            if !path.ends_with("ballast") {
                std::fs::write(copy.0.join(path.file_name().unwrap()), content.0).unwrap();
            }
        }
        assert!(drain(&mut super::spool(&copy.store(), ROOMY), "a") == kept);
    });
}

#[test]
fn opening_on_a_full_disk() {
    Disk::with(1_024, |disk| {
        disk.fill();
        let error = Spool::open(&disk.store(), ROOMY, NOW).unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "a new one: {error}");
        disk.free();
        spool(&disk.store(), ROOMY)
            .push(&[parcel("a", 1, 9_000)], NOW)
            .unwrap();
        disk.fill();
        if let Err(error) = Spool::open(&disk.store(), ROOMY, NOW) {
            assert!(matches!(error, StoreError::Full { .. }), "an old one: {error}");
        }
        disk.free();
        assert_eq!(
            drain(&mut spool(&disk.store(), ROOMY), "a"),
            [parcel("a", 1, 9_000)]
        );
    });
}

#[test]
fn a_read_only_disk() {
    Disk::with(1_024, |disk| {
        spool(&disk.store(), ROOMY)
            .push(&[parcel("a", 1, 9_000)], NOW)
            .unwrap();
        disk.read_only(true);
        let before = files(&disk.0);
        let error = Spool::open(&disk.store(), ROOMY, NOW).unwrap_err();
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
        assert_eq!(files(&disk.0), before);
        disk.read_only(false);
        assert_eq!(
            drain(&mut spool(&disk.store(), ROOMY), "a"),
            [parcel("a", 1, 9_000)]
        );
    });
}
