//! Warnings about settings that are allowed but have no effect, or not the one that was probably intended.

use super::keys::KEYS;
use super::run::{Length, Settings};
use super::stage::Stage;
use crate::config::AttentionKind;
#[cfg(feature = "tokenizers")]
use crate::data::tokenizer::Tokenizer;

impl Settings {
    /// Warnings about a run of `steps` steps.
    pub fn warnings(&self, steps: u32) -> Vec<String> {
        let without_effect =
            self.without_effect().into_iter().map(|(name, why)| format!("{name} has no effect: {why}"));
        let idle = self.ranks_without_work().into_iter();
        self.short_schedule(steps).into_iter().chain(idle).chain(without_effect).collect()
    }

    /// Sets `pretokenizer` to that of the run's tokenizer. A warning if another one was set.
    #[cfg(feature = "tokenizers")]
    pub(in crate::train) fn use_tokenizer(&mut self, tokenizer: &Tokenizer) -> Option<String> {
        let (was, is) = (self.pretokenizer, tokenizer.pretokenizer());
        self.pretokenizer = is;
        let is_set = was != is && was != Settings::default().pretokenizer;
        is_set.then(|| format!("pretokenizer = {was} has no effect: the run's tokenizer splits text as {is}"))
    }

    /// A warning about ranks for which a step has no sequence.
    fn ranks_without_work(&self) -> Option<String> {
        let (ranks, batch) = (self.ranks(), self.batch);
        let is_idle = self.batch_tokens.is_none() && !self.measures_batch && batch < ranks;
        is_idle.then(|| format!("batch = {batch}: {} of ranks = {ranks} have nothing to do", ranks - batch))
    }

    /// A warning about a warm-up that leaves no step for the schedule.
    fn short_schedule(&self, steps: u32) -> Option<String> {
        let (warmup, lr) = (self.warmup_steps(steps), self.lr);
        if warmup > steps {
            let largest = self.schedule(steps).rate(steps.saturating_sub(1));
            return Some(format!(
                "warmup = {warmup} is not below steps = {steps}: the learning rate never reaches lr = {lr}, at most {largest:.3e}"
            ));
        }
        (warmup == steps).then(|| {
            format!(
                "warmup = {warmup} is not below steps = {steps}: the learning rate reaches lr = {lr} only in the last step, and \
                 the schedule after the warm-up has no effect"
            )
        })
    }

    /// Keys whose value differs from the preset's but is not used, and why.
    fn without_effect(&self) -> Vec<(&'static str, String)> {
        let preset = Settings::for_stage(self.stage, &self.preset).unwrap_or_default();
        let is_set = |name: &str| {
            let key = KEYS.iter().find(|key| key.name == name);
            key.is_some_and(|key| (key.get)(self) != (key.get)(&preset))
        };
        let mut all = Vec::new();
        let (pattern, layers) = (&self.model.attention_pattern, self.model.n_layer);
        let mut of_layers = |kind: AttentionKind, letter: char, names: &[&'static str]| {
            if !self.model.has(kind) {
                let why = format!("attention_pattern = {pattern:?} gives none of {layers} layers the kind {letter}");
                all.extend(names.iter().filter(|name| is_set(name)).map(|name| (*name, why.clone())));
            }
        };
        of_layers(AttentionKind::Local, 'L', &["local_block"]);
        of_layers(AttentionKind::Compressed, 'M', &["kv_factor", "kv_groups", "kv_shared", "kv_null", "kv_scale"]);
        let (positions, block, factor) = (self.model.n_positions, self.model.local_block, self.model.kv_factor);
        if self.model.has(AttentionKind::Local) && is_set("local_block") && block >= positions {
            all.push((
                "local_block",
                format!("{block} is not below n_positions = {positions}: L layers have full attention"),
            ));
        }
        if self.model.has(AttentionKind::Compressed) && is_set("kv_factor") && factor > positions {
            all.push(("kv_factor", format!("{factor} is above n_positions = {positions}: nothing is compressed")));
        }
        if let (Some(tokens), true) = (self.batch_tokens, is_set("batch")) {
            all.push(("batch", format!("batch_tokens = {tokens} replaces it")));
        }
        if self.stage == Stage::FineTuning {
            if let (Some(model), true) = (&self.task.model, self.preset != Settings::default().preset) {
                all.push(("preset", format!("the model is {}", model.display())));
            }
            if let (patience @ 1.., Length::Epochs(epochs)) = (self.task.patience, self.length)
                && patience.saturating_add(1) >= epochs
            {
                all.push((
                    "patience",
                    format!("with epochs = {epochs}, the run ends before {patience} epochs are in vain"),
                ));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::layers::Layers;
    use super::*;

    fn warnings(stage: Stage, set: &[&str], steps: u32) -> Vec<String> {
        let mut layers = Layers::for_stage(stage);
        set.iter().for_each(|set| layers.set(set).expect("key=value"));
        layers.settings().expect("settings").warnings(steps)
    }

    #[test]
    fn a_warm_up_of_all_steps_is_described_as_it_is() {
        let one = |warmup: &str| warnings(Stage::Pretraining, &["lr=0.002", warmup], 5).join("\n");
        assert_eq!(one("warmup=4"), "");
        let all = one("warmup=5");
        assert!(all.contains("is not below steps = 5") && all.contains("only in the last step"), "{all}");
        let more = one("warmup=10");
        assert!(more.contains("never reaches lr = 0.002, at most 1.000e-3"), "{more}");
    }

    #[test]
    fn keys_without_effect_are_named() {
        let named = |stage, set: &[&str], name: &str| {
            let all = warnings(stage, set, 1000);
            assert!(all.len() == 1 && all[0].starts_with(&format!("{name} has no effect: ")), "{set:?}: {all:?}");
        };
        for stage in [Stage::Pretraining, Stage::FineTuning] {
            named(stage, &["local_block=64"], "local_block");
            named(stage, &["kv_factor=4"], "kv_factor");
            named(stage, &["kv_shared=true", "attention_pattern=FL"], "kv_shared");
            named(stage, &["n_positions=32", "local_block=64", "attention_pattern=L"], "local_block");
            named(stage, &["n_positions=32", "kv_factor=64", "attention_pattern=M"], "kv_factor");
            named(stage, &["local_block=64", "attention_pattern=FFFFL"], "local_block");
            assert_eq!(warnings(stage, &["local_block=64", "attention_pattern=LM", "kv_factor=2"], 1000), [""; 0]);
        }
        named(Stage::Pretraining, &["batch=4", "batch_tokens=512"], "batch");
        assert_eq!(warnings(Stage::Pretraining, &["batch_tokens=512"], 1000), [""; 0]);
        named(Stage::FineTuning, &["patience=2", "epochs=3"], "patience");
        assert_eq!(warnings(Stage::FineTuning, &["patience=2", "epochs=4"], 1000), [""; 0]);
    }
}
