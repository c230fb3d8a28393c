//! Preparing fine-tuning: settings, files, labels, the model and its new parameters are checked before an adapter is opened.

use crate::config::{Answers, ModelConfig, Part, Task, TaskKind};
use crate::data::tokenizer::Tokenizer;
use crate::model::{Inference, initial_parameters};
use crate::report::command::shell_word;
use crate::store::Model;
use crate::tasks::baselines::{Baseline, baselines};
use crate::tasks::{Columns, Record, labels};
use crate::train::run_path::RunPath;
use crate::train::settings::value::one_of;
use crate::train::settings::{Length, Settings};
use crate::train::task::examples::Examples;
use crate::train::task::scores::{self, Scores};
use crate::train::task::state::Best;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// A prepared fine-tuning run, which implements [`crate::train::Objective`].
pub struct FineTuning {
    /// The settings.
    pub settings: Settings,
    /// The path of the run's folder.
    pub out: RunPath,
    /// The model's configuration, with its task.
    pub model: ModelConfig,
    /// Initial weights, dense, in the order of [`ModelConfig::parameters`]; `None` in a resumed run.
    pub weights: Option<Vec<Vec<f32>>>,
    /// The tokenizer, with the tokens of fine-tuning.
    pub tokenizer: Tokenizer,
    /// Training examples.
    pub train: Examples,
    /// Validation examples, which choose the best epoch.
    pub valid: Examples,
    /// Test examples, evaluated once with the weights of the best epoch.
    pub test: Option<Examples>,
    /// What simple methods reach on the validation examples, and on the test examples.
    pub baselines: Vec<Baseline>,
    /// Epochs of the run.
    pub epochs: u32,
    /// Steps of the run.
    pub steps: u32,
    /// Warnings for the user.
    pub warnings: Vec<String>,
    /// The best epoch so far; `None` before the end of the first one.
    pub best: Option<Best>,
    /// The scores on the validation examples with the weights of the best epoch, at the end of the run.
    pub valid_scores: Option<Scores>,
    /// The scores on the test examples with the same weights.
    pub test_scores: Option<Scores>,
    /// Sum of the examples' losses in the current epoch.
    pub(super) train_loss: f64,
    /// The scores of the latest epoch.
    pub(super) last_scores: Option<Scores>,
    /// The model for evaluations, created at the first one.
    pub(super) inference: Option<Inference>,
}

/// The model that a run starts from.
struct Start {
    /// Its configuration, without a task.
    config: ModelConfig,
    /// The tensors of the body; `None`: random weights.
    body: Option<Vec<Vec<f32>>>,
    tokenizer: Tokenizer,
    warnings: Vec<String>,
}

impl FineTuning {
    /// Reads model and examples for a new run in the folder `out`.
    ///
    /// # Errors
    /// [`Error::Value`] with the key, [`Error::File`] with the file and line.
    pub fn new(settings: Settings, kind: TaskKind, out: &Path) -> Result<Self> {
        Self::reserved(settings, kind, RunPath::reserve(out)?)
    }

    /// As [`FineTuning::new`], for a run whose path is reserved.
    ///
    /// # Errors
    /// As [`FineTuning::new`].
    pub fn reserved(mut settings: Settings, kind: TaskKind, out: RunPath) -> Result<Self> {
        settings.validate()?;
        let columns = settings.task.columns(kind)?;
        let train = required(&settings.task.train, "train")?;
        let (task, records) = columns.read_training(train)?;
        check_best_by(&settings, &task)?;
        let start = Start::new(&settings, &records)?;
        let labels = labels::warnings(train, &task, &records);
        let unused = settings.use_tokenizer(&start.tokenizer);
        let tokenizer = start.tokenizer.with_task_tokens(start.config.vocab_size)?;
        let added = if start.tokenizer.task_tokens().is_some() { 0 } else { Task::TOKENS.len() };
        let model = ModelConfig {
            vocab_size: start.config.vocab_size + added,
            task: Some(task),
            summary_first_dropout: settings.task.classifier_dropout,
            ..start.config
        };
        model.validate()?;
        let weights = with_new_parts(&model, start.body, settings.seed);
        let mut prepared = Self::read(settings, model, tokenizer, &columns, &records, out)?;
        prepared.weights = Some(weights);
        prepared.warnings.splice(0..0, start.warnings.into_iter().chain(unused).chain(labels));
        Ok(prepared)
    }

    /// Reads the examples of a run that continues with the model of a checkpoint.
    ///
    /// # Errors
    /// As [`FineTuning::new`].
    pub fn resumed(settings: Settings, checkpoint: &Model, dir: &Path) -> Result<Self> {
        let model = checkpoint.config.clone();
        let Some(task) = &model.task else {
            let command = format!("`wgpt pretrain --resume {}` continues it", shell_word(dir));
            return Err(Error::file(dir, "is a pretraining run").expected(command));
        };
        let tokenizer = checkpoint.tokenizer.clone().ok_or_else(|| Tokenizer::missing_in(dir))?;
        let columns = settings.task.columns(task.kind)?;
        let records = columns.read(required(&settings.task.train, "train")?, task)?;
        Self::read(settings, model, tokenizer, &columns, &records, dir.into())
    }

    fn read(
        settings: Settings,
        model: ModelConfig,
        tokenizer: Tokenizer,
        columns: &Columns,
        records: &[Record],
        out: RunPath,
    ) -> Result<Self> {
        let task = model.task.clone().ok_or_else(no_task)?;
        let examples = |path: &Path, records: &[Record]| Examples::new(path, records, &tokenizer, model.n_positions);
        let train = examples(required(&settings.task.train, "train")?, records)?;
        let read = |path: &Path| {
            let records = columns.read(path, &task)?;
            Ok::<_, Error>((examples(path, &records)?, records))
        };
        let (valid, valid_records) = read(required(&settings.task.valid, "valid")?)?;
        let (test, test_records) = settings.task.test.as_deref().map(read).transpose()?.unzip();
        let parts: Vec<&[Record]> =
            [Some(&valid_records), test_records.as_ref()].into_iter().flatten().map(Vec::as_slice).collect();
        let baselines = baselines(&task, records, &parts);
        let mut warnings = Vec::new();
        for part in [Some(&train), Some(&valid), test.as_ref()].into_iter().flatten() {
            warnings.extend(part.warnings(model.n_positions));
        }
        let steps_per_epoch = steps_per_epoch(&settings, train.all.len());
        let epochs = match settings.length {
            Length::Epochs(epochs) => epochs,
            Length::Steps(steps) => return Err(Error::value("steps", steps, "fine-tuning has epochs instead")),
        };
        let steps = settings.steps(|epochs| Ok(u64::from(epochs) * u64::from(steps_per_epoch)))?;
        warnings.extend(settings.warnings(steps));
        let best_by = best_by(&settings, &task);
        if scores::is_correlation(&best_by) && scores::all_scores_are_equal(&valid.all) {
            let path = valid.path.display();
            warnings.push(format!(
                "{path}: all scores are equal, so {best_by} is undefined; the loss chooses the best epoch"
            ));
        }
        if let (Answers::Labels(labels), Some(class)) = (&task.answers, scores::one_class(&valid.all)) {
            let (path, label) = (valid.path.display(), &labels[class as usize]);
            let undefined = if best_by == "matthews" {
                "matthews is undefined, and the loss chooses the best epoch"
            } else {
                "its scores say little"
            };
            warnings.push(format!("{path}: all examples have the label {label:?}, so {undefined}"));
        }
        for (key, part) in [("valid", Some(&valid)), ("test", test.as_ref())] {
            if let Some(part) = part.filter(|part| same_file::is_same_file(&part.path, &train.path).unwrap_or(false)) {
                let path = part.path.display();
                warnings
                    .push(format!("{key} = {path} is the training file: its scores say nothing about other examples"));
            }
        }
        Ok(FineTuning {
            settings,
            out,
            model,
            weights: None,
            tokenizer,
            train,
            valid,
            test,
            baselines,
            epochs,
            steps,
            warnings,
            best: None,
            valid_scores: None,
            test_scores: None,
            train_loss: 0.0,
            last_scores: None,
            inference: None,
        })
    }

    /// The task of the model.
    ///
    /// # Errors
    /// None in practice: the model of a prepared run has a task.
    pub fn task(&self) -> Result<&Task> {
        self.model.task.as_ref().ok_or_else(no_task)
    }

    /// The metric that chooses the best epoch.
    ///
    /// # Errors
    /// As [`FineTuning::task`].
    pub fn best_by(&self) -> Result<String> {
        Ok(best_by(&self.settings, self.task()?))
    }

    /// The simple method with the largest value of a metric on the validation examples, and that value.
    pub fn best_baseline(&self, metric: &str) -> Option<(&'static str, f64)> {
        let values = self.baselines.iter().filter_map(|b| Some((b.name, *b.metrics.first()?.get(metric)?)));
        values.reduce(|best, next| if next.1 > best.1 { next } else { best })
    }

    /// The text of baselines.json: the metrics of each simple method, by method and part.
    pub fn baselines_json(&self) -> String {
        let of = |baseline: &Baseline| {
            let parts = ["validation", "test"].into_iter().zip(&baseline.metrics);
            (
                baseline.name.to_string(),
                parts.map(|(part, metrics)| (part.to_string(), serde_json::json!(metrics))).collect(),
            )
        };
        let all: serde_json::Map<String, serde_json::Value> = self.baselines.iter().map(of).collect();
        format!("{:#}\n", serde_json::Value::Object(all))
    }

    /// Steps per epoch; the last one has the remaining examples.
    pub fn steps_per_epoch(&self) -> u32 {
        steps_per_epoch(&self.settings, self.train.all.len())
    }

    /// A title such as "classify on sst2.tsv".
    pub fn title(&self) -> String {
        let kind = self.model.task.as_ref().map_or(String::new(), |task| task.kind.to_string());
        let file = self.train.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        format!("{kind} on {file}")
    }
}

fn steps_per_epoch(settings: &Settings, examples: usize) -> u32 {
    examples.div_ceil(settings.batch.max(1)) as u32
}

/// The metric that chooses the best epoch.
fn best_by(settings: &Settings, task: &Task) -> String {
    settings.task.best_by.clone().unwrap_or_else(|| scores::metric_names(task)[0].into())
}

fn no_task() -> Error {
    Error::missing("task", "the model must have a task")
}

fn required<'a>(path: &'a Option<PathBuf>, key: &str) -> Result<&'a Path> {
    let missing = || Error::missing(key, "must name a file of examples: .tsv, .csv or .jsonl, with named columns");
    path.as_deref().ok_or_else(missing)
}

fn check_best_by(settings: &Settings, task: &Task) -> Result<()> {
    let metrics = scores::metric_names(task);
    match &settings.task.best_by {
        Some(name) if !metrics.contains(&name.as_str()) => {
            let expected = format!("must be {} for {}", one_of(&metrics), task.kind);
            Err(Error::value("best_by", format!("{name:?}"), expected))
        }
        _ => Ok(()),
    }
}

impl Start {
    fn new(settings: &Settings, records: &[Record]) -> Result<Self> {
        let task = &settings.task;
        match (&task.model, task.from_scratch) {
            (Some(model), true) => Err(Error::value("model", model.display(), "cannot be combined with from_scratch")),
            (None, false) => Err(Error::missing(
                "model",
                "must name the model to fine-tune, as in `--model DIR`; or use --from-scratch",
            )),
            (None, true) => {
                let tokenizer = match settings.named_tokenizer()? {
                    Some(tokenizer) => tokenizer,
                    None => {
                        let texts: Vec<&str> = records.iter().flat_map(|record| record.texts.all()).collect();
                        Tokenizer::train(&texts.join("\n"), settings.model.vocab_size, settings.pretokenizer)?
                    }
                };
                let config = ModelConfig { task: None, ..settings.model.clone() };
                Ok(Start { config, body: None, tokenizer, warnings: Vec::new() })
            }
            (Some(dir), false) => {
                let Model { folder, config, parameters, tokenizer, mut warnings } = Model::load(dir)?;
                let folder = folder.as_deref().unwrap_or(dir);
                let named = settings.named_tokenizer()?;
                if let (Some(named), Some(own)) = (&named, &tokenizer)
                    && named.to_json()? != own.to_json()?
                {
                    let folder = folder.display();
                    warnings.push(format!(
                        "the tokenizer differs from that of {folder}, which the weights were trained with"
                    ));
                }
                let tokenizer = named.or(tokenizer).ok_or_else(|| Tokenizer::missing_in(folder))?;
                let ModelConfig { resid_pdrop, embd_pdrop, attn_pdrop, .. } = settings.model;
                let body = config.parts().into_iter().zip(parameters).filter(|(part, _)| *part != Part::Head);
                let body = body.map(|(_, tensor)| tensor).collect();
                if config.task.is_some() {
                    warnings.push(format!(
                        "{}: the head of this model is not used; a new one is initialized",
                        folder.display()
                    ));
                }
                let config = ModelConfig { resid_pdrop, embd_pdrop, attn_pdrop, task: None, ..config };
                Ok(Start { config, body: Some(body), tokenizer, warnings })
            }
        }
    }
}

/// The initial weights of a model: those of its body, if there are any, with random weights for new rows and the head.
fn with_new_parts(model: &ModelConfig, body: Option<Vec<Vec<f32>>>, seed: u64) -> Vec<Vec<f32>> {
    let mut weights = initial_parameters(model, seed);
    for (to, from) in weights.iter_mut().zip(body.into_iter().flatten()) {
        to[..from.len()].copy_from_slice(&from);
    }
    weights
}
