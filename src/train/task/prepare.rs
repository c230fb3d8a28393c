//! All of a run on a task that can be wrong before an adapter is opened: settings, files, labels, the model and its new
//! parts. What comes out only wants a device.

use crate::config::{ModelConfig, Part, Task, TaskKind};
use crate::data::batch::Batch;
use crate::data::data_loader::Cursor;
use crate::data::tokenizer::Tokenizer;
use crate::model::{Capacity, Learning, initial_parameters};
use crate::philox::{Stream, Words};
use crate::store::Model;
use crate::store::sha256;
use crate::tasks::{Answer, Columns, EncodedExample, EncodedExamples, Record, encode, pack};
use crate::train::run_folder::RunFolder;
use crate::train::settings::{Length, Settings};
use crate::train::state::Identity;
use crate::{Error, Result};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Rows of an evaluation batch at most, unless an example alone has more.
const EVALUATION_ROWS: usize = 4096;

/// Examples of a file, as a model reads them.
#[derive(Clone, Debug)]
pub struct Examples {
    /// Where they are from.
    pub path: PathBuf,
    /// One a row of the file, in order.
    pub all: Vec<EncodedExample>,
    /// Examples of which a text was cut to fit in the model's positions.
    pub cut: usize,
}

impl Examples {
    /// Encodes records of a file.
    ///
    /// # Errors
    /// As [`encode`]; [`Error::Value`] for a file without an example.
    pub fn new(path: &Path, records: &[Record], tokenizer: &Tokenizer, n_positions: usize) -> Result<Self> {
        if records.is_empty() {
            return Err(Error::file(path, "holds no example"));
        }
        let EncodedExamples { examples, truncated: cut } = encode(records, tokenizer, n_positions)?;
        Ok(Examples { path: path.to_path_buf(), all: examples, cut })
    }

    /// Ranges of examples whose batches have about so many rows; the room that they take.
    pub fn batches(&self) -> (Vec<Range<usize>>, Capacity) {
        let (mut ranges, mut first, mut size) = (Vec::new(), 0, Capacity { rows: 0, sequences: 0 });
        let mut most = Capacity { rows: 1, sequences: 1 };
        for (i, example) in self.all.iter().enumerate() {
            let of = size_of(example);
            if i > first && size.rows + of.rows > EVALUATION_ROWS {
                ranges.push(first..i);
                (first, size) = (i, Capacity { rows: 0, sequences: 0 });
            }
            size = Capacity { rows: size.rows + of.rows, sequences: size.sequences + of.sequences };
            most = Capacity { rows: most.rows.max(size.rows), sequences: most.sequences.max(size.sequences) };
        }
        ranges.push(first..self.all.len());
        (ranges, most)
    }
}

fn size_of(example: &EncodedExample) -> Capacity {
    Capacity { rows: example.sequences.iter().map(Vec::len).sum(), sequences: example.sequences.len() }
}

/// A run on a task that is ready for a device.
#[derive(Clone, Debug)]
pub struct PreparedTask {
    /// What was asked for.
    pub settings: Settings,
    /// Where the run's folder will appear.
    pub out: PathBuf,
    /// The model's numbers, its task among them.
    pub model: ModelConfig,
    /// Dense weights in the order of [`ModelConfig::parameters`].
    pub weights: Option<Vec<Vec<f32>>>,
    /// With the tokens of fine-tuning.
    pub tokenizer: Tokenizer,
    /// What to train on.
    pub train: Examples,
    /// What says which epoch is best.
    pub valid: Examples,
    /// What is looked at once.
    pub test: Option<Examples>,
    /// Epochs of the run.
    pub epochs: u32,
    /// Updates of the run.
    pub steps: u32,
    /// What a user should hear.
    pub warnings: Vec<String>,
}

/// Where a run's model comes from.
struct Start {
    /// Without a task.
    config: ModelConfig,
    /// Tensors of the body; none: they are drawn.
    body: Option<Vec<Vec<f32>>>,
    tokenizer: Tokenizer,
    warnings: Vec<String>,
}

impl PreparedTask {
    /// Reads model and examples for a run whose folder is new.
    ///
    /// # Errors
    /// [`Error::Value`] that names key, or file and line, and says what would be right.
    pub fn new(mut settings: Settings, kind: TaskKind, out: &Path) -> Result<Self> {
        RunFolder::check_new(out)?;
        settings.validate()?;
        let columns = settings.task.columns(kind)?;
        let train = named(&settings.task.train, "train")?;
        let (task, records) = columns.read_training(train)?;
        check_best_by(&settings, &task)?;
        let start = Start::of(&settings, &records)?;
        settings.pretokenizer = start.tokenizer.pretokenizer();
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
        prepared.warnings.splice(0..0, start.warnings);
        Ok(prepared)
    }

    /// Reads the examples of a run that goes on with a checkpoint's model.
    ///
    /// # Errors
    /// As [`PreparedTask::new`].
    pub fn resumed(settings: Settings, checkpoint: &Model, dir: &Path) -> Result<Self> {
        let model = checkpoint.config.clone();
        let Some(task) = &model.task else {
            return Err(Error::file(dir, "is a run on text: `wgpt pretrain --resume` goes on with it"));
        };
        let tokenizer = checkpoint.tokenizer.clone().ok_or_else(|| Tokenizer::missing_in(dir))?;
        let columns = settings.task.columns(task.kind)?;
        let records = columns.read(named(&settings.task.train, "train")?, task)?;
        Self::read(settings, model, tokenizer, &columns, &records, dir)
    }

    fn read(
        settings: Settings,
        model: ModelConfig,
        tokenizer: Tokenizer,
        columns: &Columns,
        records: &[Record],
        out: &Path,
    ) -> Result<Self> {
        let task = model.task.clone().ok_or_else(|| Error::input("the model has no task"))?;
        let examples = |path: &Path, records: &[Record]| Examples::new(path, records, &tokenizer, model.n_positions);
        let file = |path: &Path| examples(path, &columns.read(path, &task)?);
        let train = examples(named(&settings.task.train, "train")?, records)?;
        let valid = file(named(&settings.task.valid, "valid")?)?;
        let test = settings.task.test.as_deref().map(file).transpose()?;
        let mut warnings = Vec::new();
        for part in [Some(&train), Some(&valid), test.as_ref()].into_iter().flatten().filter(|part| part.cut > 0) {
            let (cut, all, positions) = (part.cut, part.all.len(), model.n_positions);
            let path = part.path.display();
            warnings.push(format!("{path}: {cut} of {all} examples were cut to fit in n_positions = {positions}"));
        }
        let a_epoch = updates_an_epoch(&settings, train.all.len());
        let Length::Epochs(epochs) = settings.length else {
            return Err(Error::input("a run on a task has epochs, not steps"));
        };
        let steps = settings.steps(|epochs| Ok(u64::from(epochs) * a_epoch as u64))?;
        warnings.extend(settings.warning(steps));
        let out = out.to_path_buf();
        Ok(PreparedTask { settings, out, model, weights: None, tokenizer, train, valid, test, epochs, steps, warnings })
    }

    /// The task.
    ///
    /// # Errors
    /// None that can come up: a prepared run has one.
    pub fn task(&self) -> Result<&Task> {
        self.model.task.as_ref().ok_or_else(|| Error::input("the model has no task"))
    }

    /// The metric that says which epoch is best.
    ///
    /// # Errors
    /// As [`PreparedTask::task`].
    pub fn best_by(&self) -> Result<String> {
        let first = crate::train::task::scores::names(self.task()?)[0];
        Ok(self.settings.task.best_by.clone().unwrap_or_else(|| first.into()))
    }

    /// Updates of an epoch; the last one has the examples that are left.
    pub fn updates_an_epoch(&self) -> usize {
        updates_an_epoch(&self.settings, self.train.all.len())
    }

    /// What the training examples are known again by.
    pub fn identity(&self) -> Identity {
        let ids = |example: &EncodedExample| example.sequences.iter().map(|ids| ids.len() as u64).collect::<Vec<_>>();
        let answer = |example: &EncodedExample| match example.answer {
            Answer::Class(class) => [1, u64::from(class)],
            Answer::Score(score) => [2, u64::from(score.to_bits())],
            Answer::Unknown => [0, 0],
        };
        let heads: Vec<Vec<u64>> = self.train.all.iter().map(|e| [ids(e), answer(e).to_vec()].concat()).collect();
        let tokens = self.train.all.iter().flat_map(|e| &e.sequences).map(|ids| ids.len() as u64).sum();
        let bytes = heads.iter().zip(&self.train.all).flat_map(|(head, example)| {
            let ids = example.sequences.iter().map(|ids| bytemuck::cast_slice(ids));
            std::iter::once(bytemuck::cast_slice(head)).chain(ids)
        });
        Identity { tokens, sha256: sha256::of(bytes) }
    }

    /// What learns in an epoch, counted from 0.
    pub fn learning(&self, epoch: u32) -> Learning {
        let layers = self.model.n_layer as u32;
        let unfrozen_at = |height: u32| {
            let wakes = if self.settings.task.unfreeze { layers - height } else { 0 };
            (epoch >= wakes).then(|| wakes * self.updates_an_epoch() as u32)
        };
        let layer_lr_decay = self.settings.task.layer_lr_decay.0;
        Learning { layer_lr_decay, unfrozen_at: (0..=layers).map(unfrozen_at).collect() }
    }

    /// The examples of an epoch in their order: a permutation of its own, from the data stream.
    pub fn order(&self, epoch: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.train.all.len() as u32).collect();
        Words::new(self.settings.seed, Stream::Order, epoch, 0).shuffle(&mut order);
        order
    }

    /// The micro-batches of the update at a cursor, and where it ends. The batch is made whole, then cut between examples.
    ///
    /// # Errors
    /// As [`pack`].
    pub fn update(&self, order: &[u32], cursor: Cursor) -> Result<(Vec<Batch>, Cursor)> {
        let end = (cursor.index + self.settings.batch).min(order.len());
        let examples = order[cursor.index..end].iter().map(|i| &self.train.all[*i as usize]);
        let batch = pack(examples)?;
        let part = batch.examples.len().div_ceil(self.settings.accumulate).max(1);
        let sequences = |i: usize| batch.examples.get(i).map_or(batch.sequences(), |example| example.sequences.start);
        let parts = (0..batch.examples.len()).step_by(part).map(|i| batch.part(sequences(i)..sequences(i + part)));
        let next = Cursor { index: end, ..cursor };
        Ok((parts.collect(), next))
    }

    /// What a device must have room for: the largest micro-batch of the run.
    ///
    /// # Errors
    /// As [`PreparedTask::update`].
    pub fn capacity(&self) -> Result<Capacity> {
        let mut most = Capacity { rows: 1, sequences: 1 };
        for epoch in 0..self.epochs {
            let order = self.order(epoch);
            for batch in order.chunks(self.settings.batch) {
                for part in batch.chunks(batch.len().div_ceil(self.settings.accumulate).max(1)) {
                    let sizes = part.iter().map(|i| size_of(&self.train.all[*i as usize]));
                    let (rows, sequences) =
                        sizes.fold((0, 0), |(rows, sequences), of| (rows + of.rows, sequences + of.sequences));
                    most = Capacity { rows: most.rows.max(rows), sequences: most.sequences.max(sequences) };
                }
            }
        }
        Ok(most)
    }

    /// "classify on sst2.tsv", for people.
    pub fn title(&self) -> String {
        let kind = self.model.task.as_ref().map_or(String::new(), |task| task.kind.to_string());
        let file = self.train.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        format!("{kind} on {file}")
    }
}

fn updates_an_epoch(settings: &Settings, examples: usize) -> usize {
    examples.div_ceil(settings.batch.max(1))
}

fn named<'a>(path: &'a Option<PathBuf>, key: &str) -> Result<&'a Path> {
    let missing = || Error::input(format!("no --{key} FILE: examples, .tsv, .csv or .jsonl, columns by name"));
    path.as_deref().ok_or_else(missing)
}

fn check_best_by(settings: &Settings, task: &Task) -> Result<()> {
    let (known, given) = (crate::train::task::scores::names(task), &settings.task.best_by);
    match given {
        Some(name) if !known.contains(&name.as_str()) => {
            let known = crate::train::settings::value::one_of(&known);
            Err(Error::input(format!("best_by = {name:?}: {} has {known}", task.kind)))
        }
        _ => Ok(()),
    }
}

impl Start {
    fn of(settings: &Settings, records: &[Record]) -> Result<Self> {
        let task = &settings.task;
        match (&task.model, task.from_scratch) {
            (Some(_), true) => Err(Error::input("--model and --from-scratch: a run begins with one of them")),
            (None, false) => Err(Error::input("no model: --model DIR names one, or --from-scratch draws one")),
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
                let tokenizer = named.or(tokenizer).ok_or_else(|| Tokenizer::missing_in(folder))?;
                let ModelConfig { resid_pdrop, embd_pdrop, attn_pdrop, .. } = settings.model;
                let of_body = config.parts().into_iter().zip(parameters).filter(|(part, _)| *part != Part::Head);
                let body = of_body.map(|(_, tensor)| tensor).collect();
                if config.task.is_some() {
                    warnings.push(format!("{}: its head is left aside, a new one is drawn", folder.display()));
                }
                let config = ModelConfig { resid_pdrop, embd_pdrop, attn_pdrop, task: None, ..config };
                Ok(Start { config, body: Some(body), tokenizer, warnings })
            }
        }
    }
}

/// Weights of a model: its body's, if there are any, with the new rows and the head drawn as all first weights are.
fn with_new_parts(model: &ModelConfig, body: Option<Vec<Vec<f32>>>, seed: u64) -> Vec<Vec<f32>> {
    let mut weights = initial_parameters(model, seed);
    for (to, from) in weights.iter_mut().zip(body.into_iter().flatten()) {
        to[..from.len()].copy_from_slice(&from);
    }
    weights
}
