//! Cases i: greedy generation.

use super::case::{Case, model};
use wgpt::gpu::Device;
use wgpt::model::{Generator, Sampling};
use wgpt::reference::widen;

/// Greedy generation: the ids, and the logits of each step.
pub fn generation(device: &Device, case: &Case) -> f64 {
    let (config, weights) = model(case);
    let mut generator = Generator::new(device, &config, &weights, 1).expect("a recording");
    let (prompts, sequences) = (case.shape("in.prompt").to_vec(), case.shape("in.sequences").to_vec());
    let (mut all, mut wrong) = (Vec::new(), 0);
    for row in case.values("in.sequences").chunks_exact(sequences[1]) {
        let ids: Vec<u32> = row.iter().map(|x| *x as u32).collect();
        let mut logits = generator.start(&ids[..prompts[1]]).expect("a prompt");
        for (token, id) in ids.iter().enumerate().skip(prompts[1]) {
            let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
            let own = greedy.choose(&logits, token as u32).expect("a token");
            wrong += usize::from(own != *id);
            all.extend(widen(&logits));
            if token + 1 < ids.len() {
                logits = generator.next(&[own]).expect("a token");
            }
        }
    }
    if wrong > 0 { f64::INFINITY } else { case.judge("out.logits", &all, |_| true) }
}
