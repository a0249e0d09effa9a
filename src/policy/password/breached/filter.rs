//! Look-ups in a binary fuse filter (Graf and Lemire, "Binary Fuse Filters", 2022), which
//! `xorf` has made: the three places of a key, and what stands there for it.

use xorf::BinaryFuse16;

use crate::error::BoxError;

/// The shape of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Shape {
    pub(super) seed: u64,
    pub(super) segment_length: u32,
    /// The length of all segments at which a key's first place may be.
    pub(super) segments: u32,
    /// The number of fingerprints.
    pub(super) length: u32,
}

/// A key's places, and the fingerprint that they give together if the key is in the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) places: [u32; 3],
    pub(super) fingerprint: u16,
}

impl Shape {
    /// Returns whether each place of each key is within the filter.
    pub(super) fn is_sound(&self) -> bool {
        let Self { segment_length, segments, length, .. } = *self;
        let spread = u64::from(segments) + 2 * u64::from(segment_length);
        segment_length.is_power_of_two()
            && segments.is_multiple_of(segment_length)
            && spread == u64::from(length)
    }

    /// Returns where a key would be.
    pub(super) fn probe(&self, key: u64) -> Probe {
        let hash = mixed(key.wrapping_add(self.seed));
        let mask = self.segment_length.wrapping_sub(1);
        let first = low((u128::from(hash) * u128::from(self.segments)) >> 64);
        let second = first.wrapping_add(self.segment_length);
        let third = second.wrapping_add(self.segment_length);
        let places = [
            first,
            second ^ (low(u128::from(hash >> 18)) & mask),
            third ^ (low(u128::from(hash)) & mask),
        ];
        let [.., one, other] = (hash ^ (hash >> 32)).to_be_bytes();
        Probe { places, fingerprint: u16::from_be_bytes([one, other]) }
    }
}

/// Returns the low 32 bits.
const fn low(bits: u128) -> u32 {
    (bits & 0xffff_ffff) as u32
}

/// Mixes the bits of a key as MurmurHash3 does at its end.
const fn mixed(mut key: u64) -> u64 {
    key ^= key >> 33;
    key = key.wrapping_mul(0xff51_afd7_ed55_8ccd);
    key ^= key >> 33;
    key = key.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    key ^ (key >> 33)
}

/// Makes a filter of distinct keys, with its fingerprints.
pub(super) fn build(keys: &[u64]) -> Result<(Shape, Box<[u16]>), BoxError> {
    let BinaryFuse16 { descriptor, fingerprints } = BinaryFuse16::try_from(keys)?;
    let shape = Shape {
        seed: descriptor.seed,
        segment_length: descriptor.segment_length,
        segments: descriptor.segment_count_length,
        length: u32::try_from(fingerprints.len())?,
    };
    Ok((shape, fingerprints))
}

#[cfg(test)]
mod tests {
    use xorf::Filter as _;

    use super::*;

    #[test]
    fn a_shape_with_places_outside_is_not_sound() {
        let shape = |segment_length, segments, length| {
            Shape { seed: 0, segment_length, segments, length }.is_sound()
        };
        assert!(shape(4, 8, 16));
        assert!(!shape(3, 6, 12) && !shape(4, 6, 14) && !shape(4, 8, 15) && !shape(4, 8, 17));
    }

    #[test]
    fn places_and_fingerprints_are_those_of_the_library() {
        for count in [1, 2, 3, 10, 1000, 50_000_u64] {
            let keys: Vec<_> = (0..count).map(|key| mixed(key ^ 0x5eed)).collect();
            let filter = BinaryFuse16::try_from(keys.as_slice()).unwrap();
            let (shape, fingerprints) = build(&keys).unwrap();
            assert!(shape.is_sound(), "{shape:?}");
            let others = (0..20_000).map(|key| mixed(key ^ 0x0dd));
            for key in keys.into_iter().chain(others) {
                let Probe { places, fingerprint } = shape.probe(key);
                let found = places.map(|place| fingerprints[place as usize]);
                let is_there = found.into_iter().fold(0, |all, one| all ^ one) == fingerprint;
                assert_eq!(is_there, filter.contains(&key), "{key} of {count}");
            }
        }
    }
}
