//! The two files with the identity of a data directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lograft_core::NodeId;
use lograft_storage::{Crash, FaultFs, Identity, Storage, StorageError};

use crate::setup::{TestDisk, identity};

const FILES: [&str; 2] = ["/data/identity", "/data/identity.copy"];

fn open(disk: &TestDisk) -> Result<Storage, StorageError> {
    let fatal = Arc::new(|error: StorageError| panic!("a write failed: {error}"));
    Storage::open(Arc::clone(&disk.fs), disk.config.clone(), fatal)
}

/// The disk as after a restart of the node.
fn restarted(disk: &TestDisk, fs: &FaultFs) -> (TestDisk, FaultFs) {
    let fs = fs.crash(Crash::Process);
    let disk = TestDisk {
        fs: Arc::new(fs.clone()),
        config: disk.config.clone(),
        _dir: None,
    };
    (disk, fs)
}

fn written() -> (TestDisk, FaultFs) {
    let (disk, fs) = TestDisk::fault(5);
    disk.open();
    restarted(&disk, &fs)
}

fn bytes(fs: &FaultFs, path: &str) -> Vec<u8> {
    let file = lograft_storage::Fs::open(fs, Path::new(path), lograft_storage::OpenMode::Read);
    let file = file.unwrap();
    file.read_at(0, 100).unwrap().to_vec()
}

#[test]
fn one_flipped_bit_in_either_file_costs_nothing() {
    for file in FILES {
        for bit in 0..48 * 8 {
            let (disk, fs) = written();
            let whole = bytes(&fs, file);
            fs.flip_bit(Path::new(file), bit / 8, u8::try_from(bit % 8).unwrap());
            let storage = open(&disk).unwrap();
            assert_eq!(storage.identity(), Some(identity()), "bit {bit} of {file}");
            assert_eq!(storage.damaged_identity(), Some(Path::new(file)));
            drop(storage);
            let (disk, fs) = restarted(&disk, &fs);
            assert_eq!(bytes(&fs, file), whole, "it was repaired");
            assert_eq!(open(&disk).unwrap().damaged_identity(), None);
        }
    }
}

#[test]
fn a_missing_or_unreadable_file_is_written_again() {
    for file in FILES {
        let (disk, fs) = written();
        fs.fail_reads(Path::new(file), 0..48);
        assert_eq!(open(&disk).unwrap().identity(), Some(identity()));
        let (disk, fs) = restarted(&disk, &fs);
        assert_eq!(open(&disk).unwrap().damaged_identity(), None, "replaced");
        // A directory of version 0.2 has no second file.
        let (disk, fs) = restarted(&disk, &fs);
        lograft_storage::Fs::remove_file(&fs, Path::new(file)).unwrap();
        let storage = open(&disk).unwrap();
        assert_eq!(storage.identity(), Some(identity()));
        assert_eq!(storage.damaged_identity(), None, "missing is not damaged");
        drop(storage);
        assert_eq!(bytes(&fs, FILES[0]), bytes(&fs, FILES[1]));
    }
}

/// A node never takes another id than its own, nor a new one.
#[test]
fn without_a_valid_file_the_directory_is_refused() {
    let (disk, fs) = written();
    for file in FILES {
        fs.flip_bit(Path::new(file), 33, 1);
    }
    let Err(StorageError::IdentityDamaged { path }) = open(&disk).map(drop) else {
        panic!("opened");
    };
    assert_eq!(path, PathBuf::from(FILES[0]));
    // The only file of version 0.2.
    let (disk, fs) = restarted(&disk, &fs);
    lograft_storage::Fs::remove_file(&fs, Path::new(FILES[1])).unwrap();
    let refused = open(&disk).map(drop);
    assert!(matches!(refused, Err(StorageError::IdentityDamaged { .. })));
}

#[test]
fn two_identities_are_refused() {
    let (disk, fs) = written();
    let (other, other_fs) = TestDisk::fault(6);
    let node_id = NodeId(identity().node_id.0 + 1);
    let storage = open(&other).unwrap();
    storage
        .write_identity(&Identity {
            node_id,
            ..identity()
        })
        .unwrap();
    let copy =
        lograft_storage::Fs::open(&fs, Path::new(FILES[1]), lograft_storage::OpenMode::Write);
    let foreign = bytes(&other_fs, FILES[1]);
    let mut parts = [std::io::IoSlice::new(&foreign)];
    copy.unwrap().write_vectored_at(&mut parts, 0).unwrap();
    let Err(StorageError::IdentitiesDiffer { path }) = open(&disk).map(drop) else {
        panic!("opened");
    };
    assert_eq!(path, PathBuf::from(FILES[1]));
}
