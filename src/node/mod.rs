//! The node agent: plans from pods and observations, acts through `runtime` and `net`, reports status.
