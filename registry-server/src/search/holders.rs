//! Who has a text or a word. Most are of one record, and a bitmap of one takes two hundred bytes.

use roaring::RoaringBitmap;

use super::column::Serial;

/// Some records.
#[derive(Debug, Default)]
pub(super) enum Holders {
    #[default]
    None,
    One(Serial),
    Many(Box<RoaringBitmap>),
}

impl Holders {
    pub(super) fn insert(&mut self, serial: Serial) {
        match self {
            Self::None => *self = Self::One(serial),
            Self::One(one) if *one == serial => {}
            Self::One(one) => *self = Self::Many(Box::new([*one, serial].into_iter().collect())),
            Self::Many(many) => {
                many.insert(serial);
            }
        }
    }

    pub(super) fn remove(&mut self, serial: Serial) {
        match self {
            Self::One(one) if *one == serial => *self = Self::None,
            Self::None | Self::One(_) => {}
            Self::Many(many) => {
                many.remove(serial);
            }
        }
    }

    pub(super) fn add_to(&self, found: &mut RoaringBitmap) {
        match self {
            Self::None => {}
            Self::One(one) => {
                found.insert(*one);
            }
            Self::Many(many) => *found |= &**many,
        }
    }

    /// How many of them are among some records.
    pub(super) fn among(&self, records: &RoaringBitmap) -> u64 {
        match self {
            Self::None => 0,
            Self::One(one) => records.contains(*one).into(),
            Self::Many(many) => many.intersection_len(records),
        }
    }

    /// The memory behind it, in bytes, about.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::None | Self::One(_) => 0,
            Self::Many(many) => size_of::<RoaringBitmap>() + many.serialized_size(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(changes in prop::collection::vec((0_u32..6, any::<bool>()), 0..40)) {
            let (mut holders, mut set) = (Holders::default(), RoaringBitmap::new());
            for (serial, is_in) in changes {
                if is_in {
                    holders.insert(serial);
                    set.insert(serial);
                } else {
                    holders.remove(serial);
                    set.remove(serial);
                }
                let mut all = RoaringBitmap::new();
                holders.add_to(&mut all);
                prop_assert_eq!(&all, &set);
                let some: RoaringBitmap = (0..3).collect();
                prop_assert_eq!(holders.among(&some), set.intersection_len(&some));
            }
        }
    }
}
