//! Composition root: components in start order, bootstrap objects, life cycle.
