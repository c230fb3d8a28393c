//! What every method is.

use crate::data::batch::Answer;
use crate::tasks::record::Texts;

/// Answers an example.
pub(super) type Method<'a> = Box<dyn Fn(&Texts) -> Answer + 'a>;
