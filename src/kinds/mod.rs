//! The catalogue of built-in kinds. A kind is one row; everything else follows from it.

mod kind;

pub use kind::{Cell, Column, ColumnType, Grace, Hooks, Kind, Scope, UpdateContext};
