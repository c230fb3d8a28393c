//! Settings from several sources: the preset, a file, `--set`, and options. Later sources override earlier ones.

use super::key::{Group, Key};
use super::run::{Settings, no_preset};
use super::stage::Stage;
use super::task::TaskSettings;
use super::value::{Range, RawValue, Setting};
use crate::config::ModelConfig;
use crate::data::read_file::{read_named_text_bytes, utf8};
use crate::data::tokenizer::Tokenizer;
use crate::error::{InvalidValue, Origin};
use crate::store::model_folder::{load_config, resolve};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Keys of the model's group that may be set together with `init`, whatever its config.json has.
const FREE_WITH_INIT: [&str; 7] =
    ["preset", "init", "dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "summary_first_dropout"];

/// A key with its value and its source.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key's name.
    pub key: String,
    /// The value, not parsed yet.
    pub value: RawValue,
    /// Where the value was set.
    pub origin: Origin,
}

/// All values that were set, in order. [`Layers::settings`] applies them to the preset.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    entries: Vec<Entry>,
    stage: Stage,
}

impl Layers {
    /// No values, for pretraining.
    pub fn new() -> Self {
        Layers::default()
    }

    /// No values, for a stage.
    pub fn for_stage(stage: Stage) -> Self {
        Layers { stage, ..Layers::default() }
    }

    /// Adds a value.
    pub fn push(&mut self, key: impl Into<String>, value: RawValue, origin: Origin) {
        self.entries.push(Entry { key: key.into(), value, origin });
    }

    /// Adds the keys of a TOML file.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read, is not UTF-8, or is not TOML without tables.
    pub fn file(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let text = utf8(path, read_named_text_bytes(path)?)?;
        self.toml(&path.display().to_string(), &text)
    }

    /// Adds the keys of a TOML text. Errors name `name` as its file.
    ///
    /// # Errors
    /// [`Error::File`] with the line, when it is not TOML without tables.
    pub fn toml(&mut self, name: &str, text: &str) -> Result<()> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
            let start = e.span().map_or(0, |s| s.start).min(text.len());
            let line = 1 + text.as_bytes()[..start].iter().filter(|b| **b == b'\n').count();
            let mut message = e.message().trim().replace('\n', ", ");
            if let ("duplicate key", Some(key)) = (message.as_str(), e.span().and_then(|span| text.get(span))) {
                message = format!("the key `{}` is given twice", key.trim());
            }
            Error::file(name, message).at(format!("line {line}"))
        })?;
        for (key, value) in table {
            if value.is_table() {
                let error = Error::file(name, "is a table").at(format!("[{key}]"));
                return Err(error.expected("keys must be outside of tables"));
            }
            self.push(key, RawValue::Toml(value), Origin::File(name.into()));
        }
        Ok(())
    }

    /// Adds the `key=value` of an option `--set`.
    ///
    /// # Errors
    /// [`Error::Value`] without `=`.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let invalid = || {
            let (name, found) = ("set".to_string(), Some(assignment.to_string()));
            let expected = Some("expected key=value, as in --set lr=0.001".to_string());
            Error::Value(InvalidValue { name, origin: Origin::Option, found, expected })
        };
        let (key, value) = assignment.split_once('=').ok_or_else(invalid)?;
        self.push(key.trim(), RawValue::Text(value.trim().into()), Origin::Set);
        Ok(())
    }

    /// These values, followed by others, which override them where the source is the same.
    pub fn overridden_by(mut self, others: Layers) -> Layers {
        self.entries.extend(others.entries);
        self
    }

    /// Whether `--set` or an option gives a key.
    pub fn is_on_command_line(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key && !matches!(entry.origin, Origin::File(_)))
    }

    /// Adds the value of the option that has the key's name.
    pub fn option(&mut self, key: &str, value: impl Into<String>) {
        self.push(key, RawValue::Text(value.into()), Origin::Option);
    }

    /// The validated settings. Files override the preset, `--set` overrides files, options override `--set`; within one
    /// source the last value of a key counts. When `init` names a model, its config.json gives the model's configuration, of
    /// which only dropout may be set differently. When `tokenizer` is set and `vocab_size` is not, `vocab_size` is the number
    /// of ids of the tokenizer.
    ///
    /// # Errors
    /// [`Error::Value`] with the key, its source, its value and the expected value; [`Error::File`] for a model or tokenizer
    /// that cannot be read.
    pub fn settings(&self) -> Result<Settings> {
        let path = |entry: &Entry| PathBuf::read(&entry.value).map_err(|why| entry.error(&why));
        let init = self
            .entries
            .iter()
            .filter(|entry| entry.key == self.stage.model_key())
            .max_by_key(|entry| entry.precedence());
        self.with_model(match init {
            // A fine-tuned model is used without its head.
            Some(entry) => Some(ModelConfig { task: None, ..load_config(&resolve(&path(entry)?)?)? }),
            None => None,
        })
    }

    /// [`Layers::settings`] of a run's own config.toml, which has the model's whole configuration: the model that `init`
    /// names, the source of the initial weights, is not read.
    pub fn run_settings(&self) -> Result<Settings> {
        self.with_model(None)
    }

    /// Only the settings of fine-tuning, for a command that does not train.
    ///
    /// # Errors
    /// As [`Layers::settings`].
    pub fn task_settings(&self) -> Result<TaskSettings> {
        let is_not_model = |entry: &&Entry| entry.key != self.stage.model_key();
        let entries = self.entries.iter().filter(is_not_model).cloned().collect();
        Ok(Layers { entries, stage: Stage::FineTuning }.with_model(None)?.task)
    }

    fn with_model(&self, model: Option<ModelConfig>) -> Result<Settings> {
        let mut sorted = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let (index, key) = self.stage.find(&entry.key).map_err(|why| entry.error(&why))?;
            sorted.push((entry.precedence(), index, key, entry));
        }
        // By source, then in the order of the table: `dropout` comes before the four keys that it sets. The sort is stable: the
        // last value of a key counts.
        sorted.sort_by_key(|(rank, index, ..)| (*rank, *index));
        self.check_lengths(&sorted)?;

        let mut settings = Settings::for_stage(self.stage, &Settings::default().preset)?;
        for (_, _, key, entry) in &sorted {
            if key.name == "preset" {
                let name = String::read(&entry.value).map_err(|why| entry.error(&why))?;
                settings = Settings::for_stage(self.stage, &name).map_err(|_| entry.error(&no_preset()))?;
            }
        }
        if let Some(model) = &model {
            settings.model = model.clone();
        }
        let is_ignored = |key: &Key, entry: &Entry| {
            self.stage == Stage::FineTuning
                && key.name == "summary_first_dropout"
                && !matches!(entry.origin, Origin::File(_))
        };
        if let Some((.., entry)) = sorted.iter().find(|(_, _, key, entry)| is_ignored(key, entry)) {
            return Err(entry.error("has no effect in fine-tuning: set classifier_dropout"));
        }
        let model_settings = settings.clone();
        for (_, _, key, entry) in &sorted {
            if key.name != "preset" {
                apply(&mut settings, key, &entry.value).map_err(|why| entry.error(&why))?;
            }
        }
        let fixed = |key: &Key| key.group == Group::Model && !FREE_WITH_INIT.contains(&key.name);
        // The value that counts is the last one of a key.
        let is_last = |i: usize| sorted[i + 1..].iter().all(|(_, _, key, _)| key.name != sorted[i].2.name);
        let of_model = sorted.iter().enumerate().filter(|(_, (_, _, key, _))| model.is_some() && fixed(key));
        for (_, (_, _, key, entry)) in of_model.filter(|(i, _)| is_last(*i)) {
            if let Some(value) = (key.get)(&model_settings).filter(|value| Some(value) != (key.get)(&settings).as_ref())
            {
                return Err(
                    entry.error(&format!("must be {value}, as in the model that {} names", self.stage.model_key()))
                );
            }
        }
        if let Some(path) = &settings.tokenizer
            && model.is_none()
            && sorted.iter().all(|(_, _, key, _)| key.name != "vocab_size")
        {
            settings.model.vocab_size = Tokenizer::open(path)?.vocab_size();
        }
        settings.validate()?;
        Ok(settings)
    }

    fn check_lengths(&self, sorted: &[(usize, usize, &'static Key, &Entry)]) -> Result<()> {
        let entries_of = |name: &str| {
            sorted
                .iter()
                .filter(|(_, _, key, _)| key.name == name)
                .map(|(rank, _, _, e)| (*rank, *e))
                .collect::<Vec<_>>()
        };
        for (rank, steps) in entries_of("steps") {
            if let Some((_, epochs)) = entries_of("epochs").into_iter().find(|(r, _)| *r == rank) {
                return Err(
                    steps.error(&format!("cannot be combined with {}: a run has steps or epochs", epochs.invalid()))
                );
            }
        }
        Ok(())
    }
}

impl Entry {
    /// The entry as an invalid value, without the expected value.
    fn invalid(&self) -> InvalidValue {
        let found = match &self.value {
            RawValue::Text(text) => text.clone(),
            RawValue::Toml(value) => value.to_string(),
        };
        InvalidValue { name: self.key.clone(), origin: self.origin.clone(), found: Some(found), expected: None }
    }

    /// Entries of larger precedence override others: files, then `--set`, then options.
    fn precedence(&self) -> usize {
        match self.origin {
            Origin::File(_) => 0,
            Origin::Set => 1,
            Origin::Option | Origin::Argument => 2,
        }
    }

    fn error(&self, expected: &str) -> Error {
        Error::Value(InvalidValue { expected: Some(expected.into()), ..self.invalid() })
    }
}

/// Sets a key and checks its range. The error is the expected value.
fn apply(settings: &mut Settings, key: &Key, raw: &RawValue) -> Result<(), String> {
    (key.set)(settings, raw)?;
    match (key.get)(settings) {
        Some(value) if key.range != Range::Free => key.range.check(&value),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::bytes::Bytes;
    use super::super::run::{Length, PRESETS};
    use super::super::value::{Optimizer, ScheduleKind, Warmup};
    use super::*;
    use crate::data::data_loader::{BatchSize, Batching};
    use crate::data::padding::Padding;
    use crate::data::tokenizer::Pretokenizer;

    fn layers(file: &str, sets: &[&str], options: &[(&str, &str)]) -> Result<Settings> {
        let mut layers = Layers::new();
        // Added in the wrong order on purpose: precedence depends on the source, not on the order of calls.
        for (key, value) in options {
            layers.option(key, *value);
        }
        for set in sets {
            layers.set(set)?;
        }
        layers.toml("run.toml", file)?;
        layers.settings()
    }

    fn error(file: &str, sets: &[&str], options: &[(&str, &str)]) -> String {
        layers(file, sets, options).expect_err("should be refused").to_string()
    }

    #[test]
    fn presets_have_the_values_of_the_table() {
        let nano = Settings::preset("nano").expect("nano");
        assert_eq!(nano, Settings::default());
        assert_eq!((nano.batch, nano.lr, nano.length), (8, 2e-3, Length::Steps(1000)));
        let mini = Settings::preset("mini").expect("mini");
        assert_eq!((mini.lr, mini.warmup, mini.length), (6e-4, Warmup::Preset(500), Length::Steps(5000)));
        assert_eq!((mini.model.n_layer, mini.model.n_embd, mini.model.attn_pdrop), (6, 384, 0.1));
        let gpt1 = Settings::preset("gpt1").expect("gpt1");
        assert_eq!((gpt1.batch, gpt1.lr, gpt1.length), (64, 2.5e-4, Length::Epochs(100)));
        // By depth, through mini and gpt1.
        let of = |name: &str| Settings::preset(name).expect(name);
        let (d6, d12, gpt1) = (of("d6"), of("d12"), of("gpt1"));
        assert_eq!(Settings { preset: "mini".into(), ..d6 }, mini);
        assert_eq!((d12.lr, d12.batch, d12.model.n_embd, d12.model.n_head), (gpt1.lr, gpt1.batch, 768, 12));
        assert_eq!((of("d1").lr, of("d4").lr, of("d48").lr), (5.6e-3, 1e-3, 4.5e-5));
        assert_eq!([1, 5, 8, 10, 48].map(|n| of(&format!("d{n}")).batch), [8, 8, 16, 32, 4096]);
        for wrong in ["d0", "d49", "d06", "d", "D6", "d6 "] {
            let error = Settings::preset(wrong).expect_err(wrong).to_string();
            assert!(error.contains("expected nano, mini or gpt1, or d1 to d48"), "{error}");
        }
        for name in PRESETS {
            let s = Settings::preset(name).expect("preset");
            s.validate().expect("valid");
            assert_eq!((s.eval_every, s.checkpoint_every, s.sample_every, s.keep), (100, 200, 200, 3));
            assert_eq!((s.weight_decay, s.clip, s.valid, s.schedule), (0.01, 1.0, 0.05, ScheduleKind::Cosine));
        }
    }

    #[test]
    fn later_sources_override_earlier_ones() {
        let s = layers("preset = \"mini\"\nlr = 1\nbatch = 2\nseed = 5", &["lr=2", "batch=4"], &[("lr", "3")]);
        let s = s.expect("settings");
        assert_eq!((s.preset.as_str(), s.lr, s.batch, s.seed), ("mini", 3.0, 4, 5));
        assert_eq!(s.model.n_embd, 384);
        let s = layers("preset = \"mini\"", &[], &[("preset", "nano")]).expect("settings");
        assert_eq!(s, Settings::default());
        let s = layers("", &["lr=1", "lr=2"], &[]).expect("settings");
        assert_eq!(s.lr, 2.0);
    }

    #[test]
    fn the_four_dropout_keys_override_dropout() {
        let s = layers("attn_pdrop = 0\ndropout = 0.25", &[], &[]).expect("settings");
        assert_eq!((s.model.attn_pdrop, s.model.embd_pdrop), (0.0, 0.25));
        assert!(s.to_toml().contains("attn_pdrop = 0.0\n") && !s.to_toml().contains("\ndropout"));
    }

    #[test]
    fn batch_and_batch_tokens() {
        let of = |file, options| layers(file, &[], options).expect("settings");
        let s = of("batch_tokens = 512\nbatch = 6\naccumulate = 4", &[]);
        let padding = Padding::Packed;
        assert_eq!(s.batching(), Batching { size: BatchSize::Rows(512), micro_batches: 4, padding });
        assert_eq!(of("batch_tokens = 512", &[("batch", "2")]).batching().size, BatchSize::Windows(2));
        assert_eq!(of("batch = 4", &[("batch_tokens", "300")]).batching().size, BatchSize::Rows(300));
    }

    #[test]
    fn steps_and_epochs() {
        let s = layers("steps = 5", &[], &[("epochs", "2")]).expect("settings");
        assert_eq!((s.length, s.steps(|n| Ok(50 * u64::from(n))).expect("steps")), (Length::Epochs(2), 100));
        let too_many = s.steps(|_| Ok(1 << 32)).expect_err("too many").to_string();
        assert_eq!(too_many, "epochs = 2: must be at most 4294967295 steps, found 4294967296");
        let s = layers("preset = \"gpt1\"\nsteps = 5", &[], &[]).expect("settings");
        assert_eq!(s.length, Length::Steps(5));
        assert_eq!(
            error("steps = 5\nepochs = 1", &[], &[]),
            "run.toml: steps = 5: cannot be combined with run.toml: epochs = 1: a run has steps or epochs"
        );
        assert!(
            error("", &[], &[("steps", "5"), ("epochs", "1")])
                .starts_with("--steps 5: cannot be combined with --epochs 1: ")
        );
    }

    #[test]
    fn errors_name_key_source_value_and_expected_value() {
        for (file, sets, options, message) in [
            ("", &["lerning_rate=1"][..], &[][..], "--set lerning_rate=1: unknown key; did you mean \"lr\"?"),
            ("n_embd = \"x\"", &[], &[], "run.toml: n_embd = \"x\": expected a whole number"),
            ("", &[], &[("n_embd", "12.5")], "--n-embd 12.5: expected a whole number"),
            ("", &["lr"], &[], "--set lr: expected key=value, as in --set lr=0.001"),
            ("", &["lr=-1"], &[], "--set lr=-1: must be above 0"),
            ("", &["lr=nan"], &[], "--set lr=nan: must be a finite number"),
            ("", &["n_layer=-4"], &[], "--set n_layer=-4: must be 0 or more"),
            ("steps = 0", &[], &[], "run.toml: steps = 0: must be 1 or more"),
            ("valid = 1", &[], &[], "run.toml: valid = 1: must be above 0 and below 1"),
            ("schedule = \"cosin\"", &[], &[], "run.toml: schedule = \"cosin\": expected cosine, linear or constant"),
            (
                "",
                &[],
                &[("preset", "nona")],
                "--preset nona: expected nano, mini or gpt1, or d1 to d48 for a model of so many layers",
            ),
            ("", &["precision=bf16"], &[], "--set precision=bf16: expected f32, mixed or auto"),
            ("recompute = 1", &[], &[], "run.toml: recompute = 1: expected true or false"),
            ("[train]\nlr = 1", &[], &[], "run.toml: [train]: is a table: keys must be outside of tables"),
            ("", &["batch=6", "accumulate=4"], &[], "batch = 6: must be divisible by accumulate = 4"),
            ("", &["n_embd=130"], &[], "n_embd = 130: must be divisible by n_head = 4"),
            (
                "",
                &["batch=99999999999999999"],
                &[],
                "batch = 99999999999999999: a step of n_positions = 128 per sequence must have less than 2^31 tokens",
            ),
            ("", &["n_layer=5000"], &[], "n_layer = 5000: must be at most 4096"),
            ("", &["batching=ragged"], &[], "--set batching=ragged: expected packed, grouped or padded"),
            (
                "batch_tokens = 100",
                &[],
                &[],
                "batch_tokens = 100: must be n_positions = 128 or more, so that every sequence fits",
            ),
            ("document_separator = \"a\\nb\"", &[], &[], "document_separator = \"a\\nb\": must be one line"),
        ] {
            let e = layers(file, sets, options).expect_err(message);
            assert_eq!((e.to_string().as_str(), e.is_invalid_input()), (message, true));
        }
        assert!(error("lr = 1\nlr = ", &[], &[]).starts_with("run.toml: line 2: "));
        let missing = Layers::new().file("no/such/run.toml").expect_err("missing").to_string();
        assert!(missing.starts_with("no/such/run.toml: "), "{missing}");
    }

    #[test]
    fn config_toml_reads_back_to_the_same_settings() {
        let mut odd = Settings::preset("gpt1").expect("gpt1");
        odd.data = vec!["a \"b\".txt".into(), "c.txt".into()];
        odd.warmup = Warmup::Share(0.002);
        (odd.tokenizer, odd.document_separator) = (Some("a/tokenizer.json".into()), Some(String::new()));
        (odd.accumulate, odd.recompute, odd.memory) = (Some(3), Some(true), Some(Bytes(5 << 30)));
        (odd.batch, odd.batch_tokens, odd.batching) = (3, Some(4096), Padding::Grouped);
        odd.model.embd_pdrop = 0.3;
        odd.model.attention_pattern = "FL".into();
        (odd.lr, odd.eps, odd.seed) = (1.0 / 3.0, 1e-9, i64::MAX as u64);
        (odd.pretokenizer, odd.optimizer, odd.schedule) = (Pretokenizer::Bert, Optimizer::Hf2018, ScheduleKind::Linear);
        let mut all: Vec<Settings> = PRESETS.iter().map(|p| Settings::preset(p).expect("preset")).collect();
        all[0].data = vec!["text.txt".into()];
        all.push(odd);
        for mut settings in all {
            let text = settings.to_toml();
            // The values in use count as given.
            settings.accumulate = Some(settings.micro_batches());
            settings.recompute = Some(settings.recomputes());
            assert_eq!(layers(&text, &[], &[]).expect(&text), settings);
        }
    }

    #[test]
    fn a_share_of_warmup_is_rounded_up() {
        let mut s = Settings { warmup: Warmup::Share(0.002), ..Settings::default() };
        assert_eq!([1000, 1001, 100, 1].map(|steps| s.warmup_steps(steps)), [2, 3, 1, 1]);
        s.warmup = Warmup::Steps(200);
        assert_eq!(s.warmup_steps(1000), 200);
        s.warmup = Warmup::Preset(200);
        assert_eq!([10_000, 1000, 999, 60, 4, 1].map(|steps| s.warmup_steps(steps)), [200, 200, 199, 12, 1, 1]);
        s.warmup = Warmup::Share(1.5);
        assert!(s.validate().is_err());
    }
}
