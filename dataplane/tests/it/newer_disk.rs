//! A node on a data directory in which a newer version has written.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cluster::Cluster;

/// The bytes of all files of a group.
fn group_files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path());
    let mut files: Vec<_> = paths
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

/// Sets the version of a record of 96 bytes and corrects its CRC.
fn set_version(bytes: &mut [u8], version: u8) {
    let record = &mut bytes[..96];
    record[8] = version;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&record[..12]), &record[16..]);
    record[12..16].copy_from_slice(&crc.to_le_bytes());
}

/// The node ends with one sentence, changes nothing and reports no corrupt replica; the newer
/// version then finds everything as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_a_newer_version_ends_the_node_and_is_not_repaired() {
    let mut cluster = Cluster::of(1).await;
    cluster.create_topic(0, "t", 1, 1).await;
    cluster.produce(0, 0, "kept").await;
    cluster.stop(0).await;
    for group in ["group-1", "group-0"] {
        let dir = cluster.data_dir(0).join("groups").join(group);
        let files = group_files(&dir);
        let is_segment = |path: &Path| path.extension().is_some_and(|it| it == "seg");
        let (segment, bytes) = files.iter().find(|(path, _)| is_segment(path)).unwrap();
        let mut newer = bytes.clone();
        set_version(&mut newer, 2);
        fs::write(segment, &newer).unwrap();
        let before = group_files(&dir);

        cluster.restart(0).await;
        let fault = cluster.fault(0).await;
        let expected = format!(
            "{} was written by a newer version of Lograft and can be read only by it: segment \
             version must be at most 1, got 2",
            segment.display()
        );
        assert!(fault.contains(&expected), "{fault}");
        cluster.stop(0).await;
        assert!(group_files(&dir) == before, "{group}: a byte has changed");
        fs::write(segment, bytes).unwrap();
    }
    cluster.restart(0).await;
    cluster.ready(0).await;
    assert_eq!(cluster.read_all(0, 0).await, ["kept"]);
}
