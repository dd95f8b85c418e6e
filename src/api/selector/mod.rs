//! Selectors of objects by label and by field.
//!
//! Grammar and error texts are upstream's (API chapter 2.6). Parsing is bounded by the length of its input.

mod field;
mod label;
mod label_text;

pub use field::{FieldRequirement, FieldSelector, selectable};
pub use label::{LabelSelector, Labels, Operator, Requirement};

#[cfg(test)]
mod tests;
