//! A self-test before a training: a few cases of each kernel that the training runs, at its widths, in some seconds. Drivers
//! have compiled kernels to programs that compute wrongly without any error, and a training would not notice.

use super::all::{Thoroughness, check_all};
use super::cases::RowSizes;
use super::cases::{attention, cache, column_sum, cross_entropy, dropout, embedding, gather_rows, kv_compress};
use super::cases::{layer_norm, matmul, matvec, optimizer, task_loss};
use super::{Case, Purpose};
use crate::config::{Answers, AttentionKind, ModelConfig, TaskKind};
use crate::error::{DeviceError, WrongResults};
use crate::gpu::{Caps, Device, library_texts};
use crate::ops::kernels::Precision;
use crate::ops::matmul::{Form, choose_mixed, workspace_words};
use crate::ops::optimizer::{Arithmetic, Losses};
use crate::ops::task_loss::Logits;
use crate::ops::{self, Spec};
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Rows at capacity.
const ROWS: usize = 67;
/// Those of them that are live.
const LIVE: usize = 65;
/// The largest width of a tested product: kernels have the same variant for larger ones.
const WIDEST: usize = 1024;
/// The largest vocabulary of a tested product.
const VOCABULARY: usize = 2048;

/// What decides, besides the model, which kernels a training runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The number types of products.
    pub precision: Precision,
    /// The optimizer's arithmetic.
    pub arithmetic: Arithmetic,
    /// Whether texts are generated during the run.
    pub samples: bool,
}

/// The cases of a self-test.
pub struct SelfTest(Vec<Case>);

impl SelfTest {
    /// The self-test of a model's training.
    pub fn new(config: &ModelConfig, workload: Workload) -> Self {
        let mut cases = row_wise(config);
        cases.extend(products(config, workload.precision));
        cases.extend(attentions(config));
        cases.extend(optimizer_step(config, workload.arithmetic));
        if config.task.is_some() {
            cases.extend(task(config));
        }
        if workload.samples {
            cases.extend(generation(config));
        }
        SelfTest(cases)
    }

    /// The names of its kernels.
    pub fn kernels(&self) -> BTreeSet<&'static str> {
        self.0.iter().map(|case| case.op).collect()
    }

    /// All that its result depends on, in lines of text: this version of the kernels, the adapter with its driver, and the
    /// cases.
    pub fn description(&self, caps: &Caps) -> String {
        let Caps { name, backend, driver, .. } = caps;
        let version = format!("wgpt {} {}", env!("CARGO_PKG_VERSION"), shaders_hash(caps));
        let mut lines = vec![version, format!("{name} ({backend}, {driver})")];
        lines.extend(self.0.iter().map(|case| match (case.specs)(caps).first() {
            Some(spec) => format!("{} {spec:?}", case.label()),
            None => case.label(),
        }));
        lines.join("\n") + "\n"
    }

    /// Runs the cases, each with the variant that is chosen for it.
    ///
    /// # Errors
    /// [`DeviceError::WrongResults`] with the kernels that compute wrongly. Others when a kernel cannot be recorded or
    /// compiled, or the device is lost.
    pub fn run(&self, device: &Device) -> Result<()> {
        let cases: Vec<&Case> = self.0.iter().collect();
        let thoroughness = Thoroughness { all_variants: false, runs: Thoroughness::usual_runs(device.caps()) };
        let mut wrong = BTreeMap::new();
        check_all(device, &cases, thoroughness, |index, outcomes| -> Result<()> {
            for (spec, outcome) in outcomes {
                if let Some(fault) = outcome?.faults.first() {
                    wrong.insert(index, format!("{} {spec:?}: {fault}", cases[index].label()));
                }
            }
            Ok(())
        })?;
        let kernels: BTreeSet<String> = wrong.keys().map(|index| cases[*index].op.into()).collect();
        let Some((_, fault)) = wrong.pop_first() else { return Ok(()) };
        let Caps { name, driver, .. } = device.caps();
        let kernels = kernels.into_iter().collect();
        let wrong = WrongResults { kernels, adapter: name.clone(), driver: driver.clone(), fault };
        Err(Error::Device(DeviceError::WrongResults(wrong)))
    }
}

/// A hash of the texts of all kernels that an adapter can run.
fn shaders_hash(caps: &Caps) -> String {
    let bodies = ops::ALL.iter().flat_map(|kernel| (kernel.variants)(caps)).map(|variant| variant.body);
    let texts: BTreeSet<&str> = bodies.chain(library_texts()).collect();
    let hash = texts.iter().fold(Sha256::new(), |hash, text| hash.chain_update(text));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn row_wise(config: &ModelConfig) -> Vec<Case> {
    let (c, v) = (config.n_embd, config.vocab_size);
    let rows = RowSizes { rows: ROWS, live: LIVE, columns: c };
    let sizes = embedding::Sizes { of: rows, vocab: 97, positions: 40 };
    let drops = config.resid_pdrop > 0.0;
    let mut all = vec![
        embedding::forward_case(sizes, Purpose::Small),
        embedding::backward_case(embedding::Table::Tokens, sizes, Purpose::Small),
        embedding::backward_case(embedding::Table::Positions, sizes, Purpose::Small),
        layer_norm::forward_case(layer_norm::Rows::Ordinary, drops, rows, Purpose::Small),
        layer_norm::backward_case(layer_norm::Rows::Ordinary, drops, rows, Purpose::Small),
        column_sum::case(rows, Purpose::Small),
        // In two passes on every adapter.
        column_sum::case(RowSizes { rows: 2600, live: 2561, columns: c.min(257) }, Purpose::Small),
        cross_entropy::case(
            cross_entropy::Targets::Some,
            30.0,
            RowSizes { rows: 9, live: 7, columns: v },
            Purpose::Small,
        ),
    ];
    let classifier = config.task.as_ref().map_or(0.0, |_| config.summary_first_dropout);
    let rates = [config.embd_pdrop, classifier];
    all.extend(rates.iter().find(|rate| **rate > 0.0).map(|rate| dropout::case(*rate, rows, Purpose::Small)));
    all
}

/// The products of a block and of the LM head, forward and backward.
fn products(config: &ModelConfig, precision: Precision) -> Vec<Case> {
    use matmul::Out;
    let n = ROWS;
    let (width, v) = (|times: usize| (times * config.n_embd).min(WIDEST), config.vocab_size.min(VOCABULARY));
    let [c, c3, c4] = [1, 3, 4].map(width);
    let product = |(form, out, sizes): (Form, Out, [usize; 3])| {
        let case = matmul::case(form, out, sizes, LIVE, Purpose::Small);
        if precision == Precision::F32 {
            return case;
        }
        let workspace = workspace_words(sizes);
        let specs = Box::new(move |caps: &Caps| vec![Spec::Matmul(choose_mixed(caps, form, sizes, workspace))]);
        Case { specs, ..case }
    };
    let all = [
        (Form::AB, Out::Bias, [n, c3, c]),
        (Form::AB, Out::BiasGelu, [n, c4, c]),
        (Form::AB, Out::Plain, [n, c, v]),
        (Form::ABt, Out::Plain, [n, v, c]),
        (Form::ABt, Out::GeluBackward, [n, c4, c]),
        (Form::ABt, Out::Residual, [n, c, c4]),
        (Form::AtB, Out::Add, [c, c4, n]),
        (Form::AtB, Out::Add, [v, c, n]),
    ];
    all.map(product).into()
}

fn attentions(config: &ModelConfig) -> Vec<Case> {
    use crate::reference::attention::Seen;
    use attention::Shape;
    let mut all = Vec::new();
    for (kind, seen) in [
        (AttentionKind::Full, Seen::Full),
        (AttentionKind::Local, Seen::Local(config.local_block.min(100))),
        (AttentionKind::Compressed, Seen::Compressed(config.kv_factor)),
    ] {
        if config.has(kind) {
            let (heads, head_dim, rate) = (config.n_head.min(2), config.head_dim(), config.attn_pdrop);
            let shape = Shape { lengths: vec![150, 1, 33], heads, head_dim, seen, rate, size: 1.0 };
            all.extend([false, true].map(|backward| attention::case(shape.clone(), backward, Purpose::Small)));
        }
    }
    if config.has(AttentionKind::Compressed) {
        let (c, group_width, factor) = (config.n_embd, config.kv_group_width(), config.kv_factor);
        let shape =
            kv_compress::Shape { lengths: vec![65.max(2 * factor + 1), 2], c, group_width, factor, part: 1, spare: 3 };
        all.extend(
            [("kv_compress", 1.0), ("kv_compress_backward", 2.0)]
                .map(|(op, products)| shape.case(op, Purpose::Small, products)),
        );
        // The null keys.
        all.push(gather_rows::case(false, RowSizes { rows: 5, live: 3, columns: c }, 1, Purpose::Small));
    }
    all
}

fn optimizer_step(config: &ModelConfig, arithmetic: Arithmetic) -> Vec<Case> {
    use optimizer::Health;
    let losses = config.task.as_ref().map_or(Losses::Tokens, |_| Losses::Examples);
    vec![
        optimizer::loss_sum_case(losses, [300, 257], Purpose::Small),
        optimizer::norm_case("global_norm", Health::Sound, 1.0, 3, Purpose::Small),
        optimizer::norm_case("step_state", Health::Sound, 1.0, 2, Purpose::Small),
        optimizer::norm_case("step_state", Health::Nan, 1.0, 2, Purpose::Small),
        optimizer::adamw_case(arithmetic, 1000, false, 3, false, Purpose::Small),
    ]
}

fn task(config: &ModelConfig) -> Vec<Case> {
    let Some(task) = &config.task else { return Vec::new() };
    let rows = RowSizes { rows: ROWS, live: LIVE, columns: config.n_embd };
    let outputs = if let Answers::Labels(labels) = &task.answers { labels.len() } else { 1 };
    let pairs = task.kind == TaskKind::Similar;
    vec![
        task_loss::case(
            Logits::of(task),
            pairs,
            4.0,
            RowSizes { rows: 32, live: 20, columns: outputs },
            Purpose::Small,
        ),
        gather_rows::case(false, rows, 33, Purpose::Small),
        gather_rows::case(true, rows, 72, Purpose::Small),
    ]
}

/// The kernels of generation, one token at a time.
fn generation(config: &ModelConfig) -> Vec<Case> {
    use matvec::{In, Out};
    let (width, v) = (|times: usize| (times * config.n_embd).min(WIDEST), config.vocab_size.min(VOCABULARY));
    let [c, c3, c4] = [1, 3, 4].map(width);
    let head_dim = config.head_dim();
    let product = |(form, norm, out, [n, k]): (Form, In, Out, [usize; 2])| {
        matvec::case(form, norm, out, [1, n, k], 1, Purpose::Small)
    };
    let mut all: Vec<Case> = [
        (Form::AB, In::NormKept, Out::Bias, [c3, c]),
        (Form::AB, In::Plain, Out::BiasResidual, [c, c]),
        (Form::AB, In::NormKept, Out::BiasGelu, [c4, c]),
        (Form::ABt, In::Norm, Out::Plain, [v, c]),
    ]
    .map(product)
    .into();
    all.push(cache::decode_case(vec![70], config.n_head.min(2), head_dim, true, 1.0, Purpose::Small));
    all.extend(cache::cases().into_iter().filter(|case| case.op == "cache_append" && case.purpose == Purpose::Small));
    all
}
