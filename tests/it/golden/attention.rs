//! Cases g and h: local attention and packed attention.

use super::case::Case;
use super::rows::{beside, columns, matrix, swap_middle};
use crate::common::models::blank_batch;
use crate::common::tensors::layout;
use wgpt::config::AttentionKind;
use wgpt::gpu::{Device, Recorder, View};
use wgpt::ops::attention::{self, Attention, Gradients, KeyValues};
use wgpt::reference::widen;

/// Attention on [q, k, v] in rows: [y, dq, dk, dv].
fn attend(
    device: &Device,
    spec: attention::Spec,
    lengths: &[usize],
    heads: usize,
    block: Option<usize>,
    [q, k, v, dy]: [&[f64]; 4],
) -> [Vec<f64>; 4] {
    let batch = blank_batch(lengths);
    let (n, c) = (batch.rows(), q.len() / batch.rows());
    let (layout, values) = layout(device, &batch, block, None);
    let (qkv, dqkv) = (matrix(device, n, 3 * c, &beside(&[q, k, v], c)), matrix(device, n, 3 * c, &[]));
    let (y, dy) = (matrix(device, n, c, &[]), matrix(device, n, c, dy));
    let [lse, delta] = ["lse", "delta"].map(|name| View::new(device, name, n * heads).expect("a view"));
    let call = Attention {
        kind: if block.is_some() { AttentionKind::Local } else { AttentionKind::Full },
        heads,
        queries: &qkv,
        kv: KeyValues::beside(&qkv),
        y: &y,
        log_sum_exp: &lse,
        layout: &layout,
        scale: attention::head_scale(c, heads),
        rate: 0.0,
        layer: 0,
    };
    let mut rec = Recorder::new(device, layout.values_at_capacity());
    attention::forward(&mut rec, spec, &call).expect("forward");
    let to = Gradients { dy: &dy, delta: &delta, dq: &dqkv, dkv: &dqkv };
    attention::backward(&mut rec, spec, &call, &to).expect("backward");
    rec.finish().run(&values).expect("a run");
    let dqkv = widen(&dqkv.read(device).expect("dqkv"));
    let [dq, dk, dv] = [0, 1, 2].map(|i| columns(&dqkv, 3 * c, i * c, c));
    [widen(&y.read(device).expect("y")), dq, dk, dv]
}

/// The largest error of [y, dq, dk, dv] against the stored ones.
fn judge_attention(case: &Case, got: &[Vec<f64>; 4], back: impl Fn(&[f64]) -> Vec<f64>) -> f64 {
    let names = ["out.y", "grad_in.q", "grad_in.k", "grad_in.v"];
    names.iter().zip(got).map(|(name, got)| case.judge(name, &back(got), |_| true)).fold(0.0, f64::max)
}

/// Local attention with every Spec that this adapter can run.
pub fn local(device: &Device, case: &Case) -> f64 {
    let (b, h, t, d) = match case.shape("in.q") {
        [b, h, t, d] => (*b, *h, *t, *d),
        other => panic!("q is {other:?}"),
    };
    let rows = ["in.q", "in.k", "in.v", "in.dy"].map(|name| swap_middle(case.values(name), [b, h, t]));
    let block = Some(case.number("block") as usize);
    let judge = |spec| {
        let got = attend(device, spec, &vec![t; b], h, block, [&rows[0], &rows[1], &rows[2], &rows[3]]);
        judge_attention(case, &got, |x| swap_middle(x, [b, t, h]))
    };
    attention::specs(device.caps(), d).into_iter().map(judge).fold(0.0, f64::max)
}

/// Packed attention with every Spec that this adapter can run.
pub fn packed(device: &Device, case: &Case) -> f64 {
    let (h, d) = (case.number("heads") as usize, case.number("head_dim") as usize);
    let lengths: Vec<usize> =
        case.values("in.cu_seqlens").windows(2).map(|border| (border[1] - border[0]) as usize).collect();
    let rows = ["in.q", "in.k", "in.v", "in.dy"].map(|name| case.values(name));
    let judge = |spec| judge_attention(case, &attend(device, spec, &lengths, h, None, rows), <[f64]>::to_vec);
    attention::specs(device.caps(), d).into_iter().map(judge).fold(0.0, f64::max)
}
