//! The choice of `accumulate` and `recompute` for a limit of memory (docs/spec.md section 6.1).

use super::objective::Objective;
use super::settings::value::Precision;
use super::settings::{Settings, Stage};
use crate::config::ModelConfig;
use crate::data::data_loader::BatchSize;
use crate::model::{Capacity, Memory, plan, plan_mixed};
use crate::{Error, Result};

/// Rows of a micro-batch below which a device is not busy. Recomputation is preferred to smaller micro-batches.
const BUSY_ROWS: usize = 4096;

/// A way to run the steps of a training: micro-batches per step, and whether activations are recomputed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Micro-batches per step.
    pub accumulate: usize,
    /// Whether the backward pass recomputes activations.
    pub recompute: bool,
    /// Bytes on the device.
    pub bytes: u64,
}

/// All choices that the settings leave open, best first: those whose micro-batches keep a device busy, then smaller ones; of
/// each, first without recomputation; then the fewest micro-batches. `capacity` is the largest micro-batch for a value of
/// `accumulate`.
///
/// # Errors
/// Those of `capacity`.
pub fn choices(
    settings: &Settings,
    model: &ModelConfig,
    capacity: impl Fn(usize) -> Result<Capacity>,
) -> Result<Vec<Choice>> {
    let recomputes = settings.recompute.map_or(vec![false, true], |given| vec![given]);
    let mut all = Vec::new();
    for accumulate in micro_batches(settings) {
        let capacity = capacity(accumulate)?;
        let is_small = accumulate > 1 && capacity.rows < BUSY_ROWS;
        for &recompute in &recomputes {
            let bytes = planned(settings, model, capacity, recompute).total() as u64;
            all.push((is_small, Choice { accumulate, recompute, bytes }));
        }
    }
    all.sort_by_key(|(is_small, choice)| (*is_small, choice.recompute, choice.accumulate));
    Ok(all.into_iter().map(|(_, choice)| choice).collect())
}

/// The values of `accumulate` that the settings allow.
fn micro_batches(settings: &Settings) -> Vec<usize> {
    if let Some(given) = settings.accumulate {
        return vec![given];
    }
    let doubled = |most: usize| std::iter::successors(Some(1), |n| Some(n * 2)).take_while(move |n| *n <= most.max(1));
    match settings.batching().size {
        // Examples need not divide evenly.
        BatchSize::Windows(batch) if settings.stage == Stage::FineTuning => doubled(batch).collect(),
        BatchSize::Windows(batch) => (1..=batch.max(1)).filter(|n| batch.is_multiple_of(*n)).collect(),
        BatchSize::Rows(rows) => doubled(rows / settings.model.n_positions.max(1)).collect(),
    }
}

/// The best choice of at most `limit` bytes.
///
/// # Errors
/// [`Error::Value`] with the least memory that the settings allow.
pub fn choose(all: &[Choice], limit: u64) -> Result<Choice> {
    let fitting = all.iter().find(|choice| choice.bytes <= limit).copied();
    let least = || all.iter().map(|choice| choice.bytes).min().unwrap_or_default().div_ceil(1 << 20);
    fitting.ok_or_else(|| {
        let expected = format!("the run needs at least {}MiB on the device; a smaller batch needs less", least());
        Error::value("memory", super::settings::Bytes(limit), expected)
    })
}

/// Chooses `accumulate` and `recompute`, where `given` leaves them open, so that the run fits `limit` bytes. Returns a note if
/// they are not those of the settings so far.
///
/// # Errors
/// As [`choose`].
pub fn fit<O: Objective>(objective: &mut O, given: &Settings, limit: u64) -> Result<Option<String>> {
    let before = (objective.settings().micro_batches(), objective.settings().recomputes());
    let ranks = objective.settings().ranks();
    let all = choices(given, objective.model(), |accumulate| objective.capacity(accumulate * ranks))?;
    let Choice { accumulate, recompute, bytes } = choose(&all, limit)?;
    if (accumulate, recompute) == before {
        return Ok(None);
    }
    let settings = objective.settings_mut();
    (settings.accumulate, settings.recompute) = (Some(accumulate), Some(recompute));
    let mib = bytes.div_ceil(1 << 20);
    let device = if ranks > 1 { "each device" } else { "the device" };
    Ok(Some(format!(
        "chose accumulate = {accumulate} and recompute = {recompute}, with which it needs {mib} MiB on {device}"
    )))
}

/// The capacity that each rank of the run needs as its settings are.
///
/// # Errors
/// Those of [`Objective::capacity`].
pub fn capacity<O: Objective>(objective: &O) -> Result<Capacity> {
    objective.capacity(objective.settings().micro_batches() * objective.settings().ranks())
}

/// Bytes of the run on each device as its settings are.
///
/// # Errors
/// Those of [`Objective::capacity`].
pub fn planned_bytes<O: Objective>(objective: &O) -> Result<u64> {
    let settings = objective.settings();
    Ok(planned(settings, objective.model(), capacity(objective)?, settings.recomputes()).total() as u64)
}

/// The memory of a training in the precision of the settings. `auto` counts as `mixed`, which takes more.
pub fn planned(settings: &Settings, model: &ModelConfig, capacity: Capacity, recompute: bool) -> Memory {
    match settings.precision {
        Precision::F32 => plan(model, capacity, recompute),
        Precision::Mixed | Precision::Auto => plan_mixed(model, capacity, recompute),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(settings: &Settings) -> impl Fn(usize) -> Result<Capacity> {
        let (batch, model) = (settings.batch, settings.model.clone());
        move |accumulate| Ok(Capacity::of_windows(&model, batch.div_ceil(accumulate)))
    }

    fn chosen(settings: &Settings, limit: u64) -> Result<(usize, bool)> {
        let all = choices(settings, &settings.model, windows(settings))?;
        choose(&all, limit).map(|choice| (choice.accumulate, choice.recompute))
    }

    #[test]
    fn gpt1_fits_cards_of_all_sizes() {
        let settings = Settings::preset("gpt1").expect("gpt1");
        let of = |gib: u64| chosen(&settings, gib << 30).expect("a choice");
        assert_eq!([24, 16, 8, 6, 4].map(of), [(1, false), (2, false), (4, false), (8, false), (4, true)]);
        assert_eq!(chosen(&settings, 5 << 29).expect("a choice"), (8, true));
        let error = chosen(&settings, 1 << 30).expect_err("too little").to_string();
        assert!(error.starts_with("memory = 1GiB: the run needs at least "), "{error}");
    }

    #[test]
    fn given_settings_are_kept() {
        let settings = Settings { accumulate: Some(16), ..Settings::preset("gpt1").expect("gpt1") };
        assert_eq!(chosen(&settings, 24 << 30).expect("a choice"), (16, false));
        let settings = Settings { recompute: Some(true), ..Settings::preset("gpt1").expect("gpt1") };
        assert_eq!(chosen(&settings, 24 << 30).expect("a choice"), (1, true));
        let settings = Settings { accumulate: Some(1), recompute: Some(false), ..settings };
        assert!(chosen(&settings, 16 << 30).is_err());
    }
}
