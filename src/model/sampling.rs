//! Sampling: drawing a token from logits (temperature, then top-k, then top-p), and continuing a prompt token by token
//! (docs/spec.md section 6).

use super::generate::Generator;
use crate::philox::{Stream, philox, seed_key};
use crate::{Error, Result};
use std::cmp::Ordering;

/// How tokens are drawn. Of equal logits, the one with the lowest id ranks first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by this; 0 takes the largest logit.
    pub temperature: f64,
    /// Draw from this number of largest logits only; 0 for all.
    pub top_k: usize,
    /// Of those, draw from the most probable that together reach this probability only; 1 for all.
    pub top_p: f64,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Number of the sample: each has random numbers of its own. Of samples side by side, the number of the first.
    pub sample_number: u32,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, seed: 1, sample_number: 0 }
    }
}

/// A logit and its id.
type Candidate = (f32, u32);

/// Largest first, of equal ones the lowest id.
fn order(a: &Candidate, b: &Candidate) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

impl Sampling {
    /// Draws the next token from the logits of all ids that may follow. `token` is its position in the text, from 0.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when no logit is finite.
    pub fn choose(&self, logits: &[f32], token: u32) -> Result<u32> {
        let finite = logits.iter().copied().zip(0..).filter(|(x, _)| x.is_finite());
        // -0 + 0 = 0: both zeros rank as equal.
        let mut all: Vec<Candidate> = finite.map(|(x, id)| (x + 0.0, id)).collect();
        let Some(&(most, best)) = all.iter().min_by(|a, b| order(a, b)) else {
            return Err(Error::not_finite("largest logit", format!("token {token}")));
        };
        if self.temperature <= 0.0 {
            return Ok(best);
        }
        let weight = |x: f32| (f64::from(x - most) / self.temperature).exp();
        if self.top_k > 0 && self.top_k < all.len() {
            all.select_nth_unstable_by(self.top_k, order);
            all.truncate(self.top_k);
        }
        if self.top_p < 1.0 {
            let wanted = self.top_p * all.iter().map(|(x, _)| weight(*x)).sum::<f64>();
            let count = nucleus(&mut all, wanted, weight);
            all.truncate(count);
        }
        all.sort_unstable_by_key(|(_, id)| *id);
        let total: f64 = all.iter().map(|(x, _)| weight(*x)).sum();
        let word = philox([token, self.sample_number, 0, Stream::Sampling as u32], seed_key(self.seed))[0];
        let mut left = (f64::from(word) + 0.5) / 4_294_967_296.0 * total;
        for (x, id) in &all {
            left -= weight(*x);
            if left < 0.0 {
                return Ok(*id);
            }
        }
        Ok(best)
    }
}

/// Moves the largest logits to the front, as few as together reach the weight `wanted`, and returns their number. Sorts only a
/// part that doubles: a vocabulary is long, but few tokens are likely.
fn nucleus(all: &mut [Candidate], wanted: f64, weight: impl Fn(f32) -> f64) -> usize {
    let (mut sorted, mut sum) = (0, 0.0);
    while sorted < all.len() {
        let rest = &mut all[sorted..];
        let part = (2 * sorted).max(64).min(rest.len());
        if part < rest.len() {
            rest.select_nth_unstable_by(part, order);
        }
        rest[..part].sort_unstable_by(order);
        for (x, _) in &rest[..part] {
            sum += weight(*x);
            sorted += 1;
            if sum >= wanted {
                return sorted;
            }
        }
    }
    sorted
}

/// Where a text ends, and which tokens it may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplingLimits {
    /// Most tokens of prompt and continuation together; the model's P positions also end a text.
    pub max_length: usize,
    /// Ids below this may be drawn: the tokenizer's number of ids, which may be smaller than the model's.
    pub vocab_size: usize,
}

/// Continues a prompt in all of the generator's samples, up to the limits.
///
/// `each` takes the number of a sample, from 0, and its new token; the sample ends when it returns `false`.
///
/// # Errors
/// [`Error::Value`] for a prompt without a token or past the limits; [`Error::NotFinite`]; [`Error::Device`]; errors of
/// `each`.
pub fn sample(
    generator: &mut Generator,
    prompt: &[u32],
    limits: SamplingLimits,
    sampling: Sampling,
    each: &mut dyn FnMut(usize, u32) -> Result<bool>,
) -> Result<()> {
    generator.device().clone().block_on(sample_async(generator, prompt, limits, sampling, each))
}

/// As [`sample`], as a future that never blocks: it completes after the caller has polled the device once for each token or
/// more.
///
/// # Errors
/// As [`sample`].
pub async fn sample_async(
    generator: &mut Generator,
    prompt: &[u32],
    limits: SamplingLimits,
    sampling: Sampling,
    mut each: impl FnMut(usize, u32) -> Result<bool>,
) -> Result<()> {
    let Some(mut texts) = Continuations::new(generator, prompt, limits, sampling)? else { return Ok(()) };
    let mut logits = generator.start_async(prompt).await?;
    while texts.draw(&logits, &mut each)? {
        logits = generator.next_async(&texts.last).await?;
    }
    Ok(())
}

/// The samples of a prompt while they are drawn.
struct Continuations {
    sampling: Sampling,
    /// Ids that the model has, and of them those that may be drawn.
    vocab_size: usize,
    allowed: usize,
    /// Tokens of each sample so far, and when it has its last.
    length: usize,
    max_length: usize,
    /// The last token of each sample.
    last: Vec<u32>,
    unfinished: Vec<bool>,
}

impl Continuations {
    /// `None` for a prompt that nothing may follow.
    fn new(generator: &Generator, prompt: &[u32], limits: SamplingLimits, sampling: Sampling) -> Result<Option<Self>> {
        let config = generator.config();
        let max_length = limits.max_length.min(config.n_positions);
        let length = prompt.len();
        if length == 0 || length > max_length {
            return Err(Error::value("tokens of the prompt", length, format!("must be 1 to {max_length}")));
        }
        let (vocab_size, samples) = (config.vocab_size, generator.samples());
        Ok((length < max_length).then(|| Continuations {
            sampling,
            vocab_size,
            allowed: limits.vocab_size.min(vocab_size),
            length,
            max_length,
            last: vec![prompt[0]; samples],
            unfinished: vec![true; samples],
        }))
    }

    /// Draws the next token of each unfinished sample. Returns whether more tokens follow.
    fn draw(&mut self, logits: &[f32], each: &mut dyn FnMut(usize, u32) -> Result<bool>) -> Result<bool> {
        let texts = self.last.iter_mut().zip(&mut self.unfinished).zip(logits.chunks_exact(self.vocab_size));
        for (i, ((last, unfinished), logits)) in texts.enumerate().filter(|(_, ((_, unfinished), _))| **unfinished) {
            let own = Sampling { sample_number: self.sampling.sample_number + i as u32, ..self.sampling };
            *last = own.choose(&logits[..self.allowed], self.length as u32)?;
            *unfinished = each(i, *last)?;
        }
        self.length += 1;
        Ok(self.length < self.max_length && self.unfinished.contains(&true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WARM: Sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, seed: 1, sample_number: 0 };

    /// How often each id is drawn.
    fn counts(sampling: Sampling, logits: &[f32]) -> Vec<u32> {
        let mut counts = vec![0; logits.len()];
        for token in 0..4000 {
            counts[sampling.choose(logits, token).expect("token") as usize] += 1;
        }
        counts
    }

    fn near(count: u32, share: f64) -> bool {
        (f64::from(count) / 4000.0 - share).abs() < 0.03
    }

    #[test]
    fn draws_follow_the_logits() {
        let cold = Sampling { temperature: 0.0, ..WARM };
        assert_eq!(cold.choose(&[1.0, 3.0, 3.0, f32::NAN], 5).expect("token"), 1);
        assert_eq!(cold.choose(&[-0.0, 0.0], 5).expect("token"), 0);
        assert!(cold.choose(&[f32::NAN], 5).is_err() && cold.choose(&[], 5).is_err());
        let logits = [0.0, 1.0f32, -1e4, f32::NEG_INFINITY];
        let drawn = counts(WARM, &logits);
        assert!(near(drawn[1], 0.731) && drawn[2] == 0 && drawn[3] == 0, "{drawn:?}");
        let drawn = counts(Sampling { temperature: 0.5, ..WARM }, &logits);
        assert!(near(drawn[1], 0.881), "{drawn:?}");
        assert_eq!(WARM.choose(&logits, 7).expect("token"), WARM.choose(&logits, 7).expect("token"));
        assert_ne!(counts(WARM, &logits), counts(Sampling { sample_number: 1, ..WARM }, &logits));
        assert_ne!(counts(WARM, &logits), counts(Sampling { seed: 2, ..WARM }, &logits));
    }

    #[test]
    fn top_k_and_top_p_cut_in_their_order() {
        // Probabilities 0.4, 0.2, 0.2, 0.1, 0.1.
        let logits = [0.1f32, 0.4, 0.2, 0.1, 0.2].map(f32::ln);
        let drawn = counts(Sampling { top_k: 2, ..WARM }, &logits);
        assert!(near(drawn[1], 2.0 / 3.0) && near(drawn[2], 1.0 / 3.0), "of equal ones the lowest id: {drawn:?}");
        let drawn = counts(Sampling { top_p: 0.59, ..WARM }, &logits);
        assert!(near(drawn[1], 2.0 / 3.0) && near(drawn[2], 1.0 / 3.0), "{drawn:?}");
        let drawn = counts(Sampling { top_p: 0.61, ..WARM }, &logits);
        assert!(near(drawn[1], 0.5) && near(drawn[4], 0.25), "{drawn:?}");
        // Of the three that top-k leaves, 0.5 0.25 0.25, two reach 0.7; of all five it would take three.
        let drawn = counts(Sampling { top_k: 3, top_p: 0.7, ..WARM }, &logits);
        assert!(near(drawn[1], 2.0 / 3.0) && drawn[4] == 0, "{drawn:?}");
        // Temperature comes first: at ½ the largest alone has 0.615.
        let drawn = counts(Sampling { temperature: 0.5, top_p: 0.6, ..WARM }, &logits);
        assert_eq!(drawn[1], 4000);
        let one = Sampling { top_p: 1e-9, ..WARM };
        assert_eq!(counts(one, &logits)[1], 4000, "the most probable always stays");
        for all in [Sampling { top_k: 5, ..WARM }, Sampling { top_k: 99, top_p: 1.0 - 1e-12, ..WARM }] {
            assert_eq!(counts(all, &logits), counts(WARM, &logits));
        }
    }

    #[test]
    fn a_long_vocabulary_is_cut_as_if_it_were_sorted() {
        let logits: Vec<f32> = (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32 / 1000.0).collect();
        let mut sorted: Vec<Candidate> = logits.iter().copied().zip(0..).collect();
        sorted.sort_by(order);
        let weight = |x: f32| f64::from(x).exp();
        let total: f64 = logits.iter().map(|x| weight(*x)).sum();
        for share in [1e-6, 0.02, 0.3, 0.9, 0.9999] {
            let mut all: Vec<Candidate> = logits.iter().copied().zip(0..).collect();
            let count = nucleus(&mut all, share * total, weight);
            let (mut sum, mut expected) = (0.0, 0);
            while sum < share * total {
                sum += weight(sorted[expected].0);
                expected += 1;
            }
            assert_eq!((count, &all[..count]), (expected, &sorted[..expected]), "{share}");
        }
    }
}
