//! Reports of a run: the loss curve as a picture and in ASCII, costs as a picture, tables for the terminal. All functions
//! turn data into text.

pub mod command;
mod comparison;
mod confusion;
mod curve;
mod curve_text;
mod panels;
mod svg;
mod table;

pub use comparison::{ComparedRun, Comparison, ComparisonPanel, comparison_svg};
pub use confusion::confusion_table;
pub use curve::{Curve, Measure, Reference, curve_svg};
pub use curve_text::curve_text;
pub use panels::{Line, Panel, Panels, panels_svg};
pub use table::{Align, Table};
