//! What a person sees of a run: the curve as a picture, tables in the terminal. Pure functions of numbers to text.

pub mod confusion;
pub mod curve;
pub mod sketch;
pub mod table;

pub use confusion::confusion;
pub use curve::{Curve, Measure, Reference, curve};
pub use sketch::sketch;
pub use table::{Align, Table};
