//! Compression of keys or values by a strided convolution: kernel f, stride f, inside each packed sequence.
//!
//! Slot s of a sequence, channel o: y\[s,o\] = b\[o\] + Σ_tap Σ_i x\[s·f + tap, base(o) + i\]·W\[tap,i,o\], i over the channels of
//! o's group, which begin at base(o). The tail that fills no slot is dropped. Backward: dx\[s·f + tap\] = dy\[s\]·W\[tap\]ᵀ and 0 in the
//! tail, dW\[tap\] = Σ_s x\[s·f + tap\]ᵀ·dy\[s\], db = Σ_s dy\[s\].
//! x, dx \[n,c\]; y, dy \[Σ⌊T/f⌋,c\], slots of all sequences in order; W, dW \[f, c/groups, c\]; b, db \[c\].
//! Source: Liu et al. 2018; docs/spec.md sections 4 and 5.

/// Shapes and borders.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// C.
    pub c: usize,
    /// f.
    pub factor: usize,
    /// Channels of a group; divides C.
    pub group_width: usize,
    /// Borders of the sequences, \[B+1\].
    pub cu_seqlens: &'a [u32],
}

/// The gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct Backward {
    /// \[n,c\].
    pub dx: Vec<f64>,
    /// \[f, c/groups, c\].
    pub dweight: Vec<f64>,
    /// \[c\].
    pub dbias: Vec<f64>,
}

impl Rules<'_> {
    /// The first row of every slot.
    pub fn first_rows(&self) -> Vec<usize> {
        let of = |border: &[u32]| {
            let (start, end) = (border[0] as usize, border[1] as usize);
            (0..(end - start) / self.factor).map(move |s| start + s * self.factor)
        };
        self.cu_seqlens.windows(2).flat_map(of).collect()
    }

    /// Every (slot, row of x, channel of x, row of W, channel out).
    fn for_each_term(&self, mut f: impl FnMut(usize, usize, usize, usize, usize)) {
        for (slot, first) in self.first_rows().into_iter().enumerate() {
            for tap in 0..self.factor {
                for i in 0..self.group_width {
                    for o in 0..self.c {
                        let channel = o / self.group_width * self.group_width + i;
                        f(slot, first + tap, channel, tap * self.group_width + i, o);
                    }
                }
            }
        }
    }
}

/// The slots of all sequences.
pub fn forward(x: &[f64], weight: &[f64], bias: &[f64], rules: &Rules) -> Vec<f64> {
    let c = rules.c;
    assert_eq!(weight.len(), rules.factor * rules.group_width * c, "kv_compress: the weight is [f, c/groups, c]");
    let mut y: Vec<f64> = bias.iter().copied().cycle().take(rules.first_rows().len() * c).collect();
    rules.for_each_term(|slot, row, channel, w, o| y[slot * c + o] += x[row * c + channel] * weight[w * c + o]);
    y
}

/// The gradients of x, weight and bias.
pub fn backward(x: &[f64], weight: &[f64], dy: &[f64], rules: &Rules) -> Backward {
    let c = rules.c;
    let mut out = Backward { dx: vec![0.0; x.len()], dweight: vec![0.0; weight.len()], dbias: vec![0.0; c] };
    rules.for_each_term(|slot, row, channel, w, o| {
        out.dx[row * c + channel] += dy[slot * c + o] * weight[w * c + o];
        out.dweight[w * c + o] += x[row * c + channel] * dy[slot * c + o];
    });
    for row in dy.chunks_exact(c) {
        out.dbias.iter_mut().zip(row).for_each(|(b, y)| *b += y);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gradient, dot, normal};
    use super::*;

    #[test]
    fn windows_by_hand() {
        let rules = Rules { c: 2, factor: 2, group_width: 2, cu_seqlens: &[0, 5, 5, 6, 8] };
        assert_eq!(rules.first_rows(), [0, 2, 6]);
        let x: Vec<f64> = (0..16).map(f64::from).collect();
        // Tap 0 is kept as it is, tap 1 adds its first channel to the second.
        let weight = [1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0];
        assert_eq!(forward(&x, &weight, &[0.5, 0.0], &rules), [0.5, 3.0, 4.5, 11.0, 12.5, 27.0]);
        let own = Rules { group_width: 1, ..rules };
        assert_eq!(forward(&x, &[1.0, 0.0, 0.0, 1.0], &[0.0, 0.0], &own), [0.0, 3.0, 4.0, 7.0, 12.0, 15.0]);
    }

    #[test]
    fn gradients_of_every_grouping() {
        for (group_width, factor) in [(6, 3), (3, 2), (1, 4)] {
            let rules = Rules { c: 6, factor, group_width, cu_seqlens: &[0, 7, 7, 8, 13] };
            let (x, w, b) = (normal(13 * 6, 1), normal(factor * group_width * 6, 2), normal(6, 3));
            let dy = normal(rules.first_rows().len() * 6, 4);
            let back = backward(&x, &w, &dy, &rules);
            check_gradient("x", &x, &back.dx, |x| dot(&dy, &forward(x, &w, &b, &rules)));
            check_gradient("weight", &w, &back.dweight, |w| dot(&dy, &forward(&x, w, &b, &rules)));
            check_gradient("bias", &b, &back.dbias, |b| dot(&dy, &forward(&x, &w, b, &rules)));
        }
    }
}
