//! The contents of an index file in memory.

use memmap2::{Mmap, MmapMut};

/// The validated bytes of an index file, held while its segment is open.
// An index file is read with pread and never mapped: an access to a page of a mapped file that the
// disk cannot read raises SIGBUS, which ends the process and with it every group of the node. With
// pread the same sector is an error of one read. The bytes are then held in an anonymous map, the
// only use of memmap2: no file is behind it, so that an access cannot fail; its pages go back to
// the system at once when the segment is closed; and they are read-only, so that no stray write
// changes an index after its CRC was checked.
pub(crate) struct HeldIndex(Mmap);

impl HeldIndex {
    /// Copies the bytes; `None` if there are none, or the system has no memory for them. A read
    /// without an index starts at the start of the segment.
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        let mut map = MmapMut::map_anon(bytes.len()).ok()?;
        map.copy_from_slice(bytes);
        map.make_read_only().ok().map(Self)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_held() {
        let bytes: Vec<u8> = (0..10_000u32).map(|n| n.to_le_bytes()[0]).collect();
        assert_eq!(HeldIndex::new(&bytes).unwrap().bytes(), bytes);
    }
}
