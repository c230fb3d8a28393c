//! The whole decoder in f64, forward and backward, built from the oracles of its ops.
//!
//! h₀ = dropout(embedding); block: n = LN1(x + dropout(attn(x))), y = LN2(n + dropout(mlp(n))); logits = h·Eᵀ with the
//! token table E (tied, no bias); loss = mean over the targets, 0 without targets. The gradient of E is the
//! sum of those of the embedding and of the head.
//! ids, positions, targets \[n\]; cu_seqlens \[B+1\]; parameters and gradients in the order of `ModelConfig::parameters`.
//! Source: Radford et al. 2018; docs/spec.md sections 1 and 5.

use crate::config::{AttentionKind, KvScale, LayerTensor as Of, ModelConfig};
use crate::philox::{Site, place};

use super::attention::Qkv;
use super::matmul::{Form, add_bias, bias_gradient, matmul};
use super::{attention, cross_entropy, dropout, embedding, gelu, kv_compress, layer_norm};

/// Dropout of one step; the rates are the config's.
#[derive(Clone, Copy, Debug)]
pub struct Dropout<'a> {
    /// The step key.
    pub key: [u32; 2],
    /// Each sequence's number in the whole step, \[B\].
    pub sequence_numbers: &'a [u32],
}

/// Results of a forward and backward pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Mean over the targets; 0 without targets.
    pub loss: f64,
    /// Each row's loss, \[n\]; 0 where ignored.
    pub per_row_losses: Vec<f64>,
    /// \[n,V\].
    pub logits: Vec<f64>,
    /// The embedding (dropped), then each block's output: L+1 of \[n,C\].
    pub hidden: Vec<Vec<f64>>,
    /// One for each parameter, in their order.
    pub gradients: Vec<Vec<f64>>,
}

/// The indices of the two tables among the parameters.
const TOKENS: usize = 0;
const POSITIONS: usize = 1;

/// A layer among tensors in the order of `ModelConfig::parameters`: parameters, or gradients.
#[derive(Clone, Copy)]
struct Layer<'a> {
    config: &'a ModelConfig,
    tensors: &'a [Vec<f64>],
    layer: usize,
}

impl<'a> Layer<'a> {
    fn has(self, of: Of) -> Option<&'a [f64]> {
        self.config.index(self.layer, of).map(|i| self.tensors[i].as_slice())
    }

    fn get(self, of: Of) -> &'a [f64] {
        self.has(of).unwrap_or_else(|| panic!("layer {} has no tensor {}", self.layer, of.name()))
    }

    fn pair(self, of: [Of; 2]) -> (&'a [f64], &'a [f64]) {
        (self.get(of[0]), self.get(of[1]))
    }
}

const C_ATTN: [Of; 2] = [Of::CAttn, Of::CAttnBias];
const C_PROJ: [Of; 2] = [Of::CProj, Of::CProjBias];
const LN_1: [Of; 2] = [Of::Ln1Gain, Of::Ln1Bias];
const C_FC: [Of; 2] = [Of::CFc, Of::CFcBias];
const MLP_PROJ: [Of; 2] = [Of::MlpProj, Of::MlpProjBias];
const LN_2: [Of; 2] = [Of::Ln2Gain, Of::Ln2Bias];

/// Activations that a block's backward pass needs.
struct Kept {
    x: Vec<f64>,
    /// q, k and v of every token.
    qkv: Qkv<Vec<f64>>,
    /// Keys and values that queries see: those of every token, or compressed.
    kv: [Vec<f64>; 2],
    attention: attention::Forward,
    ln_1: layer_norm::Forward,
    pre_activation: Vec<f64>,
    activation: Vec<f64>,
    ln_2: layer_norm::Forward,
}

/// The batch and the model's configuration, which all parts of a pass read.
struct Pass<'a> {
    config: &'a ModelConfig,
    positions: &'a [u32],
    cu_seqlens: &'a [u32],
    dropout: Option<Dropout<'a>>,
    /// The sequence number of each row; empty without dropout.
    row_sequences: Vec<u32>,
}

/// x·W + b, W \[k,n\].
fn linear(x: &[f64], (w, b): (&[f64], &[f64])) -> Vec<f64> {
    let n = b.len();
    let k = w.len() / n;
    add_bias(&matmul(Form::AB, x, w, x.len() / k, n, k), b)
}

/// The gradients (dx, dW, db) of y = x·W + b.
fn linear_backward(dy: &[f64], x: &[f64], (w, b): (&[f64], &[f64])) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let n = b.len();
    let k = w.len() / n;
    let rows = x.len() / k;
    (matmul(Form::ABt, dy, w, rows, k, n), matmul(Form::AtB, x, dy, k, n, rows), bias_gradient(dy, n))
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

impl Pass<'_> {
    /// Dropout at `site` of `layer`, forward and backward alike.
    fn drop(&self, x: Vec<f64>, layer: usize, site: Site) -> Vec<f64> {
        let rate = if site == Site::Embedding { self.config.embd_pdrop } else { self.config.resid_pdrop };
        match self.dropout {
            None => x,
            Some(d) => {
                let place = place(0, layer as u32, site);
                dropout::apply(&x, self.config.n_embd, self.positions, &self.row_sequences, d.key, place, rate)
            }
        }
    }

    fn attention_rules(&self, layer: usize) -> (attention::Rules<'_>, Option<attention::Dropout<'_>>) {
        let (c, heads) = (self.config.n_embd, self.config.n_head);
        let seen = match self.config.attention(layer) {
            AttentionKind::Full => attention::Seen::Full,
            AttentionKind::Local => attention::Seen::Local(self.config.local_block),
            AttentionKind::Compressed => attention::Seen::Compressed(self.config.kv_factor),
        };
        let width = self.config.attention(layer) == AttentionKind::Compressed && self.config.kv_scale == KvScale::Width;
        let scale = attention::head_scale(c, if width { 1 } else { heads });
        let rules = attention::Rules { c, heads, cu_seqlens: self.cu_seqlens, seen, scale };
        let dropout = self.dropout.map(|d| attention::Dropout {
            rate: self.config.attn_pdrop,
            key: d.key,
            layer: layer as u32,
            sequence_numbers: d.sequence_numbers,
        });
        (rules, dropout)
    }

    fn compress_rules(&self) -> kv_compress::Rules<'_> {
        kv_compress::Rules {
            c: self.config.n_embd,
            factor: self.config.kv_factor,
            group_width: self.config.kv_group_width(),
            cu_seqlens: self.cu_seqlens,
        }
    }

    /// Row numbers of compressed keys: of each sequence its null key, then its slots. `None` is null.
    fn slot_order(&self) -> Vec<Option<usize>> {
        let (mut order, mut slot) = (Vec::new(), 0);
        for border in self.cu_seqlens.windows(2) {
            order.push(None);
            for _ in 0..(border[1] - border[0]) as usize / self.config.kv_factor {
                order.push(Some(slot));
                slot += 1;
            }
        }
        order
    }

    /// The convolution's tensors and the null of keys (0) or values (1).
    fn compress_tensors(&self, part: usize) -> ([Of; 2], Of) {
        match (part, self.config.kv_shared) {
            (0, _) => ([Of::CompressK, Of::CompressKBias], Of::NullK),
            (_, true) => ([Of::CompressK, Of::CompressKBias], Of::NullV),
            (_, false) => ([Of::CompressV, Of::CompressVBias], Of::NullV),
        }
    }

    /// Keys or values as an M layer's queries see them.
    fn compress(&self, x: &[f64], part: usize, w: Layer) -> Vec<f64> {
        let c = self.config.n_embd;
        let (convolution, null) = self.compress_tensors(part);
        let (weight, bias) = w.pair(convolution);
        let slots = kv_compress::forward(x, weight, bias, &self.compress_rules());
        let zero = vec![0.0; c];
        let null = w.has(null).unwrap_or(&zero);
        let row = |slot: Option<usize>| slot.map_or(null, |s| &slots[s * c..(s + 1) * c]);
        self.slot_order().into_iter().flat_map(row).copied().collect()
    }

    /// The gradient of the uncompressed keys or values, from that of the compressed ones.
    fn compress_backward(&self, x: &[f64], dy: &[f64], part: usize, w: Layer, to: &mut [Vec<f64>]) -> Vec<f64> {
        let c = self.config.n_embd;
        let ([weight, bias], null) = self.compress_tensors(part);
        let (mut dslots, mut dnull) = (Vec::new(), vec![0.0; c]);
        for (slot, row) in self.slot_order().into_iter().zip(dy.chunks_exact(c)) {
            match slot {
                Some(_) => dslots.extend(row),
                None => add(&mut dnull, row),
            }
        }
        let back = kv_compress::backward(x, w.get(weight), &dslots, &self.compress_rules());
        for (of, gradient) in [(weight, &back.dweight), (bias, &back.dbias), (null, &dnull)] {
            if let Some(i) = self.config.index(w.layer, of) {
                add(&mut to[i], gradient);
            }
        }
        back.dx
    }

    fn block_forward(&self, x: Vec<f64>, layer: usize, w: Layer) -> Kept {
        let eps = f64::from(self.config.layer_norm_epsilon);
        let (rules, attention_dropout) = self.attention_rules(layer);
        let qkv = attention::split(&linear(&x, w.pair(C_ATTN)), self.config.n_embd);
        let kv = match rules.seen {
            attention::Seen::Compressed(_) => [self.compress(&qkv.k, 0, w), self.compress(&qkv.v, 1, w)],
            _ => [qkv.k.clone(), qkv.v.clone()],
        };
        let attention = attention::forward(Qkv { q: &qkv.q, k: &kv[0], v: &kv[1] }, &rules, attention_dropout.as_ref());
        let branch = self.drop(linear(&attention.y, w.pair(C_PROJ)), layer, Site::ResidualAttention);
        let (gain, bias) = w.pair(LN_1);
        let ln_1 = layer_norm::forward(&x, Some(&branch), gain, bias, eps);
        let pre_activation = linear(&ln_1.y, w.pair(C_FC));
        let activation = gelu::forward(&pre_activation);
        let branch = self.drop(linear(&activation, w.pair(MLP_PROJ)), layer, Site::ResidualMlp);
        let (gain, bias) = w.pair(LN_2);
        let ln_2 = layer_norm::forward(&ln_1.y, Some(&branch), gain, bias, eps);
        Kept { x, qkv, kv, attention, ln_1, pre_activation, activation, ln_2 }
    }

    /// Returns dx; adds the gradients of the layer's tensors to `to`, all tensors in their order.
    fn block_backward(&self, dy: &[f64], layer: usize, w: Layer, kept: &Kept, to: &mut [Vec<f64>]) -> Vec<f64> {
        let mut add_gradients = |of: [Of; 2], gradients: [&[f64]; 2]| {
            for (of, gradient) in of.into_iter().zip(gradients) {
                if let Some(i) = self.config.index(layer, of) {
                    add(&mut to[i], gradient);
                }
            }
        };
        let ln_2 = layer_norm::backward(dy, &kept.ln_2.sum, &kept.ln_2.mean, &kept.ln_2.rstd, w.get(Of::Ln2Gain));
        add_gradients(LN_2, [&ln_2.dgain, &ln_2.dbias]);
        let mut dn = ln_2.dx.clone();
        let dbranch = self.drop(ln_2.dx, layer, Site::ResidualMlp);
        let (dactivation, dw, db) = linear_backward(&dbranch, &kept.activation, w.pair(MLP_PROJ));
        add_gradients(MLP_PROJ, [&dw, &db]);
        let dpre_activation = gelu::backward(&dactivation, &kept.pre_activation);
        let (dmlp, dw, db) = linear_backward(&dpre_activation, &kept.ln_1.y, w.pair(C_FC));
        add_gradients(C_FC, [&dw, &db]);
        add(&mut dn, &dmlp);
        let ln_1 = layer_norm::backward(&dn, &kept.ln_1.sum, &kept.ln_1.mean, &kept.ln_1.rstd, w.get(Of::Ln1Gain));
        add_gradients(LN_1, [&ln_1.dgain, &ln_1.dbias]);
        let mut dx = ln_1.dx.clone();
        let dbranch = self.drop(ln_1.dx, layer, Site::ResidualAttention);
        let (dattention, dw, db) = linear_backward(&dbranch, &kept.attention.y, w.pair(C_PROJ));
        add_gradients(C_PROJ, [&dw, &db]);
        let (rules, attention_dropout) = self.attention_rules(layer);
        let seen = Qkv { q: kept.qkv.q.as_slice(), k: &kept.kv[0], v: &kept.kv[1] };
        let mut gradients = attention::backward(seen, &kept.attention, &dattention, &rules, attention_dropout.as_ref());
        if let attention::Seen::Compressed(_) = rules.seen {
            gradients.k = self.compress_backward(&kept.qkv.k, &gradients.k, 0, w, to);
            gradients.v = self.compress_backward(&kept.qkv.v, &gradients.v, 1, w, to);
        }
        let dqkv = attention::join(gradients.as_slices(), self.config.n_embd);
        let (dattn, dw, db) = linear_backward(&dqkv, &kept.x, w.pair(C_ATTN));
        for (of, gradient) in C_ATTN.into_iter().zip([dw, db]) {
            if let Some(i) = self.config.index(layer, of) {
                add(&mut to[i], &gradient);
            }
        }
        add(&mut dx, &dattn);
        dx
    }
}

/// One pass forward and backward over a packed batch.
pub fn forward_backward(
    config: &ModelConfig,
    parameters: &[Vec<f64>],
    ids: &[u32],
    positions: &[u32],
    targets: &[u32],
    cu_seqlens: &[u32],
    dropout: Option<Dropout>,
) -> Output {
    let (n, c, v) = (ids.len(), config.n_embd, config.vocab_size);
    let layer = |layer: usize| Layer { config, tensors: parameters, layer };
    let tokens_embed = &parameters[TOKENS];
    let row_sequences = dropout.map_or(Vec::new(), |d| dropout::rows_of_sequences(cu_seqlens, d.sequence_numbers));
    let pass = Pass { config, positions, cu_seqlens, dropout, row_sequences };

    let x = embedding::forward(ids, positions, tokens_embed, &parameters[POSITIONS], c);
    let mut hidden = vec![pass.drop(x, 0, Site::Embedding)];
    let mut blocks = Vec::with_capacity(config.n_layer);
    for l in 0..config.n_layer {
        let kept = pass.block_forward(hidden[l].clone(), l, layer(l));
        hidden.push(kept.ln_2.y.clone());
        blocks.push(kept);
    }
    let last = &hidden[config.n_layer];
    let logits = matmul(Form::ABt, last, tokens_embed, n, v, c);
    let count = cross_entropy::count(targets);
    let head = cross_entropy::cross_entropy(&logits, v, targets, count);

    let mut dx = matmul(Form::AB, &head.dlogits, tokens_embed, n, c, v);
    let mut gradients: Vec<Vec<f64>> = parameters.iter().map(|p| vec![0.0; p.len()]).collect();
    gradients[TOKENS] = matmul(Form::AtB, &head.dlogits, last, v, c, n);
    for (l, kept) in blocks.iter().enumerate().rev() {
        dx = pass.block_backward(&dx, l, layer(l), kept, &mut gradients);
    }
    let dx = pass.drop(dx, 0, Site::Embedding);
    let tables = embedding::backward(&dx, ids, positions, v, config.n_positions, c);
    add(&mut gradients[TOKENS], &tables.dtokens);
    add(&mut gradients[POSITIONS], &tables.dpositions);

    let loss = if count == 0 { 0.0 } else { head.loss_sum / count as f64 };
    Output { loss, per_row_losses: head.losses, logits, hidden, gradients }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gradient, dot, largest_difference, normal};
    use super::*;
    use crate::config::{KvGroups, KvNull, ParameterKind};
    use cross_entropy::IGNORED;

    /// Odd C and D, one full and one local layer, sequences of lengths 4, 0, 1, 6 and one that ignores a target.
    const IDS: [u32; 11] = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 0];
    const POSITIONS: [u32; 11] = [0, 1, 2, 3, 0, 0, 1, 2, 3, 4, 5];
    const TARGETS: [u32; 11] = [1, 4, 1, IGNORED, IGNORED, 2, IGNORED, 5, 3, 0, IGNORED];
    const BORDERS: [u32; 5] = [0, 4, 4, 5, 11];

    fn tiny(rate: f32) -> (ModelConfig, Vec<Vec<f64>>) {
        with(rate, |_| {})
    }

    fn with(rate: f32, change: impl FnOnce(&mut ModelConfig)) -> (ModelConfig, Vec<Vec<f64>>) {
        let mut config = ModelConfig {
            n_layer: 2,
            n_embd: 9,
            n_head: 3,
            n_positions: 7,
            vocab_size: 10,
            attention_pattern: "FL".into(),
            local_block: 2,
            ..Default::default()
        };
        config.set_dropout(rate);
        change(&mut config);
        let shapes = config.parameters();
        let parameters = shapes.iter().zip(1..).map(|(shape, seed)| {
            let mean = if shape.kind == ParameterKind::Gain { 1.0 } else { 0.0 };
            normal(shape.count(), seed).into_iter().map(|x| mean + 0.3 * x).collect()
        });
        let parameters = parameters.collect();
        (config, parameters)
    }

    fn dropout(rate: f32) -> Option<Dropout<'static>> {
        (rate > 0.0).then_some(Dropout { key: [11, 12], sequence_numbers: &[0, 5, 2, 3] })
    }

    fn run(config: &ModelConfig, parameters: &[Vec<f64>], rate: f32) -> Output {
        forward_backward(config, parameters, &IDS, &POSITIONS, &TARGETS, &BORDERS, dropout(rate))
    }

    /// Every tensor alone, then all of them along one direction.
    #[test]
    fn gradients_with_and_without_dropout() {
        let compressed = |kv_groups, kv_shared, kv_null, kv_scale| {
            move |c: &mut ModelConfig| {
                (c.attention_pattern, c.kv_factor) = ("LM".into(), 2);
                (c.kv_groups, c.kv_shared, c.kv_null, c.kv_scale) = (kv_groups, kv_shared, kv_null, kv_scale);
            }
        };
        for (rate, (config, parameters)) in [
            (0.0, tiny(0.0)),
            (0.2, tiny(0.2)),
            (0.2, with(0.2, compressed(KvGroups::One, false, KvNull::Learned, KvScale::Head))),
            (0.0, with(0.0, compressed(KvGroups::Head, true, KvNull::Learned, KvScale::Width))),
            (0.0, with(0.0, compressed(KvGroups::Channel, false, KvNull::Zero, KvScale::Head))),
        ] {
            let out = run(&config, &parameters, rate);
            for (k, shape) in config.parameters().iter().enumerate() {
                let f = |x: &[f64]| {
                    let mut moved = parameters.clone();
                    moved[k] = x.to_vec();
                    run(&config, &moved, rate).loss
                };
                if shape.name.ends_with("c_attn.bias") {
                    // The key bias's true gradient is zero: its noise has no relative error.
                    let keys = &out.gradients[k][config.n_embd..2 * config.n_embd];
                    let zero = rate == 0.0 && config.attention_pattern == "FL";
                    assert!(!zero || dot(keys, keys).sqrt() < 1e-15, "{}: key bias {keys:?}", shape.name);
                }
                check_gradient(&shape.name, &parameters[k], &out.gradients[k], f);
            }
            let f = |x: &[f64]| {
                let mut rest = x;
                let mut next = |p: &Vec<f64>| rest.split_off(..p.len()).expect("enough").to_vec();
                run(&config, &parameters.iter().map(&mut next).collect::<Vec<_>>(), rate).loss
            };
            check_gradient("all", &parameters.concat(), &out.gradients.concat(), f);
        }
    }

    #[test]
    fn a_sequence_alone_gives_its_rows_of_the_packed_batch() {
        let (config, parameters) = tiny(0.2);
        let packed = run(&config, &parameters, 0.2);
        let dropout = Some(Dropout { key: [11, 12], sequence_numbers: &[3] });
        let part = |x: &[u32]| x[5..].to_vec();
        let (ids, positions, targets) = (part(&IDS), part(&POSITIONS), part(&TARGETS));
        let alone = forward_backward(&config, &parameters, &ids, &positions, &targets, &[0, 6], dropout);
        assert_eq!(alone.hidden.len(), 3);
        assert!(largest_difference(&alone.logits, &packed.logits[50..]) < 1e-13);
        assert!(largest_difference(&alone.per_row_losses, &packed.per_row_losses[5..]) < 1e-13);
    }

    #[test]
    fn dropout_acts_at_each_of_its_sites() {
        let (plain, parameters) = tiny(0.0);
        let base = run(&plain, &parameters, 0.2);
        assert_eq!(base, run(&plain, &parameters, 0.0), "rate 0 with a key is no dropout");
        for change in [
            |c: &mut ModelConfig| c.embd_pdrop = 0.2,
            |c: &mut ModelConfig| c.attn_pdrop = 0.2,
            |c: &mut ModelConfig| c.resid_pdrop = 0.2,
        ] {
            let mut config = plain.clone();
            change(&mut config);
            assert_ne!(run(&config, &parameters, 0.2).loss, base.loss, "{config:?}");
        }
    }

    /// Projections whose output is 1 everywhere show the masks of both branches, of the spec's places.
    #[test]
    fn each_site_has_its_place() {
        let (config, mut parameters) = tiny(0.2);
        for (parameter, shape) in parameters.iter_mut().zip(config.parameters()) {
            if shape.name.contains("c_proj") {
                parameter.fill(if shape.kind == ParameterKind::Bias { 1.0 } else { 0.0 });
            }
        }
        let dropout = dropout(0.2);
        let sequences = dropout::rows_of_sequences(&BORDERS, &[0, 5, 2, 3]);
        let pass = Pass {
            config: &config,
            positions: &POSITIONS,
            cu_seqlens: &BORDERS,
            dropout,
            row_sequences: sequences.clone(),
        };
        let mask = |place| dropout::apply(&[1.0; 99], 9, &POSITIONS, &sequences, [11, 12], place, 0.2);
        for l in 0..2 {
            let w = Layer { config: &config, tensors: &parameters, layer: l };
            let kept = pass.block_forward(normal(99, 50), l, w);
            let branch = |sum: &[f64], x: &[f64]| sum.iter().zip(x).map(|(s, x)| s - x).collect::<Vec<_>>();
            let place = 8 * l as u32;
            assert!(largest_difference(&branch(&kept.ln_1.sum, &kept.x), &mask(place + 2)) < 1e-14);
            assert!(largest_difference(&branch(&kept.ln_2.sum, &kept.ln_1.y), &mask(place + 3)) < 1e-14);
            let (rules, attention_dropout) = pass.attention_rules(l);
            assert_eq!(rules.seen, [attention::Seen::Full, attention::Seen::Local(2)][l], "the pattern is FL");
            assert_eq!(attention_dropout.map(|d| d.layer), Some(l as u32));
        }
        let ones = pass.drop(vec![1.0; 99], 0, Site::Embedding);
        assert_eq!(ones, mask(0));
        let tables = embedding::forward(&IDS, &POSITIONS, &parameters[TOKENS], &parameters[super::POSITIONS], 9);
        let dropped: Vec<f64> = tables.iter().zip(&ones).map(|(x, m)| x * m).collect();
        assert!(largest_difference(&run(&config, &parameters, 0.2).hidden[0], &dropped) < 1e-14);
    }

    #[test]
    fn without_targets_loss_and_gradients_are_zero() {
        let (config, parameters) = tiny(0.0);
        let out = forward_backward(&config, &parameters, &IDS, &POSITIONS, &[IGNORED; 11], &BORDERS, None);
        assert_eq!(out.loss, 0.0);
        assert!(out.gradients.iter().flatten().all(|g| *g == 0.0));
        let empty = forward_backward(&config, &parameters, &[], &[], &[], &[0, 0], None);
        assert!(empty.loss == 0.0 && empty.gradients.iter().flatten().all(|g| *g == 0.0));
    }
}
