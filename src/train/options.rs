//! From the settings of a run to the options of its model's training.

use super::settings::Settings;
use super::settings::value::{Optimizer, Precision};
use crate::model::TrainingOptions;
use crate::ops::kernels;
use crate::ops::optimizer::{AdamW, Arithmetic};

/// The options of the optimizer that a run's settings describe.
pub fn optimizer_options(settings: &Settings, lm_coef: f64) -> TrainingOptions {
    let arithmetic = match settings.optimizer {
        Optimizer::AdamW => Arithmetic::Torch,
        Optimizer::Hf2018 => Arithmetic::Hf2018,
    };
    TrainingOptions {
        adam: AdamW { beta1: settings.beta1, beta2: settings.beta2, eps: settings.eps, arithmetic },
        weight_decay: settings.weight_decay,
        decay_all: false,
        clip: settings.clip,
        lm_coef,
        precision: match settings.precision {
            Precision::F32 => kernels::Precision::F32,
            Precision::Mixed => kernels::Precision::Mixed,
            Precision::Auto => kernels::Precision::Auto,
        },
        recompute: settings.recomputes(),
    }
}
