//! The bytes of one file on a simulated disk: synced, and only written.

use lograft_core::random::SplitMix64;

/// The unit that a disk writes atomically, bytes.
const SECTOR_BYTES: usize = 512;

#[derive(Default)]
pub(super) struct Inode {
    /// The bytes as the process sees them.
    pub(super) current: Vec<u8>,
    /// The bytes as they are on the disk.
    pub(super) durable: Vec<u8>,
    /// The changes that lead from `durable` to `current`, in their order.
    unsynced: Vec<Change>,
}

pub(super) enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

fn write_into(bytes: &mut Vec<u8>, position: usize, new: &[u8]) {
    let end = position + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[position..end].copy_from_slice(new);
}

impl Inode {
    pub(super) fn add(&mut self, change: Change) {
        match &change {
            Change::Write(position, bytes) => write_into(&mut self.current, *position, bytes),
            Change::SetLen(len) => self.current.resize(*len, 0),
        }
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Write(position, bytes) => {
                    write_into(&mut self.durable, position, &bytes);
                }
                Change::SetLen(len) => self.durable.resize(len, 0),
            }
        }
    }

    /// A sync that fails: some of the unsynced bytes reach the disk, the others never will, and
    /// the process still reads all of them from the page cache.
    pub(super) fn fail_sync(&mut self, random: &mut SplitMix64) {
        let current = self.current.clone();
        self.lose_power(random);
        self.current = current;
    }

    /// Drops clean pages: the next read returns the bytes on the disk.
    pub(super) fn drop_pages(&mut self) {
        if self.unsynced.is_empty() {
            self.current.clone_from(&self.durable);
        }
    }

    /// Keeps none of the unsynced changes, all of them, or a part of each.
    pub(super) fn lose_power(&mut self, random: &mut SplitMix64) {
        let outcome = random.below(4);
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                _ if outcome == 0 => {}
                Change::SetLen(len) if outcome == 1 || random.coin() => self.durable.resize(len, 0),
                Change::SetLen(_) => {}
                Change::Write(position, bytes) if outcome == 1 => {
                    write_into(&mut self.durable, position, &bytes);
                }
                Change::Write(position, bytes) => {
                    tear(&mut self.durable, position, &bytes, random);
                }
            }
        }
        self.current.clone_from(&self.durable);
    }
}

/// Writes a random subset of the sectors that the bytes touch.
fn tear(durable: &mut Vec<u8>, position: usize, bytes: &[u8], random: &mut SplitMix64) {
    let mut at = 0;
    while at < bytes.len() {
        let sector_end = (position + at + 1).next_multiple_of(SECTOR_BYTES) - position;
        let end = sector_end.min(bytes.len());
        if random.coin() {
            write_into(durable, position + at, &bytes[at..end]);
        }
        at = end;
    }
}
