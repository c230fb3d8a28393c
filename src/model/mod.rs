//! The decoder: parameters in slabs, activations by name, forward and backward door by door; a step as a program.

pub mod training;

pub use training::{Capacity, Options, Training};
