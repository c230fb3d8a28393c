//! What a person sees of a run: the curve as a picture, tables in the terminal. Pure functions of numbers to text.

pub mod confusion;
pub mod curve;
pub mod panels;
pub mod sketch;
mod svg;
pub mod table;

pub use confusion::confusion;
pub use curve::{Curve, Measure, Reference, curve};
pub use panels::{Line, Panel, Panels, panels};
pub use sketch::sketch;
pub use table::{Align, Table};
