//! Random numbers that are the same everywhere: xorshift64*.

/// A generator of random numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins at a seed.
    ///
    /// # Panics
    /// When the seed is 0, from which nothing but zeros would follow.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        assert_ne!(seed, 0, "a seed is not 0");
        Self(seed)
    }

    /// Returns any number.
    pub fn any(&mut self) -> u64 {
        let mut state = self.0;
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.0 = state;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Returns a number below `bound`.
    #[expect(clippy::missing_panics_doc, reason = "the upper half of 128 bits is 64 bits")]
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.any()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the upper half of 128 bits is 64 bits")
    }

    /// Returns a number below `bound`, as tables hold it.
    pub(crate) fn int_below(&mut self, bound: i64) -> i64 {
        let below = self.below(bound.unsigned_abs());
        i64::try_from(below).expect("below a bound that is an i64")
    }

    /// Returns one of some values.
    pub(crate) fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        let at = self.below(values.len() as u64);
        values[usize::try_from(at).expect("below a length")]
    }
}
