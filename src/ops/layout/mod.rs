//! The integers of a batch in one buffer and one upload: ids, positions, targets, sequence numbers; the rows of each token
//! id and each position; work lists of attention tiles for each kind of attention; the rows of compressed slots; the rows
//! and examples of a task's head.
//!
//! [`LayoutCapacity`] fixes the sections of the buffer. [`LayoutCapacity::lay_out`] computes a [`BatchLayout`] on any thread,
//! without a device. [`LayoutBuffer`] is the buffer on the device that batch layouts are written to.

mod batch_layout;
mod buffer;
mod capacity;
mod sections;

pub use batch_layout::{BatchLayout, UNKNOWN_ANSWER};
pub use buffer::{LayoutBuffer, TileLists};
pub use capacity::{KINDS, LayoutCapacity, SMALLEST_TILE, kind_index};
