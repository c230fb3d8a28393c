//! Philox-4x32-10 (Salmon et al. 2011) on the host, and the streams of docs/spec.md section 5. The same on the device: shaders/lib/philox.wgsl.

/// What random numbers are used for: the fourth counter word of the host's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stream {
    /// Initial weights.
    Weights = 0,
    /// Offsets and permutations of the data.
    Order = 1,
    /// Dropout's step keys.
    Dropout = 2,
    /// Sampling of tokens.
    Sampling = 3,
}

/// Ten rounds: four random words of a counter and a key.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        let p0 = 0xD251_1F53u64 * u64::from(c0);
        let p1 = 0xCD9E_8D57u64 * u64::from(c2);
        (c0, c1, c2, c3) = ((p1 >> 32) as u32 ^ c1 ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c3 ^ k1, p0 as u32);
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    [c0, c1, c2, c3]
}

/// A seed as a key.
pub const fn seed_key(seed: u64) -> [u32; 2] {
    [seed as u32, (seed >> 32) as u32]
}

/// The dropout key of the optimizer step after `steps_done` steps (docs/spec.md section 5): the first two words of counter
/// (s, 0, 0, 2).
pub fn step_key(seed: u64, steps_done: u32) -> [u32; 2] {
    let w = philox([steps_done, 0, 0, Stream::Dropout as u32], seed_key(seed));
    [w[0], w[1]]
}

/// The place of a dropout mask, the fourth counter word: head·65536 + layer·8 + site.
pub const fn place(head: u32, layer: u32, site: Site) -> u32 {
    head * 65536 + layer * 8 + site as u32
}

/// The sites of dropout in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Site {
    /// The summed embedding.
    Embedding = 0,
    /// Attention probabilities.
    Attention = 1,
    /// The attention's residual branch.
    ResidualAttention = 2,
    /// The MLP's residual branch.
    ResidualMlp = 3,
    /// A task head's input.
    Classifier = 4,
}

/// The threshold below which a mask word drops: ⌊rate·2³²⌋.
pub fn threshold(rate: f32) -> u32 {
    (f64::from(rate) * 4_294_967_296.0).floor().min(4_294_967_295.0) as u32
}

/// One word of a dropout mask: philox(counter (column/4, row, sequence, place), step key)\[column mod 4\].
pub fn mask_word(key: [u32; 2], column: u32, row: u32, sequence: u32, place: u32) -> u32 {
    philox([column / 4, row, sequence, place], key)[(column % 4) as usize]
}

/// A sequence of words from one stream: counter (i, a, b, stream), i counted up.
pub struct Words {
    key: [u32; 2],
    counter: [u32; 4],
    buffer: [u32; 4],
    left: usize,
}

impl Words {
    /// The words of `stream` for `seed`, distinguished by `a` and `b` (an epoch, a tensor).
    pub fn new(seed: u64, stream: Stream, a: u32, b: u32) -> Self {
        Words { key: seed_key(seed), counter: [0, a, b, stream as u32], buffer: [0; 4], left: 0 }
    }

    /// As [`Words::new`], without the words of the first `counter` counters, which have four each.
    pub fn starting_at(counter: u32, seed: u64, stream: Stream, a: u32, b: u32) -> Self {
        let mut words = Words::new(seed, stream, a, b);
        words.counter[0] = counter;
        words
    }

    /// The next word.
    pub fn word(&mut self) -> u32 {
        if self.left == 0 {
            self.buffer = philox(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.left = 4;
        }
        self.left -= 1;
        self.buffer[3 - self.left]
    }

    /// A uniform number in the open interval (0, 1), of 32 random bits.
    pub fn uniform(&mut self) -> f64 {
        (f64::from(self.word()) + 0.5) / 4_294_967_296.0
    }

    /// An unbiased number below `n` (Lemire 2019); 0 for n = 0 or 1.
    pub fn below(&mut self, n: u32) -> u32 {
        if n <= 1 {
            return 0;
        }
        let reject = n.wrapping_neg() % n;
        loop {
            let m = u64::from(self.word()) * u64::from(n);
            if m as u32 >= reject {
                return (m >> 32) as u32;
            }
        }
    }

    /// Two independent normal numbers (Box and Muller).
    pub fn normal_pair(&mut self) -> [f64; 2] {
        let (r, a) = ((-2.0 * self.uniform().ln()).sqrt(), std::f64::consts::TAU * self.uniform());
        [r * a.cos(), r * a.sin()]
    }

    /// Shuffles in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }
}

/// The known answers of the authors' test vectors: counter, key, output.
pub const KNOWN_ANSWERS: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
    ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
    ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
    (
        [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
        [0xa409_3822, 0x299f_31d0],
        [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        for (counter, key, out) in KNOWN_ANSWERS {
            assert_eq!(philox(counter, key), out);
        }
    }

    #[test]
    fn a_shuffle_is_a_permutation_and_a_function_of_its_seed() {
        let draw = |seed| {
            let mut v: Vec<u32> = (0..1000).collect();
            Words::new(seed, Stream::Order, 3, 0).shuffle(&mut v);
            v
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let mut sorted = draw(7);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
    }
}
